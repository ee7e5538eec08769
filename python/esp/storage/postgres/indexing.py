"""The rows of `content_index` and of threads.

In: what was read from message files. Out: rows, each written once. Functions take several accounts at a time, since
messages for many accounts arrive together.
"""

from collections.abc import Sequence

import msgspec

from esp.core.mailbox import ContentId
from esp.core.principal import AccountId
from esp.storage import maildir
from esp.storage.postgres.pool import Connection

Item = tuple[AccountId, ContentId]

_THREADS = 0x455350
"""Class of the advisory locks for threads."""


class IndexRow(msgspec.Struct, frozen=True):
    """A row of `content_index`."""

    account: AccountId
    content: ContentId
    thread: int
    preview: str
    signature: bytes
    text: bytes
    head: bytes


async def paths(connection: Connection, items: Sequence[Item]) -> dict[Item, str]:
    """Return a file, below `storage.path`, for each content that belongs to a message now."""
    # LATERAL with LIMIT leaves the planner no choice but the index. On a new database, whose tables have no statistics
    # yet, a plain join read all messages of the account for each content.
    rows = await connection.fetch(
        """
        SELECT w.account, w.content, a.maildir, b.directory, m.file, m.file_flags
        FROM unnest($1::bigint[], $2::bigint[]) AS w (account, content)
        CROSS JOIN LATERAL (
            SELECT mailbox_id, file, file_flags FROM message
            WHERE account_id = w.account AND content_id = w.content LIMIT 1
        ) AS m
        JOIN mailbox AS b ON b.id = m.mailbox_id
        JOIN account AS a ON a.id = w.account
        """,
        [account for account, _ in items],
        [content for _, content in items],
    )
    return {
        (row[0], row[1]): maildir.file_path(maildir.folder(row[2], row[3]), row[4], row[5]) for row in rows
    }


async def lock_threads(connection: Connection, accounts: Sequence[AccountId]) -> None:
    """Keep others from threading messages of these accounts until the transaction ends."""
    await connection.execute(
        # In one order, or two workers could wait for each other. If two accounts share a lock, that does no harm.
        """
        SELECT pg_advisory_xact_lock($1::int, (a % 2147483647)::int)
        FROM (SELECT DISTINCT unnest($2::bigint[]) AS a ORDER BY 1) AS sorted
        """,
        _THREADS,
        accounts,
    )


async def threads(
    connection: Connection, accounts: Sequence[AccountId], references: Sequence[int]
) -> dict[AccountId, dict[int, int]]:
    """Return the thread of each reference of an account that has one, by account."""
    rows = await connection.fetch(
        """
        SELECT t.account_id, t.reference_hash, t.thread_id
        FROM unnest($1::bigint[], $2::bigint[]) AS w (account, reference)
        CROSS JOIN LATERAL (
            SELECT * FROM thread_reference
            WHERE account_id = w.account AND reference_hash = w.reference LIMIT 1
        ) AS t
        """,
        accounts,
        references,
    )
    found: dict[AccountId, dict[int, int]] = {}
    for account, reference, thread in rows:
        found.setdefault(account, {})[reference] = thread
    return found


async def add(
    connection: Connection, rows: Sequence[IndexRow], references: Sequence[tuple[AccountId, int, int]]
) -> None:
    """Add index rows, and (account, reference, thread) triples.

    An existing row keeps its thread; it only gets the head, if it was written before rows had one. A content that has
    no message any more gets no row.
    """
    await connection.execute(
        """
        INSERT INTO thread_reference (account_id, reference_hash, thread_id)
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])
        ON CONFLICT DO NOTHING
        """,
        [account for account, _, _ in references],
        [reference for _, reference, _ in references],
        [thread for _, _, thread in references],
    )
    await connection.execute(
        """
        INSERT INTO content_index AS i (account_id, content_id, thread_id, preview, signature, text, head)
        SELECT w.* FROM unnest(
            $1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bytea[], $6::bytea[], $7::bytea[])
            AS w (account, content, thread, preview, signature, text, head)
        CROSS JOIN LATERAL (SELECT FROM content WHERE account_id = w.account AND id = w.content LIMIT 1) AS c
        ON CONFLICT (account_id, content_id) DO UPDATE SET head = excluded.head WHERE i.head IS NULL
        """,
        [row.account for row in rows],
        [row.content for row in rows],
        [row.thread for row in rows],
        [row.preview for row in rows],
        [row.signature for row in rows],
        [row.text for row in rows],
        [row.head for row in rows],
    )
