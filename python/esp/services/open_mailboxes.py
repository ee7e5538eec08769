"""The mailboxes that this process has open: one Rust index each, shared by all sessions that selected it.

In: a mailbox to open, notifications from other processes, a session that wants to know. Out: an index that is as new
as PostgreSQL, and a call to every listener when it has changed. An index stays warm for a while after its last session,
within a memory bound, so that selecting again costs only what has changed since. The index of a large mailbox is stored
in the database for other processes (docs/adr/0007-large-indexes-are-kept.md).
"""

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from esp.core.change import Changes
from esp.core.errors import EspError, NotFoundError
from esp.core.mailbox import GONE, Mailbox, MailboxId, ModSeq, Uid
from esp.core.principal import AccountId
from esp.native import MailboxIndex
from esp.services.lost_word import until_look
from esp.storage import maildir
from esp.storage.postgres import kept_indexes
from esp.storage.postgres import mailboxes as mailboxes_sql
from esp.storage.postgres import messages as messages_sql
from esp.storage.postgres.kept_indexes import Kept
from esp.storage.postgres.mailboxes import State
from esp.storage.postgres.pool import Connection, Database
from esp.storage.redis import Notifier
from esp.telemetry import lasting, metrics
from esp.telemetry.log import get_logger
from esp.telemetry.outage import Outage

if TYPE_CHECKING:
    from collections.abc import Callable

WARM_OCTETS = 64 * 1024 * 1024
"""Octets of all indexes without a session; the one that was used last may be larger."""
WARM_SECONDS = 600.0
OVERHEAD = 4096
"""Octets that the index of an empty mailbox takes: counted so that very many small indexes are bounded, too."""
WORTH_HALVING = 5_000
"""UIDs; so many messages are read faster over two connections, each to a process of PostgreSQL."""
WORTH_KEEPING = 5_000
"""Messages; a process that has read so many stores the index for others."""
KEEP_AFTER = 1.0
"""Seconds before it is stored: the client that waited for the index is served first."""

log = get_logger(__name__)


