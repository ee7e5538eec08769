"""The role `scheduler`: wakes workers for what is due, in case Redis lost a wake-up, and for periodic work.

Several may run; an extra wake-up is harmless.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from esp.core.errors import EspError
from esp.storage.postgres.outbox import Waiting
from esp.telemetry import lasting, log, metrics
from esp.telemetry.outage import Outage

LOOK_EVERY = 5.0
"""Seconds; how late work may be after Redis lost its wake-up, in addition to the topic's patience."""
SETTLED = 600.0
"""Seconds from the start until the first periodic work: what clients need after a start comes first."""

_logger = log.get_logger(__name__)


class SchedulerServer:
    """One scheduler process."""

    def __init__(
        self,
        due: Callable[[], Awaitable[Mapping[str, Waiting]]],
        wake: Callable[[str], None],
        periodic: Mapping[str, float],
        topics: Iterable[str] = (),
        patience: Mapping[str, float] = {},
    ) -> None:
        """Make a scheduler.

        Args:
            due: returns which outbox rows are due, by topic.
            wake: sends a wake-up for a topic, even though one seems to be queued.
            periodic: topics without rows, each with the seconds between its wake-ups.
            topics: topics whose count is reported even if it is zero.
            patience: topics that others wake for, each with the seconds after which they seem to have failed.
        """
        self._due = due
        self._wake = wake
        self._periodic = periodic
        self._topics = tuple(topics)
        self._patience = patience
        self._task: asyncio.Task[None] | None = None
        self._outage = Outage()

    async def start(self) -> None:
        """Begin to look."""
        self._task = lasting.start("scheduler", self._run)

    async def drain(self, timeout: float) -> None:
        """Stop looking."""
        await lasting.stop(self._task)

    def reload(self) -> None:
        """Do nothing: nothing is read from files here."""

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        # Not a whole interval after the start: there may be work left from before a crash.
        due_at = {topic: loop.time() + min(interval, SETTLED) for topic, interval in self._periodic.items()}
        while True:
            await self._look()
            for topic, interval in self._periodic.items():
                if loop.time() >= due_at[topic]:
                    due_at[topic] = loop.time() + interval
                    self._wake(topic)
            await asyncio.sleep(LOOK_EVERY)

    async def _look(self) -> None:
        try:
            due = await self._due()
        except EspError as error:
            if self._outage.begins():
                _logger.warning("outbox_not_looked_at", error=error.detail, cause=log.cause_of(error))
            return
        if self._outage.ends():
            _logger.warning("outbox_looked_at_again")
        for topic in {*self._topics, *due}:
            waiting = due.get(topic, Waiting(0, 0.0))
            metrics.OUTBOX_DUE.labels(topic).set(waiting.rows)
            if waiting.rows and waiting.oldest >= self._patience.get(topic, 0.0):
                self._wake(topic)
