"""The outbox on a real PostgreSQL: with the fact or not at all, one worker at a time, never lost."""

import asyncio
from datetime import timedelta

import pytest

from esp.core.mailbox import ContentId, MailboxId, Uid
from esp.core.principal import AccountId
from esp.storage.postgres import outbox
from esp.storage.postgres.outbox import Index, Rename, Unlink
from esp.storage.postgres.pool import Database


@pytest.fixture(autouse=True)
async def _empty(database: Database) -> None:
    async with database.connection() as c:
        await c.execute("TRUNCATE outbox")


def index(*contents: int) -> Index:
    return Index([AccountId(1)] * len(contents), [ContentId(c) for c in contents])


async def add(database: Database, topic: str, *payloads: outbox.Payload, delay: float = 0.0) -> None:
    async with database.connection() as c:
        await outbox.add_all(c, topic, payloads, delay)


async def test_every_payload_comes_back_as_it_was_left(database: Database) -> None:
    payloads = {
        "index": index(1, 2, 3),
        "rename": Rename(AccountId(1), MailboxId(2), [Uid(3)]),
        "unlink": Unlink(["example.test/alice/cur/1.M2P3Q4.host,S=5:2,S"]),
    }
    for topic, payload in payloads.items():
        await add(database, topic, payload)
    for topic, payload in payloads.items():
        (leased,) = await outbox.lease(database, topic, 10)
        assert (leased.payload, leased.attempts) == (payload, 1)


def test_many_messages_are_named_in_short() -> None:
    rename = Rename(AccountId(1), MailboxId(2), [Uid(9)], uid_set="1:3,5")
    assert rename.messages() == [9, 1, 2, 3, 5]
    unlink = Unlink(["a/new/1"], folder="b/.C", names="2:2,S/3", account=AccountId(1), contents="7")
    assert unlink.files() == ["a/new/1", "b/.C/cur/2:2,S", "b/.C/new/3"]


async def test_what_is_rolled_back_was_never_left(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as tx:
            await outbox.add(tx, "index", index(1))
            raise ZeroDivisionError
    assert await outbox.lease(database, "index", 10) == []


async def test_workers_share_and_do_not_repeat(database: Database) -> None:
    await add(database, "index", *(index(n) for n in range(100)))
    shares = await asyncio.gather(*(outbox.lease(database, "index", 20) for _ in range(5)))
    ids = [leased.id for share in shares for leased in share]
    assert len(ids) == len(set(ids))
    rest = await outbox.lease(database, "index", 100)
    assert len(ids) + len(rest) == 100


async def test_the_lease_of_a_dead_worker_runs_out(database: Database) -> None:
    await add(database, "index", index(1))
    (first,) = await outbox.lease(database, "index", 1, seconds=0)
    (second,) = await outbox.lease(database, "index", 1)
    assert (second.id, second.attempts) == (first.id, 2)
    assert await outbox.lease(database, "index", 1) == []


async def test_what_is_done_is_gone(database: Database) -> None:
    await add(database, "index", index(1), index(2))
    first, second = await outbox.lease(database, "index", 2, seconds=0)
    await outbox.done(database, [first.id])
    assert [leased.id for leased in await outbox.lease(database, "index", 2)] == [second.id]


async def test_what_is_to_wait_waits(database: Database) -> None:
    await add(database, "unlink", Unlink(["a"]), delay=60)
    assert await outbox.lease(database, "unlink", 1) == []
    assert await outbox.waiting(database) == {}


async def test_what_failed_is_put_off(database: Database) -> None:
    await add(database, "index", index(1), index(2))
    first, second = await outbox.lease(database, "index", 2, seconds=0)
    await outbox.retry(database, first)
    assert [leased.id for leased in await outbox.lease(database, "index", 2)] == [second.id]
    async with database.connection() as c:
        wait = await c.fetchval("SELECT not_before - now() FROM outbox WHERE id = $1", first.id)
    assert timedelta(0) < wait <= outbox.FIRST_RETRY


async def test_what_failed_together_is_tried_apart(database: Database) -> None:
    await add(database, "index", index(1, 2, 3))
    (leased,) = await outbox.lease(database, "index", 1)
    await outbox.retry(database, leased, [index(2), index(3)])
    async with database.connection() as c:
        await c.execute("UPDATE outbox SET not_before = now()")
    again = await outbox.lease(database, "index", 5)
    assert [(row.payload, row.attempts) for row in again] == [(index(2), 2), (index(3), 2)]


async def test_what_was_tried_often_can_be_taken_alone(database: Database) -> None:
    await add(database, "index", index(1), index(2))
    await outbox.lease(database, "index", 1, seconds=0)
    assert [row.payload for row in await outbox.lease(database, "index", 9, tried=range(1))] == [index(2)]
    assert [row.payload for row in await outbox.lease(database, "index", 9, tried=range(1, 9))] == [index(1)]


def test_retries_get_rarer_and_stay_possible() -> None:
    delays = [outbox.retry_delay(n) for n in range(1, 100_000)]
    assert delays == sorted(delays)
    assert delays[0] == outbox.FIRST_RETRY
    assert delays[-1] == outbox.LONGEST_RETRY


async def test_a_payload_of_another_version_blocks_nothing_and_is_kept(database: Database) -> None:
    async with database.connection() as c:
        await c.execute("""INSERT INTO outbox (topic, payload) VALUES ('index', '{"future": 1}')""")
    await add(database, "index", index(1))
    assert [leased.payload for leased in await outbox.lease(database, "index", 1, seconds=0)] == []
    assert [leased.payload for leased in await outbox.lease(database, "index", 1)] == [index(1)]
    async with database.connection() as c:
        assert await c.fetchval("SELECT count(*) FROM outbox") == 2


async def test_what_is_due_is_counted_by_topic(database: Database) -> None:
    await add(database, "index", index(1), index(2))
    await add(database, "unlink", Unlink(["a"]))
    waiting = await outbox.waiting(database)
    assert {topic: w.rows for topic, w in waiting.items()} == {"index": 2, "unlink": 1}
    assert all(w.oldest >= 0 for w in waiting.values())
