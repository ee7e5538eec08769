"""Annotations of mailboxes and of the server (RFC 5464), and what a mailbox is for (RFC 6154 §4).

In: a principal, a mailbox's name (empty: the server), entries in lower case. Out: values. Entries below `/private`
belong to each user alone, entries below `/shared` to everybody who may see the mailbox.
"""

from collections.abc import Mapping, Sequence

import msgspec

from esp.core import annotation
from esp.core.change import AccountChange
from esp.core.errors import (
    InvalidError,
    LongAnnotationError,
    ManyAnnotationsError,
    NoPermissionError,
    SpecialUseError,
)
from esp.core.mailbox import MailboxId, ModSeq, SpecialUse
from esp.core.principal import Principal
from esp.core.rights import Rights
from esp.services import access
from esp.services.access import Reached
from esp.services.announcing import Announcer
from esp.services.mailboxes import Listed, Mailboxes
from esp.storage.postgres import annotations as sql
from esp.storage.postgres import mailboxes as mailboxes_sql
from esp.storage.postgres.pool import Database

READERS = Rights.READ | Rights.SEEN | Rights.WRITE | Rights.INSERT | Rights.POST
"""`l` and one of these are required (RFC 5464 §3.3)."""

Values = Mapping[str, bytes]


class Found(msgspec.Struct, frozen=True):
    """Annotations of one mailbox, or of the server."""

    name: str
    """The name by which the principal knows the mailbox; empty for the server."""
    values: Values


class Annotations:
    """Reads and sets annotations."""

    def __init__(self, database: Database, mailboxes: Mailboxes, notifier: Announcer) -> None:
        self._database = database
        self._notifier = notifier
        self._mailboxes = mailboxes

    async def of(self, principal: Principal, name: str) -> Found:
        """Return all annotations of a mailbox, or of the server, that the principal may see.

        Raises:
            NotFoundError: there is no such mailbox.
            NoPermissionError: the principal may not read them.
        """
        async with self._database.connection() as connection:
            if not name:
                values: Values = await sql.of_server(connection, principal.account)
                return Found("", {**values, **_computed_of_server(principal)})
            reached = await access.reach_any(connection, principal, name, READERS)
            reached.require(Rights.LOOKUP)
            found = await sql.of_mailboxes(connection, [reached.mailbox.id], principal.account)
        use = reached.mailbox.special_use if reached.own else None
        return Found(reached.name, _with_use(found.get(reached.mailbox.id, {}), use))

    async def of_listed(self, principal: Principal, listed: Sequence[Listed]) -> Mapping[MailboxId, Values]:
        """Return all that the principal may see of these mailboxes, in one query, leaving out those it may not read."""
        asked = {one.mailbox.id: one for one in listed if one.mailbox is not None and one.rights & READERS}
        async with self._database.connection() as connection:
            found = await sql.of_mailboxes(connection, asked, principal.account)
        return {
            mailbox: _with_use(
                found.get(mailbox, {}), one.mailbox.special_use if one.mailbox and one.own else None
            )
            for mailbox, one in asked.items()
        }

    async def set(self, principal: Principal, name: str, values: Sequence[tuple[str, bytes | None]]) -> None:
        """Set values, all or none; `None` removes one.

        Raises:
            NotFoundError: there is no such mailbox.
            NoPermissionError: the principal may not set them, or an entry is read-only.
            InvalidError: an entry is not a name that can have a value.
            LongAnnotationError, ManyAnnotationsError: a limit is exceeded.
            SpecialUseError: the mailbox cannot have this special use.
        """
        for entry, value in values:
            if entry.count("/") < 2:
                raise InvalidError("The entry cannot have a value")
            if value is not None and len(value) > annotation.LONGEST_VALUE:
                raise LongAnnotationError("The value is too long")
        changed: MailboxId | None = None
        modseq = ModSeq(0)
        async with self._database.transaction() as tx:
            if not name:
                _check_server(principal, values)
                kept = await sql.put(tx, None, principal.account, values)
            else:
                reached = await access.reach_any(tx, principal, name, READERS)
                _check_mailbox(reached, values)
                mailbox = reached.mailbox
                changed = mailbox.id
                for entry, value in values:
                    if entry == annotation.SPECIAL_USE:
                        await self._mailboxes.use(tx, reached, _special_use(value))
                stored = [(entry, value) for entry, value in values if entry != annotation.SPECIAL_USE]
                kept = await sql.put(tx, mailbox.id, principal.account, stored)
                # RFC 7162 §3.2: a client that sees HIGHESTMODSEQ unchanged may keep what it knows of annotations.
                modseq = await mailboxes_sql.advance(tx, mailbox.id)
            if kept > annotation.MOST_ENTRIES:
                raise ManyAnnotationsError("There are too many annotations")
        entries = tuple(entry for entry, _ in values)
        if changed is not None:
            await self._notifier.publish([(changed, modseq)])
        await self._notifier.publish_account(AccountChange(principal.account, changed, entries))


def _computed_of_server(principal: Principal) -> Values:
    # Every domain has a postmaster (RFC 5321 §4.5.1).
    return {annotation.ADMIN: f"mailto:postmaster@{principal.address.rpartition('@')[2]}".encode()}


def _with_use(values: Values, use: SpecialUse | None) -> Values:
    return values if use is None else {**values, annotation.SPECIAL_USE: use.encode()}


def _check_server(principal: Principal, values: Sequence[tuple[str, bytes | None]]) -> None:
    for entry, _ in values:
        if entry == annotation.ADMIN:
            raise NoPermissionError("The entry is read-only")
        if not annotation.is_private(entry) and not principal.admin:
            raise NoPermissionError("Only an administrator may set what all users see")


def _check_mailbox(reached: Reached, values: Sequence[tuple[str, bytes | None]]) -> None:
    # RFC 5464 §3.3 lets every reader annotate for all; that changes the mailbox, so `w` is required as well.
    shared = any(not annotation.is_private(entry) for entry, _ in values)
    reached.require(Rights.LOOKUP | Rights.WRITE if shared else Rights.LOOKUP)


def _special_use(value: bytes | None) -> SpecialUse | None:
    words = (value or b"").split()
    if not words:
        return None
    known = {use.lower().encode(): use for use in SpecialUse}
    if len(words) > 1 or words[0].lower() not in known:
        raise SpecialUseError("A mailbox has one special use, and not this one")
    return known[words[0].lower()]
