"""Changes of messages, kept for clients and indexes that catch up, and deleted when they are old.

`expunged` is for clients (RFC 7162 §3.2), `changed` for the indexes of our own processes.
"""

from typing import Literal

from esp.storage.postgres.pool import Connection

Table = Literal["expunged", "changed"]


async def forget(tx: Connection, table: Table, age: float, limit: int, kept_age: float = 0.0) -> int:
    """Remove rows older than `age` seconds, `limit` at most, and return how many.

    Rows of mailboxes with a stored index (`kept_indexes`) are removed only if they are older than `kept_age`, too.

    Each mailbox records, in the same transaction, up to which mod-sequence its rows are removed. So a reader that asks
    for more is not told less than the truth.
    """
    old = f"""
        SELECT account_id, mailbox_id, modseq FROM {table} AS o
        WHERE {table}_at < now() - make_interval(secs => $1) AND (
            {table}_at < now() - make_interval(secs => $3)
            OR NOT EXISTS (
                SELECT FROM mailbox_index AS k WHERE k.account_id = o.account_id AND k.mailbox_id = o.mailbox_id))
        """  # noqa: S608 - one of two names of ours
    mailboxes = await tx.fetch(
        f"SELECT DISTINCT mailbox_id FROM ({old} ORDER BY {table}_at LIMIT $2) AS old",  # noqa: S608
        age,
        limit,
        kept_age,
    )
    # By rising id, the order in which all code locks mailboxes.
    await tx.execute(
        "SELECT FROM mailbox WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE",
        [row["mailbox_id"] for row in mailboxes],
    )
    forgotten: int = await tx.fetchval(
        f"""
        WITH gone AS (
            DELETE FROM {table} AS e
            USING ({old} AND mailbox_id = ANY($4::bigint[]) ORDER BY {table}_at LIMIT $2) AS old
            WHERE e.account_id = old.account_id AND e.mailbox_id = old.mailbox_id AND e.modseq = old.modseq
            RETURNING e.mailbox_id, e.modseq
        ), noted AS (
            -- A horizon that is NULL stays so: see migration 0011.
            UPDATE mailbox AS m SET {table}_horizon = greatest(m.{table}_horizon, highest.modseq)
            FROM (SELECT mailbox_id, max(modseq) AS modseq FROM gone GROUP BY mailbox_id) AS highest
            WHERE m.id = highest.mailbox_id AND m.{table}_horizon IS NOT NULL
        )
        SELECT count(*) FROM gone
        """,  # noqa: S608
        age,
        limit,
        kept_age,
        [row["mailbox_id"] for row in mailboxes],
    )
    return forgotten
