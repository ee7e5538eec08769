"""A stream that comes compressed (RFC 4978)."""

import asyncio
import zlib


class Inflated:
    """What `asyncio.StreamReader` would give if nothing were compressed; the same methods."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._buffer = bytearray()

    async def readline(self) -> bytes:
        """Return a line with its end, or what there is when the stream ends."""
        while (end := self._buffer.find(b"\n")) < 0:
            if not await self._more():
                return self._take(len(self._buffer))
        return self._take(end + 1)

    async def readexactly(self, count: int) -> bytes:
        """Return so many octets.

        Raises:
            asyncio.IncompleteReadError: the stream ends before.
        """
        while len(self._buffer) < count:
            if not await self._more():
                raise asyncio.IncompleteReadError(bytes(self._buffer), count)
        return self._take(count)

    async def _more(self) -> bool:
        octets = await self._reader.read(65_536)
        self._buffer += self._inflater.decompress(octets)
        return bool(octets)

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken
