"""Annotations as rows (RFC 5464): of a mailbox or of the server, shared or of one account."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from esp.core import annotation
from esp.core.mailbox import MailboxId
from esp.core.principal import AccountId
from esp.storage.postgres.pool import Connection


async def of_mailboxes(
    connection: Connection, mailboxes: Iterable[MailboxId], account: AccountId
) -> dict[MailboxId, dict[str, bytes]]:
    """Return the values that mailboxes have, shared and those of the account, by entry and in its order."""
    rows = await connection.fetch(
        """
        SELECT mailbox_id, entry, value FROM annotation
        WHERE mailbox_id = ANY($1) AND (account_id IS NULL OR account_id = $2) ORDER BY mailbox_id, entry
        """,
        list(mailboxes),
        account,
    )
    found: dict[MailboxId, dict[str, bytes]] = defaultdict(dict)
    for mailbox, entry, value in rows:
        found[mailbox][entry] = value
    return found


async def of_server(connection: Connection, account: AccountId) -> dict[str, bytes]:
    """Return the values that the server has, shared and those of the account."""
    rows = await connection.fetch(
        """
        SELECT entry, value FROM annotation
        WHERE mailbox_id IS NULL AND (account_id IS NULL OR account_id = $1) ORDER BY entry
        """,
        account,
    )
    return {row["entry"]: row["value"] for row in rows}


async def put(
    tx: Connection,
    mailbox: MailboxId | None,
    account: AccountId,
    values: Sequence[tuple[str, bytes | None]],
) -> int:
    """Set values of a mailbox, or of the server; `None` removes one. Return how many its fullest scope has then."""
    kept = {entry: value for entry, value in values if value is not None}
    await tx.execute(
        """
        DELETE FROM annotation AS a USING unnest($2::text[], $3::boolean[]) AS gone (entry, private)
        WHERE a.mailbox_id IS NOT DISTINCT FROM $1::bigint AND a.entry = gone.entry
            AND a.account_id IS NOT DISTINCT FROM CASE WHEN gone.private THEN $4::bigint END
        """,
        mailbox,
        [entry for entry, _ in values],
        [annotation.is_private(entry) for entry, _ in values],
        account,
    )
    await tx.execute(
        """
        INSERT INTO annotation (mailbox_id, account_id, entry, value)
        SELECT $1, CASE WHEN n.private THEN $2::bigint END, n.entry, n.value
        FROM unnest($3::text[], $4::boolean[], $5::bytea[]) AS n (entry, private, value)
        """,
        mailbox,
        account,
        list(kept),
        [annotation.is_private(entry) for entry in kept],
        list(kept.values()),
    )
    counted: int = await tx.fetchval(
        """
        SELECT coalesce(max(entries), 0) FROM (
            SELECT count(*) AS entries FROM annotation
            WHERE mailbox_id IS NOT DISTINCT FROM $1::bigint AND (account_id IS NULL OR account_id = $2)
            GROUP BY account_id) AS scope
        """,
        mailbox,
        account,
    )
    return counted


async def copy(tx: Connection, source: MailboxId, target: MailboxId) -> None:
    """Give a mailbox all annotations of another."""
    await tx.execute(
        """
        INSERT INTO annotation (mailbox_id, account_id, entry, value)
        SELECT $2, account_id, entry, value FROM annotation WHERE mailbox_id = $1
        ON CONFLICT DO NOTHING
        """,
        source,
        target,
    )
