"""Access control lists: who may do what with a mailbox (RFC 4314).

In: a principal with the right `a`, a mailbox's name, identifiers and letters as clients write them. Out: the list; all
processes are notified a moment after it changed.
"""

import msgspec

from esp.core import rights
from esp.core.change import EVERYBODY, AccountChange
from esp.core.errors import InvalidError, NotFoundError
from esp.core.mailbox import Mailbox, MailboxId, ModSeq
from esp.core.principal import AccountId, Principal
from esp.core.rights import ALL, ANYONE, KEPT_BY_OWNER, Grant, Rights
from esp.services import access
from esp.services.access import Reached
from esp.services.announcing import Announcer
from esp.storage.postgres import acl
from esp.storage.postgres import mailboxes as sql
from esp.storage.postgres.pool import Connection, Database

MOST_GRANTS = 500
"""Entries for one mailbox."""


class Changed(msgspec.Struct, frozen=True):
    """A mailbox whose list was changed, and the mod-sequence of that change."""

    mailbox: MailboxId
    modseq: ModSeq


class Listing(msgspec.Struct, frozen=True):
    """The access control list of a mailbox."""

    reached: Reached
    grants: list[Grant]


class Grantable(msgspec.Struct, frozen=True):
    """The rights an identifier always has, and those it can be given (RFC 4314 §3.4)."""

    reached: Reached
    required: Rights
    optional: Rights


class Sharing:
    """Reads and changes access control lists."""

    def __init__(self, database: Database, notifier: Announcer) -> None:
        self._database = database
        self._notifier = notifier

    async def change(self, principal: Principal, name: str, identifier: str, change: str) -> Changed:
        """Set an identifier's rights, add some (`+…`), or remove some (`-…`); with none left, its entry is removed.

        Raises:
            NotFoundError: there is no such mailbox, or no such account.
            NoPermissionError: the principal may not change the list.
            InvalidError: a letter is no right, or the identifier is invalid.
        """
        sign = change[:1] if change[:1] in {"+", "-"} else ""
        wanted = rights.parse(change.removeprefix(sign))
        async with self._database.transaction() as tx:
            mailbox = await self._administered(tx, principal, name)
            account, negative = await _identified(tx, identifier)
            grants = (await acl.grants(tx, [mailbox.id])).get(mailbox.id, [])
            before = _of(grants, account, negative=negative)
            if before is None and len(grants) >= MOST_GRANTS:
                raise InvalidError("The access control list is full")
            had = _assumed(mailbox, account, negative=negative) if before is None else before.rights
            granted = had | wanted if sign == "+" else had & ~wanted if sign == "-" else wanted
            if account == mailbox.account and not negative:
                granted |= KEPT_BY_OWNER
            if granted:
                await acl.put(tx, mailbox, Grant(account, "", negative, granted))
            else:
                # An entry without rights means the same as no entry: it would only fill the list.
                await acl.remove(tx, mailbox, account, negative=negative)
        return await self._tell(mailbox, account)

    async def revoke(self, principal: Principal, name: str, identifier: str) -> Changed:
        """Remove an identifier's entry; without an entry, the owner has all rights.

        Raises:
            NotFoundError: there is no such mailbox, or no such account.
            NoPermissionError: the principal may not change the list.
        """
        async with self._database.transaction() as tx:
            mailbox = await self._administered(tx, principal, name)
            account, negative = await _identified(tx, identifier)
            await acl.remove(tx, mailbox, account, negative=negative)
        return await self._tell(mailbox, account)

    async def listing(self, principal: Principal, name: str) -> Listing:
        """Return a mailbox's list, the owner first.

        Raises:
            NotFoundError: there is no such mailbox.
            NoPermissionError: the principal may not read the list.
        """
        async with self._database.connection() as connection:
            reached = await access.reach(connection, principal, name, Rights.ADMINISTER)
            grants = (await acl.grants(connection, [reached.mailbox.id])).get(reached.mailbox.id, [])
        owner = reached.mailbox.account
        if _of(grants, owner, negative=False) is None:
            grants.insert(0, Grant(owner, reached.owner, False, ALL))
        return Listing(reached, grants)

    async def grantable(self, principal: Principal, name: str, identifier: str) -> Grantable:
        """Return what an identifier can be given.

        Raises:
            NotFoundError: there is no such mailbox, or no such account.
            NoPermissionError: the principal may not read the list.
        """
        async with self._database.connection() as connection:
            reached = await access.reach(connection, principal, name, Rights.ADMINISTER)
            account, negative = await _identified(connection, identifier)
        required = Rights.NONE
        if account == reached.mailbox.account and not negative:
            required = KEPT_BY_OWNER
        return Grantable(reached, required, ALL & ~required)

    async def mine(self, principal: Principal, name: str) -> Reached:
        """Return a mailbox with the principal's rights on it.

        Raises:
            NotFoundError: there is no such mailbox, as far as the principal may know.
        """
        async with self._database.connection() as connection:
            return await access.reach_any(connection, principal, name, access.ANY_RIGHT)

    async def rights_now(self, principal: Principal, mailbox_id: MailboxId) -> tuple[Rights, int]:
        """Return the principal's current rights on a mailbox, and the version of the list that they come from.

        Raises:
            NotFoundError: the mailbox was deleted.
        """
        async with self._database.connection() as connection:
            mailbox = await sql.by_id(connection, mailbox_id)
            return await access.rights_on(connection, principal, mailbox), mailbox.acl_version

    async def _administered(self, tx: Connection, principal: Principal, name: str) -> Mailbox:
        reached = await access.reach(tx, principal, name, Rights.ADMINISTER)
        return (await sql.lock(tx, [reached.mailbox.id]))[reached.mailbox.id]

    async def _tell(self, mailbox: Mailbox, concerned: AccountId | None) -> Changed:
        changed = Changed(mailbox.id, ModSeq(mailbox.highest_modseq + 1))
        await self._notifier.publish([(changed.mailbox, changed.modseq)])
        # RFC 5465 §5.4: for users that gain or lose the right to see the mailbox, its name comes or goes.
        await self._notifier.publish_account(AccountChange(EVERYBODY if concerned is None else concerned))
        return changed


def _of(grants: list[Grant], account: AccountId | None, *, negative: bool) -> Grant | None:
    return next((g for g in grants if g.account == account and g.negative == negative), None)


def _assumed(mailbox: Mailbox, account: AccountId | None, *, negative: bool) -> Rights:
    # An owner without an entry has all rights: `-w` takes one of them away.
    return ALL if account == mailbox.account and not negative else Rights.NONE


async def _identified(connection: Connection, identifier: str) -> tuple[AccountId | None, bool]:
    """Return the account that an identifier names, and whether its rights are negative (RFC 4314 §2).

    Raises:
        InvalidError: the identifier is empty.
        NotFoundError: nobody has this name.
    """
    negative = identifier.startswith("-")
    name = identifier.removeprefix("-").strip()
    if not name:
        raise InvalidError("An identifier is an address, or anyone")
    if name.lower() == ANYONE:
        return None, negative
    owner = await acl.owner(connection, name)
    if owner is None:
        raise NotFoundError("There is no such user")
    return owner.account, negative
