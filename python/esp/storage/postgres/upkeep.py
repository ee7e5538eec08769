"""What the comparison of Maildir and database reads and corrects.

In: an account or a mailbox. Out: what the database says about it, as of one moment; and the few changes that make it
agree with the files. Each change locks the mailbox first, as every other writer does.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

import msgspec

from esp.core.mailbox import ContentId, Mailbox, MailboxId, ModSeq, SpecialUse, Uid
from esp.core.message import SystemFlag
from esp.core.principal import AccountId
from esp.storage.maildir import base_of
from esp.storage.postgres.mailboxes import COLUMNS, mailbox_of
from esp.storage.postgres.outbox import Rename, Unlink, decode
from esp.storage.postgres.pool import Connection

if TYPE_CHECKING:
    from esp.native import Description


_LOCK_CLASS = 0x45535052
"""Class of the advisory locks for mailboxes whose files are renamed: "ESPR"."""


class Account(msgspec.Struct, frozen=True):
    """An account and its folder."""

    id: AccountId
    address: str
    maildir: str


class Row(msgspec.Struct, frozen=True):
    """A message as the database has it."""

    uid: Uid
    content: ContentId
    modseq: ModSeq
    flags: int
    size: int
    file: str
    file_flags: str | None
    described: bool
    """Whether its row of `content` exists."""
    renaming: bool
    """Whether a worker still has to rename its file."""


class Snapshot(msgspec.Struct, frozen=True):
    """A mailbox at one moment."""

    mailbox: Mailbox
    subscribed: bool
    rows: tuple[Row, ...]
    expunged: ModSeq
    """The highest mod-sequence of a remembered expunge."""
    unclaimed: frozenset[str]
    """Those of the base names asked about that no message has and no worker still has to remove."""
    describing: bool
    """Whether a worker may still have to write its card."""


async def accounts(connection: Connection, maildir: str | None = None) -> list[Account]:
    """Return the account with that folder, or all, by address."""
    rows = await connection.fetch(
        """
        SELECT a.id, a.local_part || '@' || d.name AS address, a.maildir
        FROM account AS a JOIN domain AS d ON d.id = a.domain_id
        WHERE $1::text IS NULL OR a.maildir = $1 ORDER BY d.name, a.local_part
        """,
        maildir,
    )
    return [Account(*row) for row in rows]


async def snapshot(
    connection: Connection, account: Account, mailbox: MailboxId, files: AbstractSet[str]
) -> Snapshot | None:
    """Return everything about a mailbox and base names of its files as of one moment; `None` if it was deleted."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        found = await connection.fetchrow(
            f"""
            SELECT {COLUMNS},
                EXISTS (SELECT FROM subscription AS s WHERE s.account_id = m.account_id AND s.name = m.name)
                    AS subscribed,
                (SELECT coalesce(max(e.modseq), 0) FROM expunged AS e
                 WHERE e.account_id = m.account_id AND e.mailbox_id = m.id) AS expunged
            FROM mailbox AS m WHERE id = $1
            """,  # noqa: S608
            mailbox,
        )
        if found is None:
            return None
        rows = await connection.fetch(
            """
            SELECT m.uid, m.content_id, m.modseq, m.flags, m.size, m.file, m.file_flags,
                EXISTS (SELECT FROM content AS c WHERE c.account_id = m.account_id AND c.id = m.content_id)
            FROM message AS m WHERE m.account_id = $1 AND m.mailbox_id = $2 ORDER BY m.uid
            """,
            account.id,
            mailbox,
        )
        renaming = await _renaming(connection, mailbox)
        describing = await connection.fetchval(
            """
            SELECT EXISTS (SELECT FROM outbox WHERE topic = 'describe' AND payload->'mailboxes' @> to_jsonb($1::bigint))
            """,
            mailbox,
        )
        unclaimed = await _not_unlinked(connection, account.maildir, files - {row["file"] for row in rows})
    return Snapshot(
        mailbox=mailbox_of(found),
        subscribed=found["subscribed"],
        rows=tuple(Row(*(*row, row["uid"] in renaming)) for row in rows),
        expunged=ModSeq(found["expunged"]),
        unclaimed=unclaimed,
        describing=describing,
    )


