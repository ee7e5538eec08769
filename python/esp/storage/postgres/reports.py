"""What administrators look at: numbers about the whole installation, messages of one mailbox."""

from datetime import datetime

import msgspec

from esp.core.mailbox import Mailbox, Uid
from esp.storage.postgres.pool import Connection


class Totals(msgspec.Struct, frozen=True):
    """How much there is."""

    domains: int
    accounts: int
    aliases: int
    mailboxes: int
    messages: int
    octets: int
    database_octets: int
    unindexed: int
    """Contents in outbox rows, which are still to be indexed."""
    outbox: dict[str, int]
    """Rows by topic, due or not."""


async def totals(connection: Connection) -> Totals:
    """Return the totals, from the counters of mailboxes rather than by counting messages."""
    row = await connection.fetchrow(
        """
        SELECT (SELECT count(*) FROM domain), (SELECT count(*) FROM account), (SELECT count(*) FROM alias),
               count(*), coalesce(sum(messages), 0)::bigint, coalesce(sum(octets), 0)::bigint,
               pg_database_size(current_database()),
               (SELECT coalesce(sum(jsonb_array_length(payload -> 'contents')), 0)::bigint
                FROM outbox WHERE topic = 'index')
        FROM mailbox
        """
    )
    assert row is not None
    waiting = await connection.fetch("SELECT topic, count(*) FROM outbox GROUP BY topic ORDER BY topic")
    domains, accounts, aliases, mailboxes, messages, octets, database_octets, unindexed = row.values()
    return Totals(
        domains=domains,
        accounts=accounts,
        aliases=aliases,
        mailboxes=mailboxes,
        messages=messages,
        octets=octets,
        database_octets=database_octets,
        unindexed=unindexed,
        outbox={entry["topic"]: entry["count"] for entry in waiting},
    )


class MessageRow(msgspec.Struct, frozen=True):
    """A message as a list shows it."""

    uid: Uid
    flags: int
    size: int
    internal_date: datetime
    file: str
    file_flags: str | None
    """Letters after `:2,` in `cur`; `None` while the file is in `new`."""
    thread: int | None
    """`None` while it is not indexed."""


async def messages(
    connection: Connection, mailbox: Mailbox, limit: int, *, uid: int | None = None, before: int | None = None
) -> list[MessageRow]:
    """Return a mailbox's newest messages, newest first; or only the one with a UID, or only those before a UID."""
    rows = await connection.fetch(
        """
        SELECT m.uid, m.flags, m.size, m.internal_date, m.file, m.file_flags, i.thread_id
        FROM message AS m
        LEFT JOIN content_index AS i ON i.account_id = m.account_id AND i.content_id = m.content_id
        WHERE m.account_id = $1 AND m.mailbox_id = $2
            AND ($4::bigint IS NULL OR m.uid = $4) AND ($5::bigint IS NULL OR m.uid < $5)
        ORDER BY m.uid DESC LIMIT $3
        """,
        mailbox.account,
        mailbox.id,
        limit,
        uid,
        before,
    )
    return [MessageRow(*row.values()) for row in rows]
