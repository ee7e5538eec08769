"""Connections go from hand to hand, and none is lost on the way."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from esp.storage.postgres.lending import Lending
from tests.storage.conftest import Server


@pytest_asyncio.fixture(loop_scope="session")
async def pool(server: Server) -> "AsyncIterator[asyncpg.Pool[asyncpg.Record]]":
    made = await asyncpg.create_pool(server.dsn(), min_size=1, max_size=2)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="session")
async def lending(pool: "asyncpg.Pool[asyncpg.Record]") -> AsyncIterator[Lending]:
    made = Lending(pool, 2, timeout=5.0, idle=60.0)
    yield made
    await made.close()


async def test_the_last_used_is_used_again(lending: Lending) -> None:
    first, second = await lending.take(), await lending.take()
    assert lending.give_back(first)
    assert lending.give_back(second)
    assert await lending.take() is second
    assert await lending.take() is first
    for connection in (first, second):
        assert lending.give_back(connection)


async def test_who_waits_gets_the_next_in_the_order_of_coming(lending: Lending) -> None:
    first, second = await lending.take(), await lending.take()
    waiting = [asyncio.create_task(lending.take()) for _ in range(2)]
    await asyncio.sleep(0)
    assert lending.give_back(second)
    assert lending.give_back(first)
    assert await asyncio.gather(*waiting) == [second, first]
    for connection in (first, second):
        assert lending.give_back(connection)


async def test_one_that_is_given_to_somebody_who_left_is_free_again(lending: Lending) -> None:
    first, second = await lending.take(), await lending.take()
    waiting = asyncio.create_task(lending.take())
    await asyncio.sleep(0)
    assert lending.give_back(first)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await lending.take() is first
    for connection in (first, second):
        assert lending.give_back(connection)


async def test_waiting_ends(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    impatient = Lending(pool, 1, timeout=0.01, idle=60.0)
    only = await impatient.take()
    with pytest.raises(TimeoutError):
        await impatient.take()
    assert impatient.give_back(only)
    assert await impatient.take() is only
    await impatient.put_away(only)


async def test_one_with_an_open_transaction_or_without_a_server_is_put_away(lending: Lending) -> None:
    connection = await lending.take()
    await connection.execute("BEGIN")
    assert not lending.give_back(connection)
    await lending.put_away(connection)
    connection = await lending.take()
    assert not connection.is_in_transaction()
    connection.terminate()
    assert not lending.give_back(connection)
    await lending.put_away(connection)
    again = [await lending.take(), await lending.take()]
    for connection in again:
        assert await connection.fetchval("SELECT 1") == 1
        assert lending.give_back(connection)


async def test_one_that_ended_while_it_was_free_is_replaced(lending: Lending) -> None:
    connection = await lending.take()
    assert lending.give_back(connection)
    connection.terminate()
    other = await lending.take()
    assert other is not connection
    assert await other.fetchval("SELECT 1") == 1
    assert lending.give_back(other)


async def test_what_nobody_wants_is_ended(server: Server) -> None:
    # As ESP has it: a pool with a floor would make another for each that is ended.
    pool = await asyncpg.create_pool(server.dsn(), min_size=0, init_size=1, max_size=2)
    lending = Lending(pool, 2, timeout=5.0, idle=0.01)
    connection = await lending.take()
    assert lending.give_back(connection)
    async with asyncio.timeout(5):
        while pool.get_idle_size() < pool.get_size() or lending._free:
            await asyncio.sleep(0.005)
    await lending.close()
    assert pool.get_size() == 0
    await pool.close()
