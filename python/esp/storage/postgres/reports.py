"""Numbers about the whole installation, for people."""

import msgspec

from esp.storage.postgres.pool import Connection


class Totals(msgspec.Struct, frozen=True):
    """What there is."""

    domains: int
    accounts: int
    aliases: int
    mailboxes: int
    messages: int
    octets: int
    database_octets: int
    unindexed: int
    """Contents in outbox rows, so still to be indexed."""
    outbox: dict[str, int]
    """Rows by topic, due or not."""


async def totals(connection: Connection) -> Totals:
    """Return them, from the counters of mailboxes rather than by counting messages."""
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
