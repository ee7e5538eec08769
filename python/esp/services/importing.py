"""Mail brought from elsewhere into an account: what is there stays, what an earlier run brought is passed over.

In: a source, an account, and how names are mapped. Out: messages with their dates, flags and folders, through
`dispatch` like all mail, so that sessions that have a mailbox open see them at once; and a report of what was brought,
what was there and what could not be had. Every message is recorded in the transaction that makes it visible
(`storage.postgres.imports`): even if an import is killed and run again, it brings each message once.

Memory is bounded by `OCTETS_AT_ONCE`, whatever the source holds: nothing more is read while so much is on its way.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

import msgspec

from esp.core.errors import EspError, LimitError, NotFoundError, SpecialUseError, UnavailableError
from esp.core.import_name import mailbox_for
from esp.core.mailbox import Mailbox, SpecialUse
from esp.core.mailbox_name import for_creation
from esp.core.principal import Principal
from esp.native import Spool
from esp.services.dispatch import Dispatch, Incoming, Target
from esp.services.import_sources import Broken, Folder, Message, Passed, Present, Source
from esp.services.mailboxes import Mailboxes
from esp.services.messages import Messages
from esp.storage import maildir
from esp.storage.postgres import imports
from esp.storage.postgres.imports import Imported, ImportFolderId
from esp.storage.postgres.pool import Database

FOLDERS_AT_ONCE = 4
OCTETS_AT_ONCE = 32 * 1024 * 1024
MESSAGES_AT_ONCE = 256
"""Messages: enough for two large batches of `dispatch`."""
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between attempts to deliver while a service that we depend on does not answer."""


class Names(msgspec.Struct, frozen=True):
    """Which folders are brought, and what they become."""

    only: frozenset[str] = frozenset()
    """Names here, as the folders would be called; empty for all."""
    without: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = {}
    """From the names that folders would get to those that they are to get instead."""
    below: str = ""
    """A mailbox under which everything goes."""


class Failure(msgspec.Struct, frozen=True):
    """A message, or a whole folder, that was not brought."""

    folder: str
    item: str
    """Empty for the folder."""
    reason: str


class Brought(msgspec.Struct):
    """The outcome for a folder."""

    folder: str
    mailbox: str
    imported: int = 0
    octets: int = 0
    present: int = 0
    """Brought by an earlier run."""
    failed: int = 0
    keywords_dropped: int = 0
    """Keywords that the mailbox had no room for."""


class Summary(msgspec.Struct, frozen=True):
    """What an import did."""

    source: str
    folders: tuple[Brought, ...]
    failures: tuple[Failure, ...]
    stopped: str | None
    """Why it ended early, if it did."""

    @property
    def complete(self) -> bool:
        """Whether everything is here now."""
        return self.stopped is None and not self.failures


class Watch(Protocol):
    """Is told how far an import is."""

    def begin(self, folder: str, size: int) -> None:
        """A folder begins."""

    def advance(self, weight: int, messages: int, octets: int) -> None:
        """`weight` is done, and `messages` messages are new."""

    def end(self, brought: Brought) -> None:
        """The folder is done."""


