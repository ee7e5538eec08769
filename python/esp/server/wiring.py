"""The only place where objects are made and given to each other."""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from esp.api.server import ApiServer, application
from esp.config.sections import Settings
from esp.core.mailbox import MailboxId, ModSeq
from esp.imap import ImapServer
from esp.native import Store
from esp.server import demo, state
from esp.server.roles import Role
from esp.services import reception, recovering
from esp.services.accounts import Accounts
from esp.services.annotations import Annotations
from esp.services.appends import Appends
from esp.services.authentication import Authentication
from esp.services.contents import Contents
from esp.services.directory import Directory
from esp.services.dispatch import Dispatch
from esp.services.domains import Domains
from esp.services.history import History
from esp.services.indexing import Indexing
from esp.services.mailboxes import Mailboxes
from esp.services.messages import Messages
from esp.services.open_mailboxes import OpenMailboxes
from esp.services.passwords import Passwords
from esp.services.presence import Presence
from esp.services.quotas import Quotas, QuotaWatch
from esp.services.search import Searching
from esp.services.sharing import Sharing
from esp.services.submission import Submission
from esp.services.throttling import Throttle
from esp.services.upkeep import Upkeep
from esp.services.watching import Watching
from esp.smtp import SmtpServer
from esp.storage.maildir import Maildirs
from esp.storage.postgres import migrate, outbox
from esp.storage.postgres.outbox import Topic
from esp.storage.postgres.pool import Database
from esp.storage.redis import Notifier, connect
from esp.storage.wakeup import LONGEST_STORM, Wakeups
from esp.telemetry import lasting, log
from esp.version import VERSION
from esp.worker.scheduler import SchedulerServer
from esp.worker.server import Handler, WorkerServer

STORE_WAIT = 60.0
"""Seconds that a starting process waits for PostgreSQL, which may be recovering from a crash."""
POISON_CHECK = 1.0
WORKER_NICENESS = 5
JANITOR = "janitor"
HISTORY = "history"
QUOTA = "quota"
PERIODIC = {JANITOR: 6 * 3600.0, HISTORY: 3600.0, QUOTA: 600.0}
"""Periodic work of workers, in seconds; the janitor reads all changed folders, and leftovers can wait."""

_logger = log.get_logger(__name__)

_Kind = TypeVar("_Kind", bound=reception.Reception)


class Server(Protocol):
    """What the wiring makes for a role."""

    async def start(self) -> None:
        """Begin to serve.

        Raises:
            OSError: it cannot listen on a port.
        """

    async def drain(self, timeout: float) -> None:
        """Take nothing new, and wait for what is under way, at most `timeout` seconds."""

    def reload(self) -> None:
        """Read certificates again."""


def build(role: Role, settings: Settings) -> AbstractAsyncContextManager[Server]:
    """Return the server of a role; everything it was made of is closed when the block ends."""
    return _BUILDERS[role](settings)


async def prepare(settings: Settings, demo_folder: str | None) -> None:
    """Bring the database to the current schema, and make the demo's accounts.

    Raises:
        EspError: the database does not answer, or does not match.
    """
    await migrate.up(settings.database.dsn)
    if demo_folder is not None:
        async with AsyncExitStack() as stack:
            database = await _database(settings, stack)
            notifier = _notifier(settings, stack)
            maildirs = Maildirs(await _store(settings, database, stack), settings.storage.path)
            passwords = Passwords()
            stack.callback(passwords.close)
            await demo.make_accounts(
                Domains(database, notifier),
                Accounts(database, maildirs, passwords, notifier),
                demo.passwords(Path(demo_folder)),
            )


@asynccontextmanager
async def _smtp(settings: Settings) -> AsyncIterator[Server]:
    async with AsyncExitStack() as stack:
        database = await _database(settings, stack)
        notifier = _notifier(settings, stack)
        store = await _store(settings, database, stack, journal=True)
        directory = Directory(database, recipient_delimiter=settings.smtp.recipient_delimiter)
        authentication = _authentication(settings, database, stack)
        dispatch = Dispatch(store, database, _WakingNotifier(notifier, _wakeups(settings, stack)))
        stack.push_async_callback(dispatch.close)
        mail, submission = receptions(settings, directory, dispatch)
        server = SmtpServer(
            settings,
            reception=mail,
            submission=submission,
            authentication=authentication,
            spool=store.spool,
        )
        notifier.subscribe_directory(lambda _: directory.forget())
        notifier.subscribe_directory(lambda _: authentication.forget())
        # Subscribed after the directory, which the front asks again.
        notifier.subscribe_directory(lambda _: server.forget())
        notifier.start()
        yield server


