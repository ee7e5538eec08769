"""Access control lists of mailboxes, and the mailboxes of others that an account may see (RFC 4314).

Functions that change something take a mailbox locked by `mailboxes.lock` in the same transaction. Each gives it a new
`acl_version` and a new mod-sequence, so that processes which have the mailbox open look again.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from esp.core import rights
from esp.core.address import Address, parse
from esp.core.errors import AddressSyntaxError
from esp.core.mailbox import Mailbox, MailboxId
from esp.core.principal import AccountId
from esp.core.rights import Grant, Rights
from esp.storage.postgres.mailboxes import COLUMNS, mailbox_of
from esp.storage.postgres.pool import Connection


class Owner(msgspec.Struct, frozen=True):
    """The account that a mailbox belongs to."""

    account: AccountId
    address: str
    shared: bool


class Visible(msgspec.Struct, frozen=True):
    """A mailbox of another account, with the entries that concern the account that asked."""

    mailbox: Mailbox
    owner: Owner
    grants: tuple[Grant, ...]


async def owner(connection: Connection, address: str) -> Owner | None:
    """Return the account of that address."""
    try:
        wanted = parse(address).folded()
    except AddressSyntaxError:
        return None
    row = await connection.fetchrow(
        """
        SELECT a.id, a.shared FROM account AS a JOIN domain AS d ON d.id = a.domain_id
        WHERE d.name = $1 AND a.local_part = $2
        """,
        wanted.domain,
        wanted.local_part,
    )
    return Owner(row["id"], str(wanted), row["shared"]) if row is not None else None


async def grants(connection: Connection, mailboxes: Iterable[MailboxId]) -> dict[MailboxId, list[Grant]]:
    """Return all entries of the mailboxes, each list in the order of the identifiers."""
    return await _grants(connection, mailboxes, None)


async def grants_for(
    connection: Connection, mailboxes: Iterable[MailboxId], account: AccountId
) -> dict[MailboxId, list[Grant]]:
    """Return those entries of the mailboxes that concern an account."""
    return await _grants(connection, mailboxes, account)


async def _grants(
    connection: Connection, mailboxes: Iterable[MailboxId], account: AccountId | None
) -> dict[MailboxId, list[Grant]]:
    rows = await connection.fetch(
        """
        SELECT e.mailbox_id, e.account_id, a.local_part, d.name, e.negative, e.rights
        FROM mailbox_acl AS e
        LEFT JOIN account AS a ON a.id = e.account_id LEFT JOIN domain AS d ON d.id = a.domain_id
        WHERE e.mailbox_id = ANY($1) AND ($2::bigint IS NULL OR e.account_id = $2
            OR e.domain_id = (SELECT domain_id FROM account WHERE id = $2))
        ORDER BY e.account_id IS NULL, d.name, a.local_part, e.negative
        """,
        list(mailboxes),
        account,
    )
    found: dict[MailboxId, list[Grant]] = defaultdict(list)
    for mailbox, whose, local_part, domain, negative, letters in rows:
        address = None if whose is None else str(Address(local_part, domain))
        found[mailbox].append(_grant(whose, address, negative, letters))
    return found


async def visible(connection: Connection, account: AccountId) -> list[Visible]:
    """Return the mailboxes of others that have an entry for the account, or for anyone in its domain."""
    rows = await connection.fetch(
        f"""
        WITH entry AS (
            SELECT e.mailbox_id, array_agg(e.account_id) AS accounts, array_agg(e.negative) AS negatives,
                array_agg(e.rights) AS rights
            FROM mailbox_acl AS e
            WHERE e.account_id = $1 OR e.domain_id = (SELECT domain_id FROM account WHERE id = $1)
            GROUP BY e.mailbox_id
        ), box AS (SELECT {COLUMNS} FROM mailbox WHERE id IN (SELECT mailbox_id FROM entry))
        SELECT box.*, o.local_part AS owner_local_part, d.name AS owner_domain, o.shared AS owner_shared,
            entry.accounts, entry.negatives, entry.rights
        FROM box JOIN entry ON entry.mailbox_id = box.id
        JOIN account AS o ON o.id = box.account_id JOIN domain AS d ON d.id = o.domain_id
        WHERE box.account_id <> $1
        """,  # noqa: S608 - our constant
        account,
    )
    return [
        Visible(
            mailbox=mailbox_of(row),
            owner=Owner(
                row["account_id"],
                str(Address(row["owner_local_part"], row["owner_domain"])),
                row["owner_shared"],
            ),
            grants=tuple(
                _grant(whose, None, negative, letters)
                for whose, negative, letters in zip(
                    row["accounts"], row["negatives"], row["rights"], strict=True
                )
            ),
        )
        for row in rows
    ]


async def put(tx: Connection, mailbox: Mailbox, grant: Grant) -> None:
    """Add or replace an entry of a locked mailbox."""
    await tx.execute(
        """
        INSERT INTO mailbox_acl (mailbox_id, account_id, domain_id, negative, rights)
        SELECT $1, $3::bigint, CASE WHEN $3::bigint IS NULL THEN a.domain_id END, $4, $5
        FROM account AS a WHERE a.id = $2
        ON CONFLICT (mailbox_id, account_id, negative) DO UPDATE SET rights = excluded.rights
        """,
        mailbox.id,
        mailbox.account,
        grant.account,
        grant.negative,
        rights.letters(grant.rights),
    )
    await _changed(tx, mailbox)


async def remove(tx: Connection, mailbox: Mailbox, account: AccountId | None, *, negative: bool) -> None:
    """Remove an entry of a locked mailbox, if there is one."""
    await tx.execute(
        """
        DELETE FROM mailbox_acl
        WHERE mailbox_id = $1 AND account_id IS NOT DISTINCT FROM $2::bigint AND negative = $3
        """,
        mailbox.id,
        account,
        negative,
    )
    await _changed(tx, mailbox)


async def inherit(tx: Connection, superior: MailboxId, mailboxes: Sequence[MailboxId]) -> None:
    """Give new mailboxes the list of the mailbox above them (RFC 4314 §4, CREATE)."""
    await tx.execute(
        """
        WITH added AS (
            INSERT INTO mailbox_acl (mailbox_id, account_id, domain_id, negative, rights)
            SELECT n.id, e.account_id, e.domain_id, e.negative, e.rights
            FROM mailbox_acl AS e CROSS JOIN unnest($2::bigint[]) AS n (id) WHERE e.mailbox_id = $1
            RETURNING mailbox_id
        )
        UPDATE mailbox SET acl_version = acl_version + 1 WHERE id IN (SELECT mailbox_id FROM added)
        """,
        superior,
        list(mailboxes),
    )


async def _changed(tx: Connection, mailbox: Mailbox) -> None:
    await tx.execute(
        "UPDATE mailbox SET acl_version = acl_version + 1, highest_modseq = highest_modseq + 1 WHERE id = $1",
        mailbox.id,
    )


def _grant(account: AccountId | None, address: str | None, negative: bool, letters: str) -> Grant:
    return Grant(
        account=account,
        identifier=rights.ANYONE if account is None else address or "",
        negative=negative,
        rights=rights.parse(letters) if letters else Rights.NONE,
    )
