"""Migrations on a real PostgreSQL: once, in order, both ways, never over a changed file."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from esp.core.errors import UnavailableError
from esp.storage.postgres import migrate
from esp.storage.postgres.migrate import MigrationError


async def tables(dsn: str) -> set[str]:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    await connection.close()
    return {row["relname"] for row in rows}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "0001_pre_first.up.sql").write_text("CREATE TABLE first (id bigint);")
    (tmp_path / "0001_pre_first.down.sql").write_text("DROP TABLE first;")
    (tmp_path / "0002_post_second.up.sql").write_text("CREATE TABLE second (id bigint);")
    (tmp_path / "0002_post_second.down.sql").write_text("DROP TABLE second;")
    return tmp_path


async def test_the_schema_goes_up_down_and_up_again(empty_dsn: str) -> None:
    titles = [m.title for m in migrate.load()]
    assert list(await migrate.up(empty_dsn)) == titles
    first = await tables(empty_dsn)
    assert {"account", "message", "outbox"} <= first

    assert list(await migrate.down(empty_dsn, len(titles))) == titles[::-1]
    assert await tables(empty_dsn) == {"migration"}

    assert list(await migrate.up(empty_dsn)) == titles
    assert await tables(empty_dsn) == first


def test_every_migration_of_the_product_has_a_way_back() -> None:
    assert [m.title for m in migrate.load() if m.down is None] == []


async def test_a_second_up_changes_nothing(empty_dsn: str, files: Path) -> None:
    await migrate.up(empty_dsn, directory=files)
    assert await migrate.up(empty_dsn, directory=files) == ()


async def test_two_starters_do_not_race(empty_dsn: str) -> None:
    done = await asyncio.gather(*(migrate.up(empty_dsn) for _ in range(4)))
    assert sorted(len(d) for d in done) == [0, 0, 0, len(migrate.load())]


async def test_two_starters_do_not_block_an_index_built_concurrently(empty_dsn: str, files: Path) -> None:
    (files / "0003_pre_index.up.sql").write_text(
        "-- no-transaction\n"
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS first_id ON first (id);\n"
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS second_id ON second (id);\n"
    )
    async with asyncio.timeout(30):
        done = await asyncio.gather(*(migrate.up(empty_dsn, directory=files) for _ in range(3)))
    assert sorted(len(d) for d in done) == [0, 0, 3]


async def test_what_old_code_cannot_live_with_may_wait(empty_dsn: str, files: Path) -> None:
    assert await migrate.up(empty_dsn, post=False, directory=files) == ("0001_pre_first",)
    assert await migrate.pending(empty_dsn, directory=files) == ("0002_post_second",)


async def test_a_file_changed_after_it_was_applied_is_refused(empty_dsn: str, files: Path) -> None:
    await migrate.up(empty_dsn, directory=files)
    (files / "0001_pre_first.up.sql").write_text("CREATE TABLE first (id text);")
    (files / "0003_pre_third.up.sql").write_text("CREATE TABLE third ();")
    with pytest.raises(MigrationError, match="0001_pre_first was changed after it was applied"):
        await migrate.up(empty_dsn, directory=files)
    assert "third" not in await tables(empty_dsn)


async def test_a_database_newer_than_the_program_is_refused(empty_dsn: str, files: Path) -> None:
    await migrate.up(empty_dsn, directory=files)
    (files / "0002_post_second.up.sql").unlink()
    (files / "0002_post_second.down.sql").unlink()
    for attempt in (migrate.up(empty_dsn, directory=files), migrate.down(empty_dsn, 1, directory=files)):
        with pytest.raises(MigrationError, match="0002_post_second, which this version of ESP does not know"):
            await attempt


async def test_a_failing_migration_leaves_nothing_of_itself(empty_dsn: str, files: Path) -> None:
    (files / "0003_pre_third.up.sql").write_text("CREATE TABLE third (); SELECT 1/0;")
    with pytest.raises(MigrationError, match="0003_pre_third failed: division by zero"):
        await migrate.up(empty_dsn, directory=files)
    assert await tables(empty_dsn) == {"first", "second", "migration"}
    assert [s.applied_at is None for s in await migrate.status(empty_dsn, directory=files)] == [
        False,
        False,
        True,
    ]


async def test_nothing_is_taken_back_when_a_step_has_no_way_back(empty_dsn: str, files: Path) -> None:
    await migrate.up(empty_dsn, directory=files)
    (files / "0001_pre_first.down.sql").unlink()
    with pytest.raises(MigrationError, match="0001_pre_first has no way back"):
        await migrate.down(empty_dsn, 2, directory=files)
    assert "second" in await tables(empty_dsn)


@pytest.mark.parametrize(
    "name", ["1_pre_x.up.sql", "0001_during_x.up.sql", "0001_pre_x.sql", "0001_pre_X.up.sql"]
)
def test_a_misnamed_file_is_not_passed_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("SELECT 1")
    with pytest.raises(MigrationError, match="the name must be"):
        migrate.load(tmp_path)


def test_a_number_used_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0001_pre_a.up.sql").write_text("SELECT 1")
    (tmp_path / "0001_pre_b.up.sql").write_text("SELECT 1")
    with pytest.raises(MigrationError, match="used twice"):
        migrate.load(tmp_path)


async def test_a_server_that_is_not_there_is_a_passing_failure(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="No connection to the database"):
        await migrate.up(f"postgresql://esp@/esp?host={tmp_path}")


async def test_all_times_of_the_schema_have_a_zone(empty_dsn: str) -> None:
    await migrate.up(empty_dsn)
    connection = await asyncpg.connect(empty_dsn)
    naive = await connection.fetch(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'timestamp without time zone'"
    )
    await connection.close()
    assert naive == []
