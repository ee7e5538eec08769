"""When connections have been silent for too long: one timer for all of them.

A connection stands in the slot of its deadline. Activity moves only the connection's own `deadline`, an attribute. If
the slot is then too early, that is noticed when its time comes, and the connection is put into the right one. So a busy
connection costs an assignment, and ten thousand idle ones cost nothing until their time has come.
"""

import asyncio
from typing import Protocol

TICK = 1.0


class Timed(Protocol):
    """What can stand in a wheel."""

    deadline: float
    """By the clock of the event loop; may move at any time."""
    slot: int
    """The slot that it stands in; the wheel sets it."""

    def expired(self) -> None:
        """Called once, within `TICK` after `deadline`; set a later deadline and `add` again to go on."""


class Wheel:
    """Calls `expired` on connections whose deadline has passed."""

    __slots__ = ("_at", "_handle", "_loop", "_slots")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, set[Timed]] = {}
        self._at = int(loop.time() / TICK)
        self._handle: asyncio.TimerHandle | None = None

    def add(self, timed: Timed) -> None:
        """Take `timed` in, at its present deadline."""
        timed.slot = max(int(timed.deadline / TICK) + 1, self._at + 1)
        self._slots.setdefault(timed.slot, set()).add(timed)
        if self._handle is None:
            self._handle = self._loop.call_later(TICK, self._turn)

    def remove(self, timed: Timed) -> None:
        """Take `timed` out; does nothing when it does not stand here."""
        if (slot := self._slots.get(timed.slot)) is not None:
            slot.discard(timed)
            if not slot:
                del self._slots[timed.slot]

    def close(self) -> None:
        """Forget all connections."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._slots.clear()

    def _turn(self) -> None:
        self._handle = None
        now = self._loop.time()
        # From here on `add` puts nothing into the slots that are being emptied.
        past, self._at = self._at, max(self._at, int(now / TICK))
        for slot in range(past + 1, self._at + 1):
            for timed in self._slots.pop(slot, ()):
                if timed.deadline > now:
                    self.add(timed)
                else:
                    timed.expired()
        if self._slots and self._handle is None:
            self._handle = self._loop.call_later(TICK, self._turn)
