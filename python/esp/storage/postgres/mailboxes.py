"""Mailboxes and subscriptions of an account: the rows that name, count and order what `messages` holds.

Every change of a mailbox or of its messages locks the mailbox's row first (`lock`, several in the order of their ids).
So changes within one mailbox happen one after another, and mod-sequences become visible in order (RFC 7162 §3.1).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import asyncpg
import msgspec

from esp.core.errors import AlreadyExistsError, LimitError, NotFoundError
from esp.core.mailbox import DELIMITER, Mailbox, MailboxId, ModSeq, SpecialUse, Uid
from esp.core.message import FIRST_KEYWORD_BIT, MAX_KEYWORDS
from esp.core.principal import AccountId
from esp.storage.postgres.pool import Connection

COLUMNS = """id, account_id, (SELECT a.maildir FROM account AS a WHERE a.id = account_id) AS home, name, directory,
    uidvalidity, uidnext, highest_modseq, messages, unseen, octets, special_use, keywords, acl_version, first_recent,
    (SELECT a.quota_octets IS NOT NULL OR a.quota_messages IS NOT NULL
     FROM account AS a WHERE a.id = account_id) AS limited"""
"""Columns of `mailbox`, for `mailbox_of`."""


class Census(msgspec.Struct, frozen=True):
    """What decides whether another mailbox may be created."""

    mailboxes: int
    used: bool
    """Whether a mailbox has the special use asked about."""


class State(msgspec.Struct, frozen=True):
    """The state of a mailbox: what an index of it must catch up with."""

    uidnext: Uid
    first_recent: Uid
    """From this UID on, no session was told of the messages."""
    modseq: ModSeq
    keywords: list[str]
    acl_version: int
    expunged_horizon: ModSeq
    """Expunges up to this mod-sequence are no longer remembered."""
    changed_horizon: ModSeq | None
    """The same for changes; `None` while older processes may change messages without recording it."""
    expunged: list[str]
    """Sequence-sets of UIDs expunged after the mod-sequence asked for, as far as that is remembered."""
    changed: list[str]
    """Changes of flags, in order: mod-sequence, bits kept, bits added, and a sequence-set of UIDs, separated by
    spaces."""

    def remembers(self, after: ModSeq) -> bool:
        """Whether `expunged` and `changed` contain all changes of messages after a mod-sequence."""
        return self.changed_horizon is not None and after >= max(self.changed_horizon, self.expunged_horizon)


async def listed(connection: Connection, account: AccountId) -> list[Mailbox]:
    """Return the account's mailboxes, by name."""
    rows = await connection.fetch(
        f'SELECT {COLUMNS} FROM mailbox WHERE account_id = $1 ORDER BY name COLLATE "C"',  # noqa: S608
        account,
    )
    return [mailbox_of(row) for row in rows]


async def by_name(connection: Connection, account: AccountId, name: str) -> Mailbox:
    """Return the mailbox of that exact name.

    Raises:
        NotFoundError: there is none.
    """
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM mailbox WHERE account_id = $1 AND name = $2",  # noqa: S608
        account,
        name,
    )
    return mailbox_of(_found(row))


async def by_names(connection: Connection, account: AccountId, names: Sequence[str]) -> list[Mailbox]:
    """Return those mailboxes of these exact names that exist."""
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM mailbox WHERE account_id = $1 AND name = ANY($2::text[])",  # noqa: S608
        account,
        list(names),
    )
    return [mailbox_of(row) for row in rows]


async def by_accounts(
    connection: Connection, names: Sequence[tuple[AccountId, str]]
) -> dict[tuple[AccountId, str], Mailbox]:
    """Return those of the mailboxes that exist, by account and exact name."""
    rows = await connection.fetch(
        f"""
        SELECT {COLUMNS} FROM mailbox
        WHERE (account_id, name) IN (SELECT * FROM unnest($1::bigint[], $2::text[]))
        """,  # noqa: S608
        [account for account, _ in names],
        [name for _, name in names],
    )
    return {(row["account_id"], row["name"]): mailbox_of(row) for row in rows}