class OpenMailbox:
    """An index, and the listeners to call when it has changed."""

    __slots__ = (
        "_behind",
        "_database",
        "_filling",
        "_maybe_kept",
        "_unkept",
        "account",
        "acl_version",
        "deleted",
        "index",
        "listeners",
        "mailbox",
        "released",
        "users",
        "warm_octets",
    )

    def __init__(self, database: Database, mailbox: Mailbox, folder: str) -> None:
        self.mailbox = mailbox.id
        self.index = MailboxIndex(mailbox.account, mailbox.id, folder, mailbox.uidvalidity)
        self.listeners: set[Callable[[], None]] = set()
        """Called when the index has changed, or the mailbox was deleted; they must not block."""
        self.users = 0
        self.released = 0.0
        self.warm_octets = 0
        """The size of the index when its last session left."""
        self.deleted = False
        self.account = mailbox.account
        self.acl_version = mailbox.acl_version
        """Version of the access control list, as of `index`; a session that sees another looks up its rights again."""
        self._database = database
        self._maybe_kept = mailbox.messages >= WORTH_KEEPING
        self._unkept = 0
        """Messages and changes that were read but are in no stored index."""
        self._behind = 1
        self._filling = asyncio.Lock()

    @property
    def is_behind(self) -> bool:
        """Whether the index is known to lack a change."""
        return self._behind > self.index.modseq

    def heard(self, modseq: int) -> None:
        """Take the notification that the mailbox has reached a mod-sequence."""
        self._behind = max(self._behind, modseq)

    @property
    def worth_keeping(self) -> bool:
        """Whether `keep` would save other processes much."""
        messages = self.index.messages
        return messages >= WORTH_KEEPING and self._unkept >= max(WORTH_KEEPING, messages // 10)

    async def keep(self) -> None:
        """Store the index, as it is now, for other and later processes.

        Raises:
            UnavailableError: PostgreSQL does not answer.
        """
        unkept = self._unkept
        octets, modseq, uidnext = await asyncio.to_thread(self.index.keep)
        async with self._database.connection() as connection:
            await kept_indexes.keep(connection, self.mailbox, Kept(octets, ModSeq(modseq), Uid(uidnext)))
        self._unkept -= unkept

    async def refresh(self, *, ask: bool = False) -> None:
        """Bring the index up to date if it is known to be behind, or in any case with `ask`.

        Raises:
            NotFoundError: the mailbox was deleted.
            UnavailableError: PostgreSQL does not answer; the index is as it was.
        """
        if self.deleted:
            raise NotFoundError("Mailbox does not exist")
        if not (ask or self.is_behind):
            return
        before = self.index.modseq
        async with self._filling:
            # Another session may have done it while this one waited; what was known on entering is what counts.
            if not ask and not self.is_behind:
                return
            try:
                if self.is_behind or await self._has_changed():
                    await self._fill()
            except NotFoundError:
                self.deleted = True
                self._tell()
                raise
        if self.index.modseq != before:
            self._tell()

    async def take_recent(self, mailbox: Mailbox) -> None:
        """Take \\Recent of the messages that no session was told of, by `mailbox`; the session that asks first gets it.

        Raises:
            UnavailableError: PostgreSQL does not answer.
        """
        if mailbox.first_recent < mailbox.uidnext:
            async with self._database.connection() as connection:
                await self._take_recent(connection)

    async def _take_recent(self, connection: Connection) -> None:
        if (taken := await mailboxes_sql.take_recent(connection, self.mailbox)) is not None:
            self.index.grant_recent(*taken)

    async def expunged_since(self, modseq: int) -> tuple[str, ...] | None:
        """Return sequence-sets of the UIDs expunged after a mod-sequence, or `None` if that is not remembered.

        Raises:
            NotFoundError: the mailbox was deleted.
            UnavailableError: PostgreSQL does not answer.
        """
        async with self._database.connection() as connection:
            return await mailboxes_sql.expunged_since(connection, self.mailbox, ModSeq(modseq))

    async def _has_changed(self) -> bool:
        # Mostly nothing has changed, and one cheap statement shows it.
        async with self._database.connection() as connection:
            modseq = await mailboxes_sql.modseq(connection, self.mailbox)
        if modseq is None:
            raise NotFoundError("Mailbox does not exist")
        return modseq > self.index.modseq

    async def _fill(self) -> None:
        index = self.index
        heard = self._behind
        try:
            async with self._database.connection() as connection:
                if self._maybe_kept and not index.modseq:
                    await self._begin_with_kept(connection)
                state, uids, after = await self._lacking(connection)
                if 0 < len(uids) < WORTH_HALVING:
                    await self._copy(connection, self._feed, uids, after)
                await self._settle_recent(connection, state)
            if len(uids) >= WORTH_HALVING:
                await self._read_halves(uids, after)
            if index.fed_modseq > state.modseq:
                # A message was changed between the statements, which seldom happens. All sessions must be told the same
                # flags at a mod-sequence (RFC 7162 §3.1), so everything is read again as of one moment.
                index.abandon()
                async with self._database.connection() as connection:
                    async with connection.transaction(isolation="repeatable_read", readonly=True):
                        state, uids, after = await self._lacking(connection)
                        await self._copy(connection, self._feed, uids, after)
                    await self._settle_recent(connection, state)
        except BaseException:
            index.abandon()
            raise
        complete = uids.start == 0 and not after
        index.commit(
            modseq=state.modseq,
            uidnext=state.uidnext,
            keywords=state.keywords,
            expunged=() if complete else state.expunged,
            changed=() if complete else state.changed,
            complete=complete,
        )
        self._unkept += len(uids) + len(state.changed) + len(state.expunged)
        self.acl_version = state.acl_version
        if self._behind == heard:  # otherwise a newer change was notified than what was read
            self._behind = state.modseq

    async def _begin_with_kept(self, connection: Connection) -> None:
        kept = await kept_indexes.find(connection, self.account, self.mailbox)
        if kept is None:
            return
        try:
            self.index.feed_kept(kept.octets)
        except ValueError:
            log.info("kept_index_of_another_version", mailbox=self.mailbox)
        else:
            self.index.commit(modseq=kept.modseq, uidnext=kept.uidnext, keywords=(), complete=True)

    async def _lacking(self, connection: Connection) -> tuple[State, range, int]:
        """Return the mailbox's state, a range of UIDs that it does not say enough about, and a mod-sequence: messages
        in that range that were changed after it are to be read."""
        known = ModSeq(self.index.modseq)
        state = await mailboxes_sql.state(connection, self.mailbox, known)
        if known and state.remembers(known):
            return state, range(self.index.uidnext, state.uidnext), 0
        if known and state.changed_horizon is None and known >= state.expunged_horizon:
            return state, range(state.uidnext), known
        return state, range(state.uidnext), 0

    async def _settle_recent(self, connection: Connection, state: State) -> None:
        # Before a session is told of the messages, so that no session in another process has them as recent, too.
        self.index.leave_recent(state.first_recent)
        if state.first_recent < state.uidnext and self.index.takes_recent:
            await self._take_recent(connection)

    async def _read_halves(self, uids: range, after: int) -> None:
        """Feed the rows, which two connections read at the same time."""
        middle = (uids.start + uids.stop) // 2
        second = asyncio.create_task(self._read_second(range(middle, uids.stop), after))
        try:
            # No connection is held while another one is waited for: filling many mailboxes must not deadlock.
            async with self._database.connection() as connection:
                await self._copy(connection, self._feed, range(uids.start, middle), after)
            for octets in await second:
                self.index.feed(octets)
        finally:
            second.cancel()
            await asyncio.gather(second, return_exceptions=True)

    async def _read_second(self, uids: range, after: int) -> list[bytes]:
        read: list[bytes] = []

        async def keep(octets: bytes) -> None:
            read.append(bytes(octets))  # as in `_feed`

        async with self._database.connection() as connection:
            await self._copy(connection, keep, uids, after)
        return read

    async def _copy(self, connection: Connection, sink: messages_sql.Sink, uids: range, after: int) -> None:
        await messages_sql.copy_rows(connection, self.account, self.mailbox, sink, uids=uids, after=after)

    async def _feed(self, octets: bytes) -> None:
        self.index.feed(bytes(octets))  # asyncpg passes its own bytearray, and uses it again

    def _tell(self) -> None:
        for listener in tuple(self.listeners):
            listener()


class OpenMailboxes:
    """All open mailboxes of the process."""

    def __init__(self, database: Database, notifier: Notifier, root: Path, poll_interval: float) -> None:
        self._database = database
        self._notifier = notifier
        self._root = root
        self._poll_interval = poll_interval
        self._open: dict[MailboxId, OpenMailbox] = {}
        self._warm: dict[MailboxId, OpenMailbox] = {}
        """Those without a session, in the order in which they lost their last session."""
        self._warm_octets = 0
        self._refreshing: dict[MailboxId, asyncio.Task[None]] = {}
        self._keeping: dict[MailboxId, asyncio.Task[None]] = {}
        self._poller: asyncio.Task[None] | None = None
        notifier.subscribe(self._heard)
        notifier.subscribe_connection(self._connection_changed)
        self._look_now = asyncio.Event()
        self._outage = Outage()

    def start(self) -> None:
        """Begin to look for changes that were not notified."""
        self._poller = lasting.start("open-mailboxes", self._poll)

    async def close(self) -> None:
        """Stop, and forget everything."""
        tasks = [
            task
            for task in (self._poller, *self._refreshing.values(), *self._keeping.values())
            if task is not None
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._open.clear()
        self._warm.clear()

    async def open(self, mailbox: Mailbox) -> OpenMailbox:
        """Return the mailbox with an index that is up to date; `release` it when it is not needed any more.

        Raises:
            NotFoundError: the mailbox was deleted meanwhile.
            UnavailableError: PostgreSQL does not answer.
        """
        opened = self._open.get(mailbox.id)
        if opened is None or opened.deleted:
            folder = self._root / maildir.folder(mailbox.home, mailbox.directory)
            opened = self._open[mailbox.id] = OpenMailbox(self._database, mailbox, str(folder))
            metrics.IMAP_INDEXES.set(len(self._open))
        self._take(mailbox.id)
        opened.users += 1
        try:
            opened.heard(mailbox.highest_modseq)
            await opened.refresh()
        except BaseException:
            self.release(opened)
            raise
        if opened.worth_keeping and mailbox.id not in self._keeping:
            self._keeping[mailbox.id] = asyncio.create_task(self._keep(opened))
        return opened

    def release(self, opened: OpenMailbox) -> None:
        """Give back what `open` returned."""
        opened.users -= 1
        if opened.users == 0:
            opened.released = asyncio.get_running_loop().time()
            if opened.deleted or opened.index.modseq == 0:
                self._forget(opened)
            else:
                opened.warm_octets = opened.index.octets + OVERHEAD
                self._warm[opened.mailbox] = opened
                self._warm_octets += opened.warm_octets
                self._shrink()

    def heard(self, mailbox: MailboxId, modseq: ModSeq) -> None:
        """Note a change that this process has made itself."""
        self._heard([(mailbox, modseq)])

    def _heard(self, changes: Changes) -> None:
        for mailbox, modseq in changes:
            opened = self._open.get(mailbox)
            if opened is None or opened.index.modseq >= modseq:
                continue
            opened.heard(modseq)
            # Without a listener it is enough to note it: the next command, or the next SELECT, brings it up to date.
            if opened.listeners and mailbox not in self._refreshing:
                self._refreshing[mailbox] = asyncio.create_task(self._refresh(opened))

    async def _refresh(self, opened: OpenMailbox) -> None:
        try:
            while opened.is_behind and not opened.deleted:
                before = opened.index.modseq
                await opened.refresh()
                if opened.index.modseq == before:
                    break
        except NotFoundError:
            pass
        except EspError as error:
            log.warning("mailbox_refresh_failed", mailbox=opened.mailbox, error=str(error))
        finally:
            self._refreshing.pop(opened.mailbox, None)

    async def _keep(self, opened: OpenMailbox) -> None:
        try:
            await asyncio.sleep(KEEP_AFTER)
            await opened.keep()
        except EspError as error:
            log.warning("index_not_kept", mailbox=opened.mailbox, error=str(error))
        finally:
            self._keeping.pop(opened.mailbox, None)

    def _connection_changed(self, _: bool) -> None:
        self._look_now.set()  # notifications may have been lost until now, or will be from now on

    async def _prepare(self) -> None:
        """Have PostgreSQL plan the statements of SELECT before the first client waits for that."""
        nobody, nothing = AccountId(0), MailboxId(0)
        try:
            async with self._database.connection() as connection:
                with contextlib.suppress(NotFoundError):
                    await mailboxes_sql.by_name(connection, nobody, "")
                with contextlib.suppress(NotFoundError):
                    await mailboxes_sql.state(connection, nothing, ModSeq(0))
                await mailboxes_sql.modseq(connection, nothing)
                await messages_sql.copy_rows(connection, nobody, nothing, _drop, uids=range(1))
        except EspError as error:
            self._poll_failed(error)

    async def _poll(self) -> None:
        # On two connections, as many as read a large mailbox: a new one costs its first user 10 ms.
        await asyncio.gather(self._prepare(), self._prepare())
        while True:
            await until_look(self._look_now, self._notifier, self._poll_interval)
            self._shrink()
            try:
                await self._look()
            except EspError as error:
                self._poll_failed(error)
            else:
                if self._outage.ends():
                    log.warning("mailbox_poll_works_again")

    def _poll_failed(self, error: EspError) -> None:
        if self._outage.begins():
            log.warning("mailbox_poll_failed", error=str(error))

    async def _look(self) -> None:
        used = [mailbox for mailbox, opened in self._open.items() if opened.users]
        if not used:
            return
        async with self._database.connection() as connection:
            modseqs = await mailboxes_sql.modseqs(connection, used)
        self._heard([(mailbox, modseqs.get(mailbox, GONE)) for mailbox in used])

    def _shrink(self) -> None:
        longest = asyncio.get_running_loop().time() - WARM_SECONDS
        # Oldest first. The last one stays, however large: its client mostly selects it again a moment later.
        while (self._warm_octets > WARM_OCTETS and len(self._warm) > 1) or (
            self._warm and next(iter(self._warm.values())).released < longest
        ):
            oldest = next(iter(self._warm.values()))
            self._take(oldest.mailbox)
            self._forget(oldest)

    def _take(self, mailbox: MailboxId) -> None:
        """Take an index out of those without a session, if it is one of them."""
        if (warm := self._warm.pop(mailbox, None)) is not None:
            self._warm_octets -= warm.warm_octets

    def _forget(self, opened: OpenMailbox) -> None:
        if self._open.get(opened.mailbox) is opened:
            del self._open[opened.mailbox]
            metrics.IMAP_INDEXES.set(len(self._open))


async def _drop(_: bytes) -> None:
    return None
