"""Domains, accounts and aliases as rows.

In: normalised names and folded local parts (`core.address`). Out: structs. Who may do what and how aliases are followed
is decided in `services`. `AlreadyExistsError` is raised for a name that is taken, `NotFoundError` for one that is
missing.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import asyncpg
import msgspec

from esp.core.address import Address
from esp.core.errors import AlreadyExistsError, NotFoundError
from esp.core.mailbox import DEFAULT_MAILBOXES, Mailbox, MailboxId
from esp.core.principal import AccountId, DomainId
from esp.core.quota import Quota
from esp.storage.postgres.pool import REMOVAL_TIMEOUT, Connection


class DomainRow(msgspec.Struct, frozen=True):
    """A domain, or with `alias_of` another name of a domain."""

    id: DomainId
    name: str
    alias_of: str | None
    enabled: bool
    accounts: int
    aliases: int
    created_at: datetime


class AccountRow(msgspec.Struct, frozen=True):
    """An account and its usage; it contains no secret."""

    id: AccountId
    address: str
    maildir: str
    enabled: bool
    admin: bool
    shared: bool
    """Whether its mailboxes are in the shared namespace; nobody logs in."""
    quota: Quota
    has_password: bool
    created_at: datetime


class AliasRow(msgspec.Struct, frozen=True):
    """An alias; an empty local part is the catch-all of its domain."""

    domain: str
    local_part: str
    targets: tuple[str, ...]
    enabled: bool
    created_at: datetime


class Match(msgspec.Struct, frozen=True):
    """What one local part of one domain is: `account`, `targets`, both or neither are present."""

    wanted: int
    """Index in the query."""
    domain: str
    """The domain itself, if the query named an alias of it."""
    domain_enabled: bool
    account: AccountId | None
    account_enabled: bool | None
    local_part: str | None
    maildir: str | None
    inbox: MailboxId | None
    targets: tuple[str, ...] | None


class Secrets(msgspec.Struct, frozen=True):
    """What authentication compares with."""

    account: AccountId
    address: str
    maildir: str
    admin: bool
    enabled: bool
    """Whether the account and its domain are enabled."""
    password_hash: str | None
    scram_salt: bytes | None
    scram_iterations: int | None
    scram_stored_key: bytes | None
    scram_server_key: bytes | None


class NewPassword(msgspec.Struct, frozen=True):
    """All forms in which one password is stored."""

    password_hash: str
    scram_salt: bytes
    scram_iterations: int
    scram_stored_key: bytes
    scram_server_key: bytes


# ---- Lookups on the way of mail ----------------------------------------------------------------------------


async def postmaster(connection: Connection) -> tuple[str | None, Address | None]:
    """Return our first domain and our first administrator."""
    row = await connection.fetchrow(
        """
        SELECT (SELECT name FROM domain WHERE enabled AND alias_of IS NULL ORDER BY id LIMIT 1) AS domain,
               a.local_part, d.name
        FROM (SELECT) AS always
        LEFT JOIN account AS a ON a.id = (
            SELECT a.id FROM account AS a JOIN domain AS d ON d.id = a.domain_id
            WHERE a.admin AND a.enabled AND d.enabled ORDER BY a.id LIMIT 1
        )
        LEFT JOIN domain AS d ON d.id = a.domain_id
        """
    )
    assert row is not None
    domain, local_part, name = row
    return domain, Address(local_part, name) if local_part is not None else None


async def matches(connection: Connection, local_parts: Sequence[str], domains: Sequence[str]) -> list[Match]:
    """Return what each pair is, in one round trip; a pair with a domain that is not ours has no row."""
    rows = await connection.fetch(
        """
        SELECT (w.n - 1)::int, d.name, d.enabled AND named.enabled,
               a.id, a.enabled, a.local_part, a.maildir, m.id, al.targets
        FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (local_part, domain, n)
        JOIN domain AS named ON named.name = w.domain
        JOIN domain AS d ON d.id = coalesce(named.alias_of, named.id)
        LEFT JOIN account AS a ON a.domain_id = d.id AND a.local_part = w.local_part
        LEFT JOIN mailbox AS m ON m.account_id = a.id AND m.name = 'INBOX'
        LEFT JOIN alias AS al ON al.domain_id = d.id AND al.local_part = w.local_part AND al.enabled
        ORDER BY w.n
        """,
        local_parts,
        domains,
    )
    return [Match(*row.values()) for row in rows]


async def quota(connection: Connection, account: AccountId) -> Quota:
    """Return what an account keeps and may keep.

    Raises:
        NotFoundError: there is no such account.
    """
    row = await connection.fetchrow(
        """
        SELECT coalesce(sum(m.octets), 0)::bigint, a.quota_octets,
               coalesce(sum(m.messages), 0)::bigint, a.quota_messages
        FROM account AS a LEFT JOIN mailbox AS m ON m.account_id = a.id
        WHERE a.id = $1
        GROUP BY a.id
        """,
        account,
    )
    if row is None:
        raise NotFoundError("No such account")
    return Quota(*row.values())


async def secrets(connection: Connection, local_part: str, domain: str) -> Secrets | None:
    """Return the credentials of an account; the domain may be an alias of its own."""
    row = await connection.fetchrow(
        """
        SELECT a.id, a.local_part, d.name, a.maildir, a.admin,
               a.enabled AND d.enabled AND named.enabled, a.password_hash,
               a.scram_salt, a.scram_iterations, a.scram_stored_key, a.scram_server_key
        FROM domain AS named
        JOIN domain AS d ON d.id = coalesce(named.alias_of, named.id)
        JOIN account AS a ON a.domain_id = d.id AND a.local_part = $1
        WHERE named.name = $2
        """,
        local_part,
        domain,
    )
    return None if row is None else Secrets(row[0], _address(row[1], row[2]), *row[3:])


async def standing(connection: Connection, accounts: Sequence[AccountId]) -> dict[AccountId, Secrets]:
    """Return the current credentials of those of the accounts that still exist."""
    found = await connection.fetch(
        """
        SELECT a.id, a.local_part, d.name, a.maildir, a.admin, a.enabled AND d.enabled, a.password_hash,
               a.scram_salt, a.scram_iterations, a.scram_stored_key, a.scram_server_key
        FROM account AS a JOIN domain AS d ON d.id = a.domain_id WHERE a.id = ANY($1)
        """,
        list(accounts),
    )
    return {row[0]: Secrets(row[0], _address(row[1], row[2]), *row[3:]) for row in found}


async def replace_hash(connection: Connection, account: AccountId, old: str, new: str) -> None:
    """Store a hash of the same password with newer parameters, unless the password was changed meanwhile."""
    await connection.execute(
        "UPDATE account SET password_hash = $3 WHERE id = $1 AND password_hash = $2", account, old, new
    )


# ---- Domains -----------------------------------------------------------------------------------------------

_DOMAIN = """
    SELECT d.id, d.name, target.name, d.enabled,
           (SELECT count(*) FROM account AS a WHERE a.domain_id = d.id),
           (SELECT count(*) FROM alias AS al WHERE al.domain_id = d.id),
           d.created_at
    FROM domain AS d LEFT JOIN domain AS target ON target.id = d.alias_of