async def by_detail(connection: Connection, account: AccountId, detail: str) -> Mailbox | None:
    """Return the mailbox that an address's tag names: the one of this name, otherwise one that differs only in case."""
    row = await connection.fetchrow(
        f"""
        SELECT {COLUMNS} FROM mailbox WHERE account_id = $1 AND lower(name) = lower($2)
        ORDER BY name <> $2 LIMIT 1
        """,  # noqa: S608 - our constant
        account,
        detail,
    )
    return None if row is None else mailbox_of(row)


async def by_id(connection: Connection, mailbox: MailboxId) -> Mailbox:
    """Return the mailbox.

    Raises:
        NotFoundError: the mailbox was deleted.
    """
    row = await connection.fetchrow(f"SELECT {COLUMNS} FROM mailbox WHERE id = $1", mailbox)  # noqa: S608
    return mailbox_of(_found(row))


async def by_ids(connection: Connection, mailboxes: Sequence[MailboxId]) -> list[Mailbox]:
    """Return those of the mailboxes that still exist."""
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM mailbox WHERE id = ANY($1)",  # noqa: S608
        list(mailboxes),
    )
    return [mailbox_of(row) for row in rows]


async def stamps(
    connection: Connection, accounts: Sequence[AccountId]
) -> dict[AccountId, tuple[int, int, int]]:
    """Return for each account values that differ after a change of a mailbox, a name, or a subscription."""
    rows = await connection.fetch(
        """
        SELECT a.id,
            (SELECT coalesce(sum(m.highest_modseq), 0)::bigint FROM mailbox AS m WHERE m.account_id = a.id) AS modseqs,
            (SELECT bit_xor(hashtextextended(m.name, m.id)) FROM mailbox AS m WHERE m.account_id = a.id) AS names,
            (SELECT bit_xor(hashtextextended(s.name, 0)) FROM subscription AS s WHERE s.account_id = a.id) AS subscribed
        FROM account AS a WHERE a.id = ANY($1)
        """,
        list(accounts),
    )
    return {row["id"]: (row["modseqs"], row["names"] or 0, row["subscribed"] or 0) for row in rows}


async def lock(tx: Connection, mailboxes: Iterable[MailboxId]) -> dict[MailboxId, Mailbox]:
    """Lock the rows of mailboxes until `tx` ends, in the order of their ids, so that there are no deadlocks.

    Raises:
        NotFoundError: a mailbox was deleted meanwhile.
    """
    wanted = sorted(set(mailboxes))
    rows = await tx.fetch(
        f"SELECT {COLUMNS} FROM mailbox WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE",  # noqa: S608
        wanted,
    )
    if len(rows) != len(wanted):
        raise NotFoundError("Mailbox does not exist")
    return {row["id"]: mailbox_of(row) for row in rows}


async def described(
    connection: Connection, mailboxes: Sequence[MailboxId], *, lock: bool = False
) -> list[tuple[Mailbox, bool]]:
    """Return those of the mailboxes that exist, by id, and whether their names are subscribed to.

    With `lock` their rows are locked until the transaction ends.
    """
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM mailbox WHERE id = ANY($1) ORDER BY id {'FOR NO KEY UPDATE' if lock else ''}",  # noqa: S608
        list(mailboxes),
    )
    # After the locks were taken: what was subscribed to while they were waited for is found as well.
    subscribed = await connection.fetch(
        """
        SELECT m.id FROM mailbox AS m JOIN subscription AS s ON s.account_id = m.account_id AND s.name = m.name
        WHERE m.id = ANY($1)
        """,
        list(mailboxes),
    )
    named = {row["id"] for row in subscribed}
    return [(mailbox_of(row), row["id"] in named) for row in rows]