def receptions(
    settings: Settings, directory: reception.Directory, dispatch: reception.Deliverer
) -> tuple[reception.Reception, Submission]:
    """Return what takes mail from anybody and what takes it from our own users; they number transactions together."""
    numbers = itertools.count(1)

    def made(kind: type[_Kind]) -> _Kind:
        return kind(
            directory=directory,
            dispatch=dispatch,
            hostname=settings.server.hostname,
            max_message_size=settings.smtp.max_message_size,
            max_recipients=settings.smtp.max_recipients,
            numbers=numbers,
        )

    return made(reception.Reception), made(Submission)


@asynccontextmanager
async def _imap(settings: Settings) -> AsyncIterator[Server]:
    async with AsyncExitStack() as stack:
        database = await _database(settings, stack)
        notifier = _notifier(settings, stack)
        store = await _store(settings, database, stack, journal=True)
        authentication = _authentication(settings, database, stack)
        notifier.subscribe_directory(lambda _: authentication.forget())
        dispatch = Dispatch(store, database, _WakingNotifier(notifier, _wakeups(settings, stack)))
        stack.push_async_callback(dispatch.close)
        server = imap_server(
            settings,
            database=database,
            store=store,
            notifier=notifier,
            authentication=authentication,
            dispatch=dispatch,
        )
        notifier.start()
        yield server


def imap_server(
    settings: Settings,
    *,
    database: Database,
    store: Store,
    notifier: Notifier,
    authentication: Authentication,
    dispatch: Dispatch,
) -> ImapServer:
    """Return the IMAP door over stores that its caller closes; the notifier is to be started after it."""
    root, unlink_after = settings.storage.path, settings.worker.unlink_after
    interval = settings.imap.poll_interval
    maildirs = Maildirs(store, root)
    messages = Messages(database, maildirs, notifier, unlink_after)
    mailboxes = Mailboxes(database, maildirs, messages, notifier, unlink_after)
    return ImapServer(
        settings,
        store=store,
        authentication=authentication,
        mailboxes=mailboxes,
        annotations=Annotations(database, mailboxes, notifier),
        sharing=Sharing(database, notifier),
        quotas=Quotas(database, notifier),
        messages=messages,
        open_mailboxes=OpenMailboxes(database, notifier, root, interval),
        searching=Searching(database, settings.imap.text_cache),
        appends=Appends(store, database, dispatch, notifier, unlink_after),
        presence=Presence(database, notifier, interval),
        watching=Watching(database, mailboxes, notifier, interval),
        contents=Contents(database, Indexing(database, root)),
    )


@asynccontextmanager
async def _api(settings: Settings) -> AsyncIterator[Server]:
    async with AsyncExitStack() as stack:
        database = await _database(settings, stack)
        client = connect(settings.redis)
        stack.push_async_callback(client.aclose)

        async def roles_serve() -> bool:
            found = state.read(settings.server.run_path)
            return found is not None and found.ready

        async def redis_answers() -> bool:
            return bool(await client.ping())

        checks = {"roles": roles_serve, "postgres": database.healthy, "redis": redis_answers}
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        yield ApiServer(application(checks, Path(folder) if folder else None, VERSION), settings.api)


