"""Signs of life for a client that waits long for an answer (RFC 9585)."""

import asyncio
from types import TracebackType
from typing import Self

from esp.imap.connection import Connection


class Progress:
    """While it is entered, says from time to time that a command is still being answered.

    Code that writes a response in pieces sets `paused`: nothing may come between the pieces, and a client that receives
    octets need not be told that the server is at work.
    """

    __slots__ = ("_connection", "_interval", "_tag", "_timer", "done", "goal", "paused")

    def __init__(self, connection: Connection, tag: str, interval: float) -> None:
        """Make one; with an interval of 0 it never says anything."""
        self._connection = connection
        self._tag = tag
        self._interval = interval
        self._timer: asyncio.TimerHandle | None = None
        self.done = 0
        self.goal = 0
        """How much there is to do in all; 0 while that is unknown."""
        self.paused = False

    def __enter__(self) -> Self:
        if self._interval:
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._tick)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def reached(self, done: int, goal: int) -> None:
        """Note how much of how much is done."""
        self.done, self.goal = done, goal

    def _tick(self) -> None:
        connection = self._connection
        if connection.closing:
            return
        if not (self.paused or connection.paused):
            state = f"{self.done} {self.goal}" if self.goal else "NIL NIL"
            connection.write(f'* OK [INPROGRESS ("{self._tag}" {state})] Still at it\r\n'.encode())
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._tick)