async def create(
    tx: Connection, account: AccountId, name: str, directory: str, special_use: SpecialUse | None
) -> Mailbox:
    """Add a mailbox, with a UIDVALIDITY greater than any given before (RFC 3501 §2.3.1.1).

    Raises:
        AlreadyExistsError: the name, or the directory, is taken.
    """
    row = await tx.fetchrow(
        f"""
        INSERT INTO mailbox (account_id, name, directory, special_use) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING RETURNING {COLUMNS}
        """,  # noqa: S608
        account,
        name,
        directory,
        special_use,
    )
    if row is None:
        raise AlreadyExistsError("Mailbox exists already")
    return mailbox_of(row)


async def directories(connection: Connection, account: AccountId, stem: str) -> frozenset[str]:
    """Return the Maildir folders in use whose names begin with `stem`."""
    rows = await connection.fetch(
        "SELECT directory FROM mailbox WHERE account_id = $1 AND starts_with(directory, $2)", account, stem
    )
    return frozenset(row["directory"] for row in rows)


async def census(connection: Connection, account: AccountId, special_use: SpecialUse | None) -> Census:
    """Count the account's mailboxes, and look whether one has a special use."""
    row = await connection.fetchrow(
        """
        SELECT count(*) AS mailboxes, coalesce(bool_or(special_use = $2), false) AS used
        FROM mailbox WHERE account_id = $1
        """,
        account,
        special_use,
    )
    return Census(*_found(row))


async def has_children(connection: Connection, account: AccountId, name: str) -> bool:
    """Return whether there are mailboxes below a name."""
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM mailbox WHERE account_id = $1 AND starts_with(name, $2))",
            account,
            name + DELIMITER,
        )
    )


async def set_special_use(tx: Connection, mailbox: MailboxId, special_use: SpecialUse | None) -> Mailbox:
    """Change the special use of a locked mailbox."""
    row = await tx.fetchrow(
        f"UPDATE mailbox SET special_use = $2 WHERE id = $1 RETURNING {COLUMNS}",  # noqa: S608
        mailbox,
        special_use,
    )
    return mailbox_of(_found(row))


async def rename(tx: Connection, account: AccountId, name: str, new_name: str) -> list[Mailbox]:
    """Rename a mailbox and all below it, and return them; the folders and everything else stay as they are.

    Raises:
        AlreadyExistsError: one of the new names is taken.
    """
    try:
        async with tx.transaction():
            rows = await tx.fetch(
                f"""
                UPDATE mailbox SET name = $3::text || substr(name, length($2::text) + 1)
                WHERE account_id = $1 AND (name = $2 OR starts_with(name, $2 || '{DELIMITER}'))
                RETURNING {COLUMNS}
                """,  # noqa: S608
                account,
                name,
                new_name,
            )
    except asyncpg.UniqueViolationError as error:
        raise AlreadyExistsError("Mailbox exists already") from error
    return [mailbox_of(row) for row in rows]


async def delete(tx: Connection, mailbox: MailboxId) -> None:
    """Remove the row of a mailbox that has no messages any more (`messages.remove_all`)."""
    await tx.execute("DELETE FROM mailbox WHERE id = $1", mailbox)


async def add_keywords(tx: Connection, mailbox: Mailbox, keywords: Iterable[str]) -> tuple[str, ...]:
    """Add keywords to a locked mailbox, and return all that it has then; their places give their bits.

    Keywords that differ only in case are the same (RFC 9051 §2.3.2).

    Raises:
        LimitError: there would be too many.
    """
    known = {keyword.lower() for keyword in mailbox.keywords}
    new: dict[str, str] = {}
    for keyword in keywords:
        if keyword.lower() not in known:
            new.setdefault(keyword.lower(), keyword)
    if len(mailbox.keywords) + len(new) > MAX_KEYWORDS:
        raise LimitError(f"A mailbox can have {MAX_KEYWORDS} keywords")
    if new:
        # It gets a mod-sequence of its own, so that indexes look.
        await tx.execute(
            """
            UPDATE mailbox SET keywords = keywords || $2::text[], highest_modseq = highest_modseq + 1 WHERE id = $1
            """,
            mailbox.id,
            list(new.values()),
        )
    return (*mailbox.keywords, *new.values())


