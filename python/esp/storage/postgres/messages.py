"""Messages of a mailbox: rows in bulk for the Rust index, flags, copies, expunges.

Octets of `COPY … (FORMAT binary)` go to Rust as they come; Python sees single rows only where it decides something.
Functions that change something take a mailbox locked by `mailboxes.lock` in the same transaction, and give it one new
mod-sequence, which is the value they return or hold.
"""

from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from esp.core.mailbox import ContentId, Mailbox, MailboxId, ModSeq, Uid
from esp.core.message import StoreMode, SystemFlag
from esp.core.principal import AccountId
from esp.native import (
    CONTENT_COLUMNS,
    HEAD_COLUMNS,
    INDEXED_COLUMNS,
    ROW_COLUMNS,
    SIGNATURE_COLUMNS,
    TEXT_COLUMNS,
)
from esp.storage.postgres.pool import REMOVAL_TIMEOUT, Connection

Sink = Callable[[bytes], Coroutine[Any, Any, None]]

SYSTEM_BITS = 0xFF
FILES_PER_ROW = 1000
"""Files in one `unlink` row of the outbox."""
WORTH_ASKING = 500
"""Contents; for fewer, it matters little which condition selects them."""
RENAME_DELAY = "5 seconds"
"""A flag that is set and removed again within this time costs one renaming, or none."""

_SET = """CASE WHEN uids[messages] - uids[1] + 1 = messages THEN concat_ws(':', uids[1], uids[messages]) ELSE (
    SELECT string_agg(CASE WHEN first = last THEN first::text ELSE concat(first, ':', last) END, ',' ORDER BY first)
    FROM (SELECT min(uid) AS first, max(uid) AS last
          FROM (SELECT uid, uid - place AS run FROM unnest(uids) WITH ORDINALITY AS u (uid, place)) AS placed
          GROUP BY run) AS runs
    ) END"""
"""A sequence-set of the rising `uids` of `messages`: mostly it is one run without gaps."""

_SEEN = int(SystemFlag.SEEN)
_DELETED = int(SystemFlag.DELETED)


class Changed(msgspec.Struct, frozen=True):
    """What a STORE did."""

    modseq: ModSeq
    """The mailbox's highest mod-sequence after it; it rises only if something was changed."""
    messages: int


class Row(msgspec.Struct, frozen=True):
    """Where a message's file is, and what is needed to copy it."""

    uid: Uid
    content: ContentId
    flags: int
    size: int
    file: str
    file_flags: str | None
    """Letters after `:2,` in `cur`; `None` while the file is in `new`."""


class Copied(msgspec.Struct, frozen=True):
    """What a copy made: the n-th of `sources` became the n-th of `uids`."""

    modseq: ModSeq
    sources: list[Uid]
    uids: list[Uid]


class Count(msgspec.Struct, frozen=True):
    """What can only be counted by a walk through a mailbox's messages."""

    recent: int
    deleted: int
    deleted_octets: int


class Expunged(msgspec.Struct, frozen=True):
    """What an expunge removed."""

    modseq: ModSeq
    uids: list[Uid]
    """In rising order."""


class Removal(msgspec.Struct, frozen=True):
    """What is to become of the files of removed messages."""

    folder: str
    """The mailbox's Maildir, below the root of all."""
    after: float
    """Seconds until a worker removes the files: by then nobody is reading them."""


async def copy_rows(
    connection: Connection,
    account: AccountId,
    mailbox: MailboxId,
    sink: Sink,
    *,
    uids: range,
    after: int = 0,
) -> None:
    """Send rows to `sink`, as the octets of a binary COPY in the order of UIDs.

    Args:
        connection: a connection.
        account: of the mailbox.
        mailbox: which.
        sink: takes the octets.
        uids: the range of UIDs.
        after: only rows changed after this mod-sequence; takes a walk through all of `uids`.
    """
    # Only our own constant and integers are interpolated, for COPY takes no parameters.
    changed = f" AND modseq > {after:d}" if after else ""
    await connection.copy_from_query(
        f"SELECT {ROW_COLUMNS} FROM message"  # noqa: S608
        f" WHERE account_id = {account:d} AND mailbox_id = {mailbox:d}"
        f" AND uid >= {uids.start:d} AND uid < {uids.stop:d}{changed} ORDER BY uid",
        output=sink,
        format="binary",
    )


