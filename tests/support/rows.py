"""PostgreSQL's binary COPY format (its manual, COPY), and a mailbox made of it without a database."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from esp import native

_EPOCH = 946_684_800_000_000
"""Microseconds from 1970 to 2000, from where PostgreSQL counts."""

Value = int | bytes | str | None


def time(micros: int) -> int:
    """Return a time as the integer that COPY carries."""
    return micros - _EPOCH


def copy(rows: Sequence[Sequence[Value]]) -> bytes:
    """Return rows of `bigint`, `text`, `bytea` and times as a stream."""
    out = bytearray(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    for row in rows:
        out += struct.pack(">h", len(row))
        for value in row:
            if value is None:
                out += struct.pack(">i", -1)
                continue
            octets = struct.pack(">q", value) if isinstance(value, int) else value
            octets = octets.encode() if isinstance(octets, str) else octets
            out += struct.pack(">i", len(octets)) + octets
    return bytes(out + struct.pack(">h", -1))


@dataclass
class Mailbox:
    """A mailbox whose messages are files below `folder`, with the index a process would have of it."""

    folder: Path
    modseq: int = 1
    uidnext: int = 1
    account: int = 7
    octets: dict[int, bytes] = field(default_factory=dict)
    flags: dict[int, int] = field(default_factory=dict)
    contents: native.ContentCache = field(default_factory=native.ContentCache)
    texts: native.TextCache = field(default_factory=native.TextCache)

    def __post_init__(self) -> None:
        self.index = native.MailboxIndex(self.account, 2, str(self.folder), 77)
        for name in ("cur", "new", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.change()

    def change(self, flags: dict[int, int] | None = None, expunged: Sequence[int] = ()) -> None:
        """Let the index know of flags and expunged messages."""
        self.modseq += 1
        self.flags.update(flags or {})
        if flags:
            self.index.feed(copy([self._row(uid) for uid in sorted(flags)]))
        self.index.commit(
            modseq=self.modseq,
            uidnext=self.uidnext,
            keywords=["$Work"],
            expunged=[native.encode_set(sorted(expunged))] if expunged else [],
        )

    def add(self, *messages: bytes, flags: int = 0) -> None:
        """Deliver messages."""
        uids = range(self.uidnext, self.uidnext + len(messages))
        self.uidnext += len(messages)
        for uid, message in zip(uids, messages, strict=True):
            self.octets[uid] = message
            (self.folder / "new" / f"{uid}.host").write_bytes(message)
        self.change(dict.fromkeys(uids, flags))

    def _row(self, uid: int) -> list[Value]:
        day = time((1_700_000_000 + uid * 86_400) * 1_000_000)
        size = len(self.octets[uid])
        return [uid, 1_000 + uid, self.modseq, self.flags[uid], size, day, day, f"{uid}.host", None]

    def fetch(
        self, view: native.View, numbers: str, items: str, *, uid: bool = False, step: int = 131_072
    ) -> bytes:
        """Return the whole answer to a FETCH, wire strings brought when asked for."""
        fetch = view.fetch(
            native.SequenceSet(numbers), native.FetchItems(items), uid=uid, contents=self.contents
        )
        return self.drain(fetch, step)

    def drain(self, fetch: native.Fetch, step: int = 131_072) -> bytes:
        """Return what is left of an answer."""
        out = bytearray()
        while (piece := fetch.step(step)) is not None:
            if isinstance(piece, bytes):
                assert len(piece) <= max(step, 1_024) + 8_192
                out += piece
            else:
                self.contents.load(self.account, self.describe(piece))
        return bytes(out)

    def describe(self, contents: Sequence[int]) -> bytes:
        """Return rows of `content`."""
        rows: list[list[Value]] = []
        for content in contents:
            made = native.describe(self.octets[content - 1_000])
            rows.append([content, made.envelope, made.bodystructure, made.body])
        return copy(rows)

    def search(self, view: native.View, program: str, *, indexed: bool = True, now: int = 0) -> list[int]:
        """Return the UIDs that a SEARCH finds."""
        return self.find(view, program, indexed=indexed, now=now).uids

    def find(
        self,
        view: native.View,
        program: str,
        order: str | None = None,
        *,
        indexed: bool = True,
        now: int = 0,
    ) -> native.Search:
        """Return a finished SEARCH, SORT or THREAD."""
        search = view.search(
            native.SearchProgram(program),
            self.texts,
            now=now,
            order=None if order is None else native.SearchOrder(order),
        )
        while (need := search.step()) is not None:
            if indexed:
                self.bring(need)
        return search

    def bring(self, need: native.SearchNeed) -> None:
        """Load what a search asks for, as a worker would have made it."""

        def column(contents: Sequence[int], name: str) -> bytes:
            made = [native.index_message(self.octets[content - 1_000]) for content in contents]
            return copy([[content, getattr(one, name)] for content, one in zip(contents, made, strict=True)])

        if need.heads:
            self.index.load_heads(column(need.heads, "head"))
        if need.signatures:
            self.texts.load_signatures(self.account, column(need.signatures, "signature"))
        if need.texts:
            self.texts.load_texts(self.account, column(need.texts, "text"))
