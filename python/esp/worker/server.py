"""The role `worker`: RQ's protocol in a thread of its own, the work itself on the event loop."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, Self

import redis
from rq import Queue, SimpleWorker
from rq.exceptions import DequeueTimeout, StopRequested
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import BaseDeathPenalty
from rq.worker import WorkerStatus

from esp.core.errors import EspError
from esp.storage import wakeup
from esp.telemetry import log, metrics
from esp.telemetry.outage import Outage

JOB_TIMEOUT = 3600.0
"""Seconds. Very many rows of a topic are worked off in many jobs; a job that takes so long hangs."""
_RETRY_PAUSE = 1.0
_IDLE_SECONDS = 20
"""Seconds that RQ waits for a job before it reports that it is alive."""

_logger = log.get_logger(__name__)

Handler = Callable[[], Awaitable[object]]
"""Works off the due rows of one topic."""


class _NoDeathPenalty(BaseDeathPenalty):
    """The event loop limits a job's time; RQ would need a signal or another thread for that."""

    def setup_death_penalty(self) -> None:
        """Nothing to set up."""

    def cancel_death_penalty(self) -> None:
        """Nothing to cancel."""


class _TopicJob(Job):
    """A job that can do nothing but call the handler of a topic."""

    run: ClassVar[Callable[[str], None]]

    def _execute(self) -> None:
        # Never by `func_name`: a client that can write to Redis must not choose what runs here.
        type(self).run(str(self.args[0]))


