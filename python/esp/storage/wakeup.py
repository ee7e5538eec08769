"""Wake-ups of workers: RQ jobs that name a topic of the outbox and carry nothing else.

The rows are in PostgreSQL; a lost wake-up only delays them until the scheduler looks. Under load the wake-ups of all
processes merge: at most one is queued for a topic, and one process sends no more than three a second. While a process
delivers without a pause, it sends one in `LONGEST_STORM`, so that incoming mail has the processors first.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable

import redis as blocking
import redis.asyncio as redis
from rq import Queue
from rq.serializers import JSONSerializer

from esp.telemetry import lasting, log, metrics

QUEUE = "esp"
GATHER = 0.3
"""Seconds. A wake-up costs some milliseconds of processor time in all, so it has to be worth it."""
BUSY = 25
"""So many calls within `GATHER` mean that more are coming, and that it is better to wait for them."""
LONGEST_STORM = 20.0
"""Seconds that a wake-up waits at most for the calls to end; the scheduler also leaves indexing alone for so long."""
_MARK_SECONDS = 60
"""Seconds. If a wake-up is lost but its mark stays, it blocks new ones no longer than this, and not the scheduler."""
_FUNCTION = "esp.worker"
"""RQ requires a name; ESP's workers never call it."""

_logger = log.get_logger(__name__)


def mark(topic: str) -> str:
    """Return the key which says that a wake-up for `topic` is queued and not yet taken."""
    return f"esp:wake:{topic}"


class Wakeups:
    """Sends wake-ups; never raises and never makes its caller wait."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._client: redis.Redis | None = None
        self._queue: Queue | None = None
        self._wanted: dict[str, bool] = {}
        self._asked = 0
        """Calls of `wake` since the last look."""
        self._event = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def wake(self, topic: str, *, force: bool = False) -> None:
        """Have a worker look at `topic` soon; with `force`, the mark that one is queued already is not trusted."""
        self._wanted[topic] = self._wanted.get(topic, False) or force
        self._asked += 1
        self._event.set()
        if self._task is None:
            self._task = lasting.start("wake-ups", self._send_always)

    async def close(self) -> None:
        """Send what is still wanted, then end."""
        self._closing.set()
        self._event.set()
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    await self._task
        if self._client is not None:
            await self._client.aclose()
        if self._queue is not None:
            self._queue.connection.close()

    async def _send_always(self) -> None:
        while self._wanted or not self._closing.is_set():
            await self._event.wait()
            await self._gather()
            self._event.clear()
            await self._send(self._take())

    async def _gather(self) -> None:
        """Return when few have called for `GATHER`, or after `LONGEST_STORM`."""
        until = self._clock() + LONGEST_STORM
        while self._clock() < until and not self._closing.is_set():
            self._asked = 0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GATHER):
                    await self._closing.wait()
            if self._asked < BUSY:
                return

    def _take(self) -> list[tuple[str, bool]]:
        wanted, self._wanted = self._wanted, {}
        return list(wanted.items())

    async def _send(self, wanted: Iterable[tuple[str, bool]]) -> None:
        for topic, force in wanted:
            try:
                sent = await self._enqueue(topic, force)
            except (blocking.RedisError, OSError, TimeoutError) as error:
                metrics.WAKEUPS.labels("failed").inc()
                _logger.debug("wake_up_not_sent_scheduler_will", topic=topic, error=str(error))
            else:
                metrics.WAKEUPS.labels("sent" if sent else "merged").inc()

    async def _enqueue(self, topic: str, force: bool) -> bool:
        async with asyncio.timeout(5.0):
            if self._client is None:
                self._client = redis.from_url(self._url)
            # If a wake-up was lost (its worker was killed), its mark would stop new ones. So the scheduler, which
            # forces, believes the mark only while something is queued.
            sure = force and await self._client.llen(f"rq:queue:{QUEUE}") == 0
            fresh = await self._client.set(mark(topic), b"1", ex=_MARK_SECONDS, nx=not sure)
            if fresh:
                # RQ uses Redis only with blocking calls.
                await asyncio.to_thread(self._enqueue_blocking, topic)
            return bool(fresh)

    def _enqueue_blocking(self, topic: str) -> None:
        if self._queue is None:
            self._queue = Queue(
                QUEUE, connection=blocking.Redis.from_url(self._url), serializer=JSONSerializer
            )
        self._queue.enqueue_call(_FUNCTION, args=(topic,), result_ttl=0, failure_ttl=3600, timeout=-1)
