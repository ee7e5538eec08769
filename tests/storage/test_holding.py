"""Commits that wait for files, on a real PostgreSQL: nothing is there before, nothing when files fail, else all."""

import asyncio
import contextlib
import os
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
import uvloop

from esp.native import Delivering, DeliverItem, Line, Store
from esp.storage.postgres import holding
from esp.storage.postgres.holding import NotHeldError
from tests.smtp.conftest import make_certificate
from tests.support import stores
from tests.support.proxy import tcp_door

from .conftest import Server

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])


class Files:
    """Files that are durable, or are not, when the test says so, or from the beginning."""

    def __init__(self, *, durable: bool | None = None) -> None:
        self.asked = asyncio.Event()
        self._durable = durable

    def finish(self, line: Line, success: bytes, failure: bytes) -> bytes | None:
        self._line, self._success, self._failure = line, success, failure
        self.asked.set()
        return None if self._durable is None else self._end(self._durable)

    def _end(self, durable: bool) -> bytes:
        return self._success if durable else self._failure

    def end(self, *, durable: bool) -> None:
        octets = self._end(durable)
        assert self._line.send(octets) == len(octets)


@asynccontextmanager
async def two(dsn: str) -> AsyncIterator[tuple["asyncpg.Connection[asyncpg.Record]", ...]]:
    """A connection that can hold, one that looks, and an empty table."""
    holder, other = await holding.connect(dsn), await asyncpg.connect(dsn)
    await other.execute("DROP TABLE IF EXISTS held; CREATE TABLE held (octets bytea)")
    try:
        yield holder, other
    finally:
        await holder.close()
        await other.close()


async def insert(
    holder: "asyncpg.Connection[asyncpg.Record]",
    files: Files | Delivering,
    octets: bytes,
    timeout: float | None = None,
) -> int:
    with holding.committed_with(files, holder):  # type: ignore[arg-type]
        count: int = await holder.fetchval(
            "INSERT INTO held VALUES ($1) RETURNING length(octets)", octets, timeout=timeout
        )
        return count


async def count(other: "asyncpg.Connection[asyncpg.Record]") -> int:
    number: int = await other.fetchval("SELECT count(*) FROM held")
    return number


