"""The pool on a real PostgreSQL that is stopped, killed and overtaxed."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from asyncpg.pool import Pool, PoolConnectionProxy
from structlog.testing import capture_logs

from esp.config import sections
from esp.core.errors import StorageFullError, UnavailableError
from esp.storage.postgres import migrate, pool
from esp.storage.postgres.delivery import is_unknown
from esp.storage.postgres.pool import ARRAY_TYPES, Database, mapped

from .conftest import Server


@pytest.fixture
async def database(server: Server) -> AsyncIterator[Database]:
    database = await Database.open(sections.Database(dsn=server.dsn(), pool_size=2, timeout=1.0))
    yield database
    await database.close()


async def test_a_block_that_fails_is_rolled_back(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (id bigint)")
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO kept VALUES (1)")
            raise ZeroDivisionError
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM kept") == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
async def test_the_pool_works_again_after_the_server_restarts(
    database: Database, server: Server, how: signal.Signals
) -> None:
    assert await database.healthy()
    server.stop(how)
    try:
        assert not await database.healthy()
        with pytest.raises(UnavailableError) as failure:
            async with database.connection() as connection:
                await connection.fetchval("SELECT 1")
        assert failure.value.transient
        assert failure.value.__cause__ is not None
    finally:
        server.start()
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT 1") == 1
    assert await database.healthy()


async def test_a_server_that_is_away_is_told_once_and_once_that_it_is_back(
    database: Database, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with capture_logs() as events:
        assert await database.healthy()
        server.stop(signal.SIGKILL)
        try:
            for _ in range(3):
                assert not await database.healthy()
        finally:
            server.start()
        for _ in range(3):
            assert await database.healthy()
    assert [event["event"] for event in events] == ["database_lost", "database_back"]
    # asyncpg makes no connections of its own accord, and logs no traceback for each that it cannot make.
    assert database._pool.get_min_size() == 0
    assert [record for record in caplog.records if record.name.startswith("asyncpg")] == []


async def test_a_connection_lost_within_a_transaction_is_a_passing_failure(
    database: Database, server: Server
) -> None:
    other = await asyncpg.connect(server.dsn())
    with pytest.raises(UnavailableError):
        async with database.transaction() as connection:
            backend = await connection.fetchval("SELECT pg_backend_pid()")
            await other.execute("SELECT pg_terminate_backend($1)", backend)
            await connection.execute("SELECT 1")
    await other.close()
    assert await database.healthy()


CLIENT_ERRORS = [
    asyncpg.InterfaceError("connection was closed"),
    asyncpg.InternalClientError("cannot switch to state 15"),
]


@pytest.mark.parametrize("error", CLIENT_ERRORS, ids=repr)
async def test_a_connection_that_the_driver_lost_track_of_is_a_passing_failure(
    database: Database, error: Exception
) -> None:
    with pytest.raises(UnavailableError):
        async with database.transaction() as connection:
            await connection.execute("SELECT 1")
            raise error
    assert await database.healthy()
    # Whether a statement was carried out is not known, so it is looked up before anybody is answered.
    assert is_unknown(error)


@pytest.mark.parametrize("error", CLIENT_ERRORS, ids=repr)
async def test_what_was_committed_stays_done_when_its_connection_cannot_be_given_back(
    database: Database, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    give_back = Pool.release

    async def failing(
        pool: "Pool[asyncpg.Record]", connection: "PoolConnectionProxy[asyncpg.Record]"
    ) -> None:
        await give_back(pool, connection)
        raise error

    monkeypatch.setattr(Pool, "release", failing)
    async with database.transaction() as connection:
        assert await connection.fetchval("SELECT 1") == 1
    with pytest.raises(ZeroDivisionError):
        async with database.connection():
            raise ZeroDivisionError


async def test_a_statement_that_takes_too_long_is_ended(database: Database) -> None:
    with pytest.raises(UnavailableError) as failure:
        async with database.connection() as connection:
            await connection.execute("SELECT pg_sleep(30)")
    assert isinstance(failure.value.__cause__, asyncpg.QueryCanceledError)


async def test_waiting_for_a_connection_is_bounded(database: Database) -> None:
    async with database.connection(), database.connection():
        with pytest.raises(UnavailableError):
            async with database.connection():
                pass
    assert await database.healthy()


async def test_a_transaction_that_must_be_repeated_is_a_passing_failure(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("DROP TABLE IF EXISTS pair; CREATE TABLE pair (id int PRIMARY KEY, n int)")
        await connection.execute("INSERT INTO pair VALUES (1, 0), (2, 0)")
    here, there = asyncio.Event(), asyncio.Event()

    async def crosswise(first: int, second: int, mine: asyncio.Event, other: asyncio.Event) -> None:
        async with database.transaction() as connection:
            try:
                await connection.execute("UPDATE pair SET n = n + 1 WHERE id = $1", first)
            finally:
                mine.set()  # on a machine that stood still even this is too late, and nobody may wait for it
            await other.wait()
            await connection.execute("UPDATE pair SET n = n + 1 WHERE id = $1", second)

    outcomes = await asyncio.gather(
        crosswise(1, 2, here, there), crosswise(2, 1, there, here), return_exceptions=True
    )
    failures = [o for o in outcomes if o is not None]
    assert len(failures) >= 1
    assert all(isinstance(f, UnavailableError) for f in failures)


async def test_what_is_wrong_for_good_keeps_its_own_name(database: Database) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        async with database.connection() as connection:
            await connection.execute("SELECT * FROM nowhere")


def test_a_full_disk_is_told_apart() -> None:
    assert isinstance(mapped(asyncpg.DiskFullError("no space left")), StorageFullError)


async def test_opening_waits_for_a_server_that_is_starting(server: Server) -> None:
    server.stop()
    opening = asyncio.create_task(Database.open(sections.Database(dsn=server.dsn()), wait=20))
    await asyncio.sleep(0)
    await asyncio.to_thread(server.start)
    database = await opening
    assert await database.healthy()
    await database.close()


async def test_opening_without_a_server_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="No connection to the database"):
        await Database.open(sections.Database(dsn=f"postgresql://esp@/esp?host={tmp_path}"))


async def test_a_server_that_says_nothing_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CONNECT_TIMEOUT", 0.01)
    monkeypatch.setattr(migrate, "CONNECT_TIMEOUT", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dsn = f"postgresql://esp@127.0.0.1:{silent.getsockname()[1]}/esp"
        for wanted in (Database.open(sections.Database(dsn=dsn)), migrate.up(dsn)):
            with pytest.raises(UnavailableError, match="No connection to the database: no answer in time"):
                await wanted


async def test_statements_with_arrays_need_no_questions_first(database: Database) -> None:
    asked: list[str] = []
    values = {
        "bigint": [1],
        "integer": [2],
        "bytea": [b"3"],
        "timestamptz": [datetime(2026, 1, 1, tzinfo=UTC)],
    }
    async with database.connection() as connection:
        connection.add_query_logger(lambda query: asked.append(query.query))
        for name, value in values.items():
            assert await connection.fetchval(f"SELECT $1::{name}[]", value) == value
            # The numbers are what the server has, too.
            number = await connection.fetchval(f"SELECT '{name}[]'::regtype::oid::bigint")
            assert number in {oid for _, oid, _ in ARRAY_TYPES}
    assert len(asked) > len(values)
    assert [query for query in asked if not query.startswith("SELECT ")] == []
