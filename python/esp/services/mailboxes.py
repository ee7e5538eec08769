"""The mailboxes of an account: made, listed, renamed, deleted, subscribed to (RFC 3501 §6.3, RFC 6154).

In: a principal and a name. Out: `core.mailbox.Mailbox`, or an error of `core.errors`. A change is in PostgreSQL and in
the mailbox's folder (its name in `esp-mailbox.json`) before the call returns, and other processes have been told.
"""

import msgspec

from esp.core import mailbox_name
from esp.core.errors import AlreadyExistsError, DeniedError, HasChildrenError, LimitError, NotFoundError
from esp.core.mailbox import Mailbox, MailboxId, ModSeq, SpecialUse, Uid
from esp.core.mailbox_name import INBOX
from esp.core.principal import Principal
from esp.core.quota import Quota
from esp.services.messages import Messages, file_errors, leave_to_unlink
from esp.storage.maildir import Maildirs
from esp.storage.postgres import mailboxes as sql
from esp.storage.postgres import messages as messages_sql
from esp.storage.postgres.pool import Connection, Database
from esp.storage.redis import Notifier

MOST_MAILBOXES = 10_000
"""Of one account: every LIST walks through them."""

DELETED = ModSeq(2**63 - 1)
"""Published as the mod-sequence of a mailbox that is no more: whoever has it open looks, and finds it gone."""


class Listed(msgspec.Struct, frozen=True):
    """A name that LIST or LSUB may show."""

    name: str
    mailbox: Mailbox | None
    """`None` for a name that only has children, or is only subscribed to."""
    subscribed: bool
    has_children: bool


class Status(msgspec.Struct, frozen=True):
    """What STATUS may ask of a mailbox; `recent` and `deleted` are counted on demand only."""

    mailbox: Mailbox
    recent: int
    deleted: int


