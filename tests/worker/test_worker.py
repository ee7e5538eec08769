"""Wake-ups, the worker and the scheduler, against a real Valkey."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path

import pytest
import pytest_asyncio
import redis.asyncio
from structlog.testing import capture_logs

from esp.core.errors import UnavailableError
from esp.storage.postgres.outbox import Waiting
from esp.storage.wakeup import BUSY, LONGEST_STORM, QUEUE, Wakeups, mark
from esp.worker import scheduler as scheduler_module
from esp.worker import server as worker_module
from esp.worker.scheduler import SchedulerServer
from esp.worker.server import WorkerServer
from tests.support import stores


class Handler:
    """Counts how often it was called, and tells when."""

    def __init__(self) -> None:
        self.calls = 0
        self.called = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self) -> None:
        self.calls += 1
        self.called.set()
        await self.may_end.wait()

    async def until_called(self) -> None:
        async with asyncio.timeout(20):
            await self.called.wait()
        self.called.clear()


@pytest_asyncio.fixture
async def url(valkey: str) -> AsyncIterator[str]:
    client = redis.asyncio.from_url(valkey)
    await client.flushall()
    await client.aclose()
    yield valkey


@contextlib.asynccontextmanager
async def working(
    url: str, *, beside: Collection[str] = (), drain: float = 10, **handlers: Callable[[], object]
) -> AsyncIterator[WorkerServer]:
    server = WorkerServer(url, handlers, beside=beside)  # type: ignore[arg-type]
    await server.start()
    try:
        yield server
    finally:
        await server.drain(drain)


async def test_a_wake_up_reaches_the_handler_of_its_topic(url: str) -> None:
    index, rename, wakeups = Handler(), Handler(), Wakeups(url)
    async with working(url, index=index, rename=rename):
        wakeups.wake("index")
        await index.until_called()
    await wakeups.close()
    assert (index.calls, rename.calls) == (1, 0)


async def test_wake_ups_merge_while_one_is_queued(url: str) -> None:
    client = redis.asyncio.from_url(url)
    several = [Wakeups(url) for _ in range(3)]
    for wakeups in several:
        for _ in range(100):
            wakeups.wake("index")
    for wakeups in several:
        await wakeups.close()
    assert await client.llen(f"rq:queue:{QUEUE}") == 1
    await client.aclose()


async def test_while_many_ask_one_after_the_other_the_wake_up_waits_for_the_last(url: str) -> None:
    wakeups = Wakeups(url)
    async with redis.asyncio.from_url(url) as client, asyncio.timeout(20):
        for _ in range(3):
            for _ in range(BUSY):
                wakeups.wake("index")
            while wakeups._asked:  # until they were seen, and whether others follow is waited for
                await asyncio.sleep(0.01)
            assert await client.llen(f"rq:queue:{QUEUE}") == 0
        while not await client.llen(f"rq:queue:{QUEUE}"):
            await asyncio.sleep(0.01)
    await wakeups.close()


async def test_many_that_never_end_have_their_wake_up_after_the_longest_time(url: str) -> None:
    now, looks = 0.0, 0

    def clock() -> float:
        nonlocal looks
        looks += 1
        return now

    async def storm(client: redis.asyncio.Redis, at: float) -> int:
        """Ask again and again, until the clock was looked at some times; return how many wake-ups are queued."""
        nonlocal now
        now, enough, queued = at, looks + 3, 0
        while looks < enough and not queued:
            for _ in range(BUSY):
                wakeups.wake("index")
            await asyncio.sleep(0.01)
            queued = await client.llen(f"rq:queue:{QUEUE}")
        return queued

    wakeups = Wakeups(url, clock=clock)
    async with redis.asyncio.from_url(url) as client, asyncio.timeout(20):
        assert await storm(client, 0.0) == 0
        assert await storm(client, LONGEST_STORM - 0.1) == 0
        assert await storm(client, LONGEST_STORM) == 1
    await wakeups.close()


async def test_a_wake_up_during_the_work_is_not_lost(url: str) -> None:
    handler, wakeups = Handler(), Wakeups(url)
    handler.may_end.clear()
    async with working(url, index=handler):
        wakeups.wake("index")
        await handler.until_called()
        wakeups.wake("index")  # rows that the running one may not have seen
        handler.may_end.set()
        await handler.until_called()
    await wakeups.close()
    assert handler.calls == 2


async def test_what_takes_long_is_done_beside_other_work_and_never_twice_at_once(url: str) -> None:
    index, janitor, wakeups = Handler(), Handler(), Wakeups(url)
    janitor.may_end.clear()
    async with working(url, beside={"janitor"}, index=index, janitor=janitor):
        wakeups.wake("janitor")
        await janitor.until_called()
        wakeups.wake("janitor", force=True)
        wakeups.wake("index")  # taken after the other, which did not begin a second round
        await index.until_called()
        assert janitor.calls == 1
        janitor.may_end.set()
        await janitor.until_called()
    await wakeups.close()
    assert janitor.calls == 2


async def test_what_is_done_beside_is_given_up_when_the_worker_has_to_end(url: str) -> None:
    janitor, wakeups, loop = Handler(), Wakeups(url), asyncio.get_running_loop()
    janitor.may_end.clear()
    with capture_logs() as events:
        async with working(url, beside={"janitor"}, drain=0.1, janitor=janitor):
            wakeups.wake("janitor")
            await janitor.until_called()
            wakeups.wake("janitor", force=True)
            began = loop.time()
    await wakeups.close()
    assert loop.time() - began < 5
    assert janitor.calls == 1
    assert events == []


@pytest.mark.parametrize("beside", [(), {"bad"}])
@pytest.mark.parametrize("error", [UnavailableError("gone"), ZeroDivisionError()])
async def test_a_failing_handler_does_not_end_the_worker(
    url: str, error: Exception, beside: Collection[str]
) -> None:
    good, wakeups = Handler(), Wakeups(url)

    async def bad() -> None:
        raise error

    with capture_logs() as events:
        async with working(url, beside=beside, bad=bad, good=good):
            wakeups.wake("bad")
            wakeups.wake("good")
            await good.until_called()
    await wakeups.close()
    (event,) = [event for event in events if event["event"].startswith("job_")]
    # A database that is away for an hour is no flood of tracebacks; a bug has one.
    assert ("exc_info" in event) is not isinstance(error, UnavailableError)


async def test_nothing_named_in_redis_is_ever_called(url: str, tmp_path: Path) -> None:
    import redis as blocking
    from rq import Queue
    from rq.serializers import JSONSerializer

    handler, wakeups, victim = Handler(), Wakeups(url), tmp_path / "victim"
    queue = Queue(QUEUE, connection=blocking.Redis.from_url(url), serializer=JSONSerializer)
    queue.enqueue_call("os.mkdir", args=(str(victim),), result_ttl=0)
    async with working(url, index=handler):
        wakeups.wake("index")
        await handler.until_called()
    await wakeups.close()
    assert not victim.exists()


async def test_an_idle_worker_stops_at_once(url: str) -> None:
    handler, wakeups = Handler(), Wakeups(url)
    loop = asyncio.get_running_loop()
    async with working(url, index=handler):
        wakeups.wake("index")
        await handler.until_called()
        began = loop.time()
    await wakeups.close()
    assert loop.time() - began < 5


async def test_a_worker_outlives_its_valkey_and_says_once_that_it_is_away_and_once_that_it_is_back(
    stores_folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "_RETRY_PAUSE", 0.05)
    folder = stores_folder / "own"
    server = stores.valkey(folder)
    url = f"unix://{stores.sockets(folder) / 'valkey.sock'}"
    handler, wakeups = Handler(), Wakeups(url)
    async with contextlib.AsyncExitStack() as stack:
        events = stack.enter_context(capture_logs())
        async with stores.running(server) as process:
            await stack.enter_async_context(working(url, index=handler))
            wakeups.wake("index")
            await handler.until_called()
            process.kill()
            process.wait()
        async with stores.hanging_up(folder) as made, asyncio.timeout(30):
            wakeups.wake("index")  # goes nowhere, and raises nothing
            for _ in range(30):
                await made.get()
        async with stores.running(server):
            async with asyncio.timeout(30):
                while not handler.called.is_set():
                    wakeups.wake("index", force=True)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(handler.called.wait(), 0.5)
            await stack.aclose()
            await wakeups.close()
    assert handler.calls >= 2
    assert [event["event"] for event in events if event["log_level"] != "debug"] == [
        "worker_lost_redis_tries_again",
        "worker_has_redis_again",
    ]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_lost_wake_up_whose_mark_stayed_is_sent_again(url: str) -> None:
    client = redis.asyncio.from_url(url)
    await client.set(mark("index"), b"1")
    handler, wakeups = Handler(), Wakeups(url)
    async with working(url, index=handler):
        wakeups.wake("index", force=True)
        await handler.until_called()
    await wakeups.close()
    await client.aclose()


async def test_the_scheduler_wakes_for_what_is_due() -> None:
    woken: asyncio.Queue[str] = asyncio.Queue()
    answers = iter([{"index": Waiting(3, 0.1), "rename": Waiting(0, 0.0)}])

    async def due() -> dict[str, Waiting]:
        return next(answers, {})

    scheduler = SchedulerServer(due, woken.put_nowait, {})
    await scheduler.start()
    async with asyncio.timeout(10):
        assert await woken.get() == "index"
    await scheduler.drain(1)
    assert woken.empty()


async def test_the_scheduler_leaves_what_others_wake_for_to_them_until_they_seem_to_have_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    woken: asyncio.Queue[str] = asyncio.Queue()
    answers = iter([{"index": Waiting(3, 19.9), "rename": Waiting(1, 0.0)}, {"index": Waiting(3, 20.0)}])

    async def due() -> dict[str, Waiting]:
        return next(answers, {})

    monkeypatch.setattr(scheduler_module, "LOOK_EVERY", 0.0)
    scheduler = SchedulerServer(due, woken.put_nowait, {}, patience={"index": 20.0})
    await scheduler.start()
    async with asyncio.timeout(10):
        assert [await woken.get(), await woken.get()] == ["rename", "index"]
    await scheduler.drain(1)


async def test_the_scheduler_outlives_the_database_and_says_once_that_it_is_away_and_once_that_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0
    over = asyncio.Event()

    async def due() -> dict[str, Waiting]:
        nonlocal looks
        looks += 1
        if looks <= 3:
            raise UnavailableError("no database")
        if looks == 6:
            over.set()
        return {}

    monkeypatch.setattr(scheduler_module, "LOOK_EVERY", 0.0)
    with capture_logs() as events:
        scheduler = SchedulerServer(due, lambda _: None, {})
        await scheduler.start()
        async with asyncio.timeout(10):
            await over.wait()
        await scheduler.drain(1)
    assert [event["event"] for event in events] == ["outbox_not_looked_at", "outbox_looked_at_again"]
