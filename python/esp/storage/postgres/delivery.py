"""The rows of a delivery batch: all of them in one statement, or none.

In: messages whose files are durable or will be by the commit, each with the mailboxes it goes to. Out: UIDs, or which
accounts or mailboxes stand in the way and why.
The work is done by the function `deliver` of migration 0010. It locks mailboxes by rising id, and one `UPDATE` gives
each its UIDs and one mod-sequence for the whole batch, so readers that ask for `modseq > known` see all of it or
nothing. One call costs half as much as the same statements one by one (docs/adr/0004-durable-delivery.md).

`find` finds out what a broken connection left unknown.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec

from esp.core.errors import UnavailableError
from esp.core.mailbox import MailboxId, ModSeq, Uid
from esp.core.message import FIRST_KEYWORD_BIT, SystemFlag
from esp.core.principal import AccountId
from esp.native import Delivering, Description
from esp.storage.postgres import holding, imports, outbox
from esp.storage.postgres.imports import Imported
from esp.storage.postgres.lending import CLIENT_ERRORS
from esp.storage.postgres.pool import Connection

TERMINATION_TIMEOUT = 5000
"""Milliseconds that PostgreSQL's process for a lost connection may take to end."""


class Placed(msgspec.Struct, frozen=True):
    """Where a message can be read from now on (RFC 4315 §3)."""

    mailbox: MailboxId
    uidvalidity: int
    uid: Uid
    modseq: ModSeq


class Place(msgspec.Struct, frozen=True):
    """One mailbox that a message goes to."""

    account: AccountId
    mailbox: MailboxId
    flags: int
    file_flags: str | None
    """Letters after `:2,` of its file; `None` while the file is in `new`."""
    found_as: str | None = None
    """Its name when it was looked up for an earlier message, with all rights of its owner. The delivery is refused if
    it has another name by now, or an access control list."""


class Delivery(msgspec.Struct, frozen=True):
    """One message with a file in all its places, durable by the commit."""

    file: str
    """The Maildir base name."""
    size: int
    description: Description
    internal_date: datetime
    places: tuple[Place, ...]
    """No mailbox twice."""
    paths: Sequence[str]
    """Paths of its file in each place, below `storage.path`."""
    imported: Imported | None = None
    """Recorded with its rows."""


class Room(msgspec.Struct, frozen=True):
    """What an account may still take; `None`: no limit."""

    octets: int | None
    messages: int | None


class Refused(msgspec.Struct, frozen=True):
    """Why nothing was done; the batch may be tried again without the messages concerned."""

    rooms: Mapping[AccountId, Room] = {}
    """Accounts that have no room for all their messages of the batch."""
    gone: frozenset[MailboxId] = frozenset()
    """Mailboxes that were deleted."""
    outdated: frozenset[MailboxId] = frozenset()
    """Mailboxes that have changed since they were `found_as`."""


Outcome = tuple[tuple[Placed, ...], ...]
"""For each message, one `Placed` for each place, both in the order given."""

_FIRST_MOMENT = datetime.min.replace(tzinfo=UTC)
_SEEN = int(SystemFlag.SEEN)
_DELIVER = f"SELECT * FROM deliver({', '.join(f'${n}' for n in range(1, 21))})"  # noqa: S608 - numbers
_OUTDATED = """
    SELECT w.id FROM unnest($%d::bigint[], $%d::text[]) AS w (id, name)
    CROSS JOIN LATERAL (SELECT name, acl_version FROM mailbox WHERE id = w.id LIMIT 1) AS m
    WHERE m.name <> w.name OR m.acl_version > 0
    """
# `deliver` is not called if the condition is false. A change committed meanwhile counts as one that came afterwards.
_DELIVER_WHERE_FOUND = f"{_DELIVER} WHERE NOT EXISTS ({_OUTDATED % (21, 22)})"


