"""How a batch of messages is stored: files, rows, and how to undo it.

In: messages with their mailboxes, gathered by `dispatch`. Out: each message is answered with its UIDs, or with an error
and is then in no mailbox. Files are durable before the rows are committed, so a crash can leave a file without a row
(an orphan, which `upkeep` puts aside) but never a row without a file. The rows of small messages are written while
their files are (`Written.files`). If the connection to PostgreSQL is lost during the commit, it is unknown whether the
rows are there: that is found out before any message is answered, and while it cannot be, the files stay.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from typing import NamedTuple

import msgspec

from esp.core.change import Changes
from esp.core.errors import (
    EspError,
    MailboxChangedError,
    NotFoundError,
    OverQuotaError,
    UnavailableError,
)
from esp.core.mailbox import MailboxId
from esp.core.message import FIRST_KEYWORD_BIT
from esp.core.principal import AccountId
from esp.native import Delivering, DeliverItem, Failure, Spool, Store, Stored
from esp.services import file_failures, lost_commit
from esp.services.hand import Hand
from esp.services.lost_commit import UnknownOutcome
from esp.storage import maildir
from esp.storage.postgres import delivery
from esp.storage.postgres import mailboxes as mailboxes_sql
from esp.storage.postgres.delivery import Delivery, Outcome, Place, Placed, Refused
from esp.storage.postgres.holding import CannotHoldError, NotHeldError
from esp.storage.postgres.imports import Imported
from esp.storage.postgres.pool import Connection, Database
from esp.telemetry.log import get_logger

log = get_logger(__name__)


class Target(msgspec.Struct, frozen=True):
    """A mailbox that a message goes to."""

    account: AccountId
    mailbox: MailboxId
    folder: str
    """Its Maildir below `storage.path` (`storage.maildir.folder`)."""
    flags: int = 0
    """System flags, and keyword bits if the caller knows them."""
    keywords: tuple[str, ...] = ()
    """Keywords by name; new ones are added to the mailbox."""
    found_as: str | None = None
    """See `storage.postgres.delivery.Place`."""


class Incoming(msgspec.Struct, frozen=True):
    """A message on its way to one or many mailboxes."""

    prefix: bytes
    """Trace header lines to stand before the body, each ending in CRLF."""
    body: bytes | Spool
    """The message as it came; a spool cannot be used again, whatever the outcome."""
    targets: tuple[Target, ...]
    internal_date: datetime | None = None
    """With time zone; `None`: now."""
    imported: Imported | None = None
    """Where it was imported from; recorded with its rows, so that it is not imported twice."""


class Entry:
    """A message being delivered, and the future that its caller waits for."""

    __slots__ = ("delivery", "future", "incoming", "octets", "places")

    def __init__(self, incoming: Incoming, future: asyncio.Future[tuple[Placed, ...]]) -> None:
        self.incoming = incoming
        self.future = future
        self.octets = len(incoming.prefix)
        if isinstance(incoming.body, bytes):
            self.octets += len(incoming.body)
        targets = incoming.targets
        self.places = targets if len(targets) == 1 else tuple(_unique(targets))
        self.delivery: Delivery | None = None
        """Set as soon as the names of its files are known."""

    def succeed(self, placed: tuple[Placed, ...]) -> None:
        """Tell the caller where the message is."""
        if self.future.done():
            return  # The client went away; the message is there, as RFC 5321 §6.1 allows.
        if len(placed) != len(self.incoming.targets):
            there = {place.mailbox: place for place in placed}
            placed = tuple(there[target.mailbox] for target in self.incoming.targets)
        self.future.set_result(placed)

    def fail(self, error: EspError) -> None:
        """Tell the caller that the message is nowhere, or that this is unknown."""
        if not self.future.done():
            self.future.set_exception(error)


class Written(NamedTuple):
    """Messages that have their files, or will have them."""

    entries: list[Entry]
    files: Delivering | None = None
    """Rows may not be committed before these are durable; `None` when all files are."""


class Batches:
    """Stores batches; several may be under way at once."""

    def __init__(self, store: Store, database: Database, changed: Callable[[Changes], None]) -> None:
        """`changed` is called for every batch whose rows are there, after its senders were answered: they wait."""
        self._store = store
        self._database = database
        self._changed = changed
        self._beside = True
        """Whether, as far as is known, rows can be written while files are."""
        # Calls for batches; the store has threads of its own for files.
        self._writer = Hand("dispatch")
        self._unlinker = Hand("dispatch-undo")

    def close(self) -> None:
        """End the threads."""
        self._writer.close()
        self._unlinker.close()

    async def write(self, batch: Sequence[Entry]) -> Written:
        """Write the files of a batch, or begin to, and return the entries that have them; the others have failed."""
        now = datetime.now(UTC)
        now_nanoseconds = maildir.nanoseconds(now)
        begun: list[_Prepared] = []
        items: list[DeliverItem] = []
        for entry in batch:
            incoming = entry.incoming
            when = incoming.internal_date or now
            modified = now_nanoseconds if when is now else maildir.nanoseconds(when)
            letters = [maildir.file_letters(target.flags) for target in entry.places]
            folders = [target.folder for target in entry.places]
            try:
                item = DeliverItem(incoming.prefix, incoming.body, folders, letters, modified)
            except (ValueError, OverflowError) as error:
                log.error("dispatch_item_unusable", error=repr(error))
                entry.fail(UnavailableError("Internal error"))
                continue
            begun.append((entry, when, letters))
            items.append(item)
        results: Sequence[Stored | Failure]
        try:
            beside = self._beside and all(_is_plain(entry) for entry, _, _ in begun)
            files = self._store.begin(items) if beside else None
            results = await self._writer.do(self._store.deliver, items) if files is None else files.stored
        except Exception:
            log.exception("dispatch_write_failed")
            for entry, _, _ in begun:
                entry.fail(UnavailableError("Internal error"))
            return Written([])
        written: list[Entry] = []
        for (entry, when, letters), result in zip(begun, results, strict=True):
            if isinstance(result, Failure):
                _fail(entry, result)
                continue
            entry.delivery = Delivery(
                result.base,
                result.size,
                result.description,
                when,
                tuple(
                    Place(target.account, target.mailbox, target.flags, letter, target.found_as)
                    for target, letter in zip(entry.places, letters, strict=True)
                ),
                result.paths,
                entry.incoming.imported,
            )
            written.append(entry)
        return Written(written, files)

    async def place(self, written: Written) -> None:
        """Answer every entry of the batch, whatever the outcome."""
        batch, files = written
        outcome: Outcome | Refused | None = ()
        try:
            batch = await self._with_keywords(batch)
            while batch:
                outcome = await self._rows([_delivery(entry) for entry in batch], files)
                if outcome is None:
                    batch = await self._with_files(batch, files)
                elif isinstance(outcome, Refused):
                    batch = await self._without(batch, outcome)
                else:
                    break
                files = None
        except UnknownOutcome as error:
            # 250 was never sent, so a copy that shows up after all is a lesser evil than a lost message.
            log.error("dispatch_outcome_unknown", files=[_delivery(entry).file for entry in batch])
            for entry in batch:
                entry.fail(error)
        except EspError as error:
            await self._undo(await self._with_files(batch, files), error)
        except Exception:
            log.exception("dispatch_rows_failed", messages=len(batch))
            await self._apart(await self._with_files(batch, files))
        else:
            # Not in the block above: whatever goes wrong here, the rows are there.
            if batch and isinstance(outcome, tuple):
                self._tell(batch, outcome)

    async def _apart(self, batch: list[Entry]) -> None:
        """Place each entry by itself: one that PostgreSQL cannot take must not keep the others out."""
        if len(batch) == 1:
            await self._undo(batch, UnavailableError("Internal error"))
            return
        for entry in batch:
            await self.place(Written([entry]))

    def _tell(self, batch: list[Entry], outcome: Outcome) -> None:
        for entry, placed in zip(batch, outcome, strict=True):
            entry.succeed(placed)
        self._changed(list({p.mailbox: p.modseq for message in outcome for p in message}.items()))

    async def _with_keywords(self, batch: list[Entry]) -> list[Entry]:
        """Turn keywords into flag bits; entries fail if their mailbox takes no more keywords."""
        left: list[Entry] = []
        for entry in batch:
            wanted = {target.mailbox: target.keywords for target in entry.places if target.keywords}
            if wanted:
                try:
                    async with self._database.connection() as connection:
                        bits = await mailboxes_sql.keyword_bits(connection, wanted)
                except EspError as error:
                    await self._undo([entry], error)
                    continue
                _add_bits(entry, bits)
            left.append(entry)
        return left

    async def _rows(
        self, deliveries: Sequence[Delivery], files: Delivering | None
    ) -> Outcome | Refused | None:
        """Return the outcome for the rows; `None`: nothing was written, and the files have to be durable first."""
        tries = itertools.count()

        async def place(connection: Connection) -> Outcome | Refused:
            if next(tries) and files is not None:
                # After a rollback, loss or timeout, mailboxes are not locked again for as long as a disk hangs.
                raise NotHeldError
            return await delivery.place(connection, deliveries, files)

        try:
            return await lost_commit.written(self._database, deliveries, place, lambda outcome: outcome)
        except NotHeldError as error:
            self._beside = self._beside and not isinstance(error, CannotHoldError)
            return None

    async def _with_files(self, batch: list[Entry], files: Delivering | None) -> list[Entry]:
        """Wait for all files, and return the entries that have theirs; the others fail."""
        if files is None:
            return batch
        left: list[Entry] = []
        failures = await self._writer.do(lambda writing: writing.failures(), files)
        for entry, failure in zip(batch, failures, strict=True):
            if failure is None:
                left.append(entry)
            else:
                _fail(entry, failure)
        return left

    async def _without(self, batch: list[Entry], refused: Refused) -> list[Entry]:
        """Answer the entries that stand in the way, and return the others."""
        left: list[Entry] = []
        changed = refused.gone | refused.outdated
        rooms = {account: [room.octets, room.messages] for account, room in refused.rooms.items()}
        for entry in batch:
            if any(target.found_as and target.mailbox in changed for target in entry.places):
                await self._undo([entry], MailboxChangedError("The mailbox has changed"))
            elif any(target.mailbox in refused.gone for target in entry.places):
                await self._undo([entry], NotFoundError("Mailbox does not exist"))
            elif rooms and not _take_room(entry, rooms):
                await self._undo([entry], OverQuotaError("The account has no room left"))
            else:
                left.append(entry)
        return left

    async def _undo(self, batch: Iterable[Entry], error: EspError) -> None:
        """Remove the files of entries without rows, then let the entries fail."""
        batch = tuple(batch)
        paths = [path for entry in batch for path in _delivery(entry).paths]
        try:
            failures = await self._unlinker.do(self._store.unlink, paths)
        except Exception:
            log.exception("dispatch_undo_failed")
        else:
            for failure in failures:
                log.warning("dispatch_undo_failed", error=str(failure))
        for entry in batch:
            entry.fail(error)


_Prepared = tuple[Entry, datetime, list[str | None]]
"""An entry, its internal date, and the letters of its file in each place."""


def _is_plain(entry: Entry) -> bool:
    """Tell whether its rows can be written by one statement."""
    incoming = entry.incoming
    return incoming.imported is None and not any(
        target.keywords or target.flags >> FIRST_KEYWORD_BIT for target in incoming.targets
    )


def _fail(entry: Entry, failure: Failure) -> None:
    log.error("dispatch_file_failed", reason=failure.reason, error=str(failure))
    entry.fail(file_failures.meaning_of(failure))


def _unique(targets: Iterable[Target]) -> Iterable[Target]:
    """Drop mailboxes named twice: a mailbox gets a message once, however many aliases lead to it."""
    return {target.mailbox: target for target in targets}.values()


def _delivery(entry: Entry) -> Delivery:
    assert entry.delivery is not None
    return entry.delivery


def _add_bits(entry: Entry, bits: dict[MailboxId, dict[str, int]]) -> None:
    before = _delivery(entry)
    places = tuple(
        msgspec.structs.replace(place, flags=reduce(or_, bits[place.mailbox].values(), place.flags))
        if place.mailbox in bits
        else place
        for place in before.places
    )
    entry.delivery = msgspec.structs.replace(before, places=places)


def _take_room(entry: Entry, rooms: dict[AccountId, list[int | None]]) -> bool:
    """Take what the message needs from its accounts' rooms, if all have it; tell whether they had."""
    size = _delivery(entry).size
    needs: dict[AccountId, int] = {}
    for target in entry.places:
        if target.account in rooms:
            needs[target.account] = needs.get(target.account, 0) + 1
    for account, count in needs.items():
        octets, messages = rooms[account]
        if (octets is not None and size * count > octets) or (messages is not None and count > messages):
            return False
    for account, count in needs.items():
        octets, messages = rooms[account]
        rooms[account] = [
            None if octets is None else octets - size * count,
            None if messages is None else messages - count,
        ]
    return True