class Mailboxes:
    """Reads and changes the names of an account's mailboxes."""

    def __init__(
        self,
        database: Database,
        maildirs: Maildirs,
        messages: Messages,
        notifier: Notifier,
        unlink_after: float,
    ) -> None:
        self._database = database
        self._maildirs = maildirs
        self._messages = messages
        self._notifier = notifier
        self._unlink_after = unlink_after

    async def find(self, principal: Principal, name: str) -> Mailbox:
        """Return the mailbox of that name.

        Raises:
            NotFoundError: there is none.
        """
        async with self._database.connection() as connection:
            return await sql.by_name(connection, principal.account, mailbox_name.canonical(name))

    async def listed(self, principal: Principal) -> list[Listed]:
        """Return every name of the account, rising: mailboxes, names subscribed to, and all above them."""
        async with self._database.connection() as connection:
            mailboxes = {m.name: m for m in await sql.listed(connection, principal.account)}
            subscribed = await sql.subscriptions(connection, principal.account)
        parents = mailbox_name.with_children(mailboxes)
        return [
            Listed(
                name=name,
                mailbox=mailboxes.get(name),
                subscribed=name in subscribed,
                has_children=name in parents,
            )
            for name in sorted(
                mailboxes.keys() | parents | subscribed | mailbox_name.with_children(subscribed)
            )
        ]

    async def first_recent(self, mailbox: Mailbox, *, take: bool) -> Uid:
        """Return the first UID that is `\\Recent`; with `take` no other session gets these (RFC 3501 §2.3.2)."""
        async with self._database.connection() as connection:
            return await (sql.take_recent if take else sql.first_recent)(connection, mailbox.id)

    async def raise_recent(self, mailbox: MailboxId, uid: Uid) -> None:
        """Count messages below `uid` as told to a session that may take `\\Recent`."""
        async with self._database.connection() as connection:
            await sql.raise_recent(connection, mailbox, uid)

    async def quota(self, principal: Principal) -> Quota:
        """Return what the account keeps and may keep."""
        async with self._database.connection() as connection:
            return await sql.quota(connection, principal.account)

    async def status(self, principal: Principal, name: str, *, counted: bool) -> Status:
        """Return the state of a mailbox; with `counted` also what takes a walk through its messages.

        Raises:
            NotFoundError: there is none.
        """
        async with self._database.connection() as connection:
            mailbox = await sql.by_name(connection, principal.account, mailbox_name.canonical(name))
            recent = deleted = 0
            if counted:
                recent, deleted = await messages_sql.count_recent_and_deleted(connection, mailbox)
        return Status(mailbox=mailbox, recent=recent, deleted=deleted)

    async def create(self, principal: Principal, name: str, special_use: SpecialUse | None = None) -> Mailbox:
        """Make a mailbox. Names above it need none of their own (RFC 3501 §6.3.3).

        Raises:
            InvalidError: it cannot be a name.
            AlreadyExistsError: it is taken, or the special use is.
            LimitError: the account has too many.
        """
        name = mailbox_name.for_creation(name)
        async with self._database.transaction() as tx:
            return await self._create(tx, principal, name, special_use)

    async def delete(self, principal: Principal, name: str) -> None:
        """Remove a mailbox and its messages; its children stay (RFC 3501 §6.3.4).

        Raises:
            DeniedError: INBOX.
            HasChildrenError: there is none, only names below it.
            NotFoundError: there is none.
        """
        name = mailbox_name.canonical(name)
        if name == INBOX:
            raise DeniedError("INBOX cannot be deleted")
        async with self._database.transaction() as tx:
            try:
                mailbox = await sql.by_name(tx, principal.account, name)
            except NotFoundError:
                if any(
                    mailbox_name.is_inferior(m.name, name) for m in await sql.listed(tx, principal.account)
                ):
                    raise HasChildrenError("There are mailboxes below this name") from None
                raise
            mailbox = (await sql.lock(tx, [mailbox.id]))[mailbox.id]
            rows = await messages_sql.remove_all(tx, mailbox)
            await leave_to_unlink(tx, mailbox, rows, self._unlink_after)
            await sql.delete(tx, mailbox.id)
            # Within the transaction: a folder without a name in it is not rebuilt into a mailbox by anyone.
            with file_errors():
                await self._maildirs.forget(mailbox.home, mailbox.directory)
        await self._notifier.publish([(mailbox.id, DELETED)])

    async def rename(self, principal: Principal, name: str, new_name: str) -> None:
        """Give a mailbox and all below it another name; INBOX stays and its messages go (RFC 3501 §6.3.5).

        Raises:
            InvalidError: the new name cannot be one.
            NotFoundError: there is no such mailbox.
            AlreadyExistsError: the new name is taken.
        """
        name = mailbox_name.canonical(name)
        new_name = mailbox_name.for_creation(new_name)
        if name == INBOX:
            await self._move_inbox(principal, new_name)
            return
        if new_name in {INBOX, name}:
            raise AlreadyExistsError("Mailbox exists already")
        if mailbox_name.is_inferior(new_name, name):
            raise DeniedError("A mailbox cannot become its own child")
        async with self._database.transaction() as tx:
            # A name that only has children can be renamed as well: the children are.
            if any(m.name == new_name for m in await sql.listed(tx, principal.account)):
                raise AlreadyExistsError("Mailbox exists already")
            renamed = await sql.rename(tx, principal.account, name, new_name)
            if not renamed:
                raise NotFoundError("Mailbox does not exist")
            for mailbox in renamed:
                mailbox_name.for_creation(mailbox.name)  # a child's may have become too long
            subscribed = await sql.subscriptions(tx, principal.account)
            for mailbox in renamed:
                await self._describe(mailbox, mailbox.name in subscribed)

    async def subscribe(self, principal: Principal, name: str) -> None:
        """Add a name to the subscriptions; it need not exist (RFC 3501 §6.3.6).

        Raises:
            InvalidError: it cannot be a name.
        """
        name = mailbox_name.for_creation(name)
        async with self._database.transaction() as tx:
            await sql.subscribe(tx, principal.account, name)
            await self._describe_subscription(tx, principal, name, subscribed=True)

    async def unsubscribe(self, principal: Principal, name: str) -> None:
        """Take a name out of the subscriptions.

        Raises:
            NotFoundError: it was not in them.
        """
        name = mailbox_name.canonical(name)
        async with self._database.transaction() as tx:
            if not await sql.unsubscribe(tx, principal.account, name):
                raise NotFoundError("Not subscribed")
            await self._describe_subscription(tx, principal, name, subscribed=False)

    async def _create(
        self, tx: Connection, principal: Principal, name: str, special_use: SpecialUse | None
    ) -> Mailbox:
        existing = await sql.listed(tx, principal.account)
        if any(mailbox.name == name for mailbox in existing):
            raise AlreadyExistsError("Mailbox exists already")
        if len(existing) >= MOST_MAILBOXES:
            raise LimitError("Too many mailboxes")
        if special_use is not None and any(m.special_use == special_use for m in existing):
            # RFC 6154 §3: the server may refuse a second mailbox for the same use.
            raise DeniedError("There is a mailbox for this use already")
        directory = self._maildirs.directory_for(name, {m.directory for m in existing})
        mailbox = await sql.create(tx, principal.account, name, directory, special_use)
        subscribed = name in await sql.subscriptions(tx, principal.account)
        await self._describe(mailbox, subscribed)
        return mailbox

    async def _move_inbox(self, principal: Principal, new_name: str) -> None:
        # RFC 3501 §6.3.5: "moves all messages in INBOX to a new mailbox with the given name, leaving INBOX empty";
        # children of INBOX are unaffected.
        inbox = await self.find(principal, INBOX)
        target = await self.create(principal, new_name)
        await self._messages.move(inbox.id, target.id, None)

    async def _describe(self, mailbox: Mailbox, subscribed: bool) -> None:
        with file_errors():
            await self._maildirs.describe(mailbox.home, mailbox, subscribed=subscribed)

    async def _describe_subscription(
        self, tx: Connection, principal: Principal, name: str, *, subscribed: bool
    ) -> None:
        try:
            mailbox = await sql.by_name(tx, principal.account, name)
        except NotFoundError:
            return
        await self._describe(mailbox, subscribed)