async def place(
    connection: Connection, deliveries: Sequence[Delivery], files: Delivering | None = None
) -> Outcome | Refused:
    """Make every message of the batch visible in its mailboxes, in one transaction.

    Args:
        connection: for the statements.
        deliveries: the batch.
        files: the files of the messages, if they are not durable yet: they have to be before the commit. Not for
            messages that are imported or have keywords, which take more than one statement.

    Raises:
        NotHeldError: nothing was done, since the commit could not wait for the files; `Delivering.failures` tells which
            files exist.
    """
    if files is not None:
        with holding.committed_with(files, connection):
            return await _place(connection, deliveries)
    notes = [(one.places[0].account, one.imported) for one in deliveries if one.imported is not None]
    with_keywords = any(there.flags >> FIRST_KEYWORD_BIT for one in deliveries for there in one.places)
    if not notes and not with_keywords:
        return await _place(connection, deliveries)
    async with connection.transaction():
        outcome = await _place(connection, deliveries)
        if not isinstance(outcome, Refused):
            if notes:
                await imports.note(connection, notes)
            if with_keywords:
                await _leave_to_rename(connection, deliveries, outcome)
    return outcome


async def _leave_to_rename(tx: Connection, deliveries: Sequence[Delivery], outcome: Outcome) -> None:
    """Have a worker add the letters of keywords to file names."""
    wanted: dict[tuple[AccountId, MailboxId], list[Uid]] = {}
    for delivery, placed in zip(deliveries, outcome, strict=True):
        for there, at in zip(delivery.places, placed, strict=True):
            if there.flags >> FIRST_KEYWORD_BIT:
                wanted.setdefault((there.account, there.mailbox), []).append(at.uid)
    payloads = [outbox.Rename(account, mailbox, uids) for (account, mailbox), uids in wanted.items()]
    await outbox.add_all(tx, outbox.Topic.RENAME, payloads)


async def _place(connection: Connection, deliveries: Sequence[Delivery]) -> Outcome | Refused:
    arguments, ranked = _arguments(deliveries)
    found = {(there.mailbox, there.found_as) for one in deliveries for there in one.places if there.found_as}
    if found:
        mailboxes, names = map(list, zip(*found, strict=True))
        row = await connection.fetchrow(_DELIVER_WHERE_FOUND, *arguments, mailboxes, names)
        if row is None:
            rows = await connection.fetch(_OUTDATED % (1, 2), mailboxes, names)
            # Empty if a mailbox has changed back: then all, so that the batch gets smaller in any case.
            return Refused(outdated=frozenset(MailboxId(row[0]) for row in rows) or frozenset(mailboxes))
    else:
        row = await connection.fetchrow(_DELIVER, *arguments)
        assert row is not None
    refused, subjects, first, second, third = row
    if refused == "quota":
        rooms = zip(subjects, first, second, strict=True)
        return Refused(rooms={account: Room(octets, messages) for account, octets, messages in rooms})
    if refused == "mailbox":
        return Refused(gone=frozenset(subjects))
    outcome: list[tuple[Placed, ...]] = []
    ranks = iter(ranked)
    for delivery in deliveries:
        places: list[Placed] = []
        for there in delivery.places:
            box, rank = next(ranks)
            places.append(Placed(there.mailbox, first[box], Uid(second[box] + rank), ModSeq(third[box])))
        outcome.append(tuple(places))
    return tuple(outcome)


def _arguments(deliveries: Sequence[Delivery]) -> tuple[list[object], list[tuple[int, int]]]:
    """Turn messages into the columns that `deliver` takes; with them, each row's mailbox and rank in it."""
    ordered = sorted({there.mailbox for delivery in deliveries for there in delivery.places})
    number = {mailbox: box for box, mailbox in enumerate(ordered)}
    # For each mailbox: account, messages, unseen, octets.
    boxes: list[list[int]] = [[0, 0, 0, 0] for _ in ordered]
    contents: list[tuple[object, ...]] = []
    rows: list[tuple[object, ...]] = []
    ranked: list[tuple[int, int]] = []
    for delivery in deliveries:
        described, size, file = delivery.description, delivery.size, delivery.file
        about = (
            size,
            _timestamp(described.sent_at),
            _text(described.message_id),
            described.envelope,
            described.bodystructure,
            described.body,
            _finite(delivery.internal_date),
            # The same path for every account: a worker that indexes the content reads it once.
            delivery.paths[0],
        )
        content_of: dict[AccountId, int] = {}
        for there in delivery.places:
            content = content_of.get(there.account)
            if content is None:
                contents.append((there.account, *about))
                content = content_of[there.account] = len(contents)
            number_of_box = number[there.mailbox]
            box = boxes[number_of_box]
            ranked.append((number_of_box, box[1]))
            # An IntFlag of Python 3.11 is iterable, so asyncpg would take it for an array.
            flags = int(there.flags)
            rows.append((content, number_of_box + 1, box[1], flags, file, there.file_flags))
            box[0] = there.account
            box[1] += 1
            box[2] += not flags & _SEEN
            box[3] += size
    columns = (*zip(*contents, strict=True), ordered, *zip(*boxes, strict=True), *zip(*rows, strict=True))
    return [list(column) for column in columns], ranked