async def copy_contents(connection: Connection, account: AccountId, contents: Sequence[int]) -> bytes:
    """Return ENVELOPE, BODYSTRUCTURE and BODY of contents, and maybe of a few others, as binary COPY."""
    return await _copied(connection, f"{CONTENT_COLUMNS} FROM content", "id", account, contents)


async def copy_heads(connection: Connection, account: AccountId, contents: Sequence[int]) -> bytes:
    """Return the heads of those contents that are indexed, and maybe of a few others, as binary COPY."""
    return await _copied(
        connection, f"{HEAD_COLUMNS} FROM content_index", "head IS NOT NULL AND content_id", account, contents
    )


async def copy_signatures(connection: Connection, account: AccountId, contents: Sequence[int]) -> bytes:
    """Return the signatures of those contents that are indexed, and maybe of a few others, as binary COPY."""
    return await _copied(
        connection, f"{SIGNATURE_COLUMNS} FROM content_index", "content_id", account, contents
    )


async def copy_texts(connection: Connection, account: AccountId, contents: Sequence[int]) -> bytes:
    """Return the searchable text of those contents that are indexed, and maybe of a few others, as binary COPY."""
    return await _copied(connection, f"{TEXT_COLUMNS} FROM content_index", "content_id", account, contents)


async def copy_indexed(connection: Connection, account: AccountId, contents: Sequence[int]) -> bytes:
    """Return thread and preview of those contents that are indexed, and maybe of a few others, as binary COPY."""
    return await _copied(connection, f"{INDEXED_COLUMNS} FROM content_index", "content_id", account, contents)


async def unindexed(connection: Connection, account: AccountId, contents: Sequence[int]) -> list[ContentId]:
    """Return those of the contents that no worker has indexed yet."""
    rows = await connection.fetch(
        """
        SELECT c.id FROM unnest($2::bigint[]) AS c (id)
        WHERE NOT EXISTS (SELECT FROM content_index AS i WHERE i.account_id = $1 AND i.content_id = c.id)
        """,
        account,
        contents,
    )
    return [row["id"] for row in rows]


async def unindexed_in(connection: Connection, account: AccountId, mailbox: MailboxId) -> list[ContentId]:
    """Return the contents of a mailbox that no worker has indexed yet."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT m.content_id FROM message AS m
        WHERE m.account_id = $1 AND m.mailbox_id = $2
            AND NOT EXISTS (SELECT FROM content_index AS i
                            WHERE i.account_id = $1 AND i.content_id = m.content_id)
        """,
        account,
        mailbox,
    )
    return [row["content_id"] for row in rows]


async def thread_contents(
    connection: Connection, account: AccountId, threads: Sequence[int]
) -> dict[int, list[int]]:
    """Return the contents of each of the threads that exist."""
    rows = await connection.fetch(
        """
        SELECT thread_id, array_agg(content_id) AS contents FROM content_index
        WHERE account_id = $1 AND thread_id = ANY($2::bigint[]) GROUP BY thread_id
        """,
        account,
        threads,
    )
    return {row["thread_id"]: row["contents"] for row in rows}


async def count_recent_and_deleted(
    connection: Connection, mailboxes: Sequence[MailboxId]
) -> dict[MailboxId, Count]:
    """Count the messages that no read-write session has seen, and those that have `\\Deleted` (for STATUS)."""
    rows = await connection.fetch(
        """
        SELECT b.id, c.* FROM mailbox AS b CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE m.uid >= b.first_recent) AS recent,
                count(*) FILTER (WHERE m.flags & $2 <> 0) AS deleted,
                coalesce(sum(m.size) FILTER (WHERE m.flags & $2 <> 0), 0)::bigint AS deleted_octets
            FROM message AS m WHERE m.account_id = b.account_id AND m.mailbox_id = b.id
        ) AS c WHERE b.id = ANY($1)
        """,
        mailboxes,
        _DELETED,
    )
    return {MailboxId(row[0]): Count(*row[1:]) for row in rows}


