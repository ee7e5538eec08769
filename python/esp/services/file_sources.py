"""Imports from files: Maildirs and mboxes (`import_sources`)."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from itertools import islice
from pathlib import Path

from esp.core.errors import InvalidError
from esp.core.line_ends import ToWire, to_wire
from esp.core.mbox import Quoting
from esp.native import Spool
from esp.services.import_sources import Broken, Folder, Item, Message, Missing, Passed, Present
from esp.storage import mbox, other_maildir

BATCH = 200
"""Files that one thread reads at once."""
BATCH_OCTETS = 4 * 1024 * 1024
IN_MEMORY = 1024 * 1024
"""Octets; a larger message goes from file to file in pieces."""
PIECE = 1024 * 1024


class MaildirSource:
    """A Maildir and its folders."""

    def __init__(self, root: Path, spool: Callable[[], Spool]) -> None:
        self._root = root.resolve()
        self._spool = spool
        self._folders: dict[str, other_maildir.Folder] = {}

    @property
    def name(self) -> str:
        """Its path."""
        return f"maildir:{self._root}"

    async def folders(self) -> list[Folder]:
        """Return the inbox and all below."""
        found = await asyncio.to_thread(other_maildir.folders, self._root)
        self._folders = {str(one.path.relative_to(self._root)): one for one in found}
        return [
            Folder(name, one.levels, await asyncio.to_thread(_count, one.path), special_use=one.special_use)
            for name, one in self._folders.items()
        ]

    async def messages(self, folder: Folder, missing: Missing) -> AsyncGenerator[Item, None]:
        """Yield messages in the order of their UIDs, or of their arrival."""
        here = self._folders[folder.name]
        listed = await asyncio.to_thread(other_maildir.files, here)
        keywords = await asyncio.to_thread(other_maildir.keywords_of, here.path)
        for start in range(0, len(listed), BATCH):
            batch = [other_maildir.stored(here, keywords, *one) for one in listed[start : start + BATCH]]
            wanted = await missing([one.base for one in batch])
            if len(wanted) < len(batch):
                yield Present(len(batch) - len(wanted), len(batch) - len(wanted))
            left = [one for one in batch if one.base in wanted]
            while left:
                items = await asyncio.to_thread(self._read_some, here, left)
                left = left[len(items) :]
                for item in items:
                    yield item

    async def close(self) -> None:
        """Do nothing: nothing is open."""

    def _read_some(self, folder: other_maildir.Folder, files: list[other_maildir.Stored]) -> list[Item]:
        """Read files until there are enough octets for one go; at least one file."""
        items: list[Item] = []
        octets = 0
        for file in files:
            item = self._read(folder, file)
            items.append(item)
            octets += item.size if isinstance(item, Message) else 0
            if octets >= BATCH_OCTETS:
                break
        return items

    def _read(self, folder: other_maildir.Folder, file: other_maildir.Stored) -> Item:
        try:
            path = file.path
            if not path.exists():
                found = other_maildir.find(folder, file.base)
                if found is None:
                    return Passed(1)
                path = found
            with path.open("rb") as opened:
                octets: bytes | Spool = opened.read(IN_MEMORY)
                assert isinstance(octets, bytes)
                if len(octets) == IN_MEMORY:
                    octets = _spooled(self._spool(), _to_wire(octets, iter(lambda: opened.read(PIECE), b"")))
                else:
                    octets = to_wire(octets)
            return Message(file.base, octets, file.flags, file.keywords, other_maildir.date_of(path))
        except OSError as error:
            return Broken(file.base, f"{file.path}: {error.strerror}")


class MboxSource:
    """One mbox, or all of those in a folder and below."""

    def __init__(self, path: Path, quoting: Quoting, spool: Callable[[], Spool]) -> None:
        self._path = path.resolve()
        self._quoting = quoting
        self._spool = spool
        self._files: dict[str, Path] = {}

    @property
    def name(self) -> str:
        """Its path."""
        return f"mbox:{self._path}"

    async def folders(self) -> list[Folder]:
        """Return the file as the inbox, or those in the folder by their names."""
        if self._path.is_dir():
            found = await asyncio.to_thread(lambda: sorted(_mboxes(self._path)))
        else:
            found = [((), self._path)]
        if not found:
            raise InvalidError(f"{self._path} holds neither a Maildir nor an mbox")
        self._files = {str(path.relative_to(self._path)): path for _, path in found}
        return [
            Folder(str(path.relative_to(self._path)), levels, path.stat().st_size) for levels, path in found
        ]

    async def messages(self, folder: Folder, missing: Missing) -> AsyncGenerator[Item, None]:
        """Yield messages in the order of the file."""
        path = self._files[folder.name]
        stream = mbox.messages(path, self._quoting)
        before = 0
        while batch := await asyncio.to_thread(_some, stream):
            wanted = await missing([one.key for one, _ in batch])
            for one, end in batch:
                weight, before = end - before, end
                if not one.meta.is_mail:
                    yield Passed(weight)
                elif one.key not in wanted:
                    yield Present(1, weight)
                else:
                    yield await asyncio.to_thread(self._message, path, one, weight)
        yield Passed(folder.size - before)

    async def close(self) -> None:
        """Do nothing: nothing is open."""

    def _message(self, path: Path, one: mbox.Stored, weight: int) -> Item:
        try:
            is_large = one.size > mbox.SMALL
            octets = _spooled(self._spool(), one.pieces(path)) if is_large else one.octets()
        except OSError as error:
            return Broken(one.key, f"{path}: {error.strerror}", weight)
        return Message(one.key, octets, one.meta.flags, one.meta.keywords, one.when, weight)


def open_files(path: Path, kind: str | None, spool: Callable[[], Spool]) -> MaildirSource | MboxSource:
    """Return the source at a path; without a `kind` (`maildir`, or a `Quoting`), the files there decide.

    Raises:
        InvalidError: there is nothing of that kind.
    """
    try:
        path.stat()
        if path.is_dir():
            os.scandir(path).close()
        else:
            path.open("rb").close()
    except OSError as error:
        raise InvalidError(f"{path}: {error.strerror}") from error
    if kind == "maildir" or (kind is None and path.is_dir() and other_maildir.folders(path)):
        if not path.is_dir() or not other_maildir.folders(path):
            raise InvalidError(f"{path} holds no Maildir")
        return MaildirSource(path, spool)
    return MboxSource(path, Quoting(kind or Quoting.RD), spool)


def _count(path: Path) -> int:
    return sum(len(os.listdir(path / part)) for part in ("new", "cur") if (path / part).is_dir())  # noqa: PTH208


def _mboxes(root: Path) -> Iterator[tuple[tuple[str, ...], Path]]:
    """Yield levels and path of every mbox below a folder; Thunderbird puts the folders of `A` into `A.sbd`."""
    for directory, _, names in os.walk(root):
        above = tuple(part.removesuffix(".sbd") for part in Path(directory).relative_to(root).parts)
        for name in names:
            path = Path(directory, name)
            if not name.startswith(".") and path.stat().st_size and mbox.is_mbox(path):
                levels = (*above, name.removesuffix(".mbox"))
                yield () if levels in {("INBOX",), ("Inbox",), ("inbox",)} else levels, path


def _some(stream: Iterator[tuple[mbox.Stored, int]]) -> list[tuple[mbox.Stored, int]]:
    found: list[tuple[mbox.Stored, int]] = []
    octets = 0
    for one in islice(stream, BATCH):
        found.append(one)
        octets += len(one[0].head)
        if octets >= BATCH_OCTETS:
            break
    return found


def _to_wire(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    ends = ToWire()
    yield ends.feed(first)
    yield from map(ends.feed, rest)


def _spooled(spool: Spool, pieces: Iterator[bytes]) -> Spool:
    try:
        for piece in pieces:
            spool.write(piece)
    except BaseException:
        spool.close()
        raise
    return spool
