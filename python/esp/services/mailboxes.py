"""Mailboxes: created, listed, renamed, deleted, subscribed to (RFC 3501 §6.3, RFC 6154).

In: a principal and a name, which may be in another account (`services.access`). Out: `core.mailbox.Mailbox`, or an
error of `core.errors`. A change is in PostgreSQL and in the mailbox's folder (its name in `esp-mailbox.json`) before
the call returns, and other processes have been notified. After a RENAME of many, a worker writes the cards that could
not be written.
"""

from collections.abc import Mapping, Sequence

import msgspec

from esp.core import mailbox_name, namespace, rights
from esp.core.change import AccountChange
from esp.core.errors import (
    AlreadyExistsError,
    DeniedError,
    EspError,
    HasChildrenError,
    LimitError,
    NotFoundError,
    SpecialUseError,
)
from esp.core.mailbox import GONE, Mailbox, MailboxId, SpecialUse
from esp.core.mailbox_name import INBOX
from esp.core.principal import AccountId, Principal
from esp.core.rights import ALL, Rights
from esp.services import access
from esp.services.access import Reached, Room
from esp.services.announcing import Announcer
from esp.services.describing import describe
from esp.services.file_failures import file_errors
from esp.services.lookup import Lookup
from esp.services.messages import Messages, removal_of
from esp.storage.maildir import Maildirs, folder_stem
from esp.storage.postgres import acl, outbox
from esp.storage.postgres import annotations as annotations_sql
from esp.storage.postgres import mailboxes as sql
from esp.storage.postgres import messages as messages_sql
from esp.storage.postgres.messages import Count
from esp.storage.postgres.outbox import Topic
from esp.storage.postgres.pool import Connection, Database
from esp.telemetry.log import cause_of, get_logger

MOST_MAILBOXES = 10_000
"""In one account: every LIST walks through them."""
MOST_SUBSCRIPTIONS = 20_000
"""In one account, for the same reason; they need no mailbox."""

COUNTED_TOGETHER = 1_000
"""Mailboxes whose messages one statement counts."""

DESCRIBED_AT_ONCE = 16
"""Mailboxes whose cards are written while their rows are locked, at three syncs each."""
DESCRIBE_DELAY = 120.0
"""Seconds before a worker writes cards; longer than the renaming process needs for thousands of them."""


log = get_logger(__name__)


class Listed(msgspec.Struct, frozen=True):
    """A name that LIST or LSUB may show."""

    name: str
    """The name by which the principal knows it."""
    mailbox: Mailbox | None
    """`None` for a name that only has children, or is only subscribed to."""
    subscribed: bool
    has_children: bool
    rights: Rights = ALL
    own: bool = True


class Status(msgspec.Struct, frozen=True):
    """What STATUS may ask of a mailbox; `recent` and `deleted` are counted on demand only."""

    name: str
    """The name by which the principal knows it."""
    mailbox: Mailbox
    recent: int = 0
    deleted: int = 0
    deleted_octets: int = 0


