"""Bringing the schema from one version to another, forwards and back.

In: the files `NNNN_(pre|post)_name.up.sql` and `….down.sql` of `migrations/`. Out: a database to which they were
applied, each once, in order, in a transaction of its own together with its row in the table `migration`. `pre` is safe
while old code still runs, `post` only after it is gone. Only one process at a time migrates (advisory lock). A file
that was changed after it was applied, and a database newer than the files, are refused.

A file whose first line is `-- no-transaction` runs statement by statement, each ending at a line's end. It is for
statements that PostgreSQL allows only outside a transaction (`CREATE INDEX CONCURRENTLY`); write these so that they can
be repeated.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import asyncpg
import msgspec

from esp.core.errors import EspError, InvalidError, UnavailableError
from esp.storage.postgres.pool import CONNECT_TIMEOUT, errors_mapped, not_connected

DIRECTORY = Path(__file__).parent / "migrations"
LOCK = 0x455350_01
"""Key of the advisory lock: "ESP", and 1 for migrations."""
LOCK_WAIT = 600.0
"""Seconds; another process may be building an index."""

_FILE = re.compile(r"(?P<number>\d{4})_(?P<kind>pre|post)_(?P<name>[a-z0-9_]+)\.(?P<way>up|down)\.sql")
_NO_TRANSACTION = "-- no-transaction"


class MigrationError(EspError):
    """The files and the database do not match, or a statement of a file failed."""


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema, as the files have it."""

    number: int
    kind: str
    """`pre` or `post`."""
    name: str
    up: str
    down: str | None

    @property
    def checksum(self) -> str:
        """SHA-256 of the `up` file; the `down` file may be corrected later."""
        return hashlib.sha256(self.up.encode()).hexdigest()

    @property
    def title(self) -> str:
        """`0001_pre_initial`."""
        return f"{self.number:04}_{self.kind}_{self.name}"


class Status(msgspec.Struct, frozen=True):
    """One line of `esp-server migrate status`."""

    title: str
    applied_at: datetime | None


class _Applied(msgspec.Struct, frozen=True):
    number: int
    title: str
    checksum: str
    applied_at: datetime


def load(directory: Path = DIRECTORY) -> tuple[Migration, ...]:
    """Return the migrations of a folder in order.

    Raises:
        MigrationError: a file name is not understood, a number is used twice, an `up` file is missing.
    """
    found: dict[int, dict[str, tuple[str, str, str]]] = {}
    for path in sorted(directory.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path}: the name must be NNNN_pre_name.up.sql (or post, or down)")
        ways = found.setdefault(int(match["number"]), {})
        if match["way"] in ways:
            raise MigrationError(f"{path}: number {match['number']} is used twice")
        ways[match["way"]] = (match["kind"], match["name"], path.read_text("utf-8"))
    return tuple(_joined(number, ways) for number, ways in sorted(found.items()))


def _joined(number: int, ways: dict[str, tuple[str, str, str]]) -> Migration:
    if "up" not in ways:
        raise MigrationError(f"Migration {number:04} has no .up.sql file")
    kind, name, up = ways["up"]
    down = ways.get("down")
    if down is not None and down[:2] != (kind, name):
        raise MigrationError(f"Migration {number:04}: its up and down files have different names")
    return Migration(number, kind, name, up, down[2] if down else None)


async def up(dsn: str, *, post: bool = True, directory: Path = DIRECTORY) -> tuple[str, ...]:
    """Apply missing migrations and return their titles; without `post`, only those that old code can live with.

    Raises:
        MigrationError: see the class; what was applied before the failing file stays.
        UnavailableError: the server does not answer.
    """
    migrations = load(directory)
    done: list[str] = []
    async with _locked(dsn) as connection:
        applied = await _checked(connection, migrations)
        for migration in migrations:
            if migration.number in applied or (migration.kind == "post" and not post):
                continue
            await _run(
                connection,
                migration.title,
                migration.up,
                "INSERT INTO migration (number, title, checksum) VALUES ($1, $2, $3)",
                (migration.number, migration.title, migration.checksum),
            )
            done.append(migration.title)
    return tuple(done)