async def carried_out(other: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Return when another transaction has written to the table."""
    question = """
        SELECT count(*) FROM pg_locks WHERE relation = 'held'::regclass AND mode = 'RowExclusiveLock'
            AND pid <> pg_backend_pid()
        """
    async with asyncio.timeout(30):
        while not await other.fetchval(question):
            await asyncio.sleep(0.001)


@LOOPS
def test_a_statement_is_carried_out_at_once_and_committed_when_the_files_are_durable(
    server: Server, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def act() -> None:
        async with two(server.dsn()) as (holder, other):
            for number in range(3):
                files = Files()
                inserting = asyncio.create_task(insert(holder, files, b"x"))
                await files.asked.wait()
                await carried_out(other)
                assert await count(other) == number
                assert not inserting.done()

                files.end(durable=True)

                assert await inserting == 1
                assert await count(other) == number + 1

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(act())


@LOOPS
def test_a_statement_whose_files_fail_is_undone_and_the_connection_goes_on(
    server: Server, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def act() -> None:
        async with two(server.dsn()) as (holder, other):
            files = Files()
            inserting = asyncio.create_task(insert(holder, files, b"x"))
            await files.asked.wait()
            await carried_out(other)

            files.end(durable=False)

            with pytest.raises(NotHeldError):
                await inserting
            assert await count(other) == 0
            assert await holder.fetchval("INSERT INTO held VALUES ('y') RETURNING 7") == 7
            assert await count(other) == 1

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(act())


@pytest.mark.parametrize("durable", [True, False])
async def test_a_statement_that_has_to_be_prepared_anew_is_held_back_as_well(
    server: Server, durable: bool
) -> None:
    async with two(server.dsn()) as (holder, other):
        await other.execute(
            """
            CREATE OR REPLACE FUNCTION hold(octets bytea, OUT one int) LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO held VALUES (octets); one := 1; END $$
            """
        )
        statement = "SELECT * FROM hold($1)"
        with holding.committed_with(Files(durable=True), holder):  # type: ignore[arg-type]
            await holder.fetchrow(statement, b"1")
        await other.execute(
            """
            DROP FUNCTION hold;
            CREATE FUNCTION hold(octets bytea, OUT one int, OUT two int) LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO held VALUES (octets); one := 1; two := 2; END $$
            """
        )
        failure = contextlib.nullcontext() if durable else pytest.raises(NotHeldError)
        with failure, holding.committed_with(Files(durable=durable), holder):  # type: ignore[arg-type]
            row = await holder.fetchrow(statement, b"2")
            # PostgreSQL refuses what was prepared, and asyncpg does it all again.
            assert row is not None and len(row) == 2

        assert await count(other) == 1 + durable
        await other.execute("DROP FUNCTION hold")


@pytest.mark.parametrize(("rows", "undone"), [("fetch", False), ("fetchrow", True)])
async def test_a_statement_whose_time_is_over_before_its_files_are_there_is_undone(
    server: Server, rows: str, undone: bool
) -> None:
    async with two(server.dsn()) as (holder, other):
        await holder.execute("SET statement_timeout = 300")
        files = Files()

        async def insert() -> None:
            with holding.committed_with(files, holder):  # type: ignore[arg-type]
                await getattr(holder, rows)("INSERT INTO held VALUES ('x') RETURNING 1")

        inserting = asyncio.create_task(insert())
        await files.asked.wait()
        await stores.held_longer_than(0.3, other)
        files.end(durable=True)

        # To PostgreSQL a statement whose rows were all fetched is at its end, and one with a limit of rows goes on.
        with pytest.raises(NotHeldError) if undone else contextlib.nullcontext():
            await inserting
        assert await count(other) == (not undone)
        assert await holder.fetchval("SELECT 1") == 1


async def test_a_server_that_reads_nothing_does_not_stop_the_loop(server: Server, tmp_path: Path) -> None:
    store = Store(tmp_path, 2, True, "mx", journal=True)
    async with two(server.dsn()) as (holder, other):
        await holder.fetchval("SELECT length($1::bytea)", b"")
        while (files := store.begin([DeliverItem(b"", b"x", ["a"], [None], 0)])) is None:
            await asyncio.to_thread(store.deliver, [DeliverItem(b"", b"x", ["a"], [None], 0)])
        assert files.failures() == [None]
        os.kill(holder.get_server_pid(), signal.SIGSTOP)
        try:
            inserting = asyncio.create_task(insert(holder, files, bytes(20_000_000)))
            for _ in range(20):
                await asyncio.wait_for(asyncio.sleep(0.01), 5)
            assert not inserting.done()
        finally:
            os.kill(holder.get_server_pid(), signal.SIGCONT)
        assert await inserting == 20_000_000
        assert await count(other) == 1
    store.close()


async def test_an_error_of_the_statement_itself_is_told_when_the_files_are_there(server: Server) -> None:
    async with two(server.dsn()) as (holder, other):
        files = Files()
        await other.execute("ALTER TABLE held ADD CHECK (length(octets) < 2)")
        inserting = asyncio.create_task(insert(holder, files, b"too long"))
        await files.asked.wait()

        files.end(durable=True)

        with pytest.raises(asyncpg.CheckViolationError):
            await inserting
        assert await count(other) == 0


@pytest.mark.parametrize("how", ["ended", "cancelled", "timed out"])
async def test_a_statement_that_nobody_waits_for_any_more_is_undone(server: Server, how: str) -> None:
    async with two(server.dsn()) as (holder, other):
        files = Files()
        timeout = 1.0 if how == "timed out" else None
        inserting = asyncio.create_task(insert(holder, files, b"x", timeout))
        await files.asked.wait()
        await carried_out(other)

        match how:
            case "ended":
                holder.terminate()
            case "cancelled":
                inserting.cancel()
        with pytest.raises((asyncpg.ConnectionDoesNotExistError, asyncio.CancelledError, TimeoutError)):
            await inserting

        async with asyncio.timeout(30):
            while await other.fetchval(
                "SELECT count(*) FROM pg_locks WHERE relation = 'held'::regclass AND granted"
            ):
                await asyncio.sleep(0.001)
        # The files are durable in the end; it is too late.
        with contextlib.suppress(OSError):
            files.end(durable=True)
        with pytest.raises(asyncpg.InterfaceError):
            await holder.fetchval("SELECT 1")
        assert await count(other) == 0


@LOOPS
def test_a_statement_larger_than_the_socket_takes_is_sent_to_its_end(
    server: Server, loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path
) -> None:
    async def act() -> None:
        store = Store(tmp_path, 2, True, "mx", journal=True)
        async with two(server.dsn()) as (holder, other):
            while (files := store.begin([DeliverItem(b"", b"x", ["a"], [None], 0)])) is None:
                await asyncio.to_thread(store.deliver, [DeliverItem(b"", b"x", ["a"], [None], 0)])

            assert await insert(holder, files, bytes(20_000_000)) == 20_000_000

            assert await count(other) == 1
        store.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(act())


@LOOPS
@pytest.mark.parametrize("tls", [True, False])
def test_connections_over_tcp_work_with_tls_and_can_hold_without(
    server: Server, loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path, tls: bool
) -> None:
    async def act() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*make_certificate(tmp_path))
        # Without a certificate to look for, asyncpg asks for TLS, and takes what it gets (sslmode=prefer).
        async with (
            tcp_door(server.path / "run" / ".s.PGSQL.5432", context if tls else None) as port,
            two(f"postgresql://esp@127.0.0.1:{port}/postgres") as (holder, other),
        ):
            files = Files()
            inserting = asyncio.create_task(insert(holder, files, b"x"))
            if tls:
                with pytest.raises(NotHeldError):
                    await inserting
                await holder.execute("INSERT INTO held VALUES ('x')")
            else:
                await files.asked.wait()
                await carried_out(other)
                assert await count(other) == 0
                files.end(durable=True)
                await inserting
            assert await count(other) == 1

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(act())
