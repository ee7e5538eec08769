"""What the schema must keep to as it grows (PITFALLS 33)."""

import asyncpg

from esp.storage.postgres import migrate

LARGE = {"content", "content_index", "message", "expunged", "thread_reference"}


async def columns(dsn: str, query: str) -> list[asyncpg.Record]:
    await migrate.up(dsn)
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


async def test_every_time_has_a_zone(empty_dsn: str) -> None:
    rows = await columns(
        empty_dsn,
        "SELECT table_name, column_name, data_type FROM information_schema.columns "
        "WHERE table_schema = 'public' AND data_type LIKE 'timestamp%'",
    )
    assert rows
    assert {row["data_type"] for row in rows} == {"timestamp with time zone"}


async def test_keys_of_large_tables_begin_with_the_account_and_rise(empty_dsn: str) -> None:
    """So that they can be partitioned by account, and new rows land beside each other: no random keys."""
    rows = await columns(
        empty_dsn,
        """
        SELECT c.relname AS "table", array_agg(a.attname::text ORDER BY k.position) AS names,
               array_agg(format_type(a.atttypid, NULL)) AS types
        FROM pg_index i
        JOIN pg_class c ON c.oid = i.indrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
        CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (number, position)
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
        WHERE i.indisprimary
        GROUP BY c.relname
        """,
    )
    keys = {row["table"]: row for row in rows}
    assert keys.keys() >= LARGE
    for table in LARGE:
        assert keys[table]["names"][0] == "account_id"
    assert all("uuid" not in row["types"] for row in rows)