class Mailboxes:
    """Reads and changes the names of an account's mailboxes."""

    def __init__(
        self,
        database: Database,
        maildirs: Maildirs,
        messages: Messages,
        notifier: Announcer,
        unlink_after: float,
    ) -> None:
        self._database = database
        self._maildirs = maildirs
        self._messages = messages
        self._notifier = notifier
        self._unlink_after = unlink_after
        self._lookup = Lookup(database)

    async def find(self, principal: Principal, name: str) -> Mailbox:
        """Return the account's own mailbox of that name, whatever its access control list says.

        Raises:
            NotFoundError: there is none.
        """
        return await self._lookup.find(principal.account, mailbox_name.canonical(name))

    async def reach(self, principal: Principal, name: str, need: Rights) -> Reached:
        """Return the mailbox of that name, in any namespace, with all rights of `need` on it.

        Raises:
            NotFoundError: there is none, as far as the principal may know.
            NoPermissionError: a right is missing.
        """
        place = namespace.place(mailbox_name.canonical(name))
        if place.owner is None:
            mailbox = await self._lookup.find(principal.account, place.name)
            if mailbox.acl_version == 0:  # nobody else has a right on it, so its owner has all
                return Reached(mailbox, mailbox.name, ALL, own=True, owner=principal.address)
        async with self._database.connection() as connection:
            return await access.reach(connection, principal, name, need)

    async def listed(self, principal: Principal) -> list[Listed]:
        """Return every name the principal may see, in order: mailboxes, subscribed names, and all names above them."""
        async with self._database.connection() as connection:
            own = await sql.listed(connection, principal.account)
            shared = await acl.visible(connection, principal.account)
            subscribed = await sql.subscriptions(connection, principal.account)
            listed = [one for one in own if one.acl_version > 0]
            grants = await acl.grants_for(connection, [one.id for one in listed], principal.account)
        found = {one.name: (one, ALL, True) for one in own}
        for one in listed:
            granted = rights.effective(grants.get(one.id, ()), principal.account, owner=True)
            found[one.name] = (one, granted, True)
        for other in shared:
            granted = rights.effective(other.grants, principal.account, owner=False)
            if Rights.LOOKUP in granted:
                owner = other.owner
                name = namespace.shown(owner.address, other.mailbox.name, shared=owner.shared)
                found[name] = (other.mailbox, granted, False)
        parents = mailbox_name.with_children(found)
        names = found.keys() | parents | subscribed | mailbox_name.with_children(subscribed)
        nothing = (None, Rights.NONE, True)
        return [
            Listed(name, mailbox, name in subscribed, name in parents, granted, own=is_own)
            for name in sorted(names)
            for mailbox, granted, is_own in (found.get(name, nothing),)
        ]

    async def status(self, principal: Principal, name: str, *, counted: bool) -> Status:
        """Return the state of a mailbox; with `counted`, also what takes a walk through its messages.

        Raises:
            NotFoundError: there is none, as far as the principal may know.
            NoPermissionError: it may not be read.
        """
        async with self._database.connection() as connection:
            reached = await access.reach(connection, principal, name, Rights.READ)
            mailbox = reached.mailbox
            if not counted:
                return Status(reached.name, mailbox)
            counts = await messages_sql.count_recent_and_deleted(connection, [mailbox.id])
        return _status(reached.name, mailbox, counts)

    async def statuses(self, listed: Sequence[Listed]) -> dict[MailboxId, Status]:
        """Return the state of mailboxes that `listed` returned, with what takes a walk through their messages."""
        found: dict[MailboxId, Status] = {}
        mailboxes = [(one.name, one.mailbox) for one in listed if one.mailbox is not None]
        for first in range(0, len(mailboxes), COUNTED_TOGETHER):
            some = mailboxes[first : first + COUNTED_TOGETHER]
            wanted = [mailbox.id for _, mailbox in some if mailbox.messages]
            async with self._database.connection() as connection:
                counts = await messages_sql.count_recent_and_deleted(connection, wanted)
            found |= {mailbox.id: _status(name, mailbox, counts) for name, mailbox in some}
        return found

    async def create(self, principal: Principal, name: str, special_use: SpecialUse | None = None) -> Mailbox:
        """Create a mailbox. Names above it need not exist as mailboxes (RFC 3501 §6.3.3).

        Raises:
            InvalidError: the name is not allowed.
            AlreadyExistsError: the name is taken.
            SpecialUseError: another mailbox has this special use.
            LimitError: the account has too many.
            NoPermissionError: the principal may not create it there.
        """
        async with self._database.transaction() as tx:
            mailbox = await self._create(tx, await access.room_for(tx, principal, name), special_use)
        await self._notifier.publish_account(AccountChange(mailbox.account))
        return mailbox

    async def delete(self, principal: Principal, name: str) -> None:
        """Remove a mailbox and its messages; its children stay (RFC 3501 §6.3.4).

        Raises:
            DeniedError: the mailbox is an INBOX.
            HasChildrenError: there is no mailbox of this name, only others below it.
            NotFoundError: there is none, as far as the principal may know.
            NoPermissionError: the principal may not delete it.
        """
        async with self._database.transaction() as tx:
            try:
                reached = await access.reach(tx, principal, name, Rights.DELETE)
            except NotFoundError:
                if await sql.has_children(tx, principal.account, mailbox_name.canonical(name)):
                    raise HasChildrenError("There are mailboxes below this name") from None
                raise
            mailbox = reached.mailbox
            if mailbox.name == INBOX:
                raise DeniedError("INBOX cannot be deleted")
            mailbox = (await sql.lock(tx, [mailbox.id]))[mailbox.id]
            await messages_sql.remove_all(tx, mailbox, removal_of(mailbox, self._unlink_after))
            await sql.delete(tx, mailbox.id)
            # Within the transaction: nothing rebuilds a folder without a name in it into a mailbox.
            with file_errors():
                await self._maildirs.forget(mailbox.home, mailbox.directory)
        await self._notifier.publish([(mailbox.id, GONE)])
        await self._notifier.publish_account(AccountChange(mailbox.account))

    async def rename(self, principal: Principal, name: str, new_name: str) -> None:
        """Give a mailbox and all below it another name; INBOX stays, and its messages are moved (RFC 3501 §6.3.5).

        Raises:
            InvalidError: the new name is not allowed.
            NotFoundError: there is no such mailbox, as far as the principal may know.
            AlreadyExistsError: the new name is taken.
            DeniedError: the mailbox would be its own child, or in another account.
            NoPermissionError: the principal may not rename it.
        """
        name = mailbox_name.canonical(name)
        if name == INBOX:
            await self._move_inbox(principal, new_name)
            return
        async with self._database.transaction() as tx:
            account, name = await self._renamed(tx, principal, name)
            room = await access.room_for(tx, principal, new_name)
            if room.account != account:
                raise DeniedError("A mailbox cannot become another account's")
            if room.name in {INBOX, name} or await sql.by_names(tx, account, [room.name]):
                raise AlreadyExistsError("Mailbox exists already")
            if mailbox_name.is_inferior(room.name, name):
                raise DeniedError("A mailbox cannot become its own child")
            renamed = await sql.rename(tx, account, name, room.name)
            if not renamed:
                raise NotFoundError("Mailbox does not exist")
            for mailbox in renamed:
                mailbox_name.for_creation(mailbox.name)  # the name of a child may have become too long
            many = outbox.Describe([mailbox.id for mailbox in renamed])
            if len(renamed) > DESCRIBED_AT_ONCE:
                word = await outbox.add(tx, Topic.DESCRIBE, many, DESCRIBE_DELAY)
            else:
                word = None
                await self._describe_again(tx, many.mailboxes)
        await self._notifier.publish_account(AccountChange(account))
        if word is not None:
            await self._describe_many(many, word)

    async def subscribe(self, principal: Principal, name: str) -> None:
        """Add a name to the subscriptions; it need not exist (RFC 3501 §6.3.6).

        Raises:
            InvalidError: the name is not allowed.
            LimitError: there are too many.
        """
        name = mailbox_name.for_creation(name)
        async with self._database.transaction() as tx:
            # The mailbox is locked first, as by a rename or the account's removal: its card must get the newest name.
            named = await self._lock(tx, principal.account, name)
            if not await sql.subscribe(tx, principal.account, name, most=MOST_SUBSCRIPTIONS):
                raise LimitError("Too many subscriptions")
            await self._describe_again(tx, named)
        await self._notifier.publish_account(AccountChange(principal.account))

    async def unsubscribe(self, principal: Principal, name: str) -> None:
        """Remove a name from the subscriptions, if it is there."""
        name = mailbox_name.canonical(name)
        async with self._database.transaction() as tx:
            named = await self._lock(tx, principal.account, name)
            if not await sql.unsubscribe(tx, principal.account, name):
                return  # RFC 9051 §6.3.8: already as the client wants it
            await self._describe_again(tx, named)
        await self._notifier.publish_account(AccountChange(principal.account))

    async def use(self, tx: Connection, reached: Reached, special_use: SpecialUse | None) -> None:
        """Set the special use of a mailbox (RFC 6154 §4).

        Raises:
            SpecialUseError: another mailbox has this use, or the mailbox is in another account or is INBOX.
        """
        mailbox = (await sql.lock(tx, [reached.mailbox.id]))[reached.mailbox.id]
        if mailbox.special_use == special_use:
            return
        if not reached.own or mailbox.name == INBOX:
            raise SpecialUseError("This mailbox can have no special use")
        if special_use is not None and (await sql.census(tx, mailbox.account, special_use)).used:
            raise SpecialUseError("There is a mailbox for this use already")
        changed = await sql.set_special_use(tx, mailbox.id, special_use)
        await self._describe(changed, await sql.is_subscribed(tx, mailbox.account, mailbox.name))

    async def _create(self, tx: Connection, room: Room, special_use: SpecialUse | None) -> Mailbox:
        census = await sql.census(tx, room.account, special_use)
        if census.mailboxes >= MOST_MAILBOXES:
            raise LimitError("Too many mailboxes")
        if await sql.by_names(tx, room.account, [room.name]):
            raise AlreadyExistsError("Mailbox exists already")
        if special_use is not None and (census.used or not room.own):
            # RFC 6154 §3: the server may refuse a second mailbox for the same use.
            raise SpecialUseError("There is a mailbox for this use already")
        taken = await sql.directories(tx, room.account, folder_stem(room.name))
        directory = self._maildirs.directory_for(room.name, taken)
        mailbox = await sql.create(tx, room.account, room.name, directory, special_use)
        if room.superior is not None and room.superior.acl_version > 0:
            await acl.inherit(tx, room.superior.id, [mailbox.id])
        await self._describe(mailbox, await sql.is_subscribed(tx, room.account, room.name))
        return mailbox

    async def _renamed(self, tx: Connection, principal: Principal, name: str) -> tuple[AccountId, str]:
        """Return account and name of what is to be renamed; in the own account, a name with only children will do."""
        try:
            reached = await access.reach(tx, principal, name, Rights.DELETE)
        except NotFoundError:
            if namespace.place(name).owner is not None:
                raise
            return principal.account, name
        if reached.mailbox.name == INBOX:
            raise DeniedError("The INBOX of another account cannot be renamed")
        return reached.mailbox.account, reached.mailbox.name

    async def _move_inbox(self, principal: Principal, new_name: str) -> None:
        # RFC 3501 §6.3.5: "moves all messages in INBOX to a new mailbox with the given name, leaving INBOX empty";
        # children of INBOX are unaffected. A failure leaves some messages in INBOX, and the others in the new mailbox;
        # MOVE can take the rest there.
        inbox = await self.find(principal, INBOX)
        async with self._database.transaction() as tx:
            room = await access.room_for(tx, principal, new_name)
            if not room.own:
                raise DeniedError("A mailbox cannot become another account's")
            target = await self._create(tx, room, None)
            # RFC 5464 §4.1: INBOX keeps its annotations, and the new mailbox gets a copy.
            await annotations_sql.copy(tx, inbox.id, target.id)
        # RFC 5465 §5.4: for NOTIFY, a mailbox was created; INBOX was not renamed.
        await self._notifier.publish_account(AccountChange(target.account))
        await self._messages.move_all(inbox.id, target.id)

    async def _describe(self, mailbox: Mailbox, subscribed: bool) -> None:
        with file_errors():
            await self._maildirs.describe(mailbox.home, mailbox, subscribed=subscribed)

    async def _describe_many(self, many: outbox.Describe, word: int) -> None:
        try:
            await describe(self._database, self._maildirs, many.mailboxes)
            await outbox.done(self._database, [word])
        except EspError as error:
            # The mailboxes are renamed; a client answered NO would try again with the old names.
            log.warning("cards_left_to_a_worker", error=error.detail, cause=cause_of(error))

    async def _lock(self, tx: Connection, account: AccountId, name: str) -> list[MailboxId]:
        """Lock the mailbox of that name, if it exists."""
        try:
            mailbox = await sql.by_name(tx, account, name)
            return list(await sql.lock(tx, [mailbox.id]))
        except NotFoundError:
            return []

    async def _describe_again(self, tx: Connection, locked: list[MailboxId]) -> None:
        for mailbox, subscribed in await sql.described(tx, locked):
            await self._describe(mailbox, subscribed)


def _status(name: str, mailbox: Mailbox, counts: Mapping[MailboxId, Count]) -> Status:
    count = counts.get(mailbox.id) or Count(0, 0, 0)
    return Status(name, mailbox, count.recent, count.deleted, count.deleted_octets)