async def keyword_bits(
    connection: Connection, wanted: Mapping[MailboxId, Iterable[str]]
) -> dict[MailboxId, dict[str, int]]:
    """Return for each mailbox the flag set of each keyword; a keyword without a bit is given one now.

    A bit keeps its keyword for ever, so this need not be in the transaction of the delivery. A deleted mailbox has no
    entry.

    Raises:
        LimitError: a mailbox has all the keywords it can have.
    """
    bits: dict[MailboxId, dict[str, int]] = {}
    for mailbox in sorted(wanted):
        async with connection.transaction():
            try:
                locked = (await lock(connection, [mailbox]))[mailbox]
            except NotFoundError:
                continue
            known = await add_keywords(connection, locked, wanted[mailbox])
        places = bits_of(known)
        bits[mailbox] = {keyword: places[keyword.lower()] for keyword in wanted[mailbox]}
    return bits


def bits_of(keywords: Iterable[str]) -> dict[str, int]:
    """Return the flag set of each of a mailbox's keywords, by keyword in lower case."""
    return {keyword.lower(): 1 << bit for bit, keyword in enumerate(keywords, FIRST_KEYWORD_BIT)}


async def advance(tx: Connection, mailbox: MailboxId) -> ModSeq:
    """Take the next mod-sequence of a mailbox in which something other than messages changed.

    Raises:
        NotFoundError: the mailbox was deleted meanwhile.
    """
    value: int | None = await tx.fetchval(
        "UPDATE mailbox SET highest_modseq = highest_modseq + 1 WHERE id = $1 RETURNING highest_modseq",
        mailbox,
    )
    if value is None:
        raise NotFoundError("Mailbox does not exist")
    return ModSeq(value)


async def state(connection: Connection, mailbox: MailboxId, after: ModSeq) -> State:
    """Return the mailbox's state, and the changes of its messages after a mod-sequence (0: without them).

    Raises:
        NotFoundError: the mailbox was deleted.
    """
    row = await connection.fetchrow(
        """
        SELECT uidnext, first_recent, highest_modseq, keywords, acl_version, expunged_horizon, changed_horizon,
            ARRAY(SELECT uids FROM expunged AS e
                  WHERE $2 > 0 AND e.account_id = m.account_id AND e.mailbox_id = m.id AND e.modseq > $2
                  ORDER BY e.modseq) AS expunged,
            ARRAY(SELECT concat_ws(' ', c.modseq, c.kept, c.added, c.uids) FROM changed AS c
                  WHERE $2 > 0 AND c.account_id = m.account_id AND c.mailbox_id = m.id AND c.modseq > $2
                  ORDER BY c.modseq) AS changed
        FROM mailbox AS m WHERE id = $1
        """,
        mailbox,
        after,
    )
    return State(*_found(row))


async def expunged_since(
    connection: Connection, mailbox: MailboxId, modseq: ModSeq
) -> tuple[str, ...] | None:
    """Return sequence-sets of the UIDs expunged after a mod-sequence, or `None` if that is not remembered.

    Raises:
        NotFoundError: the mailbox was deleted.
    """
    row = await connection.fetchrow(
        """
        SELECT expunged_horizon,
            ARRAY(SELECT uids FROM expunged AS e
                  WHERE e.account_id = m.account_id AND e.mailbox_id = m.id AND e.modseq > $2
                  ORDER BY e.modseq) AS expunged
        FROM mailbox AS m WHERE id = $1
        """,
        mailbox,
        modseq,
    )
    row = _found(row)
    return None if modseq < row["expunged_horizon"] else tuple(row["expunged"])


async def modseq(connection: Connection, mailbox: MailboxId) -> ModSeq | None:
    """Return the highest mod-sequence of a mailbox, or `None` if it was deleted."""
    # `modseqs` with a list of one takes twice as long (docs/performance-log.md), and each NOOP waits for this.
    found: ModSeq | None = await connection.fetchval(
        "SELECT highest_modseq FROM mailbox WHERE id = $1", mailbox
    )
    return found