async def uids(connection: Connection, mailbox: Mailbox, within: range, *, most: int) -> list[Uid]:
    """Return the first UIDs of existing messages, in rising order."""
    found = await connection.fetch(
        """
        SELECT uid FROM message WHERE account_id = $1 AND mailbox_id = $2 AND uid >= $3 AND uid < $4
        ORDER BY uid LIMIT $5
        """,
        mailbox.account,
        mailbox.id,
        within.start,
        within.stop,
        most,
    )
    return [row["uid"] for row in found]


async def rows(connection: Connection, mailbox: Mailbox, uids: Sequence[int]) -> list[Row]:
    """Return those of the messages that still exist, in rising order of UID."""
    if not uids:
        return []
    among, wanted = _among(uids)
    found = await connection.fetch(
        f"""
        SELECT uid, content_id, flags, size, file, file_flags FROM message
        WHERE account_id = $1 AND mailbox_id = $2 AND {among} ORDER BY uid
        """,  # noqa: S608 - our constants
        mailbox.account,
        mailbox.id,
        wanted,
    )
    return [_row(row) for row in found]


async def changed_since(
    connection: Connection, mailbox: Mailbox, uids: Sequence[int], modseq: int
) -> frozenset[int]:
    """Return those of `uids` that were changed after a mod-sequence (RFC 7162 §3.1.3)."""
    if not uids:
        return frozenset()
    among, wanted = _among(uids)
    found = await connection.fetch(
        f"""
        SELECT uid FROM message WHERE account_id = $1 AND mailbox_id = $2 AND {among} AND modseq > $4
        """,  # noqa: S608 - our constants
        mailbox.account,
        mailbox.id,
        wanted,
        modseq,
    )
    return frozenset(row["uid"] for row in found)


async def set_flags(
    tx: Connection, mailbox: Mailbox, uids: Sequence[int], mode: StoreMode, bits: int, *, settable: int = -1
) -> Changed:
    """Change flags of a locked mailbox's messages, update its counters, and record it for indexes and file names.

    Bits outside `settable` stay as they are.
    """
    if not uids:
        return Changed(modseq=mailbox.highest_modseq, messages=0)
    modseq = ModSeq(mailbox.highest_modseq + 1)
    kept, added = _masks(mode, bits & settable, settable)
    flags = "(m.flags & $4::bigint | $6::bigint)"
    among, wanted = _among(uids)
    changing = f"m.account_id = $1 AND m.mailbox_id = $2 AND m.{among} AND m.flags <> {flags}"
    unseen = "SELECT 0 AS more"
    if (~kept | added) & _SEEN:
        # A separate query within the statement, which sees the messages as they were before: joining the table with
        # itself goes wrong by orders of magnitude while the statistics do not know the mailbox.
        unseen = f"""
            SELECT coalesce(sum(({flags} & {_SEEN} = 0)::int - (m.flags & {_SEEN} = 0)::int), 0) AS more
            FROM message AS m WHERE {changing}"""  # noqa: S608 - our constants
    messages = await tx.fetchval(
        f"""
        WITH unseen AS ({unseen}), changed AS (
            UPDATE message AS m SET flags = {flags}, modseq = $5 WHERE {changing} RETURNING m.uid
        ), sums AS (
            SELECT count(*) AS messages, array_agg(uid ORDER BY uid) AS uids FROM changed
        ), counted AS (
            UPDATE mailbox AS b SET highest_modseq = $5, unseen = b.unseen + unseen.more
            FROM sums, unseen WHERE b.id = $2 AND sums.messages > 0
        ), logged AS (
            INSERT INTO changed (account_id, mailbox_id, modseq, uids, kept, added)
            SELECT $1, $2, $5, {_SET}, $4, $6 FROM sums WHERE messages > 0
        ), told AS (
            INSERT INTO outbox (topic, payload, not_before)
            SELECT 'rename', jsonb_build_object('account', $1::bigint, 'mailbox', $2::bigint, 'uid_set', {_SET}),
                now() + interval '{RENAME_DELAY}'
            FROM sums WHERE messages > 0
        )
        SELECT messages FROM sums
        """,  # noqa: S608 - our constants
        mailbox.account,
        mailbox.id,
        wanted,
        kept,
        modseq,
        added,
    )
    return Changed(modseq=modseq if messages else mailbox.highest_modseq, messages=messages)


