"""Give memory that closed connections leave behind back to the system.

A TLS connection's OpenSSL takes some 25 KiB in small pieces. glibc keeps the pages of freed pieces if a piece in use
stands above them, so that every thousand connections that come and go would leave ten MiB.
"""

import asyncio
import ctypes
from collections.abc import Callable

CLOSED_CONNECTIONS = 500
"""Closed connections that are worth a trim, which takes some milliseconds."""


class Trimmer:
    """Counts connections that closed, and trims from time to time."""

    __slots__ = ("_closed", "_running", "_trim")

    def __init__(self) -> None:
        self._closed = 0
        self._running = False
        # Only glibc has it; other C libraries do without.
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)

    def closed(self) -> None:
        """Count a closed connection."""
        self._closed += 1
        if self._closed < CLOSED_CONNECTIONS or self._running or self._trim is None:
            return
        self._closed = 0
        self._running = True
        # A moment later, when the transports of a whole wave are gone; in a thread, since ctypes releases the GIL.
        asyncio.get_running_loop().call_later(0.5, self._start, self._trim)

    def _start(self, trim: Callable[[int], int]) -> None:
        done = asyncio.get_running_loop().run_in_executor(None, trim, 0)
        done.add_done_callback(self._ended)

    def _ended(self, _: "asyncio.Future[int]") -> None:
        self._running = False
