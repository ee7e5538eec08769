"""Which mailbox a name leads a principal to, and what it may do there (RFC 4314, RFC 2342).

In: a principal, and a name as the principal writes it. Out: the mailbox with the principal's rights; or
`NotFoundError`, the same for a missing mailbox and for one that the principal may not know of (RFC 4314 §6).
"""

import msgspec

from esp.core import mailbox_name, namespace, rights
from esp.core.errors import DeniedError, NoPermissionError, NotFoundError
from esp.core.mailbox import Mailbox
from esp.core.principal import AccountId, Principal
from esp.core.rights import ALL, Rights
from esp.storage.postgres import acl
from esp.storage.postgres import mailboxes as sql
from esp.storage.postgres.pool import Connection

ANY_RIGHT = Rights.LOOKUP | Rights.READ | Rights.INSERT | Rights.CREATE | Rights.DELETE | Rights.ADMINISTER
"""Any one of these is enough to ask for one's own rights (RFC 4314 §4, MYRIGHTS)."""


class Reached(msgspec.Struct, frozen=True):
    """A mailbox as a principal sees it."""

    mailbox: Mailbox
    name: str
    """The name by which the principal knows it; `mailbox.name` is its owner's."""
    rights: Rights
    own: bool
    owner: str
    """Address of the account that it belongs to."""

    def require(self, need: Rights) -> None:
        """Raise unless the principal has all of these rights.

        Raises:
            NoPermissionError: a right is missing.
            NotFoundError: a right is missing, and the principal may not know that there is such a mailbox.
        """
        if need in self.rights:
            return
        if Rights.LOOKUP in self.rights:
            raise NoPermissionError("Permission denied")
        raise NotFoundError("Mailbox does not exist")


class Room(msgspec.Struct, frozen=True):
    """Where a mailbox may be created."""

    account: AccountId
    name: str
    """The name within the account."""
    superior: Mailbox | None
    """The nearest one above it, whose access control list it inherits."""
    own: bool


async def reach(connection: Connection, principal: Principal, name: str, need: Rights) -> Reached:
    """Return the mailbox of that name, on which the principal has all rights of `need`.

    Raises:
        NotFoundError: there is none, as far as the principal may know.
        NoPermissionError: the principal may know of the mailbox, but lacks a right.
    """
    reached = await _reach(connection, principal, name)
    reached.require(need)
    return reached


async def reach_any(connection: Connection, principal: Principal, name: str, need: Rights) -> Reached:
    """Return the mailbox of that name, on which the principal has at least one right of `need`.

    Raises:
        NotFoundError: there is none, as far as the principal may know.
        NoPermissionError: the principal may know of the mailbox, but has none of these rights.
    """
    reached = await _reach(connection, principal, name)
    if not reached.rights & need:
        reached.require(need)
    return reached


async def _reach(connection: Connection, principal: Principal, name: str) -> Reached:
    place = namespace.place(mailbox_name.canonical(name))
    if place.owner is None:
        mailbox = await sql.by_name(connection, principal.account, place.name)
        granted = await rights_on(connection, principal, mailbox)
        return Reached(mailbox, mailbox.name, granted, own=True, owner=principal.address)
    owner = await _owner(connection, principal, place)
    if owner is None:
        raise NotFoundError("Mailbox does not exist")
    mailbox = await sql.by_name(connection, owner.account, mailbox_name.canonical(place.name))
    return Reached(
        mailbox,
        namespace.shown(owner.address, mailbox.name, shared=owner.shared),
        await rights_on(connection, principal, mailbox),
        own=False,
        owner=owner.address,
    )


async def rights_on(connection: Connection, principal: Principal, mailbox: Mailbox) -> Rights:
    """Return what a principal may do with a mailbox."""
    own = mailbox.account == principal.account
    if mailbox.acl_version == 0:
        return ALL if own else Rights.NONE
    found = await acl.grants_for(connection, [mailbox.id], principal.account)
    return rights.effective(found.get(mailbox.id, ()), principal.account, owner=own)


async def room_for(connection: Connection, principal: Principal, name: str) -> Room:
    """Return where a mailbox of that name may be created (RFC 4314 §4: `k` on the nearest one above).

    Raises:
        InvalidError: the name is not allowed.
        DeniedError: the namespace of other users has no such place.
        NoPermissionError: the principal may create nothing there, or may not know whether it may.
    """
    place = namespace.place(mailbox_name.canonical(name))
    if place.owner is None:
        own_name = mailbox_name.for_creation(name)
        superior = await _superior(connection, principal.account, own_name)
        if superior is not None and Rights.CREATE not in await rights_on(connection, principal, superior):
            raise NoPermissionError("Permission denied")
        return Room(principal.account, own_name, superior, own=True)
    if not place.name:
        raise DeniedError("Mailboxes of others are below their owners' names")
    owner = await _owner(connection, principal, place)
    inner = mailbox_name.for_creation(place.name)
    superior = await _superior(connection, owner.account, inner) if owner is not None else None
    if owner is None or superior is None:
        raise NoPermissionError("Permission denied")
    if Rights.CREATE not in await rights_on(connection, principal, superior):
        raise NoPermissionError("Permission denied")
    return Room(owner.account, inner, superior, own=False)


async def _owner(connection: Connection, principal: Principal, place: namespace.Place) -> acl.Owner | None:
    if not place.owner or not place.name:
        return None
    owner = await acl.owner(connection, place.owner)
    if owner is None or owner.shared != place.shared or owner.account == principal.account:
        return None
    return owner


async def _superior(connection: Connection, account: AccountId, name: str) -> Mailbox | None:
    found = await sql.by_names(connection, account, mailbox_name.superiors(name))
    return max(found, key=lambda mailbox: len(mailbox.name), default=None)