async def add_copies(
    tx: Connection,
    source: Mailbox,
    target: Mailbox,
    copies: Sequence[tuple[Uid, str, str]],
    keyword_bits: Sequence[tuple[int, int]],
    *,
    settable: int = -1,
    adopted: Sequence[ContentId | None] = (),
) -> Copied:
    """Add rows to `target` (locked, like `source`) for files linked into its folder.

    Args:
        tx: a transaction.
        source: where the messages are.
        target: where they are to be, too.
        copies: UID in `source`, base name and flag letters of the new file in `cur`.
        keyword_bits: for each keyword of `source`, its bit there and its bit in `target`.
        settable: system flags that the copies may have.
        adopted: contents for each of `copies`, if `target` is another account's mailbox
            (`adopt_contents`).

    Returns:
        The copies made; messages expunged from `source` meanwhile are left out.
    """
    modseq = ModSeq(target.highest_modseq + 1)
    made = await tx.fetch(
        f"""
        WITH picked AS (
            SELECT s.uid AS source_uid, $4::bigint - 1 + row_number() OVER (ORDER BY s.uid) AS uid,
                coalesce(n.adopted, s.content_id) AS content_id, s.size, s.internal_date, n.file, n.file_flags,
                (s.flags & $11::bigint) | coalesce(
                    (SELECT bit_or(k.target) FROM unnest($9::bigint[], $10::bigint[]) AS k(source, target)
                     WHERE s.flags & k.source <> 0), 0) AS flags
            FROM unnest($6::bigint[], $7::text[], $8::text[], $13::bigint[]) AS n(uid, file, file_flags, adopted)
            -- A plan for every list is one for ten messages: a join compares each with each. By their order, for
            -- one made while the table is empty takes any index that knows the account.
            CROSS JOIN LATERAL (
                SELECT * FROM message WHERE account_id = $12 AND mailbox_id = $2 AND uid BETWEEN n.uid AND n.uid
                ORDER BY uid LIMIT 1
            ) AS s
        ), added AS (
            INSERT INTO message (account_id, mailbox_id, uid, content_id, modseq, flags, size, internal_date,
                file, file_flags)
            SELECT $1, $3, uid, content_id, $5, flags, size, internal_date, file, file_flags FROM picked
        ), counted AS (
            UPDATE mailbox AS b SET highest_modseq = $5, uidnext = b.uidnext + s.messages,
                messages = b.messages + s.messages, unseen = b.unseen + s.unseen, octets = b.octets + s.octets
            FROM (SELECT count(*) AS messages, sum(size) AS octets,
                      count(*) FILTER (WHERE flags & {_SEEN} = 0) AS unseen FROM picked) AS s
            WHERE b.id = $3 AND s.messages > 0
        )
        SELECT source_uid, uid FROM picked ORDER BY uid
        """,  # noqa: S608 - our constants
        target.account,
        source.id,
        target.id,
        target.uidnext,
        modseq,
        [uid for uid, _, _ in copies],
        [file for _, file, _ in copies],
        [letters for _, _, letters in copies],
        [bit for bit, _ in keyword_bits],
        [bit for _, bit in keyword_bits],
        SYSTEM_BITS & settable,
        source.account,
        list(adopted),
    )
    return Copied(
        modseq=modseq if made else target.highest_modseq,
        sources=[row["source_uid"] for row in made],
        uids=[row["uid"] for row in made],
    )