class BatchWorker(SimpleWorker):
    """RQ's worker without forking; it can be stopped from another thread."""

    death_penalty_class = _NoDeathPenalty
    log_result_lifespan = False

    @classmethod
    def make(cls, connection: redis.Redis, run: Callable[[str], None]) -> Self:
        """Return a worker on the queue of wake-ups that gives each job's topic to `run`."""
        job_class = type("TopicJob", (_TopicJob,), {"run": staticmethod(run)})
        queue = Queue(
            wakeup.QUEUE,
            connection=connection,
            serializer=JSONSerializer,
            job_class=job_class,
            death_penalty_class=_NoDeathPenalty,
        )
        return cls(
            [queue],
            connection=connection,
            serializer=JSONSerializer,
            job_class=job_class,
            worker_ttl=_IDLE_SECONDS + 15,
            log_job_description=False,
        )

    def stop(self, client_id: int, connection: redis.Redis) -> None:
        """Ask the worker to end after the current job; wakes it if it waits for one."""
        self._stop_requested = True
        with contextlib.suppress(redis.RedisError):
            connection.client_unblock(client_id)

    def _install_signal_handlers(self) -> None:
        """Signals belong to the event loop's thread."""

    def subscribe(self) -> None:
        """Take no commands (stop, kill) from Redis; that spares a thread, too."""

    def unsubscribe(self) -> None:
        """See `subscribe`."""

    def dequeue_job_and_maintain_ttl(self, timeout: int | None, max_idle_time: int | None = None) -> Any:
        """Wait for the next job; RQ's own version never checks whether it should stop."""
        with _ending_without_redis():
            return self._next_job(timeout)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Do a job."""
        with _ending_without_redis():
            super().execute_job(job, queue)

    def _next_job(self, timeout: int | None) -> Any:
        self.set_state(WorkerStatus.IDLE)
        while not self._stop_requested:
            self.heartbeat()
            if self.should_run_maintenance_tasks:
                self.run_maintenance_tasks()  # type: ignore[no-untyped-call]
            with contextlib.suppress(DequeueTimeout):
                found = self.queue_class.dequeue_any(
                    self._ordered_queues,
                    timeout,
                    connection=self.connection,
                    job_class=self.job_class,
                    serializer=self.serializer,
                    death_penalty_class=self.death_penalty_class,
                )
                if found is not None:
                    return found
        raise StopRequested


@contextlib.contextmanager
def _ending_without_redis() -> Iterator[None]:
    """End the worker, so that another takes its place; RQ does so too, but with a traceback in the log."""
    try:
        yield
    except redis.RedisError as error:
        raise StopRequested from error


class WorkerServer:
    """One worker process."""

    def __init__(self, url: str, handlers: Mapping[str, Handler], *, beside: Collection[str] = ()) -> None:
        """Make it; work on topics `beside` may take long, and goes on while other topics are worked off."""
        self._url = url
        self._handlers = handlers
        self._beside = beside
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._worker: BatchWorker | None = None
        self._client_id = 0
        self._running: set[asyncio.Task[None]] = set()
        self._under_way: dict[str, bool] = {}
        """Topics `beside` that are being worked off, and whether to do so once more."""
        self._outage = Outage()

    async def start(self) -> None:
        """Begin to take jobs; wait while Redis does not answer."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="rq", daemon=True)
        self._thread.start()

    async def drain(self, timeout: float) -> None:
        """End the jobs under way, or give them up after `timeout`: their rows' leases run out, and others take them."""
        self._stopping.set()
        if self._thread is None:
            return
        await asyncio.to_thread(self._unblock)
        deadline = time.monotonic() + timeout
        while (self._thread.is_alive() or self._running) and time.monotonic() < deadline:  # noqa: ASYNC110 - a thread has no event
            await asyncio.sleep(0.02)
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=1.0)

    def reload(self) -> None:
        """Do nothing: nothing is read from files here."""

    def _unblock(self) -> None:
        worker = self._worker
        if worker is not None:
            with contextlib.suppress(redis.RedisError), redis.Redis.from_url(self._url) as other:
                worker.stop(self._client_id, other)

    def _work(self) -> None:
        """Run RQ's loop, again each time Redis was away."""
        while not self._stopping.is_set():
            try:
                with redis.Redis.from_url(
                    self._url,
                    # One connection, so that `_unblock` knows its id. RQ sets the time limit only for later connections
                    # of its pool; the library's own limit is shorter than our wait for a job.
                    single_connection_client=True,
                    socket_timeout=_IDLE_SECONDS + 15,
                    health_check_interval=0,
                ) as connection:
                    self._client_id = connection.client_id()
                    self._worker = BatchWorker.make(connection, self._run)
                    if self._outage.ends():
                        _logger.warning("worker_has_redis_again")
                    if not self._stopping.is_set():
                        self._worker.work(logging_level="WARNING")
            except (redis.RedisError, OSError) as error:
                if self._outage.begins():
                    _logger.warning("worker_lost_redis_tries_again", error=str(error))
            self._stopping.wait(_RETRY_PAUSE)

    def _run(self, topic: str) -> None:
        """Called in RQ's thread: have the event loop do the work, and wait for it unless the topic is `beside`."""
        handler = self._handlers.get(topic)
        if handler is None:
            _logger.error("wake_up_for_topic_nobody_handles", topic=topic)
            return
        worker = self._worker
        if worker is not None:
            # From here on a new wake-up is not merged with this one: rows may come that this job does not see.
            worker.connection.delete(wakeup.mark(topic))
        assert self._loop is not None
        if topic in self._beside:
            self._loop.call_soon_threadsafe(self._begin, topic, handler)
        else:
            asyncio.run_coroutine_threadsafe(self._handle(topic, handler), self._loop).result()

    def _begin(self, topic: str, handler: Handler) -> None:
        """Work a topic off beside others; once more at the end, if rows may have come that were not seen."""
        if topic in self._under_way:
            self._under_way[topic] = True
        elif not self._stopping.is_set():
            self._under_way[topic] = False
            task = asyncio.create_task(self._handle(topic, handler))
            task.add_done_callback(partial(self._ended, topic, handler))

    def _ended(self, topic: str, handler: Handler, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # it was logged
        if self._under_way.pop(topic):
            self._begin(topic, handler)

    async def _handle(self, topic: str, handler: Handler) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            with metrics.JOB_SECONDS.labels(topic).time(), log.bind(topic=topic):
                async with asyncio.timeout(JOB_TIMEOUT):
                    await handler()
        except EspError as error:
            # Expected, possibly for as long as PostgreSQL is away: one line, no traceback.
            metrics.JOBS.labels(topic, "failed").inc()
            _logger.warning(
                "job_put_off_rows_stay_in_outbox",
                topic=topic,
                error=error.detail,
                cause=log.cause_of(error),
            )
            return
        except Exception:
            metrics.JOBS.labels(topic, "failed").inc()
            _logger.exception("job_failed_rows_stay_in_outbox", topic=topic)
            raise
        finally:
            self._running.discard(task)
        metrics.JOBS.labels(topic, "ok").inc()
