"""Raw DEFLATE in both directions (RFC 4978, RFC 1951), as a machine without I/O.

What the server sends is compressed with a small window. The compressor is let go of when the session falls silent: a
new one can go on in the same stream after a flush, for it refers to nothing before itself. So an idle session keeps
only what inflating takes (some 40 KiB, once the client has sent something). What the client sends is inflated in
pieces as it is read, so that a few octets that inflate to very many are never in memory all at once.
"""

import zlib

LEVEL = 3
WINDOW_BITS = 13
"""8 KiB, more than a usual batch of responses; with `MEMORY_LEVEL`, compressing takes 64 KiB while it lasts."""
MEMORY_LEVEL = 6
MOST_BEHIND = 64 * 1024
"""Octets after the end of the client's stream; the next command has to make sense of them (RFC 8437 §4.1)."""


class Deflation:
    """The compression layer of one connection."""

    __slots__ = ("_behind", "_compressor", "_decompressor", "_tail")

    def __init__(self) -> None:
        self._compressor: zlib._Compress | None = None
        self._decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
        self._tail = b""
        self._behind = b""

    # To the client

    def compress(self, octets: bytes) -> bytes:
        """Return what can be sent already of these octets and of earlier ones."""
        if self._compressor is None:
            self._compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, -WINDOW_BITS, MEMORY_LEVEL)
        return self._compressor.compress(octets)

    def flush(self) -> bytes:
        """Return what the client still needs to read all that was compressed."""
        return b"" if self._compressor is None else self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def release(self) -> None:
        """Let go of the compressor; call it right after `flush` only."""
        self._compressor = None

    def finish(self) -> bytes:
        """Return the end of the stream."""
        last = self._compressor or zlib.compressobj(LEVEL, zlib.DEFLATED, -WINDOW_BITS, MEMORY_LEVEL)
        self._compressor = None
        return last.flush(zlib.Z_FINISH)

    # From the client

    def take(self, octets: bytes) -> None:
        """Take octets that came from the client.

        Raises:
            zlib.error: the client's stream has ended, and too much follows it.
        """
        if self._decompressor.eof:
            self._behind += octets
            if len(self._behind) > MOST_BEHIND:
                raise zlib.error("octets behind the end of the stream")
        else:
            self._tail += octets

    @property
    def pending(self) -> bool:
        """Whether `inflate` may return something."""
        return bool(self._tail)

    def inflate(self, most: int) -> bytes:
        """Return the next octets, no more than `most`.

        Raises:
            zlib.error: this is not DEFLATE.
        """
        octets = self._decompressor.decompress(self._tail, most)
        self._tail = self._decompressor.unconsumed_tail
        if self._decompressor.eof:
            self._behind, self._tail = self._decompressor.unused_data, b""
        return octets

    @property
    def behind(self) -> bytes:
        """The uncompressed octets that came after the end of the client's stream."""
        return self._behind
