"""Adding messages to a mailbox for a client: one, or several that are added all or none (RFC 3502, RFC 8508).

In: messages that have come completely. Out: their UIDs, once files and rows are durable. One message goes the way of
all mail (`dispatch`), in batches with others. Several, or one that replaces another, are a transaction of their own,
files first. If the connection is lost during its commit, it is found out whether the commit took place.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import reduce
from operator import or_

import msgspec

from esp.core.change import Changes
from esp.core.errors import EspError, NotFoundError, OverQuotaError
from esp.core.mailbox import Mailbox, MailboxId, ModSeq, Uid
from esp.native import DeliverItem, Failure, Spool, Store, Stored
from esp.services import file_failures, lost_commit
from esp.services.dispatch import Dispatch, Incoming, Notifier, Target
from esp.services.lost_commit import UnknownOutcome
from esp.services.messages import removal_of
from esp.storage import maildir
from esp.storage.postgres import delivery
from esp.storage.postgres import mailboxes as mailboxes_sql
from esp.storage.postgres import messages as messages_sql
from esp.storage.postgres.delivery import Delivery, Place, Refused
from esp.storage.postgres.pool import Connection, Database
from esp.telemetry.log import get_logger

log = get_logger(__name__)


class NewMessage(msgspec.Struct, frozen=True):
    """A message as a client wants it stored."""

    body: bytes | Spool
    """Cannot be used again, whatever the outcome."""
    flags: int = 0
    keywords: tuple[str, ...] = ()
    internal_date: datetime | None = None
    """`None`: now."""


class Replaced(msgspec.Struct, frozen=True):
    """A message that is replaced by another."""

    mailbox: MailboxId
    uid: Uid


class Appended(msgspec.Struct, frozen=True):
    """Where the messages are (RFC 4315 §3), and which mailboxes have changed."""

    uidvalidity: int
    uids: list[Uid]
    changes: Changes


class ReplacedGoneError(EspError):
    """The message to be replaced was expunged."""


class Appends:
    """Adds messages; one object for each process."""

    def __init__(
        self, store: Store, database: Database, dispatch: Dispatch, notifier: Notifier, unlink_after: float
    ) -> None:
        self._store = store
        self._database = database
        self._dispatch = dispatch
        self._notifier = notifier
        self._unlink_after = unlink_after

    async def append_again(self, mailbox: Mailbox, message: NewMessage) -> Appended:
        """Add a message to the client's own mailbox that was looked up for an earlier message.

        Raises:
            MailboxChangedError: it was deleted, has another name, or somebody else was given rights on it.
            EspError: as `append`.
        """
        return await self._dispatched(mailbox, message, mailbox.name)

    async def append(
        self, mailbox: Mailbox, messages: Sequence[NewMessage], replaced: Replaced | None = None
    ) -> Appended:
        """Add messages, and remove the one they replace; everything or nothing.

        Raises:
            NotFoundError: the mailbox was deleted meanwhile.
            ReplacedGoneError: the message to be replaced was expunged meanwhile.
            OverQuotaError: the account has no room for all of them.
            LimitError: the mailbox has too many keywords.
            StorageFullError: the disk has no room.
            UnavailableError: something failed that may work later.
        """
        if len(messages) == 1 and replaced is None:
            return await self._dispatched(mailbox, messages[0], None)
        return await self._together(mailbox, messages, replaced)

    async def _dispatched(self, mailbox: Mailbox, message: NewMessage, found_as: str | None) -> Appended:
        target = Target(
            account=mailbox.account,
            mailbox=mailbox.id,
            folder=maildir.folder(mailbox.home, mailbox.directory),
            flags=message.flags,
            keywords=message.keywords,
            found_as=found_as,
        )
        incoming = Incoming(
            prefix=b"", body=message.body, targets=(target,), internal_date=message.internal_date
        )
        (placed,) = await self._dispatch.deliver(incoming)
        return Appended(placed.uidvalidity, [placed.uid], [(placed.mailbox, placed.modseq)])

    async def _together(
        self, mailbox: Mailbox, messages: Sequence[NewMessage], replaced: Replaced | None
    ) -> Appended:
        bits = await self._keyword_bits(mailbox, messages)
        flags = [
            reduce(or_, (bits[word] for word in message.keywords), message.flags) for message in messages
        ]
        now = datetime.now(UTC)
        dates = [message.internal_date or now for message in messages]
        stored = await self._write(mailbox, messages, flags, dates)
        deliveries = [
            Delivery(
                file.base,
                file.size,
                file.description,
                date,
                (Place(mailbox.account, mailbox.id, bits_, maildir.file_letters(bits_)),),
                file.paths,
            )
            for file, date, bits_ in zip(stored, dates, flags, strict=True)
        ]
        try:
            appended = await self._rows(mailbox, deliveries, replaced)
        except UnknownOutcome as error:
            log.error(
                "append_outcome_unknown", files=[file.base for file in stored], error=repr(error.__cause__)
            )
            raise
        except EspError:
            await self._remove(stored)
            raise
        await self._notifier.publish(appended.changes)
        return appended

    async def _keyword_bits(self, mailbox: Mailbox, messages: Sequence[NewMessage]) -> dict[str, int]:
        keywords = dict.fromkeys(word for message in messages for word in message.keywords)
        if not keywords:
            return {}
        async with self._database.connection() as connection:
            known = await mailboxes_sql.keyword_bits(connection, {mailbox.id: keywords})
        if mailbox.id not in known:
            raise NotFoundError("Mailbox does not exist")
        return known[mailbox.id]

    async def _write(
        self,
        mailbox: Mailbox,
        messages: Sequence[NewMessage],
        flags: Sequence[int],
        dates: Sequence[datetime],
    ) -> list[Stored]:
        """Write the files, all or none; they are durable when this returns."""
        folder = maildir.folder(mailbox.home, mailbox.directory)
        items = [
            DeliverItem(b"", message.body, [folder], [maildir.file_letters(bits)], maildir.nanoseconds(date))
            for message, bits, date in zip(messages, flags, dates, strict=True)
        ]
        results = await asyncio.to_thread(self._store.deliver, items)
        stored = [result for result in results if isinstance(result, Stored)]
        for result in results:
            if isinstance(result, Failure):
                await self._remove(stored)
                raise file_failures.meaning_of(result)
        return stored

    async def _rows(
        self, mailbox: Mailbox, deliveries: Sequence[Delivery], replaced: Replaced | None
    ) -> Appended:
        answers: list[Appended] = []

        async def write(connection: Connection) -> Appended:
            async with connection.transaction():
                answers.append(await self._place(connection, mailbox, deliveries, replaced))
            return answers[-1]

        # The rows do not show what was expunged; but `_place` had returned its answer before its commit was lost.
        return await lost_commit.written(self._database, deliveries, write, lambda _: answers[-1])

    async def _place(
        self, tx: Connection, mailbox: Mailbox, deliveries: Sequence[Delivery], replaced: Replaced | None
    ) -> Appended:
        # In the order of every delivery: the account before its mailboxes, and these by rising id.
        await mailboxes_sql.lock_quota(tx, mailbox.account)
        changes: Changes = []
        if replaced is not None:
            locked = await mailboxes_sql.lock(tx, {mailbox.id, replaced.mailbox})
            source = locked[replaced.mailbox]
            # First, so that the room it frees counts.
            removal = removal_of(source, self._unlink_after)
            expunged = await messages_sql.expunge(tx, source, [replaced.uid], removal, deleted_only=False)
            if not expunged.uids:
                raise ReplacedGoneError("The message to be replaced was expunged")
            changes = [(source.id, expunged.modseq)]
        outcome = await delivery.place(tx, deliveries)
        if isinstance(outcome, Refused):
            if outcome.gone:
                raise NotFoundError("Mailbox does not exist")
            raise OverQuotaError("The account has no room for this")
        modseq = max(placed.modseq for (placed,) in outcome)
        return Appended(
            outcome[0][0].uidvalidity,
            [placed.uid for (placed,) in outcome],
            [*(change for change in changes if change[0] != mailbox.id), (mailbox.id, ModSeq(modseq))],
        )

    async def _remove(self, stored: Sequence[Stored]) -> None:
        paths = [path for file in stored for path in file.paths]
        await asyncio.to_thread(self._store.unlink, paths)