async def down(dsn: str, count: int, *, directory: Path = DIRECTORY) -> tuple[str, ...]:
    """Undo the `count` migrations applied last and return their titles, newest first.

    Raises:
        MigrationError: one has no `down` file (then nothing is undone), or as for `up`.
        UnavailableError: the server does not answer.
    """
    if count < 1:
        raise InvalidError("The number of migrations to take back must be at least 1")
    migrations = {migration.number: migration for migration in load(directory)}
    done: list[str] = []
    async with _locked(dsn) as connection:
        applied = await _checked(connection, tuple(migrations.values()))
        steps = [migrations[number] for number in sorted(applied, reverse=True)[:count]]
        for step in steps:
            if step.down is None:
                raise MigrationError(f"Migration {step.title} has no way back (no .down.sql file)")
        for step in steps:
            assert step.down is not None
            await _run(
                connection, step.title, step.down, "DELETE FROM migration WHERE number = $1", (step.number,)
            )
            done.append(step.title)
    return tuple(done)


async def status(dsn: str, *, directory: Path = DIRECTORY) -> tuple[Status, ...]:
    """Return every migration of the files and when it was applied; takes no lock and changes nothing.

    Raises:
        MigrationError: the database was changed by other files, or is newer than these.
        UnavailableError: the server does not answer.
    """
    migrations = load(directory)
    async with _connected(dsn) as connection:
        applied = await _checked(connection, migrations)
    return tuple(
        Status(m.title, applied[m.number].applied_at if m.number in applied else None) for m in migrations
    )


async def pending(dsn: str, *, directory: Path = DIRECTORY) -> tuple[str, ...]:
    """Return the titles of what `up` would apply."""
    return tuple(s.title for s in await status(dsn, directory=directory) if s.applied_at is None)


async def _checked(
    connection: "asyncpg.Connection[asyncpg.Record]", migrations: Sequence[Migration]
) -> dict[int, _Applied]:
    """Return what was applied, by number, after checking that it matches `migrations`."""
    if await connection.fetchval("SELECT to_regclass('migration')") is None:
        return {}
    rows = await connection.fetch("SELECT number, title, checksum, applied_at FROM migration ORDER BY number")
    known = {migration.number: migration for migration in migrations}
    applied: dict[int, _Applied] = {}
    for row in rows:
        entry = _Applied(*row.values())
        migration = known.get(entry.number)
        if migration is None:
            raise MigrationError(
                f"The database has migration {entry.title}, which this version of ESP does not know: "
                "run the newer version, or take it back with that version's `esp-server migrate down`"
            )
        if migration.checksum != entry.checksum:
            raise MigrationError(
                f"Migration {migration.title} was changed after it was applied as {entry.title}: "
                "restore its .up.sql file and put the change into a new migration"
            )
        applied[entry.number] = entry
    return applied


async def _run(
    connection: "asyncpg.Connection[asyncpg.Record]",
    title: str,
    script: str,
    record: str,
    arguments: tuple[object, ...],
) -> None:
    try:
        if script.startswith(_NO_TRANSACTION):
            for statement in _statements(script):
                await connection.execute(statement)
            await connection.execute(record, *arguments)
            return
        async with connection.transaction():
            # It is better to fail and be started again than to make all mail wait behind our request for a lock.
            await connection.execute("SET LOCAL lock_timeout = '10s'")
            await connection.execute(script)
            await connection.execute(record, *arguments)
    except asyncpg.PostgresError as error:
        raise MigrationError(f"Migration {title} failed: {error}") from error


def _statements(script: str) -> tuple[str, ...]:
    """Split a `no-transaction` script at semicolons that end a line."""
    return tuple(part for part in (p.strip() for p in re.split(r";[ \t]*(?:\n|$)", script)) if _has_sql(part))


def _has_sql(part: str) -> bool:
    return any(line.strip() and not line.lstrip().startswith("--") for line in part.splitlines())


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    # Not from the pool: an index over a large table takes longer than any statement timeout.
    try:
        connection = await asyncpg.connect(
            dsn,
            timeout=CONNECT_TIMEOUT,
            server_settings={"application_name": "esp-migrate", "timezone": "UTC"},
        )
    except (OSError, asyncpg.PostgresError) as error:
        raise not_connected(error) from error
    try:
        with errors_mapped():
            yield connection
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT)


@asynccontextmanager
async def _locked(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    async with _connected(dsn) as connection:
        try:
            async with asyncio.timeout(LOCK_WAIT):
                # The session holds it: a no-transaction file has no transaction to hold it. We try again rather than
                # wait for it: CREATE INDEX CONCURRENTLY waits for every statement that runs.
                while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):  # noqa: ASYNC110 - other process
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            raise UnavailableError("Another process is migrating the database and does not finish") from error
        await connection.execute(
            """
            CREATE TABLE IF NOT EXISTS migration (
                number integer PRIMARY KEY,
                title text NOT NULL,
                checksum text NOT NULL,
                applied_at timestamptz NOT NULL DEFAULT now()
            )
            """
        )
        yield connection