async def unclaimed(
    connection: Connection, home: str, mailbox: Mailbox, files: Collection[str]
) -> frozenset[str]:
    """Return those of these base names that no message of the mailbox has and no worker still has to remove.

    List the files first: then what is expunged between listing and query is known to the query.
    """
    known = await known_files(connection, mailbox, list(files))
    return await _not_unlinked(connection, home, frozenset(files) - known.keys())


async def unlinking_below(connection: Connection, home: str) -> frozenset[str]:
    """Return the base names of the files below an account's folder that a worker still has to remove."""
    rows = await connection.fetch(
        """
        SELECT payload FROM outbox AS o
        WHERE o.topic = 'unlink' AND (
            starts_with(o.payload->>'folder' || '/', $1 || '/')
            OR EXISTS (SELECT FROM jsonb_array_elements_text(o.payload->'paths') AS p (path)
                       WHERE starts_with(p.path, $1 || '/')))
        """,
        home,
    )
    paths = [path for row in rows for path in decode(Unlink, row["payload"]).files()]
    return frozenset(base_of(path) for path in paths if path.startswith(f"{home}/"))


async def _not_unlinked(connection: Connection, home: str, files: AbstractSet[str]) -> frozenset[str]:
    if not files:
        return frozenset()  # nearly always so, and the whole outbox need not be read
    return frozenset(files - await unlinking_below(connection, home))


async def _renaming(connection: Connection, mailbox: MailboxId) -> frozenset[Uid]:
    """Return the messages whose files a worker still has to rename."""
    rows = await connection.fetch(
        "SELECT payload FROM outbox WHERE topic = 'rename' AND (payload->>'mailbox')::bigint = $1", mailbox
    )
    return frozenset(uid for row in rows for uid in decode(Rename, row["payload"]).messages())


async def known_files(
    connection: Connection, mailbox: Mailbox, files: Sequence[str]
) -> dict[str, str | None]:
    """Return those of these base names that messages of the mailbox have, with the letters of their files."""
    rows = await connection.fetch(
        # Not `= ANY($3)`: that is planned once for all lists, and compares each name of the mailbox with each of the
        # list. Nor a join, which is a nested loop until the table is analysed. This is a hash table.
        """
        SELECT file, file_flags FROM message
        WHERE account_id = $1 AND mailbox_id = $2 AND (file IN (SELECT unnest($3::text[]))) IS TRUE
        """,
        mailbox.account,
        mailbox.id,
        list(files),
    )
    return {row[0]: row[1] for row in rows}


async def set_file_flags(
    connection: Connection, account: AccountId, mailbox: MailboxId, uid: Uid, file_flags: str | None
) -> None:
    """Record the letters that a message's file has."""
    await connection.execute(
        "UPDATE message SET file_flags = $4 WHERE account_id = $1 AND mailbox_id = $2 AND uid = $3",
        account,
        mailbox,
        uid,
        file_flags,
    )


async def lock_names(tx: Connection, mailbox: MailboxId) -> None:
    """Keep others from renaming the files of a mailbox until `tx` ends.

    Otherwise a worker with older flags could be the last to rename. A process that changes flags does not wait: it
    leaves a row in the outbox, and the worker that takes that row comes later.
    """
    await tx.execute(
        "SELECT pg_advisory_xact_lock($1::int, ($2::bigint % 2147483647)::int)", _LOCK_CLASS, mailbox
    )


async def names_to_mend(
    connection: Connection, account: AccountId, mailbox: MailboxId, uids: Sequence[Uid]
) -> tuple[str | None, list[Row]]:
    """Return the mailbox's folder below the root (`None` if it was deleted), and those messages that still exist."""
    where = await connection.fetchrow(
        """
        SELECT a.maildir, m.directory FROM mailbox AS m JOIN account AS a ON a.id = m.account_id WHERE m.id = $1
        """,
        mailbox,
    )
    if where is None:
        return None, []
    rows = await connection.fetch(
        """
        SELECT uid, content_id, modseq, flags, size, file, file_flags, true, true FROM message
        WHERE account_id = $1 AND mailbox_id = $2 AND uid = ANY($3::bigint[])
        """,
        account,
        mailbox,
        list(uids),
    )
    folder = where[0] if where[1] == "." else f"{where[0]}/{where[1]}"
    return folder, [Row(*row) for row in rows]


