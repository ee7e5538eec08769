"""What was expunged, kept for those who come back (RFC 7162 §3.2), and forgotten when it is old."""

from esp.storage.postgres.pool import Connection


async def forget(tx: Connection, age: float, limit: int) -> int:
    """Remove rows older than `age` seconds, `limit` at most, and return how many.

    Each mailbox notes up to which mod-sequence it has forgotten, in the same transaction: whoever asks for more is not
    told less than the truth.
    """
    mailboxes = await tx.fetch(
        """
        SELECT DISTINCT mailbox_id FROM (
            SELECT mailbox_id FROM expunged WHERE expunged_at < now() - make_interval(secs => $1)
            ORDER BY expunged_at LIMIT $2
        ) AS old
        """,
        age,
        limit,
    )
    # By rising id, as everybody locks mailboxes.
    await tx.execute(
        "SELECT FROM mailbox WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE",
        [row["mailbox_id"] for row in mailboxes],
    )
    forgotten: int = await tx.fetchval(
        """
        WITH gone AS (
            DELETE FROM expunged AS e USING (
                SELECT account_id, mailbox_id, modseq FROM expunged
                WHERE expunged_at < now() - make_interval(secs => $1) AND mailbox_id = ANY($3::bigint[])
                ORDER BY expunged_at LIMIT $2
            ) AS old
            WHERE e.account_id = old.account_id AND e.mailbox_id = old.mailbox_id AND e.modseq = old.modseq
            RETURNING e.mailbox_id, e.modseq
        ), noted AS (
            UPDATE mailbox AS m SET expunged_horizon = greatest(m.expunged_horizon, highest.modseq)
            FROM (SELECT mailbox_id, max(modseq) AS modseq FROM gone GROUP BY mailbox_id) AS highest
            WHERE m.id = highest.mailbox_id
        )
        SELECT count(*) FROM gone
        """,
        age,
        limit,
        [row["mailbox_id"] for row in mailboxes],
    )
    return forgotten