async def adopt_contents(
    tx: Connection, source: AccountId, target: AccountId, contents: Sequence[ContentId]
) -> dict[ContentId, ContentId]:
    """Copy content rows to another account, to be indexed there, and return the new ids by the old ones."""
    rows = await tx.fetch(
        """
        WITH adopted AS MATERIALIZED (
            SELECT c.*, nextval('content_id') AS adopted FROM content AS c
            WHERE c.account_id = $1 AND c.id = ANY($3::bigint[])
        ), added AS (
            INSERT INTO content (account_id, id, size, sent_at, message_id, envelope, bodystructure, body)
            SELECT $2, adopted, size, sent_at, message_id, envelope, bodystructure, body FROM adopted
        ), told AS (
            INSERT INTO outbox (topic, payload)
            SELECT 'index', jsonb_build_object(
                'accounts', array_agg($2::bigint), 'contents', array_agg(adopted)) FROM adopted HAVING count(*) > 0
        )
        SELECT id, adopted FROM adopted
        """,
        source,
        target,
        sorted(set(contents)),
    )
    return {row["id"]: row["adopted"] for row in rows}


def _left_to_a_worker(folder: str, after: str, *, contents: str = "true") -> str:
    """Return the part of a statement that leaves the files of `gone` to a worker, in one row for each thousand.

    The account is `$1`; the arguments are SQL expressions. `contents`: whether the contents may be out of use now.
    """
    return f"""files AS (
            SELECT (row_number() OVER () - 1) / {FILES_PER_ROW} AS part, content_id,
                file || CASE WHEN file_flags IS NULL THEN '' ELSE ':2,' || file_flags END AS name
            FROM gone
        ), told AS (
            INSERT INTO outbox (topic, payload, not_before)
            SELECT 'unlink', jsonb_build_object(
                    'folder', {folder}::text, 'names', string_agg(name, '/'), 'account', $1::bigint,
                    'contents', CASE WHEN {contents} THEN string_agg(content_id::text, ',') ELSE '' END),
                now() + {after}
            FROM files GROUP BY part
        )"""  # noqa: S608 - our constants


async def expunge(
    tx: Connection,
    mailbox: Mailbox,
    uids: Sequence[int],
    removal: Removal,
    *,
    deleted_only: bool,
    keep_contents: bool = False,
) -> Expunged:
    """Remove rows of a locked mailbox for good, update its counters, and remember the UIDs for other sessions.

    Content rows are left to a worker: finding out whether another message uses them takes as long as everything else
    together.

    Args:
        tx: a transaction.
        mailbox: a locked mailbox.
        uids: of the messages.
        removal: what is to become of the files.
        deleted_only: pass over messages that lack `\\Deleted` (now, whatever a session believes).
        keep_contents: for a MOVE: the contents stay in use.
    """
    nothing = Expunged(modseq=mailbox.highest_modseq, uids=[])
    if not uids:
        return nothing
    modseq = ModSeq(mailbox.highest_modseq + 1)
    among, wanted = _among(uids)
    gone: list[Uid] | None = await tx.fetchval(
        f"""
        WITH gone AS (
            DELETE FROM message AS m WHERE account_id = $1 AND mailbox_id = $2 AND m.{among} AND flags & $4 = $4
            RETURNING uid, content_id, flags, size, file, file_flags
        ), sums AS (
            SELECT count(*) AS messages, count(*) FILTER (WHERE flags & {_SEEN} = 0) AS unseen, sum(size) AS octets,
                array_agg(uid ORDER BY uid) AS uids
            FROM gone
        ), counted AS (
            UPDATE mailbox AS b SET highest_modseq = $5, messages = b.messages - sums.messages,
                unseen = b.unseen - sums.unseen, octets = b.octets - sums.octets
            FROM sums WHERE b.id = $2 AND sums.messages > 0
        ), {_left_to_a_worker("$6", "$7", contents="NOT $8")}, remembered AS (
            INSERT INTO expunged (account_id, mailbox_id, modseq, uids)
            SELECT $1, $2, $5, {_SET} FROM sums WHERE messages > 0
        )
        SELECT uids FROM sums
        """,  # noqa: S608 - our constants
        mailbox.account,
        mailbox.id,
        wanted,
        _DELETED if deleted_only else 0,
        modseq,
        removal.folder,
        timedelta(seconds=removal.after),
        keep_contents,
    )
    return Expunged(modseq=modseq, uids=gone) if gone else nothing