async def modseqs(connection: Connection, mailboxes: Sequence[MailboxId]) -> dict[MailboxId, ModSeq]:
    """Return the highest mod-sequence of those of the mailboxes that still exist."""
    rows = await connection.fetch(
        "SELECT id, highest_modseq FROM mailbox WHERE id = ANY($1)", list(mailboxes)
    )
    return {row["id"]: row["highest_modseq"] for row in rows}


async def take_recent(connection: Connection, mailbox: MailboxId) -> tuple[Uid, Uid] | None:
    """Return the first and the last UID that no read-write session was told of, and count them as told.

    RFC 3501 §2.3.2: only one session gets `\\Recent`. The change is not synced to the disk: after a crash, two sessions
    may get it.
    """
    row = await connection.fetchrow(
        """
        WITH before AS (SELECT id, first_recent FROM mailbox WHERE id = $1 FOR NO KEY UPDATE)
        UPDATE mailbox AS m SET first_recent = m.uidnext
        FROM before, set_config('synchronous_commit', 'off', true)
        WHERE m.id = before.id AND before.first_recent < m.uidnext
        RETURNING before.first_recent, m.uidnext - 1
        """,
        mailbox,
    )
    return None if row is None else (Uid(row[0]), Uid(row[1]))


async def lock_quota(tx: Connection, account: AccountId) -> None:
    """Lock the account if it has a limit, as every delivery does first: two must not both take the last free room."""
    await tx.execute(
        """
        SELECT FROM account WHERE id = $1 AND (quota_octets IS NOT NULL OR quota_messages IS NOT NULL)
        FOR NO KEY UPDATE
        """,
        account,
    )


async def subscriptions(connection: Connection, account: AccountId) -> frozenset[str]:
    """Return the names subscribed to, whether or not there are such mailboxes (RFC 3501 §6.3.6)."""
    rows = await connection.fetch("SELECT name FROM subscription WHERE account_id = $1", account)
    return frozenset(row["name"] for row in rows)


async def is_subscribed(connection: Connection, account: AccountId, name: str) -> bool:
    """Return whether a name is subscribed to."""
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM subscription WHERE account_id = $1 AND name = $2)", account, name
        )
    )


async def subscribe(connection: Connection, account: AccountId, name: str, *, most: int) -> bool:
    """Add a subscription, if there are fewer than `most`; return whether it is there now. An existing one stays."""
    await connection.execute(
        """
        INSERT INTO subscription (account_id, name)
        SELECT $1, $2 WHERE (SELECT count(*) FROM subscription WHERE account_id = $1) < $3
        ON CONFLICT DO NOTHING
        """,
        account,
        name,
        most,
    )
    return await is_subscribed(connection, account, name)


async def unsubscribe(connection: Connection, account: AccountId, name: str) -> bool:
    """Remove a subscription, and return whether there was one."""
    status = await connection.execute(
        "DELETE FROM subscription WHERE account_id = $1 AND name = $2", account, name
    )
    return status != "DELETE 0"


def _found(row: asyncpg.Record | None) -> asyncpg.Record:
    if row is None:
        raise NotFoundError("Mailbox does not exist")
    return row


def mailbox_of(row: Any) -> Mailbox:
    """Return a row of `COLUMNS` as a mailbox."""
    special_use = row["special_use"]
    return Mailbox(
        id=row["id"],
        account=row["account_id"],
        home=row["home"],
        name=row["name"],
        directory=row["directory"],
        uidvalidity=row["uidvalidity"],
        uidnext=row["uidnext"],
        highest_modseq=row["highest_modseq"],
        messages=row["messages"],
        unseen=row["unseen"],
        octets=row["octets"],
        special_use=None if special_use is None else SpecialUse(special_use),
        keywords=tuple(row["keywords"]),
        limited=row["limited"],
        acl_version=row["acl_version"],
        first_recent=row["first_recent"],
    )
