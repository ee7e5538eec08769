"""The notifier against a real Valkey, and against none."""

import asyncio
from pathlib import Path

from structlog.testing import capture_logs

from esp.config import sections
from esp.core.change import Changes
from esp.core.mailbox import MailboxId, ModSeq
from esp.core.principal import AccountId
from esp.storage import redis
from esp.storage.redis import Notifier
from tests.support import stores


def notifier(url: str) -> Notifier:
    return Notifier(redis.connect(sections.Redis(url=url)))


async def heard(listening: Notifier) -> "asyncio.Queue[Changes]":
    queue: asyncio.Queue[Changes] = asyncio.Queue()
    listening.subscribe(queue.put_nowait)
    listening.start()
    async with asyncio.timeout(10):
        await listening.until_connected()
    return queue


async def test_a_change_is_heard_in_another_process(valkey: str) -> None:
    listening, telling = notifier(valkey), notifier(valkey)
    try:
        queue = await heard(listening)
        await telling.publish([(MailboxId(7), ModSeq(9)), (MailboxId(8), ModSeq(1))])
        async with asyncio.timeout(10):
            assert await queue.get() == [(7, 9), (8, 1)]
    finally:
        await listening.close()
        await telling.close()


async def test_changes_in_quick_succession_are_told_together_and_none_is_lost(valkey: str) -> None:
    listening, telling = notifier(valkey), notifier(valkey)
    try:
        queue = await heard(listening)
        for modseq in range(1, 4):
            await telling.publish([(MailboxId(7), ModSeq(modseq)), (MailboxId(10 + modseq), ModSeq(1))])
        await telling.close()
        async with asyncio.timeout(10):
            assert await queue.get() == [(7, 1), (11, 1)]
            assert dict(await queue.get()) == {7: 3, 12: 1, 13: 1}
    finally:
        await listening.close()


async def test_of_two_changes_of_a_mailbox_the_later_one_is_told(valkey: str) -> None:
    listening, telling = notifier(valkey), notifier(valkey)
    try:
        queue = await heard(listening)
        for modseq in (1, 9, 8):
            await telling.publish([(MailboxId(7), ModSeq(modseq))])
        await telling.close()
        async with asyncio.timeout(10):
            assert await queue.get() == [(7, 1)]
            assert await queue.get() == [(7, 9)]
    finally:
        await listening.close()


class SlowServer:
    """Takes each publication when it is let in."""

    def __init__(self, publications: int) -> None:
        self.let_in = [asyncio.Event() for _ in range(publications)]
        self.come: asyncio.Queue[int] = asyncio.Queue()
        self.said: list[str] = []
        self._numbers = iter(range(publications))

    async def publish(self, channel: str, payload: bytes) -> None:
        number = next(self._numbers)
        self.come.put_nowait(number)
        await self.let_in[number].wait()
        self.said.append(payload.decode())

    async def aclose(self) -> None:
        self.said.append("closed")


async def test_all_publications_are_waited_for_at_the_end_however_long_one_takes() -> None:
    server = SlowServer(3)
    telling = Notifier(server)  # type: ignore[arg-type]
    server.let_in[0].set()
    for number in range(3):
        await telling.publish([(MailboxId(number), ModSeq(1))])
        async with asyncio.timeout(10):
            assert await server.come.get() == number

    closing = asyncio.create_task(telling.close())
    server.let_in[2].set()
    await asyncio.wait([closing], timeout=0)
    server.let_in[1].set()
    await closing

    assert server.said == ["[[0,1]]", "[[2,1]]", "[[1,1]]", "closed"]


async def test_a_killed_subscription_comes_back_by_itself(valkey: str) -> None:
    listening, telling = notifier(valkey), notifier(valkey)
    ended = asyncio.Event()
    listening.subscribe_connection(lambda connected: None if connected else ended.set())
    client = redis.connect(sections.Redis(url=valkey))
    try:
        queue = await heard(listening)
        await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        async with asyncio.timeout(10):
            await ended.wait()
            await listening.until_connected()
            await telling.publish([(MailboxId(1), ModSeq(2))])
            assert await queue.get() == [(1, 2)]
    finally:
        await client.aclose()
        await listening.close()
        await telling.close()


async def test_publishing_to_nobody_neither_raises_nor_waits(tmp_path: Path) -> None:
    telling = notifier(f"unix://{tmp_path}/nothing.sock")
    async with asyncio.timeout(5):
        for _ in range(100):
            await telling.publish([(MailboxId(1), ModSeq(2))])
    assert not telling.connected
    await telling.close()


async def test_caches_are_dropped_when_word_may_have_been_lost(valkey: str) -> None:
    listening, telling = notifier(valkey), notifier(valkey)
    dropped: asyncio.Queue[AccountId | None] = asyncio.Queue()
    listening.subscribe_directory(dropped.put_nowait)
    try:
        await heard(listening)
        assert dropped.qsize() == 1
        await telling.publish_directory()
        await telling.publish_directory(AccountId(7))
        async with asyncio.timeout(10):
            assert [await dropped.get() for _ in range(3)] == [None, None, 7]
    finally:
        await listening.close()
        await telling.close()


async def test_a_server_that_is_away_is_said_once_and_once_that_it_is_back(stores_folder: Path) -> None:
    folder = stores_folder / "away"
    server = stores.valkey(folder)
    listening = notifier(f"unix://{stores.sockets(folder) / 'valkey.sock'}")
    ended = asyncio.Event()
    listening.subscribe_connection(lambda connected: None if connected else ended.set())
    with capture_logs() as events:
        async with stores.running(server) as process:
            await heard(listening)
            process.kill()
            process.wait()
        async with asyncio.timeout(30):
            await ended.wait()
            async with stores.hanging_up(folder) as made:
                for _ in range(6):  # several for each try
                    await listening.publish([(MailboxId(1), ModSeq(2))])
                    await made.get()
            async with stores.running(server):
                await listening.until_connected()
                while not any(event["event"] == "redis_publish_works_again" for event in events):
                    await listening.publish([(MailboxId(1), ModSeq(2))])
                    await asyncio.sleep(0)
                await listening.close()
    assert sorted(event["event"] for event in events) == [
        "redis_publish_failed",
        "redis_publish_works_again",
        "redis_subscription_back",
        "redis_subscription_lost",
    ]
