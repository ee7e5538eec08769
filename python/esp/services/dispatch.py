"""The one place where a message becomes durable, for every door (DESIGN, "How mail flows").

In: octets and the mailboxes they go to. Out: UIDs, once file and rows are on the disk; or an error, and then the
message is in no mailbox. Whether the mail is wanted, and where, was decided before.

Messages that arrive together are kept together: while a batch is written and in its transaction, the next gathers, and
begins beside it only when it is large. As many as were there just now are waited for, some milliseconds at most; a lone
message waits for nobody. Files come first, so a crash can leave a file without a
row (an orphan, which `upkeep` puts aside) and never a row without a file. A connection to PostgreSQL lost during the
commit leaves open whether the rows are there: that is looked up before anybody is answered, and while it cannot be, the
files stay.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Protocol, TypeVar

import asyncpg
import msgspec

from esp.core.errors import (
    EspError,
    InvalidError,
    NotFoundError,
    OverQuotaError,
    StorageFullError,
    UnavailableError,
)
from esp.core.mailbox import MailboxId, ModSeq
from esp.core.principal import AccountId
from esp.native import DeliverItem, Failure, Spool, Store
from esp.storage import maildir
from esp.storage.postgres import delivery
from esp.storage.postgres.delivery import Delivery, Outcome, Place, Placed, Refused
from esp.storage.postgres.imports import Imported
from esp.storage.postgres.pool import Database
from esp.telemetry.log import get_logger

__all__ = ["Dispatch", "Incoming", "Placed", "Target"]

BATCH_MESSAGES = 128
BATCH_TARGETS = 2000
BATCH_OCTETS = 32 * 1024 * 1024
"""In memory; spooled bodies count nothing."""
ENOUGH_MESSAGES = 24
"""So many begin at once, also while others are in their transaction; fewer wait for company."""
LONGEST_GATHERING = 0.005
"""Seconds that a batch waits for those who are expected, and never longer than the last transaction took."""
WAITING_MESSAGES = 2000
WAITING_OCTETS = 128 * 1024 * 1024
"""More than a few seconds' work is refused with a transient error: the sender's queue is the better place."""
FIND_TIMEOUT = 20.0
"""How long a lost commit is looked for; a client waits ten minutes for our reply (RFC 5321 §4.5.3.2.6)."""
FIND_PAUSE = 0.25

log = get_logger(__name__)

_T = TypeVar("_T")
_R = TypeVar("_R")


class Notifier(Protocol):
    """Tells other processes of changed mailboxes (`storage.redis`, or nothing in a test)."""

    async def publish(self, changes: Sequence[tuple[MailboxId, ModSeq]]) -> None:
        """Publish; never raises."""


class Target(msgspec.Struct, frozen=True):
    """A mailbox that a message goes to."""

    account: AccountId
    mailbox: MailboxId
    folder: str
    """Its Maildir below `storage.path` (`storage.maildir.folder`)."""
    flags: int = 0
    """System flags, and keyword bits where the caller knows them."""
    keywords: tuple[str, ...] = ()
    """Keywords by name; new ones are added to the mailbox."""


class Incoming(msgspec.Struct, frozen=True):
    """A message on its way to one or many mailboxes."""

    prefix: bytes
    """Trace header lines, each ending in CRLF, to stand before the body."""
    body: bytes | Spool
    """The message as it came; a spool is used up, whatever the outcome."""
    targets: tuple[Target, ...]
    internal_date: datetime | None = None
    """With time zone; `None` is now."""
    imported: Imported | None = None
    """Where it was imported from; noted with its rows, so that it is not brought twice."""


class _UnknownOutcome(UnavailableError):  # noqa: N818 - an outcome
    """The rows may or may not be there."""


class _Entry:
    """A message in the works."""

    __slots__ = ("delivery", "future", "incoming", "octets", "paths", "places")

    def __init__(self, incoming: Incoming, future: "asyncio.Future[tuple[Placed, ...]]") -> None:
        self.incoming = incoming
        self.future = future
        self.octets = len(incoming.prefix)
        if isinstance(incoming.body, bytes):
            self.octets += len(incoming.body)
        self.places = tuple(_unique(incoming.targets))
        self.paths: Sequence[str] = ()
        self.delivery: Delivery | None = None

    def succeed(self, placed: tuple[Placed, ...]) -> None:
        if self.future.done():
            return  # The client went away; the message is there, as RFC 5321 §6.1 allows.
        if len(placed) != len(self.incoming.targets):
            there = {place.mailbox: place for place in placed}
            placed = tuple(there[target.mailbox] for target in self.incoming.targets)
        self.future.set_result(placed)

    def fail(self, error: EspError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Dispatch:
    """Makes messages durable, in batches. One for each process; `close` waits for what was accepted."""

    def __init__(self, store: Store, database: Database, notifier: Notifier) -> None:
        self._store = store
        self._database = database
        self._notifier = notifier
        self._waiting: deque[_Entry] = deque()
        self._written: list[_Entry] = []
        self._octets = 0
        self._arrived = asyncio.Event()
        self._ready = asyncio.Event()
        self._taken = asyncio.Event()
        self._placing = False
        self._expected = 0
        """How many messages are likely to come soon: those just answered and those that waited meanwhile."""
        self._ended = self._lasted = 0.0
        """When the last transaction ended, and how long it took."""
        self._enough = ENOUGH_MESSAGES
        """At how many waiting messages `_changed` is set."""
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._publishing: set[asyncio.Task[None]] = set()
        self._closing = False
        # One thread writes a batch (the store has its own threads for its files), one takes files away again.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="dispatch")

    async def deliver(self, incoming: Incoming) -> tuple[Placed, ...]:
        """Return where the message is, one for each target in order, after its file and its rows are durable.

        May be cancelled at any time: the message is then delivered whole or not at all.

        Raises:
            NotFoundError: a mailbox was deleted meanwhile.
            OverQuotaError: an account has no room for it.
            StorageFullError: the disk has none.
            UnavailableError: too busy, or something failed that may work later.
        """
        if not incoming.targets:
            raise InvalidError("A message needs a mailbox")
        if self._closing:
            raise UnavailableError("Shutting down")
        entry = _Entry(incoming, asyncio.get_running_loop().create_future())
        if len(self._waiting) >= WAITING_MESSAGES or (
            self._octets and self._octets + entry.octets > WAITING_OCTETS
        ):
            raise UnavailableError("Too busy")
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._write_batches(), name="dispatch-files"),
                asyncio.create_task(self._place_batches(), name="dispatch-rows"),
            ]
        self._octets += entry.octets
        self._waiting.append(entry)
        self._arrived.set()
        if len(self._waiting) >= self._enough:
            self._changed.set()
        try:
            return await entry.future
        finally:
            self._octets -= entry.octets

    async def close(self) -> None:
        """Refuse what comes, finish what was accepted."""
        self._closing = True
        self._arrived.set()
        self._ready.set()
        self._changed.set()
        await asyncio.gather(*self._tasks)
        await asyncio.gather(*self._publishing)
        self._threads.shutdown(wait=False)

    # Files

    async def _write_batches(self) -> None:
        while True:
            await self._arrived.wait()
            await self._gather()
            batch = self._take_waiting()
            if batch:
                await self._write(batch)
                self._written += [entry for entry in batch if entry.delivery is not None]
                self._ready.set()
                while len(self._written) >= BATCH_MESSAGES:
                    self._taken.clear()
                    await self._taken.wait()
            elif self._closing:
                return
            else:
                self._arrived.clear()

    async def _gather(self) -> None:
        """Wait while more company for the next batch costs nobody anything, or is about to come.

        A batch costs about the same for one message and for ten. Clients that were just answered come back within a
        moment; without the second wait they would find the others gone, and two groups take turns for ever.
        """
        while (self._placing or self._written) and not self._closing and len(self._waiting) < ENOUGH_MESSAGES:
            self._changed.clear()
            await self._changed.wait()
        until = self._ended + min(self._lasted, LONGEST_GATHERING)
        if len(self._waiting) < self._expected and asyncio.get_running_loop().time() < until:
            self._enough = self._expected
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    while len(self._waiting) < self._expected and not self._closing:
                        self._changed.clear()
                        await self._changed.wait()
            self._enough = ENOUGH_MESSAGES
        self._expected = 0

    def _take_waiting(self) -> list[_Entry]:
        batch: list[_Entry] = []
        octets = targets = 0
        while self._waiting and len(batch) < BATCH_MESSAGES:
            entry = self._waiting[0]
            octets += entry.octets
            targets += len(entry.places)
            if batch and (octets > BATCH_OCTETS or targets > BATCH_TARGETS):
                break
            self._waiting.popleft()
            if not entry.future.done():  # else cancelled before we began
                batch.append(entry)
        return batch

    async def _write(self, batch: list[_Entry]) -> None:
        """Write the files of a batch; each entry has its `delivery` then, or has failed."""
        now = datetime.now(UTC)
        now_nanoseconds = _nanoseconds(now)
        begun: list[tuple[_Entry, datetime, list[str | None]]] = []
        items: list[DeliverItem] = []
        for entry in batch:
            incoming = entry.incoming
            when = incoming.internal_date or now
            modified = now_nanoseconds if when is now else _nanoseconds(when)
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
        try:
            results = await self._in_thread(self._store.deliver, items)
        except Exception:
            log.exception("dispatch_write_failed")
            for entry, _, _ in begun:
                entry.fail(UnavailableError("Internal error"))
            return
        for (entry, when, letters), result in zip(begun, results, strict=True):
            if isinstance(result, Failure):
                log.error("dispatch_file_failed", reason=result.reason, error=str(result))
                entry.fail(_file_error(result))
                continue
            entry.paths = result.paths
            entry.delivery = Delivery(
                result.base,
                result.size,
                result.description,
                when,
                tuple(
                    Place(target.account, target.mailbox, target.flags, letter)
                    for target, letter in zip(entry.places, letters, strict=True)
                ),
                result.paths,
                entry.incoming.imported,
            )

    # Rows

    async def _place_batches(self) -> None:
        files = self._tasks[0]
        files.add_done_callback(lambda _: self._ready.set())
        while True:
            if not files.done():
                await self._ready.wait()
            self._ready.clear()
            batch, self._written = self._written, []
            self._taken.set()
            if batch:
                began = asyncio.get_running_loop().time()
                self._placing = True
                await self._settle(batch)
                self._placing = False
                self._ended = asyncio.get_running_loop().time()
                self._lasted = self._ended - began
                self._expected = min(len(batch) + len(self._waiting), ENOUGH_MESSAGES)
                self._changed.set()
            elif files.done():
                # Not before: with many waiting, the files of the next batch come when the last one was taken.
                return await files

    async def _settle(self, batch: list[_Entry]) -> None:
        """Answer every entry of the batch, one way or the other."""
        try:
            batch = await self._with_keywords(batch)
            while batch:
                outcome = await self._place([_delivery(entry) for entry in batch])
                if not isinstance(outcome, Refused):
                    self._publish(outcome)
                    for entry, placed in zip(batch, outcome, strict=True):
                        entry.succeed(placed)
                    return
                batch = await self._without(batch, outcome)
        except _UnknownOutcome as error:
            # 250 never came, so a copy that shows up after all is the lesser evil than one that is lost.
            log.error("dispatch_outcome_unknown", files=[_delivery(entry).file for entry in batch])
            for entry in batch:
                entry.fail(error)
        except EspError as error:
            await self._undo(batch, error)
        except Exception:
            log.exception("dispatch_rows_failed", messages=len(batch))
            if len(batch) > 1:
                # One that PostgreSQL cannot take must not keep the others out.
                for entry in batch:
                    await self._settle([entry])
            else:
                await self._undo(batch, UnavailableError("Internal error"))

    async def _with_keywords(self, batch: list[_Entry]) -> list[_Entry]:
        """Turn keywords into flag bits; entries whose mailbox takes no more of them fail."""
        left: list[_Entry] = []
        for entry in batch:
            wanted = {target.mailbox: target.keywords for target in entry.places if target.keywords}
            if wanted:
                try:
                    async with self._database.connection() as connection:
                        bits = await delivery.keyword_bits(connection, wanted)
                except EspError as error:
                    await self._undo([entry], error)
                    continue
                _add_bits(entry, bits)
            left.append(entry)
        return left

    async def _place(self, deliveries: Sequence[Delivery]) -> Outcome | Refused:
        """Write the rows.

        Raises:
            _UnknownOutcome: the connection broke and for `FIND_TIMEOUT` there was no other to ask.
            UnavailableError: nothing was kept.
        """
        for _ in range(2):
            async with self._database.connection() as connection:
                session = connection.get_server_pid()
                try:
                    return await delivery.place(connection, deliveries)
                except Exception as error:
                    if isinstance(error, asyncpg.TransactionRollbackError):
                        continue  # a deadlock or the like: rolled back, and worth one more try
                    if not delivery.is_unknown(error):
                        raise
                    log.warning("dispatch_connection_lost", error=repr(error), messages=len(deliveries))
            found = await self._find(session, deliveries)
            if found is not None:
                log.warning("dispatch_commit_found", messages=len(deliveries))
                return found
        raise UnavailableError("The database does not answer")

    async def _find(self, session: int, deliveries: Sequence[Delivery]) -> Outcome | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + FIND_TIMEOUT
        while True:
            try:
                async with self._database.connection() as connection:
                    return await delivery.find(connection, session, deliveries)
            except (EspError, asyncpg.PostgresError) as error:
                if loop.time() >= deadline:
                    raise _UnknownOutcome("The database does not answer") from error
            await asyncio.sleep(FIND_PAUSE)

    async def _without(self, batch: list[_Entry], refused: Refused) -> list[_Entry]:
        """Answer those that stand in the way, and return the others."""
        left: list[_Entry] = []
        rooms = {account: [room.octets, room.messages] for account, room in refused.rooms.items()}
        for entry in batch:
            if any(target.mailbox in refused.gone for target in entry.places):
                await self._undo([entry], NotFoundError("Mailbox does not exist"))
            elif rooms and not _take_room(entry, rooms):
                await self._undo([entry], OverQuotaError("The account has no room left"))
            else:
                left.append(entry)
        return left

    async def _undo(self, batch: Iterable[_Entry], error: EspError) -> None:
        """Take the files of entries without rows away, then let them fail."""
        batch = tuple(batch)
        paths = [path for entry in batch for path in entry.paths]
        try:
            failures = await self._in_thread(self._store.unlink, paths)
        except Exception:
            log.exception("dispatch_undo_failed")
        else:
            for failure in failures:
                log.warning("dispatch_undo_failed", error=str(failure))
        for entry in batch:
            entry.fail(error)

    def _publish(self, outcome: Outcome) -> None:
        changes = {placed.mailbox: placed.modseq for message in outcome for placed in message}
        # Not waited for: a slow Redis must not hold the replies back.
        task = asyncio.create_task(_publish(self._notifier, list(changes.items())))
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def _in_thread(self, call: Callable[[_T], _R], argument: _T) -> _R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, argument)


async def _publish(notifier: Notifier, changes: Sequence[tuple[MailboxId, ModSeq]]) -> None:
    await notifier.publish(changes)


def _unique(targets: Iterable[Target]) -> Iterable[Target]:
    """Drop mailboxes named twice: one mailbox holds a message once, whatever the aliases that lead to it."""
    return {target.mailbox: target for target in targets}.values()


def _delivery(entry: _Entry) -> Delivery:
    assert entry.delivery is not None
    return entry.delivery


def _nanoseconds(when: datetime) -> int:
    # In two steps: a float has not the digits for both.
    exact = int(when.replace(microsecond=0).timestamp()) * 1_000_000_000 + when.microsecond * 1000
    # A file's time reaches from 1677 to 2262; the row has the true one.
    return max(-(2**63), min(exact, 2**63 - 1))


def _file_error(failure: Failure) -> EspError:
    if failure.reason == "full":
        return StorageFullError("The disk is full")
    if failure.reason == "poisoned":
        return UnavailableError("The disk failed; mail is refused until it was looked at")
    return UnavailableError("The message could not be written")


def _add_bits(entry: _Entry, bits: dict[MailboxId, dict[str, int]]) -> None:
    before = _delivery(entry)
    places = tuple(
        msgspec.structs.replace(
            place, flags=place.flags | sum(1 << bit for bit in bits[place.mailbox].values())
        )
        if place.mailbox in bits
        else place
        for place in before.places
    )
    entry.delivery = msgspec.structs.replace(before, places=places)


def _take_room(entry: _Entry, rooms: dict[AccountId, list[int | None]]) -> bool:
    """Take what the message needs from its accounts' rooms; tell whether all had it, else take nothing."""
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