def _timestamp(epoch: float | None) -> datetime | None:
    """Return a Date field's moment, or `None` if Python or PostgreSQL cannot hold it."""
    if epoch is None:
        return None
    try:
        return _finite(datetime.fromtimestamp(epoch, UTC))
    except (ValueError, OverflowError, OSError):
        return None


def _finite(moment: datetime) -> datetime:
    """Return a moment as PostgreSQL is to store it: asyncpg writes the calendar's first moment as `-infinity`.

    That is the zero of Go's `time.Time`, so clients written in Go append messages with it. FETCH shows only seconds.
    """
    return moment + timedelta(microseconds=1) if moment == _FIRST_MOMENT else moment


def _text(value: str | None) -> str | None:
    # PostgreSQL's text can hold every character but this one.
    return value.replace("\0", "") if value is not None else None


async def find(connection: Connection, session: int, deliveries: Sequence[Delivery]) -> Outcome | None:
    """Return the outcome of a batch whose connection was lost before its answer; `None`: nothing was stored.

    `session` is PostgreSQL's process that had the batch. It is ended first: it may not have read the statement yet,
    and would carry it out after we had looked.

    Raises:
        UnavailableError: that process does not end.
    """
    # Another connection of ours may have this process by now: its owner then finds out in the same way.
    ended = await connection.fetchval(
        """
        SELECT bool_and(pg_terminate_backend(pid, $2)) FROM pg_stat_activity
        WHERE pid = $1 AND pid <> pg_backend_pid() AND usename = current_user AND datname = current_database()
        """,
        session,
        TERMINATION_TIMEOUT,
    )
    if ended is False:
        raise UnavailableError("The database does not end a session")
    mailboxes = sorted({there.mailbox for delivery in deliveries for there in delivery.places})
    async with connection.transaction():
        # Behind a connection pooler the number means nothing, but the batch's locks do.
        await connection.execute(
            "SELECT 1 FROM mailbox WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE", mailboxes
        )
        rows = await connection.fetch(
            """
            SELECT m.file, m.mailbox_id, b.uidvalidity, m.uid, m.modseq
            FROM mailbox AS b JOIN message AS m ON m.account_id = b.account_id AND m.mailbox_id = b.id
            WHERE b.id = ANY($1) AND m.file = ANY($2)
            """,
            mailboxes,
            [delivery.file for delivery in deliveries],
        )
    found = {(row[0], row[1]): Placed(row[1], row[2], Uid(row[3]), ModSeq(row[4])) for row in rows}
    if not found:
        return None
    # All were stored; a missing one was expunged by a quick client, and its UID is of no use any more.
    return tuple(
        tuple(
            found.get((delivery.file, there.mailbox), Placed(there.mailbox, 0, Uid(0), ModSeq(0)))
            for there in delivery.places
        )
        for delivery in deliveries
    )


def is_unknown(error: BaseException) -> bool:
    """Tell whether a failed `place` may have been committed all the same.

    An error that the server sent for the statement means that it was rolled back; one that ended the session, or that
    the driver raised, may have come after the commit.
    """
    if isinstance(error, asyncpg.PostgresError):
        return isinstance(
            error,
            (
                asyncpg.PostgresConnectionError,
                asyncpg.AdminShutdownError,
                asyncpg.CrashShutdownError,
                asyncpg.CannotConnectNowError,
                asyncpg.DatabaseDroppedError,
                asyncpg.IdleSessionTimeoutError,
            ),
        )
    return isinstance(error, (*CLIENT_ERRORS, OSError, TimeoutError))
