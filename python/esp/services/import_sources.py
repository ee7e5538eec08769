"""Where an import takes mail from: what every source tells about its folders and messages.

There are three: Maildirs and mbox files (`file_sources`), and another IMAP server (`imap_source`).
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from esp.core.mailbox import SpecialUse
from esp.native import Spool

Missing = Callable[[Sequence[str]], Awaitable[frozenset[str]]]
"""Tells which of the given keys were not imported yet."""


class Folder(msgspec.Struct, frozen=True):
    """A folder to be imported."""

    name: str
    """As the source spells it."""
    levels: tuple[str, ...]
    """The levels of its name; none for the inbox."""
    size: int
    """How much there is to do, in the unit of `weight`: messages, or octets of a file."""
    validity: str = ""
    """If it changes, every key is void (UIDVALIDITY)."""
    special_use: SpecialUse | None = None


class Message(msgspec.Struct, frozen=True):
    """A message as it is to be stored."""

    key: str
    """The same at every run, and different from all others of the folder."""
    octets: bytes | Spool
    flags: int
    keywords: tuple[str, ...]
    internal_date: datetime | None
    weight: int = 1

    @property
    def size(self) -> int:
        """Octets."""
        return len(self.octets) if isinstance(self.octets, bytes) else self.octets.size


class Broken(msgspec.Struct, frozen=True):
    """A message that could not be had, while the others could."""

    key: str
    reason: str
    weight: int = 1


class Present(msgspec.Struct, frozen=True):
    """Messages that an earlier run has imported."""

    messages: int
    weight: int


class Passed(msgspec.Struct, frozen=True):
    """Not a message, or gone: it is done with, but nothing was imported."""

    weight: int


Item = Message | Broken | Present | Passed


class Source(Protocol):
    """Somewhere mail comes from."""

    @property
    def name(self) -> str:
        """The name of the source, without a password; the same at every run."""

    async def folders(self) -> list[Folder]:
        """Return all folders.

        Raises:
            EspError: they cannot be had.
        """

    def messages(self, folder: Folder, missing: Missing) -> AsyncGenerator[Item, None]:
        """Yield a folder's messages in their order, except for those that are not missing.

        Raises:
            EspError: the folder cannot be read (any further).
        """

    async def close(self) -> None:
        """Close everything that is open."""