"""


async def add_domain(connection: Connection, name: str, alias_of: DomainId | None = None) -> None:
    """Create a domain, or another name of one.

    Raises:
        AlreadyExistsError: the name is taken.
    """
    try:
        await connection.execute("INSERT INTO domain (name, alias_of) VALUES ($1, $2)", name, alias_of)
    except asyncpg.UniqueViolationError as error:
        raise AlreadyExistsError(f"Domain {name} already exists") from error


async def domain(connection: Connection, name: str) -> DomainRow:
    """Return one domain.

    Raises:
        NotFoundError: there is no such domain.
    """
    row = await connection.fetchrow(f"{_DOMAIN} WHERE d.name = $1", name)
    if row is None:
        raise NotFoundError(f"Domain {name} does not exist")
    return DomainRow(*row.values())


async def domains(connection: Connection) -> list[DomainRow]:
    """Return all domains by name."""
    return [DomainRow(*row.values()) for row in await connection.fetch(f"{_DOMAIN} ORDER BY d.name")]


async def names_of_domain(connection: Connection, name: str) -> set[str]:
    """Return the domain's name and its other names; empty if it is not ours."""
    found = await connection.fetch(
        """
        SELECT named.name FROM domain AS named JOIN domain AS d ON d.id = coalesce(named.alias_of, named.id)
        WHERE d.name = $1
        """,
        name,
    )
    return {row["name"] for row in found}


async def set_domain_enabled(connection: Connection, name: str, enabled: bool) -> None:
    """Enable or disable a domain and everything in it.

    Raises:
        NotFoundError: there is no such domain.
    """
    done = await connection.fetchval(
        "UPDATE domain SET enabled = $2 WHERE name = $1 RETURNING id", name, enabled
    )
    if done is None:
        raise NotFoundError(f"Domain {name} does not exist")


