"""Real PostgreSQL and Valkey for tests, started as ESP starts its own."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from esp.server.embedded import Postgres, Store, Valkey, until_ready
from esp.server.unprivileged import User
from esp.storage.postgres.pool import Connection

TEMPLATE = "esp_template"


def sockets(folder: Path) -> Path:
    """Return where the stores of `folder` listen."""
    return folder / "s"


def dsn(folder: Path, database: str = "esp") -> str:
    """Return the address of `database` in the PostgreSQL of `folder`."""
    return f"postgresql://esp@/{database}?host={sockets(folder)}"


@asynccontextmanager
async def running(store: Store) -> AsyncIterator["subprocess.Popen[bytes]"]:
    """Run `store` until the block ends."""
    process = store.start()
    try:
        await until_ready(store, process)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(store.stop_signal)
            await asyncio.to_thread(process.wait, 30)


def postgres(folder: Path) -> Postgres:
    """Return a PostgreSQL below `folder`."""
    return Postgres(folder / "postgres", sockets(folder), User.choose())


def valkey(folder: Path) -> Valkey:
    """Return a Valkey below `folder`."""
    return Valkey(folder / "valkey", sockets(folder), User.choose())


async def make_template(folder: Path) -> None:
    """Bring the database `esp` to the current schema and keep it as the template of all others, once."""
    from esp.storage.postgres import migrate

    connection = await asyncpg.connect(dsn(folder, "postgres"))
    try:
        if await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", TEMPLATE):
            return  # pytest set the fixture up a second time
    finally:
        await connection.close()
    await migrate.up(dsn(folder))
    await execute(folder, f"ALTER DATABASE esp RENAME TO {TEMPLATE}", database="postgres")


async def execute(folder: Path, *statements: str, database: str) -> None:
    """Run statements, each by itself, in `database`."""
    connection = await asyncpg.connect(dsn(folder, database))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def held_longer_than(seconds: float, connection: Connection) -> None:
    """Return when another session of the database has carried a statement out and waited so long for its end."""
    # From before it executes: its time, which began with the statement, is over as well, whatever the machine does.
    question = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND state = 'active' AND wait_event = 'ClientRead'
            AND clock_timestamp() - state_change > make_interval(secs => $1)
        """
    async with asyncio.timeout(30):
        while not await connection.fetchval(question, seconds):
            await asyncio.sleep(0.01)


@asynccontextmanager
async def hanging_up(folder: Path) -> "AsyncIterator[asyncio.Queue[None]]":
    """Take the place of the Valkey of `folder`, which is away; each connection made, and ended at once, is told."""
    path = sockets(folder) / "valkey.sock"
    path.unlink(missing_ok=True)
    made: asyncio.Queue[None] = asyncio.Queue()

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        made.put_nowait(None)

    server = await asyncio.start_unix_server(hang_up, path)
    async with server:
        yield made
