"""Starting again what has ended: how it ended, and how long to wait."""

import signal
import time

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 30.0
STEADY_AFTER = 30.0
"""Seconds; a process that lived so long is started again without a pause."""


class Restarts:
    """The starts of one process; while it keeps ending soon, each waits longer than the one before."""

    def __init__(self) -> None:
        self._failures = 0
        self._began = 0.0

    def begin(self) -> None:
        """Note that the process is being started."""
        self._began = time.monotonic()

    def pause(self) -> float:
        """Return how long to wait before the next start, now that the process has ended."""
        lasted = time.monotonic() - self._began > STEADY_AFTER
        self._failures = 0 if lasted else self._failures + 1
        # Capped before the shift.
        return min(FIRST_PAUSE * (1 << min(self._failures, 10)), LONGEST_PAUSE) if self._failures else 0.0


def ending(code: int) -> str:
    """Return how a process ended: its exit code, or the name of the signal."""
    return signal.Signals(-code).name if code < 0 else str(code)