async def note_names(
    connection: Connection, account: AccountId, mailbox: MailboxId, letters: Sequence[tuple[Uid, str | None]]
) -> None:
    """Record which letters files have now."""
    files: defaultdict[str | None, list[Uid]] = defaultdict(list)
    for uid, has in letters:
        files[has].append(uid)
    # One after another, for they are few: a plan for lists of pairs compares each file with each message.
    for has, uids in files.items():
        await connection.execute(
            """
            UPDATE message SET file_flags = $4
            WHERE account_id = $1 AND mailbox_id = $2 AND uid = ANY($3::bigint[])
            """,
            account,
            mailbox,
            uids,
            has,
        )


async def copies(
    connection: Connection, account: AccountId, content: ContentId
) -> list[tuple[str, str, str | None]]:
    """Return directory, base name and letters of every message of the account with these octets."""
    rows = await connection.fetch(
        """
        SELECT b.directory, m.file, m.file_flags FROM message AS m JOIN mailbox AS b ON b.id = m.mailbox_id
        WHERE m.account_id = $1 AND m.content_id = $2
        """,
        account,
        content,
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def set_file(
    connection: Connection,
    account: AccountId,
    mailbox: MailboxId,
    uid: Uid,
    *,
    file: str,
    file_flags: str | None,
) -> None:
    """Give a message another file with the same octets; its mod-sequence rises, so that open indexes look there."""
    # `changed` describes flags only: indexes have to read everything.
    await connection.execute(
        """
        WITH counted AS (
            UPDATE mailbox SET highest_modseq = highest_modseq + 1,
                changed_horizon = CASE WHEN changed_horizon IS NOT NULL THEN highest_modseq + 1 END
            WHERE id = $2 RETURNING highest_modseq
        )
        UPDATE message SET file = $4, file_flags = $5, modseq = counted.highest_modseq FROM counted
        WHERE account_id = $1 AND mailbox_id = $2 AND uid = $3
        """,
        account,
        mailbox,
        uid,
        file,
        file_flags,
    )


async def forget(tx: Connection, account: AccountId, mailbox: MailboxId, uids: Sequence[Uid]) -> ModSeq:
    """Expunge messages whose octets are lost, and return the mod-sequence of that."""
    modseq = await tx.fetchval(
        "SELECT highest_modseq + 1 FROM mailbox WHERE id = $1 FOR NO KEY UPDATE", mailbox
    )
    await tx.execute(
        """
        WITH gone AS (
            DELETE FROM message WHERE account_id = $1 AND mailbox_id = $2 AND uid = ANY($3::bigint[])
            RETURNING uid, content_id
        ), contents AS (
            DELETE FROM content AS c USING gone AS g
            WHERE c.account_id = $1 AND c.id = g.content_id AND NOT EXISTS (
                SELECT FROM message AS m WHERE m.account_id = $1 AND m.content_id = c.id
                AND (m.mailbox_id <> $2 OR m.uid <> ALL($3::bigint[])))
            RETURNING c.id
        ), texts AS (
            DELETE FROM content_index WHERE account_id = $1 AND content_id IN (SELECT id FROM contents)
        )
        INSERT INTO expunged (account_id, mailbox_id, modseq, uids)
        SELECT $1, $2, $4, string_agg(uid::text, ',' ORDER BY uid) FROM gone HAVING count(*) > 0
        """,
        account,
        mailbox,
        list(uids),
        modseq,
    )
    await tx.execute("UPDATE mailbox SET highest_modseq = $2 WHERE id = $1", mailbox, modseq)
    await recount(tx, account, mailbox)
    return ModSeq(modseq)


async def recount(tx: Connection, account: AccountId, mailbox: MailboxId) -> None:
    """Set a mailbox's counters to the sums over its rows; UIDNEXT and mod-sequence only ever rise."""
    await tx.execute("SELECT 1 FROM mailbox WHERE id = $1 FOR NO KEY UPDATE", mailbox)
    await tx.execute(
        """
        UPDATE mailbox AS b SET
            messages = t.messages, unseen = t.unseen, octets = t.octets,
            uidnext = greatest(b.uidnext, t.uid + 1),
            highest_modseq = greatest(b.highest_modseq, t.modseq, (
                SELECT max(modseq) FROM expunged WHERE account_id = $1 AND mailbox_id = $2))
        FROM (
            SELECT count(*) AS messages, count(*) FILTER (WHERE flags & $3 = 0) AS unseen,
                coalesce(sum(size), 0)::bigint AS octets,
                coalesce(max(uid), 0) AS uid, coalesce(max(modseq), 0) AS modseq
            FROM message WHERE account_id = $1 AND mailbox_id = $2
        ) AS t WHERE b.id = $2
        """,
        account,
        mailbox,
        int(SystemFlag.SEEN),
    )


async def describe_again(
    connection: Connection, account: AccountId, content: ContentId, size: int, described: "Description"
) -> None:
    """Write a missing row of `content`."""
    await connection.execute(
        """
        INSERT INTO content (account_id, id, size, sent_at, message_id, envelope, bodystructure, body)
        VALUES ($1, $2, $3, to_timestamp($4::float8), $5, $6, $7, $8) ON CONFLICT DO NOTHING
        """,
        account,
        content,
        size,
        described.sent_at,
        (described.message_id or "").replace("\0", "") or None,
        described.envelope,
        described.bodystructure,
        described.body,
    )


async def ensure_account(tx: Connection, domain: str, local_part: str, maildir: str) -> AccountId:
    """Return the account with this folder; if missing, it is created without a password, with its domain if needed."""
    found: AccountId | None = await tx.fetchval("SELECT id FROM account WHERE maildir = $1", maildir)
    if found is not None:
        return found
    await tx.execute("INSERT INTO domain (name) VALUES ($1) ON CONFLICT DO NOTHING", domain)
    made: AccountId = await tx.fetchval(
        """
        INSERT INTO account (domain_id, local_part, maildir)
        SELECT id, $2, $3 FROM domain WHERE name = $1
        RETURNING id
        """,
        domain,
        local_part,
        maildir,
    )
    return made


async def ensure_mailbox(
    tx: Connection,
    account: AccountId,
    name: str,
    directory: str,
    *,
    special_use: SpecialUse | None,
    subscribed: bool,
    above: int,
    keywords: Sequence[str] = (),
) -> tuple[Mailbox, bool]:
    """Return the mailbox with this folder, and whether it was created now, with a UIDVALIDITY greater than `above`."""
    row = await tx.fetchrow(
        f"SELECT {COLUMNS} FROM mailbox WHERE account_id = $1 AND directory = $2",  # noqa: S608
        account,
        directory,
    )
    if row is not None:
        return mailbox_of(row), False
    taken = {r[0] for r in await tx.fetch("SELECT name FROM mailbox WHERE account_id = $1", account)}
    free, number = name, 2
    while free in taken:
        free, number = f"{name}~{number}", number + 1
    # The sequence never goes back: several rebuilds may run at once.
    await tx.execute(
        """
        SELECT setval('uidvalidity', greatest($1, (SELECT last_value FROM uidvalidity)))
        """,
        above,
    )
    row = await tx.fetchrow(
        f"""
        INSERT INTO mailbox (account_id, name, directory, special_use, keywords) VALUES ($1, $2, $3, $4, $5)
        RETURNING {COLUMNS}
        """,  # noqa: S608
        account,
        free,
        directory,
        special_use.value if special_use else None,
        list(keywords),
    )
    assert row is not None
    if subscribed:
        await tx.execute(
            "INSERT INTO subscription (account_id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            account,
            free,
        )
    return mailbox_of(row), True
