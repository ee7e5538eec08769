"""The one place where a message becomes durable, for every door (docs/architecture.md).

In: octets and the mailboxes they go to. Out: UIDs, once file and rows are on the disk; or an error, and then the
message is in no mailbox. Whether the mail is wanted, and where, was decided before. `batch` does the work; this module
decides when.

Messages that arrive together are stored together: while a batch is under way the next one gathers, and begins beside
it only when it is large. A batch waits, some milliseconds at most, for as many messages as there were just now; a lone
message does not wait, unless several were answered just before it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol, cast

from esp.core.change import Changes
from esp.core.errors import InvalidError, MailboxChangedError, UnavailableError
from esp.core.mailbox import MailboxId, ModSeq
from esp.native import Store
from esp.services.batch import Batches, Entry, Incoming, Target
from esp.storage.postgres.delivery import Placed
from esp.storage.postgres.pool import Database
from esp.telemetry import metrics
from esp.telemetry.log import get_logger

__all__ = ["Dispatch", "Incoming", "Placed", "Target"]

BATCH_MESSAGES = 128
BATCH_TARGETS = 2000
BATCH_OCTETS = 32 * 1024 * 1024
"""Octets of a batch in memory; spooled bodies do not count."""
ENOUGH_MESSAGES = 24
"""Messages that begin at once, also beside another batch; fewer wait for company."""
MOST_BATCHES = 2
"""Batches under way at once: the disk writes files while PostgreSQL writes rows. With more, each would be smaller."""
LONGEST_GATHERING = 0.005
"""Seconds that a batch waits for expected messages: longer than ten clients need to connect again and send one."""
WAITING_MESSAGES = 2000
WAITING_OCTETS = 128 * 1024 * 1024
"""Octets. More than a few seconds' work is refused with a transient error: the sender's queue is the better place."""

_FILES, _ROWS = (metrics.DISPATCH_STEP_SECONDS.labels(step) for step in ("files", "rows"))

log = get_logger(__name__)


class Notifier(Protocol):
    """Tells other processes of changed mailboxes (`storage.redis`, or nothing in a test)."""

    async def publish(self, changes: Sequence[tuple[MailboxId, ModSeq]]) -> None:
        """Publish; never raises."""


class Dispatch:
    """Makes messages durable, in batches. One object for each process; `close` waits for what was accepted."""

    def __init__(self, store: Store, database: Database, notifier: Notifier) -> None:
        self._batches = Batches(store, database, self._changed)
        self._notifier = notifier
        self._waiting: deque[Entry] = deque()
        self._octets = 0
        """Octets of all messages that were not answered yet."""
        self._running: set[asyncio.Task[None]] = set()
        self._files, self._rows = asyncio.Lock(), asyncio.Lock()
        """Held by the batch that writes files, and by the one whose rows are being written."""
        self._starting = False
        """Whether a batch was begun that has not taken its messages yet."""
        self._expected = 0
        """How many messages are likely to come soon: those just answered and those that waited meanwhile."""
        self._until = 0.0
        """Until when they are waited for, by the loop's clock."""
        self._timer: asyncio.TimerHandle | None = None
        self._publishing: set[asyncio.Task[None]] = set()
        self._closing = False

    async def deliver(self, incoming: Incoming) -> tuple[Placed, ...]:
        """Return where the message is, one place for each target in order, after its file and its rows are durable.

        May be cancelled at any time: the message is then delivered whole or not at all.

        Raises:
            NotFoundError: a mailbox was deleted meanwhile.
            MailboxChangedError: a mailbox is not what it was `found_as`.
            OverQuotaError: an account has no room for the message.
            StorageFullError: the disk has no room.
            UnavailableError: too busy, or something failed that may work later.
        """
        if not incoming.targets:
            raise InvalidError("A message needs a mailbox")
        if self._closing:
            raise UnavailableError("Shutting down")
        entry = Entry(incoming, asyncio.get_running_loop().create_future())
        if len(self._waiting) >= WAITING_MESSAGES or (
            self._octets and self._octets + entry.octets > WAITING_OCTETS
        ):
            raise UnavailableError("Too busy")
        self._octets += entry.octets
        self._waiting.append(entry)
        self._consider()
        try:
            return await entry.future
        finally:
            self._octets -= entry.octets

    async def close(self) -> None:
        """Refuse new messages, finish those that were accepted."""
        self._closing = True
        self._consider()
        while self._running or self._publishing:
            await asyncio.wait(self._running | self._publishing)
        self._batches.close()

    def _consider(self) -> None:
        """Begin a batch, unless it is worth waiting for more messages.

        A batch costs about the same for one message and for ten. Clients that were just answered come back within a
        moment. Without the wait, the next batch would begin without them, and two groups would take turns for ever.
        """
        if not self._waiting or self._starting or len(self._running) >= MOST_BATCHES:
            return
        loop = asyncio.get_running_loop()
        if self._running:
            enough = len(self._waiting) >= ENOUGH_MESSAGES
        else:
            enough = len(self._waiting) >= self._expected or loop.time() >= self._until
        if enough or self._closing:
            self._starting = True
            self._running.add(loop.create_task(self._carry_out()))
        elif not self._running and self._timer is None:
            self._timer = loop.call_at(self._until, self._waited)

    def _waited(self) -> None:
        self._timer = None
        self._consider()

    def _take(self) -> list[Entry]:
        batch: list[Entry] = []
        octets = targets = 0
        while self._waiting and len(batch) < BATCH_MESSAGES:
            entry = self._waiting[0]
            octets += entry.octets
            targets += len(entry.places)
            if batch and (octets > BATCH_OCTETS or targets > BATCH_TARGETS):
                break
            self._waiting.popleft()
            if not entry.future.done():  # otherwise it was cancelled before the batch began
                batch.append(entry)
        return batch

    async def _carry_out(self) -> None:
        # The task runs a turn of the loop after it was begun: what arrived together is in the queue by now.
        self._starting = False
        self._expected = 0
        batch = self._take()
        self._consider()
        loop = asyncio.get_running_loop()
        began = middle = loop.time()
        try:
            async with self._files:
                written = await self._batches.write(batch)
                # Before the next batch may write files: messages that came first have the smaller UIDs.
                await self._rows.acquire()
            try:
                middle = loop.time()
                if written.entries:
                    await self._batches.place(written)
            finally:
                self._rows.release()
        except Exception:
            # A bug, because of which nobody may wait for ever. Files without rows are orphans.
            log.exception("dispatch_failed", messages=len(batch))
            for entry in batch:
                entry.fail(UnavailableError("Internal error"))
        ended = loop.time()
        self._running.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        self._expected = min(len(batch) + len(self._waiting), ENOUGH_MESSAGES)
        self._until = ended + LONGEST_GATHERING
        self._consider()
        # After the replies, for which clients wait.
        loop.call_soon(_measure, batch, middle - began, ended - middle)

    def _changed(self, changes: Changes) -> None:
        # Not awaited: a slow Redis must not hold the replies back.
        task = asyncio.create_task(_publish(self._notifier, changes))
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)


async def _publish(notifier: Notifier, changes: Changes) -> None:
    await notifier.publish(changes)


def _measure(batch: Sequence[Entry], files: float, rows: float) -> None:
    """Record what a batch took; for each message it would cost more than the message."""
    metrics.DISPATCH_BATCH.observe(len(batch))
    _FILES.observe(files)
    _ROWS.observe(rows)
    delivered = 0
    for entry in batch:
        if entry.future.cancelled():
            continue
        error = entry.future.exception()
        if error is None:
            delivered += len(entry.places)
        # A message that found another mailbox is delivered after another look, or fails then.
        elif not isinstance(error, MailboxChangedError):
            metrics.DELIVERY_FAILURES.labels(type(error).__name__).inc()
    metrics.DELIVERIES.inc(delivered)