async def remove_all(tx: Connection, mailbox: Mailbox, removal: Removal) -> None:
    """Remove all rows of a locked mailbox that is to be deleted; a worker removes files and contents (`expunge`)."""
    # Without a time limit: a DELETE that takes too long today would always fail.
    await tx.execute("SET LOCAL statement_timeout = 0")
    await tx.execute(
        f"""
        WITH gone AS (
            DELETE FROM message WHERE account_id = $1 AND mailbox_id = $2
            RETURNING content_id, file, file_flags
        ), {_left_to_a_worker("$3", "$4")}
        SELECT
        """,  # noqa: S608 - our constants
        mailbox.account,
        mailbox.id,
        removal.folder,
        timedelta(seconds=removal.after),
        timeout=REMOVAL_TIMEOUT,
    )
    for table in ("expunged", "changed", "mailbox_index"):
        statement = f"DELETE FROM {table} WHERE account_id = $1 AND mailbox_id = $2"  # noqa: S608 - the names are above
        await tx.execute(statement, mailbox.account, mailbox.id, timeout=REMOVAL_TIMEOUT)


async def forget_contents(connection: Connection, account: AccountId, contents: Sequence[ContentId]) -> None:
    """Remove contents that no message of the account refers to any more.

    No transaction can be about to refer to them: a copy is made of an existing message, whose mailbox is locked until
    the copy exists as well.
    """
    await connection.execute(
        """
        WITH unused AS (
            SELECT c.id FROM unnest($2::bigint[]) AS c(id)
            WHERE NOT EXISTS (SELECT FROM message AS m WHERE m.account_id = $1 AND m.content_id = c.id)
        ), unindexed AS (
            DELETE FROM content_index AS i USING unused WHERE i.account_id = $1 AND i.content_id = unused.id
        )
        DELETE FROM content AS c USING unused WHERE c.account_id = $1 AND c.id = unused.id
        """,
        account,
        contents,
    )


def _masks(mode: StoreMode, bits: int, settable: int) -> tuple[int, int]:
    """Return a change of flags as two masks: flags become `flags & kept | added`."""
    match mode:
        case "add":
            return -1, bits
        case "remove":
            return ~bits, 0
        case "replace":
            return ~settable, bits


def _among(uids: Sequence[int]) -> tuple[str, Sequence[int]]:
    """Return a condition on `uid` with `$3`, and the value of `$3`: mostly the UIDs are a run without gaps."""
    first, last = min(uids), max(uids)
    if last - first + 1 == len(set(uids)):
        return "uid BETWEEN ($3::bigint[])[1] AND ($3::bigint[])[2]", [first, last]
    return "uid = ANY($3::bigint[])", uids


async def _copied(
    connection: Connection, selected: str, key: str, account: AccountId, contents: Sequence[int]
) -> bytes:
    octets = bytearray()

    async def take(chunk: bytes) -> None:
        octets.extend(chunk)

    await connection.copy_from_query(
        f"SELECT {selected} WHERE account_id = {account:d} AND {await _named(connection, key, account, contents)}",
        output=take,
        format="binary",
    )
    return bytes(octets)


async def _named(connection: Connection, key: str, account: AccountId, contents: Sequence[int]) -> str:
    """Return a condition on the content id: the wanted ones, or the whole range with a few more if that is quicker.

    A list of 10,000 takes twice as long as the range they are in, if there is little else in that range.
    """
    first, last = min(contents), max(contents)
    between = f"{key} BETWEEN {first:d} AND {last:d}"
    if last - first < len(contents) * 5 // 4:
        return between
    if len(contents) >= WORTH_ASKING:
        # Ids are shared by all accounts; those in between may mostly belong to others.
        messages = await connection.fetchval(
            "SELECT coalesce(sum(messages), 0)::bigint FROM mailbox WHERE account_id = $1", account
        )
        if messages <= len(contents) * 5 // 4:
            return between
    wanted = ",".join(f"{content:d}" for content in contents)
    return f"{key} = ANY('{{{wanted}}}'::bigint[])"


def _row(row: Any) -> Row:
    return Row(
        uid=row["uid"],
        content=row["content_id"],
        flags=row["flags"],
        size=row["size"],
        file=row["file"],
        file_flags=row["file_flags"],
    )
