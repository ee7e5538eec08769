"""mbox files, read and written as streams: a file of many gigabytes needs the memory of one small message.

In: a path. Out: messages with what the file says about them, with the line ends of mail (`core.line_ends`). The
grammar is in `core.mbox`. Blocking: call it in a thread.
"""

import os
from collections.abc import Iterator
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import msgspec

from esp.core import mbox
from esp.core.errors import InvalidError
from esp.core.line_ends import ToWire, to_wire
from esp.core.mbox import Meta, Quoting

CHUNK = 1024 * 1024
SMALL = 1024 * 1024
"""Octets of a message that is kept in memory; of a larger message only the header is."""
_LONGEST_FROM = 1000
_LONGEST_HEADER = 256 * 1024


class Stored(msgspec.Struct, frozen=True):
    """A message in an mbox."""

    key: str
    """A digest of the message; equal ones are numbered. A file may be rewritten without changing its messages' keys."""
    when: datetime | None
    meta: Meta
    head: bytes
    """The message if it is small, otherwise its header, as in the file but without the fields of `meta`."""
    rest: tuple[int, int]
    """Where in the file the rest is."""
    quoting: Quoting

    @property
    def size(self) -> int:
        """About how many octets it has."""
        return len(self.head) + self.rest[1] - self.rest[0]

    def octets(self) -> bytes:
        """Return a small message."""
        return to_wire(mbox.unquoted(self.head, self.quoting))

    def pieces(self, path: Path) -> Iterator[bytes]:
        """Yield a large message from its file."""
        ends, within_line = ToWire(), False
        with path.open("rb") as file:
            for piece in (self.head, *_lines(file, *self.rest)):
                start = piece.find(b"\n") + 1 if within_line else 0
                yield ends.feed(piece[:start] + mbox.unquoted(piece[start:], self.quoting))
                within_line = not piece.endswith(b"\n")


def is_mbox(path: Path) -> bool:
    """Tell whether a file begins as an mbox does; an empty file is an mbox."""
    with path.open("rb") as file:
        first = file.readline(_LONGEST_FROM)
    return not first or mbox.from_date(first) is not None


def messages(path: Path, quoting: Quoting) -> Iterator[tuple[Stored, int]]:
    """Yield a file's messages in order, each with the octets of the file that it takes up.

    Raises:
        InvalidError: the file is not an mbox.
    """
    seen: dict[bytes, int] = {}
    with path.open("rb") as file:
        for when, start, end in _parts(file):
            stop = min(end, start + (SMALL if end - start <= SMALL else _LONGEST_HEADER))
            beginning = os.pread(file.fileno(), stop - start, start)
            header = beginning[: mbox.header_end(beginning)]
            kept, meta = mbox.without_meta(header)
            if stop < end:
                head, rest = kept, (start + len(header), end)
            else:
                head, rest = kept + beginning[len(header) :], (end, end)
            digest = blake2b(head, digest_size=16)
            for piece in _lines(file, *rest):
                digest.update(piece)
            number = seen[digest.digest()] = seen.get(digest.digest(), 0) + 1
            yield Stored(f"{digest.hexdigest()}.{number}", when, meta, head, rest, quoting), end


def _parts(file: BinaryIO) -> Iterator[tuple[datetime | None, int, int]]:
    """Yield date, start and end of every message."""
    begun: tuple[datetime, int] | None = None
    for when, line, after in _from_lines(file):
        if begun is not None:
            yield *begun, _without_separator(file, begun[1], line)
        elif os.pread(file.fileno(), line, 0).strip():
            break
        begun = when, after
    size = os.fstat(file.fileno()).st_size
    if begun is not None:
        yield *begun, _without_separator(file, begun[1], size)
    elif size:
        raise InvalidError(f"{file.name} is no mbox: it does not begin with a From_ line")


def _from_lines(file: BinaryIO) -> Iterator[tuple[datetime, int, int]]:
    """Yield date, start and end of every From_ line."""
    base, buffer = 0, b"\n"  # so that the file's first line is found like the others
    while chunk := file.read(CHUNK):
        buffer += chunk
        at = 0
        while (found := buffer.find(b"\nFrom ", at)) >= 0:
            end = buffer.find(b"\n", found + 1, found + _LONGEST_FROM)
            if end < 0 and len(buffer) < found + _LONGEST_FROM:
                break
            at = found + 1
            when = mbox.from_date(buffer[at : end + 1]) if end > 0 else None
            if when is not None:
                yield when, base + found, base + end
        # What may be the beginning of such a line is searched again together with what follows it.
        keep = found if found >= 0 else max(at, len(buffer) - len(b"\nFrom ") + 1)
        base += keep
        buffer = buffer[keep:]
    if buffer.startswith(b"\nFrom ") and (when := mbox.from_date(buffer[1:])) is not None:
        yield when, base, base + len(buffer) - 1


def _without_separator(file: BinaryIO, start: int, end: int) -> int:
    """Return where a message ends if the next one begins at `end`: before the empty line between them."""
    last = os.pread(file.fileno(), min(4, end - start), end - min(4, end - start))
    if last.endswith(b"\r\n\r\n"):
        return end - 2
    return end - 1 if last.endswith(b"\n\n") or last == b"\n" else end


def _lines(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """Yield whole lines, about `CHUNK` octets at a time; a longer line comes in pieces."""
    while start < end:
        piece = os.pread(file.fileno(), min(CHUNK, end - start), start)
        if not piece:
            return  # somebody truncated the file meanwhile
        cut = piece.rfind(b"\n") + 1
        if start + len(piece) < end and cut:
            piece = piece[:cut]
        start += len(piece)
        yield piece