class Importing:
    """Imports mail; one object for each run."""

    def __init__(
        self,
        database: Database,
        mailboxes: Mailboxes,
        messages: Messages,
        dispatch: Dispatch,
        *,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._database = database
        self._mailboxes = mailboxes
        self._messages = messages
        self._dispatch = dispatch
        self._pauses = pauses
        self._room = _Room(OCTETS_AT_ONCE, MESSAGES_AT_ONCE)
        self._making = asyncio.Lock()
        self._failures: list[Failure] = []
        self._stopped: str | None = None

    async def plan(self, principal: Principal, source: Source, names: Names) -> list[tuple[Folder, str]]:
        """Return the folders to import, each with the name of its mailbox.

        Raises:
            EspError: the source cannot be read.
        """
        uses = {
            one.mailbox.special_use: one.name
            for one in await self._mailboxes.listed(principal)
            if one.own and one.mailbox is not None and one.mailbox.special_use is not None
        }
        planned: list[tuple[Folder, str]] = []
        for folder in await source.folders():
            name = _name(folder, names, uses)
            if (not names.only or name in names.only) and name not in names.without:
                planned.append((folder, names.renamed.get(name, name)))
        return planned

    async def run(
        self, principal: Principal, source: Source, names: Names, watch: Watch, *, afresh: bool = False
    ) -> Summary:
        """Import everything that is not here yet; failures of single messages or folders are reported at the end.

        Args:
            principal: whose mail it is to be.
            source: where the mail comes from.
            names: which folders, and what their mailboxes are called.
            watch: is told of the progress.
            afresh: import again what earlier runs have imported.

        Raises:
            UnavailableError: another import into the account is under way, or the database does not answer.
            EspError: the source cannot be read at all.
        """
        async with self._alone(principal):
            if afresh:
                async with self._database.transaction() as tx:
                    await imports.forget(tx, principal.account, source.name)
            planned = await self.plan(principal, source, names)
            brought: list[Brought] = []
            waiting = iter(planned)

            async def work() -> None:
                for folder, name in waiting:
                    done = Brought(folder.name, name)
                    brought.append(done)
                    watch.begin(name, folder.size)
                    await self._bring(principal, source, folder, done, watch)
                    watch.end(done)
                    if self._stopped is not None:
                        return

            async with asyncio.TaskGroup() as group:
                for _ in range(FOLDERS_AT_ONCE):
                    group.create_task(work())
        return Summary(source.name, tuple(brought), tuple(self._failures), self._stopped)

    @contextlib.asynccontextmanager
    async def _alone(self, principal: Principal) -> AsyncIterator[None]:
        async with self._database.connection() as connection:
            if not await imports.lock(connection, principal.account):
                raise UnavailableError(f"Another import into {principal.address} is under way")
            try:
                yield
            finally:
                with contextlib.suppress(EspError, OSError):
                    await imports.unlock(connection, principal.account)

    async def _bring(
        self, principal: Principal, source: Source, folder: Folder, done: Brought, watch: Watch
    ) -> None:
        try:
            mailbox = await self._mailbox(principal, done.mailbox, folder.special_use)
            async with self._database.connection() as connection:
                number = await imports.ensure_folder(
                    connection, principal.account, mailbox.id,
                    source=source.name, folder=folder.name, validity=folder.validity,
                )  # fmt: skip
        except EspError as error:
            self.fail(done, "", error, stop=error.transient)
            return
        into = _Into(self, principal, mailbox, folder=number, done=done, watch=watch)
        async with asyncio.TaskGroup() as group:
            # Within the group: messages on their way are waited for, whatever becomes of the rest.
            try:
                async with contextlib.aclosing(source.messages(folder, into.missing)) as items:
                    async for item in items:
                        await into.take(item, group)
                        if self._stopped is not None:
                            break
            except EspError as error:
                self.fail(done, "", error, stop=error.transient)

    async def _mailbox(self, principal: Principal, name: str, use: SpecialUse | None) -> Mailbox:
        # One at a time: two folders may become one mailbox, or have the same use.
        async with self._making:
            with contextlib.suppress(NotFoundError):
                return await self._mailboxes.find(principal, for_creation(name))
            try:
                made = await self._mailboxes.create(principal, name, use)
            except SpecialUseError:
                made = await self._mailboxes.create(principal, name)
            await self._mailboxes.subscribe(principal, name)
        return made

    def fail(self, done: Brought, item: str, error: EspError, *, stop: bool = False) -> None:
        """Record what could not be imported; with `stop`, no further message could be either."""
        if stop:
            self._stopped = self._stopped or error.detail
            return
        done.failed += 1
        self._failures.append(Failure(done.folder, item, error.detail))

    async def deliver(self, incoming: Incoming) -> None:
        """Deliver, trying again while what we depend on does not answer; octets in a spool can be tried only once.

        Raises:
            EspError: it was not delivered.
        """
        for pause in (*self._pauses, None):
            try:
                await self._dispatch.deliver(incoming)
            except UnavailableError:
                if pause is None or isinstance(incoming.body, Spool):
                    raise
            else:
                return
            await asyncio.sleep(pause)

    @property
    def stopped(self) -> bool:
        """Whether nothing more is to be brought."""
        return self._stopped is not None

    @property
    def room(self) -> "_Room":
        """How much may be on its way at once."""
        return self._room

    async def missing(
        self, principal: Principal, folder: ImportFolderId, keys: Sequence[str]
    ) -> frozenset[str]:
        """Return which keys of a folder were not imported yet."""
        async with self._database.connection() as connection:
            return await imports.missing(connection, principal.account, folder, keys)

    async def keywords(self, mailbox: Mailbox, words: Sequence[str]) -> bool:
        """Have the mailbox know keywords; tell whether it has room for them."""
        try:
            await self._messages.add_keywords(mailbox.id, tuple(words))
        except LimitError:
            return False
        return True


class _Into:
    """One folder on its way into one mailbox."""

    def __init__(
        self,
        run: Importing,
        principal: Principal,
        mailbox: Mailbox,
        *,
        folder: ImportFolderId,
        done: Brought,
        watch: Watch,
    ) -> None:
        self._run = run
        self._principal = principal
        self._mailbox = mailbox
        self._folder = folder
        self._done = done
        self._watch = watch
        self._keywords = {word.lower(): True for word in mailbox.keywords}

    async def missing(self, keys: Sequence[str]) -> frozenset[str]:
        return await self._run.missing(self._principal, self._folder, keys)

    async def take(self, item: Message | Broken | Present | Passed, group: asyncio.TaskGroup) -> None:
        """Begin to deliver a message, in the order of the calls; note everything else."""
        match item:
            case Message():
                size = item.size
                keywords = tuple([word for word in item.keywords if await self._known(word)])
                self._done.keywords_dropped += len(item.keywords) - len(keywords)
                await self._run.room.take(size)
                group.create_task(self._deliver(item, size, keywords))
                return
            case Broken(key, reason, _):
                self._run.fail(self._done, key, EspError(reason))
            case Present(messages, _):
                self._done.present += messages
        self._watch.advance(item.weight, 0, 0)

    async def _known(self, word: str) -> bool:
        lower = word.lower()
        if lower not in self._keywords:
            self._keywords[lower] = await self._run.keywords(self._mailbox, [word])
        return self._keywords[lower]

    async def _deliver(self, message: Message, size: int, keywords: tuple[str, ...]) -> None:
        target = Target(
            account=self._mailbox.account,
            mailbox=self._mailbox.id,
            folder=maildir.folder(self._principal.maildir, self._mailbox.directory),
            flags=message.flags,
            keywords=keywords,
        )
        incoming = Incoming(
            b"", message.octets, (target,), message.internal_date, Imported(self._folder, message.key)
        )
        try:
            if self._run.stopped:
                return
            await self._run.deliver(incoming)
        except EspError as error:
            in_spool = isinstance(message.octets, Spool) and isinstance(error, UnavailableError)
            self._run.fail(self._done, message.key, error, stop=error.transient and not in_spool)
        else:
            self._done.imported += 1
            self._done.octets += size
            self._watch.advance(message.weight, 1, size)
        finally:
            self._run.room.give(size)


class _Room:
    """How many octets and messages may be on their way; a single message always may."""

    def __init__(self, octets: int, messages: int) -> None:
        self._limits = octets, messages
        self._octets = self._messages = 0
        self._given = asyncio.Event()

    async def take(self, octets: int) -> None:
        while not self._fits(octets):
            self._given.clear()
            await self._given.wait()
        self._octets += octets
        self._messages += 1

    def give(self, octets: int) -> None:
        self._octets -= octets
        self._messages -= 1
        self._given.set()

    def _fits(self, octets: int) -> bool:
        most, many = self._limits
        return not self._messages or (self._octets + octets <= most and self._messages < many)


def _name(folder: Folder, names: Names, uses: Mapping[SpecialUse, str]) -> str:
    if not names.below and folder.levels and folder.special_use is not None and folder.special_use in uses:
        return uses[folder.special_use]
    return mailbox_for(folder.levels, names.below)
