"""Work that still has to be done, written in the transaction that made it necessary.

In: a payload of one of the topics below. Out: the same, leased to one worker at a time; if a worker dies, its lease
runs out. Work is done at least once: repeating it must do no harm. Rows are few and hold many items: one for a batch
and account, never one for each message.
"""

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from esp.core.mailbox import ContentId, MailboxId, Uid
from esp.core.principal import AccountId
from esp.storage.postgres.pool import Connection, Database

LEASE = 120.0
"""Seconds; longer than any batch takes."""
FIRST_RETRY = timedelta(seconds=5)
LONGEST_RETRY = timedelta(hours=1)


class Topic(StrEnum):
    """What is to be done."""

    DESCRIBE = "describe"
    INDEX = "index"
    RENAME = "rename"
    UNLINK = "unlink"


class Describe(msgspec.Struct, frozen=True):
    """Mailboxes whose cards may be older than their rows."""

    mailboxes: list[MailboxId]


class Index(msgspec.Struct, frozen=True):
    """Contents that have no row in `content_index` yet."""

    accounts: list[AccountId]
    """The account of each of `contents`."""
    contents: list[ContentId]
    paths: list[str] = []
    """Path of each content's file at the delivery, below `storage.path`; empty if that is unknown."""


class Rename(msgspec.Struct, frozen=True):
    """Messages whose file names no longer show their flags."""

    account: AccountId
    mailbox: MailboxId
    uids: list[Uid] = []
    uid_set: str = ""
    """More of them, as a sequence-set: many are changed at once, and they are mostly a run."""

    def messages(self) -> list[Uid]:
        """Return the UIDs of all these messages."""
        ranges = [part.partition(":") for part in self.uid_set.split(",") if part]
        return self.uids + [
            Uid(uid) for first, _, last in ranges for uid in range(int(first), int(last or first) + 1)
        ]


class Unlink(msgspec.Struct, frozen=True):
    """Files that no message has any more, and their contents."""

    paths: list[str] = []
    """Below `storage.path`."""
    folder: str = ""
    names: str = ""
    """More files: those of a Maildir folder, separated by slashes; in `cur` if they have a `:2,`, else in `new`."""
    account: AccountId = AccountId(0)
    contents: str = ""
    """Numbers separated by commas: contents of the account that had these files. Other messages may still use them."""

    def files(self) -> list[str]:
        """Return the paths of all these files."""
        names = self.names.split("/") if self.names else []
        return self.paths + [f"{self.folder}/{'cur' if ':2,' in name else 'new'}/{name}" for name in names]


Payload = Describe | Index | Rename | Unlink
_P = TypeVar("_P", bound=Payload)

_TYPES: dict[Topic, type[Payload]] = {
    Topic.DESCRIBE: Describe,
    Topic.INDEX: Index,
    Topic.RENAME: Rename,
    Topic.UNLINK: Unlink,
}
_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in _TYPES.values()
}
_encode = msgspec.json.Encoder().encode


def decode(kind: type[_P], payload: str) -> _P:
    """Return a payload from its form in the database.

    Raises:
        msgspec.DecodeError: it is not of this kind.
    """
    decoded: _P = _DECODERS[kind].decode(payload)
    return decoded


class Leased(msgspec.Struct, frozen=True):
    """A row that is leased to us until the lease ends."""

    id: int
    payload: Payload
    attempts: int
    """Including this one."""


class Waiting(msgspec.Struct, frozen=True):
    """How much of a topic is due, and since when."""

    rows: int
    oldest: float
    """Seconds since the oldest row became due."""


async def add(connection: Connection, topic: str, payload: Payload, delay: float = 0.0) -> int:
    """Add one payload to be worked on, `delay` seconds from now at the earliest; return its row for `done`."""
    (added,) = await add_all(connection, topic, [payload], delay)
    return added


