"""What `esp-cli` works with: the services of an installation, made for one command."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from esp.config import sections
from esp.config.sections import Settings
from esp.core.change import AccountChange
from esp.core.mailbox import MailboxId, ModSeq
from esp.core.principal import AccountId
from esp.native import Store
from esp.services import recovering
from esp.services.accounts import Accounts
from esp.services.announcing import Announcer
from esp.services.dispatch import Dispatch
from esp.services.domains import Aliases, Domains
from esp.services.mailboxes import Mailboxes
from esp.services.messages import Messages
from esp.services.passwords import Passwords
from esp.services.sharing import Sharing
from esp.storage.maildir import Maildirs
from esp.storage.postgres.pool import Database

if TYPE_CHECKING:
    from pathlib import Path

    from esp.storage.redis import Notifier


class LateNotifier:
    """A `Notifier` that is made at the first change: most commands only read, and its client takes longer to import
    than they take to run."""

    def __init__(self, settings: sections.Redis) -> None:
        self._settings = settings
        self._notifier: Notifier | None = None

    async def publish(self, changes: Sequence[tuple[MailboxId, ModSeq]]) -> None:
        """See `Announcer`."""
        await self._made().publish(changes)

    async def publish_directory(self, account: AccountId | None = None) -> None:
        """See `Announcer`."""
        await self._made().publish_directory(account)

    async def publish_account(self, change: AccountChange) -> None:
        """See `Announcer`."""
        await self._made().publish_account(change)

    async def close(self) -> None:
        """Send what still waits, and close the connection if there is one."""
        if self._notifier is not None:
            await self._notifier.close()

    def _made(self) -> "Notifier":
        if self._notifier is None:
            from esp.storage.redis import Notifier, connect  # noqa: PLC0415 - see above

            self._notifier = Notifier(connect(self._settings))
        return self._notifier


class Administration(msgspec.Struct, frozen=True):
    """The services."""

    settings: Settings
    database: Database
    domains: Domains
    accounts: Accounts
    aliases: Aliases
    mailboxes: Mailboxes
    messages: Messages
    sharing: Sharing
    store: Store
    notifier: Announcer
    whole: bool
    """Whether everything that a crash left in journals is restored; if not, missing files are not always lost."""


@asynccontextmanager
async def administration(settings: Settings) -> AsyncIterator[Administration]:
    """Make the services, and close them after the block.

    Raises:
        UnavailableError: the database does not answer.
    """
    become_owner(settings.storage.path)
    async with AsyncExitStack() as stack:
        database = await Database.open(settings.database)
        stack.push_async_callback(database.close)
        notifier = LateNotifier(settings.redis)
        stack.push_async_callback(notifier.close)
        passwords = Passwords()
        stack.callback(passwords.close)
        root = settings.storage.path
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = Store(
            str(root), settings.storage.sync_threads, settings.storage.sync, settings.server.hostname
        )
        # Before anything checks: files that a power cut has taken must not look like lost messages.
        whole = await recovering.recover(store, database)
        maildirs = Maildirs(store, root)
        messages = Messages(database, maildirs, notifier, settings.worker.unlink_after)
        yield Administration(
            settings=settings,
            database=database,
            domains=Domains(database, notifier),
            accounts=Accounts(database, maildirs, passwords, notifier),
            aliases=Aliases(database, notifier, recipient_delimiter=settings.smtp.recipient_delimiter),
            mailboxes=Mailboxes(database, maildirs, messages, notifier, settings.worker.unlink_after),
            messages=messages,
            sharing=Sharing(database, notifier),
            store=store,
            notifier=notifier,
            whole=whole,
        )


@asynccontextmanager
async def moving(esp: Administration) -> AsyncIterator[Dispatch]:
    """Make the dispatch that takes mail in; what it has accepted is durable after the block."""
    dispatch = Dispatch(esp.store, esp.database, esp.notifier)
    try:
        yield dispatch
    finally:
        await dispatch.close()


def become_owner(root: "Path") -> None:
    """If root administers the mail of another user, go on as that user: its server must be able to write."""
    if os.geteuid() != 0:
        return
    try:
        owner = root.stat()
    except FileNotFoundError:
        return
    if owner.st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