async def remove_domain(connection: Connection, domain_id: DomainId) -> None:
    """Delete a domain with its aliases and other names; accounts must be gone."""
    await connection.execute("DELETE FROM domain WHERE id = $1", domain_id)


# ---- Accounts ----------------------------------------------------------------------------------------------

_ACCOUNT = """
    SELECT a.id, a.local_part, d.name, a.maildir, a.enabled, a.admin, a.shared,
           coalesce(used.octets, 0)::bigint, a.quota_octets, coalesce(used.messages, 0)::bigint,
           a.quota_messages, a.password_hash IS NOT NULL, a.created_at
    FROM account AS a
    JOIN domain AS d ON d.id = a.domain_id
    LEFT JOIN LATERAL (
        SELECT sum(m.octets) AS octets, sum(m.messages) AS messages
        FROM mailbox AS m WHERE m.account_id = a.id
    ) AS used ON true
"""


def _account(row: asyncpg.Record) -> AccountRow:
    identity, local_part, domain_name, maildir, enabled, admin, shared, *rest = row.values()
    used, limit, messages, message_limit, has_password, created_at = rest
    return AccountRow(
        id=identity,
        address=_address(local_part, domain_name),
        maildir=maildir,
        enabled=enabled,
        admin=admin,
        shared=shared,
        quota=Quota(used, limit, messages, message_limit),
        has_password=has_password,
        created_at=created_at,
    )


def _address(local_part: str, domain_name: str) -> str:
    return str(Address(local_part, domain_name))


async def add_account(
    connection: Connection,
    domain_id: DomainId,
    local_part: str,
    maildir: str,
    *,
    quota_octets: int | None,
    admin: bool,
    shared: bool = False,
) -> AccountId:
    """Create an account without mailboxes and without a password.

    Raises:
        AlreadyExistsError: the local part is taken, or the folder by another account.
    """
    try:
        account: AccountId = await connection.fetchval(
            """
            INSERT INTO account (domain_id, local_part, maildir, quota_octets, admin, shared)
            VALUES ($1, $2, $3, $4, $5, $6)
            RETURNING id
            """,
            domain_id,
            local_part,
            maildir,
            quota_octets,
            admin,
            shared,
        )
    except asyncpg.UniqueViolationError as error:
        raise AlreadyExistsError("An account with this address already exists") from error
    return account


async def taken_folders(connection: Connection, folders: Sequence[str]) -> set[str]:
    """Return which of these folders belong to accounts."""
    rows = await connection.fetch("SELECT maildir FROM account WHERE maildir = ANY($1::text[])", folders)
    return {row["maildir"] for row in rows}


async def add_default_mailboxes(
    connection: Connection, account: AccountId, directories: Mapping[str, str]
) -> list[Mailbox]:
    """Create and subscribe the default mailboxes, in the folders given for their names."""
    names = [name for name, _ in DEFAULT_MAILBOXES]
    rows = await connection.fetch(
        """
        INSERT INTO mailbox (account_id, name, directory, special_use)
        SELECT $1, n, d, u FROM unnest($2::text[], $3::text[], $4::text[]) AS w (n, d, u)
        RETURNING id, (SELECT a.maildir FROM account AS a WHERE a.id = account_id) AS home, name, uidvalidity,
            uidnext, highest_modseq
        """,
        account,
        names,
        [directories[name] for name in names],
        [use.value if use else None for _, use in DEFAULT_MAILBOXES],
    )
    await connection.execute(
        "INSERT INTO subscription (account_id, name) SELECT $1, unnest($2::text[])", account, names
    )
    uses = dict(DEFAULT_MAILBOXES)
    return [
        Mailbox(
            id=row["id"],
            account=account,
            home=row["home"],
            name=row["name"],
            directory=directories[row["name"]],
            uidvalidity=row["uidvalidity"],
            uidnext=row["uidnext"],
            highest_modseq=row["highest_modseq"],
            messages=0,
            unseen=0,
            octets=0,
            special_use=uses[row["name"]],
            keywords=(),
            limited=True,  # not looked up
            acl_version=0,
            first_recent=row["uidnext"],
        )
        for row in rows
    ]


async def account(connection: Connection, local_part: str, domain_name: str) -> AccountRow:
    """Return one account.

    Raises:
        NotFoundError: there is no such account.
    """
    row = await connection.fetchrow(
        f"{_ACCOUNT} WHERE a.local_part = $1 AND d.name = $2", local_part, domain_name
    )
    if row is None:
        raise NotFoundError(f"Account {local_part}@{domain_name} does not exist")
    return _account(row)


