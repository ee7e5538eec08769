"""Maildirs and mboxes for other programs, written message by message.

In: messages as they are stored, read in pieces. Out: files. A message gets its name only when it is complete, so a
writer that was cut off leaves nothing that looks like a message. Blocking: call it in a thread.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from esp.core import mbox
from esp.core.errors import NotFoundError
from esp.core.line_ends import from_wire, is_regular, is_wire
from esp.core.mailbox import DELIMITER
from esp.storage import maildir
from esp.storage.maildir import Card
from esp.storage.other_maildir import DOVECOT_KEYWORDS

Read = Callable[[int], bytes]
"""Returns a message's octets from an offset, a limited number at once; empty at the end.

It raises `NotFoundError` when the message is gone."""

_DOVECOT_LETTERS = 26


class Outgoing(msgspec.Struct, frozen=True):
    """What is written about a message besides its octets."""

    base: str
    """Its file name, without letters."""
    flags: int
    keywords: tuple[str, ...]
    internal_date: datetime
    size: int
    is_new: bool


class MaildirWriter:
    """One mailbox as a Maildir."""

    def __init__(self, root: Path, directory: str, card: Card) -> None:
        self._root = root
        self._directory = directory
        self._path = root / directory
        self._card = card
        self._there: dict[str, str] = {}

    def prepare(self) -> None:
        """Make the Maildir, and find what is in it already."""
        for part in ("tmp", "new", "cur"):
            (self._path / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._directory != maildir.INBOX_DIRECTORY:
            (self._path / "maildirfolder").touch()
        maildir.write_card(self._root, self._directory, self._card)
        words = self._card.keywords[:_DOVECOT_LETTERS]
        if words:
            text = "".join(f"{number} {word}\n" for number, word in enumerate(words))
            (self._path / DOVECOT_KEYWORDS).write_text(text)
        for part in ("new", "cur"):
            with os.scandir(self._path / part) as entries:
                self._there.update(
                    (entry.name.partition(":")[0], f"{part}/{entry.name}") for entry in entries
                )

    def write(self, message: Outgoing, read: Read) -> bool | None:
        """Write a message; `None`: it is there already. May be called by several threads.

        Raises:
            NotFoundError: the message is gone; `read` raises it.
            OSError: it cannot be written.
        """
        letters = maildir.all_letters(message.flags)
        name = f"new/{message.base}" if message.is_new and not letters else f"cur/{message.base}:2,{letters}"
        when = maildir.nanoseconds(message.internal_date)
        there = self._there.get(message.base)
        if there is not None and self._is_kept(self._path / there, self._path / name, message.size):
            return None
        temporary = self._path / "tmp" / message.base
        try:
            with temporary.open("wb") as file:
                for piece in _pieces(read):
                    file.write(piece)
            os.utime(temporary, ns=(when, when))
            temporary.rename(self._path / name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if there is not None and there != name:
            (self._path / there).unlink(missing_ok=True)
        return True

    def _is_kept(self, there: Path, name: Path, size: int) -> bool:
        """Give a complete message the name that it should have now; tell whether it was complete."""
        try:
            if there.stat().st_size != size:
                return False
            there.rename(name)
        except FileNotFoundError:
            # A mail reader has renamed it since, or somebody has removed it.
            return False
        return True


class MboxWriter:
    """One mailbox as an mbox (mboxrd), `A/B.mbox` for `A/B`."""

    def __init__(self, root: Path, name: str, taken: set[Path]) -> None:
        *above, last = map(_file_name, name.split(DELIMITER))
        self._path = root.joinpath(*above) / f"{last}.mbox"
        number = 2
        while self._path in taken:
            self._path = self._path.with_name(f"{last}~{number}.mbox")
            number += 1
        taken.add(self._path)
        self._part = self._path.with_name(f".{self._path.name}.part")
        self._file: BinaryIO | None = None

    def is_written(self) -> bool:
        """Tell whether the mailbox was written completely."""
        return self._path.exists()

    def __enter__(self) -> Self:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = self._part.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._part.unlink(missing_ok=True)

    def write(self, message: Outgoing, read: Read) -> bool | None:
        """Append a message; tell whether its octets can be read back exactly.

        Raises:
            NotFoundError: the message is gone; `read` raises it.
            OSError: it cannot be written.
        """
        assert self._file is not None
        first = read(0)
        header = first[: mbox.header_end(first)]
        regular = all(is_regular(piece) for piece in _lines(_pieces(read, first)))
        fields = mbox.meta_fields(message.flags, message.keywords)
        exact = mbox.without_meta(fields + header)[0] == header and (regular or is_wire(first))
        last = b""
        begin = self._file.tell()
        try:
            self._file.write(mbox.from_line(message.internal_date))
            self._file.write(fields)
            for piece in _lines(_pieces(read, first)):
                octets = from_wire(piece) if regular else piece
                self._file.write(mbox.quoted(octets))
                last = octets[-1:]
        except NotFoundError:
            # Expunged after some of it was written; the next message overwrites it.
            self._file.seek(begin)
            self._file.truncate()
            raise
        if last != b"\n":
            exact = False
            self._file.write(b"\n")
        self._file.write(b"\n")
        return exact

    def finish(self) -> None:
        """Give the file its name, durably."""
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.rename(self._path)
        self._file = None


def write_subscriptions(root: Path, names: Sequence[str]) -> None:
    """Write the list of subscriptions in Dovecot's format."""
    lines = [maildir.directory_for(name).removeprefix(".") for name in names]
    (root / "subscriptions").write_text("".join(f"{line}\n" for line in lines))


def _pieces(read: Read, first: bytes | None = None) -> Iterator[bytes]:
    at = 0
    piece = read(0) if first is None else first
    while piece:
        yield piece
        at += len(piece)
        piece = read(at)


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same octets, cut after line ends."""
    left = b""
    for piece in pieces:
        cut = piece.rfind(b"\n") + 1
        if cut:
            yield left + piece[:cut]
            left = piece[cut:]
        else:
            left += piece
    if left:
        yield left


def _file_name(level: str) -> str:
    """Return a file name for a level of a mailbox's name: not hidden and not too long."""
    name = "_" + level[1:] if level.startswith(".") else level
    return name.encode()[:200].decode(errors="ignore")
