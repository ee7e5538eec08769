"""A message that is coming: in memory while it is small, otherwise written to the disk where it is to stay.

In: octets of literals, and sections of stored messages, in pieces. Out: the message as it is to be stored
(`esp.native.Arrival`), its lines ending in CR LF and nothing in it that BODY[] could not show.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from esp.core.errors import InvalidError, TooLargeError
from esp.native import AppendHead, Arrival, MessageSection, Spool
from esp.services.file_failures import file_errors

WRITE_SIZE = 512 * 1024
"""Octets gathered for one write in a thread."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class UnknownEncodingError(InvalidError):
    """A literal8 has a NUL where no encoding can hide it (RFC 3516 §4.4)."""


class Composition:
    """One message of APPEND or REPLACE."""

    __slots__ = ("_arrival", "_gathered", "_held", "_limit", "_new_spool", "_room", "_spool", "flags",
                 "internal_date", "keywords", "size")  # fmt: skip

    def __init__(
        self, head: AppendHead, *, binary: bool, limit: int, room: int, spool: Callable[[], Spool]
    ) -> None:
        """Begin a message.

        Args:
            head: what the command says about it.
            binary: whether it comes as literal8.
            limit: the most octets it may have.
            room: octets of it that may be held in memory.
            spool: makes a place on the disk.

        Raises:
            InvalidError: its date is invalid.
        """
        self.flags = head.flags
        self.keywords = head.keywords
        self.internal_date = None if head.internal_date is None else _moment(head.internal_date)
        self.size = 0
        self._arrival = Arrival(literal8=binary)
        self._gathered: list[bytes] = []
        self._held = 0
        self._limit = limit
        self._room = room
        self._new_spool = spool
        self._spool: Spool | None = None

    @property
    def in_memory(self) -> int:
        """Octets of it in memory."""
        return self._held

    def expect(self, octets: int) -> None:
        """Expect `octets` more.

        Raises:
            TooLargeError: the message would be too large.
            StorageFullError, UnavailableError: there is no room for it on the disk.
        """
        if self.size + octets > self._limit:
            raise TooLargeError(f"Message is larger than {self._limit} octets")
        if self._held + octets > self._room:
            self._to_disk()

    async def add(self, octets: bytes) -> None:
        """Take the next octets.

        Raises:
            UnknownEncodingError: they cannot be kept.
            StorageFullError, UnavailableError: they could not be written.
        """
        try:
            await self._take(self._arrival.feed(octets))
        except ValueError as error:
            raise UnknownEncodingError(str(error)) from error

    async def add_section(self, section: MessageSection) -> None:
        """Take a section of another message (RFC 4469 §3).

        Raises:
            TooLargeError, StorageFullError, UnavailableError: as `expect` and `add`.
        """
        self.expect(section.size)
        while octets := await self._read(section):
            await self.add(octets)

    async def finish(self) -> bytes | Spool:
        """Return the message, all of whose octets have come.

        Raises:
            UnknownEncodingError, StorageFullError, UnavailableError: as `add`.
        """
        try:
            await self._take(self._arrival.finish())
        except ValueError as error:
            raise UnknownEncodingError(str(error)) from error
        if self._spool is None:
            return b"".join(self._gathered)
        await self._flush(self._spool)
        return self._spool

    def close(self) -> None:
        """Discard the message; nothing is left on the disk."""
        self._gathered.clear()
        if self._spool is not None:
            self._spool.close()

    async def _take(self, octets: bytes) -> None:
        if not octets:
            return
        self.size += len(octets)
        self._held += len(octets)
        self._gathered.append(octets)
        if self._spool is None and self._held > self._room:
            self._to_disk()
        if self._spool is not None and self._held >= WRITE_SIZE:
            await self._flush(self._spool)

    async def _flush(self, spool: Spool) -> None:
        gathered, self._gathered, self._held = self._gathered, [], 0
        with file_errors():
            await asyncio.to_thread(spool.write, b"".join(gathered))

    async def _read(self, section: MessageSection) -> bytes:
        with file_errors():
            return await asyncio.to_thread(section.read, WRITE_SIZE)

    def _to_disk(self) -> None:
        if self._spool is None:
            self._spool = self._new_spool()


def _moment(microseconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError as error:
        # The grammar allows a year 0, and zones that lead beyond the year 9999.
        raise InvalidError("There is no such date") from error