async def accounts(connection: Connection, domain_name: str | None = None) -> list[AccountRow]:
    """Return the accounts of a domain, or all, by address."""
    rows = await connection.fetch(
        f"{_ACCOUNT} WHERE $1::text IS NULL OR d.name = $1 ORDER BY d.name, a.local_part", domain_name
    )
    return [_account(row) for row in rows]


async def set_password(connection: Connection, account_id: AccountId, password: NewPassword) -> None:
    """Replace all forms of the password at once."""
    await connection.execute(
        """
        UPDATE account
        SET password_hash = $2, scram_salt = $3, scram_iterations = $4, scram_stored_key = $5,
            scram_server_key = $6
        WHERE id = $1
        """,
        account_id,
        password.password_hash,
        password.scram_salt,
        password.scram_iterations,
        password.scram_stored_key,
        password.scram_server_key,
    )


async def set_quota(
    connection: Connection, account_id: AccountId, octets: int | None, messages: int | None
) -> None:
    """Set both limits; `None` is no limit."""
    await connection.execute(
        "UPDATE account SET quota_octets = $2, quota_messages = $3 WHERE id = $1",
        account_id,
        octets,
        messages,
    )


async def set_account_enabled(connection: Connection, account_id: AccountId, enabled: bool) -> None:
    """Enable or disable an account."""
    await connection.execute("UPDATE account SET enabled = $2 WHERE id = $1", account_id, enabled)


async def remove_account(connection: Connection, account_id: AccountId) -> list[MailboxId]:
    """Delete every row of an account and return its mailboxes; the caller removes the files."""
    # Locked first, in the order of deliveries: a delivery under way ends before, or finds no mailbox.
    mailboxes = await connection.fetch(
        "SELECT id FROM mailbox WHERE account_id = $1 ORDER BY id FOR UPDATE", account_id
    )
    await connection.execute("SET LOCAL statement_timeout = 0")
    for table in (
        *("message", "expunged", "changed", "content_index", "thread_reference", "content"),
        *("import_item", "import_folder", "mailbox_index", "mailbox"),
    ):
        statement = f"DELETE FROM {table} WHERE account_id = $1"  # noqa: S608 - the names are above
        await connection.execute(statement, account_id, timeout=REMOVAL_TIMEOUT)
    await connection.execute("DELETE FROM account WHERE id = $1", account_id)
    return [row["id"] for row in mailboxes]


# ---- Aliases -----------------------------------------------------------------------------------------------


async def add_alias(
    connection: Connection, domain_id: DomainId, local_part: str, targets: Sequence[str]
) -> None:
    """Create an alias.

    Raises:
        AlreadyExistsError: the domain has an alias of this name.
    """
    try:
        await connection.execute(
            "INSERT INTO alias (domain_id, local_part, targets) VALUES ($1, $2, $3)",
            domain_id,
            local_part,
            list(targets),
        )
    except asyncpg.UniqueViolationError as error:
        raise AlreadyExistsError("This alias already exists") from error


async def aliases(connection: Connection, domain_name: str | None = None) -> list[AliasRow]:
    """Return the aliases of a domain, or all, by address."""
    rows = await connection.fetch(
        """
        SELECT d.name, al.local_part, al.targets, al.enabled, al.created_at
        FROM alias AS al JOIN domain AS d ON d.id = al.domain_id
        WHERE $1::text IS NULL OR d.name = $1
        ORDER BY d.name, al.local_part
        """,
        domain_name,
    )
    return [AliasRow(row[0], row[1], tuple(row[2]), row[3], row[4]) for row in rows]


async def aliases_into(connection: Connection, domain_names: Collection[str]) -> list[AliasRow]:
    """Return the aliases that have a target in one of these domains, by address."""
    rows = await connection.fetch(
        """
        SELECT d.name, al.local_part, al.targets, al.enabled, al.created_at
        FROM alias AS al JOIN domain AS d ON d.id = al.domain_id
        WHERE domains_of(al.targets) && $1::text[]
        ORDER BY d.name, al.local_part
        """,
        list(domain_names),
    )
    return [AliasRow(row[0], row[1], tuple(row[2]), row[3], row[4]) for row in rows]


async def remove_alias(connection: Connection, local_part: str, domain_name: str) -> None:
    """Delete an alias.

    Raises:
        NotFoundError: there is none.
    """
    done = await connection.fetchval(
        """
        DELETE FROM alias AS al USING domain AS d
        WHERE d.id = al.domain_id AND d.name = $2 AND al.local_part = $1
        RETURNING al.id
        """,
        local_part,
        domain_name,
    )
    if done is None:
        raise NotFoundError(f"Alias {local_part}@{domain_name} does not exist")