async def add_all(
    connection: Connection, topic: str, payloads: Sequence[Payload], delay: float = 0.0
) -> list[int]:
    """Add payloads of one topic in one round trip, and return their rows."""
    assert all(type(payload) is _TYPES[Topic(topic)] for payload in payloads)
    rows = await connection.fetch(
        """
        INSERT INTO outbox (topic, payload, not_before)
        SELECT $1, p::jsonb, now() + $3 FROM unnest($2::text[]) AS p
        RETURNING id
        """,
        topic,
        [_encode(payload).decode() for payload in payloads],
        timedelta(seconds=delay),
    )
    return [row["id"] for row in rows]


async def lease(
    database: Database,
    topic: str,
    limit: int,
    *,
    seconds: float = LEASE,
    tried: range = range(1_000_000),
) -> list[Leased]:
    """Take at most `limit` rows that are due, oldest first; other workers pass them over for `seconds`.

    With `tried`, only rows leased so often before, so that those that killed a worker can be taken alone.
    """
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            UPDATE outbox SET leased_until = now() + $3, attempts = attempts + 1
            WHERE id IN (
                SELECT id FROM outbox
                WHERE topic = $1 AND not_before <= now() AND (leased_until IS NULL OR leased_until <= now())
                    AND attempts >= $4 AND attempts < $5
                ORDER BY id LIMIT $2
                FOR UPDATE SKIP LOCKED
            )
            RETURNING id, payload, attempts
            """,
            topic,
            limit,
            timedelta(seconds=seconds),
            tried.start,
            tried.stop,
        )
    kind = _TYPES[Topic(topic)]
    leased: list[Leased] = []
    unreadable: list[int] = []
    for row in sorted(rows, key=lambda row: int(row["id"])):
        try:
            leased.append(Leased(row["id"], decode(kind, row["payload"]), row["attempts"]))
        except msgspec.DecodeError:
            unreadable.append(row["id"])
    if unreadable:
        # Left by another version of ESP: put off, for that version to do.
        await _put_off(database, unreadable, LONGEST_RETRY)
    return leased


async def done(database: Database, ids: Sequence[int]) -> None:
    """Remove rows whose work was done."""
    if ids:
        async with database.connection() as connection:
            await connection.execute("DELETE FROM outbox WHERE id = ANY($1::bigint[])", ids)


async def retry(database: Database, leased: Leased, rest: Sequence[Payload] = ()) -> None:
    """Give a row back, to be leased again later: the more attempts, the longer the delay.

    With `rest`, these payloads replace it, each as a row with the same number of attempts: so what was done is left
    out, and what failed together is tried separately.
    """
    delay = retry_delay(leased.attempts)
    if not rest:
        await _put_off(database, [leased.id], delay)
        return
    async with database.connection() as connection:
        await connection.execute(
            """
            WITH old AS (DELETE FROM outbox WHERE id = $1 RETURNING topic, attempts, created_at)
            INSERT INTO outbox (topic, payload, not_before, attempts, created_at)
            SELECT old.topic, p::jsonb, now() + $3, old.attempts, old.created_at
            FROM old, unnest($2::text[]) AS p
            """,
            leased.id,
            [_encode(payload).decode() for payload in rest],
            delay,
        )


async def waiting(database: Database) -> dict[str, Waiting]:
    """Return what is due and not leased, by topic."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT topic, count(*), extract(epoch FROM now() - min(not_before))::float8
            FROM outbox WHERE not_before <= now() AND (leased_until IS NULL OR leased_until <= now())
            GROUP BY topic
            """
        )
    return {row[0]: Waiting(row[1], row[2]) for row in rows}


def retry_delay(attempts: int) -> timedelta:
    """Return how long to wait after `attempts` attempts."""
    # Capped before the shift: a row that fails for a week must not overflow timedelta.
    return min(FIRST_RETRY * (1 << min(attempts - 1, 16)), LONGEST_RETRY)


async def _put_off(database: Database, ids: Sequence[int], delay: timedelta) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE outbox SET leased_until = NULL, not_before = now() + $2 WHERE id = ANY($1::bigint[])",
            ids,
            delay,
        )