@asynccontextmanager
async def _worker(settings: Settings) -> AsyncIterator[Server]:
    async with AsyncExitStack() as stack:
        # When there is more to do than the cores can do, incoming mail comes first.
        os.nice(WORKER_NICENESS)
        database = await _database(settings, stack)
        # If a crash loses an index row, it loses the `done` of its outbox row, too: the work is done again.
        watch = QuotaWatch(database)
        indexing = Indexing(
            await _database(settings, stack, durable=False), settings.storage.path, delivered=watch.look
        )
        upkeep = Upkeep(
            database, await _store(settings, database, stack), settings.storage.path,
            batch=settings.worker.batch, retention=settings.storage.quarantine_retention,
        )  # fmt: skip
        handlers: dict[str, Handler] = {
            Topic.DESCRIBE: upkeep.describe_mailboxes,
            Topic.INDEX: indexing.work,
            Topic.RENAME: upkeep.rename_files,
            Topic.UNLINK: upkeep.unlink_files,
            JANITOR: upkeep.janitor,
            QUOTA: watch.look,
            HISTORY: History(database, settings.imap.expunged_retention).forget,
        }
        # Clients that search wait for what is not indexed yet; the janitor's round may take an hour.
        yield WorkerServer(settings.redis.url, handlers, beside=handlers.keys() - {Topic.INDEX})


@asynccontextmanager
async def _scheduler(settings: Settings) -> AsyncIterator[Server]:
    async with AsyncExitStack() as stack:
        database = await _database(settings, stack)
        wakeups = _wakeups(settings, stack)

        yield SchedulerServer(
            partial(outbox.waiting, database),
            partial(wakeups.wake, force=True),
            PERIODIC,
            list(Topic),
            # Processes that deliver wake for it, but late when they deliver much.
            {Topic.INDEX: LONGEST_STORM},
        )


_BUILDERS: dict[Role, Callable[[Settings], AbstractAsyncContextManager[Server]]] = {
    Role.SMTP: _smtp,
    Role.IMAP: _imap,
    Role.API: _api,
    Role.WORKER: _worker,
    Role.SCHEDULER: _scheduler,
}


class _WakingNotifier:
    """Called by dispatch after every batch: mailboxes have changed, and there is something to index."""

    def __init__(self, notifier: Notifier, wakeups: Wakeups) -> None:
        self._notifier = notifier
        self._wakeups = wakeups

    async def publish(self, changes: Sequence[tuple[MailboxId, ModSeq]]) -> None:
        """Publish, and have a worker look."""
        self._wakeups.wake(Topic.INDEX)
        await self._notifier.publish(changes)


async def _database(settings: Settings, stack: AsyncExitStack, *, durable: bool = True) -> Database:
    database = await Database.open(settings.database, wait=STORE_WAIT, durable=durable)
    stack.push_async_callback(database.close)
    return database


def _wakeups(settings: Settings, stack: AsyncExitStack) -> Wakeups:
    wakeups = Wakeups(settings.redis.url)
    stack.push_async_callback(wakeups.close)
    return wakeups


def _notifier(settings: Settings, stack: AsyncExitStack) -> Notifier:
    notifier = Notifier(connect(settings.redis))
    stack.push_async_callback(notifier.close)
    return notifier


def _authentication(settings: Settings, database: Database, stack: AsyncExitStack) -> Authentication:
    client = connect(settings.redis)
    stack.push_async_callback(client.aclose)
    passwords = Passwords()
    stack.callback(passwords.close)
    return Authentication(database, passwords, Throttle(client, settings.security))


async def _store(
    settings: Settings, database: Database, stack: AsyncExitStack, *, journal: bool = False
) -> Store:
    """Return the Maildirs, after restoring what a crash left in journals; `journal` is for a process that delivers.

    A process whose store has had a failed sync is ended, and a new one is started.
    """
    storage = settings.storage
    storage.path.mkdir(parents=True, exist_ok=True)
    store = Store(storage.path, storage.sync_threads, storage.sync, settings.server.hostname, journal=journal)
    watch = lasting.start("poison-watch", partial(_end_when_poisoned, store))
    stack.push_async_callback(lasting.stop, watch)
    stack.push_async_callback(asyncio.to_thread, store.close)
    await recovering.recover(store, database)
    return store


async def _end_when_poisoned(store: Store) -> None:
    told = False
    while True:
        # Read first: a failure that poisons the store is recorded as the journal's failure before.
        poisoned = store.poisoned
        if not told and (failure := store.journal_failure):
            _logger.warning("no_journal", error=str(failure))
            told = True
        if poisoned:
            break
        await asyncio.sleep(POISON_CHECK)
    _logger.critical("sync_failed_process_ends")
    os.kill(os.getpid(), signal.SIGTERM)
