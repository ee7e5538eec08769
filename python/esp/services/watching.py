"""Who watches an account's mailboxes, and what happens to them (RFC 5465 §5).

In: notifications of changes from every process, and a look from time to time whether some were lost. Out: news for each
watcher: counts of messages, names, subscriptions, annotations. All watchers of an account in one process share what is
known of its mailboxes; a change of messages costs one statement for all accounts that it concerns.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from esp.core import annotation, mailbox_name
from esp.core.change import EVERYBODY, AccountChange, Changes
from esp.core.errors import EspError
from esp.core.mailbox import Mailbox, MailboxId
from esp.core.principal import AccountId, Principal
from esp.services.lost_word import until_look
from esp.services.mailboxes import Listed, Mailboxes
from esp.storage.postgres import mailboxes as sql
from esp.storage.postgres.pool import Database
from esp.storage.redis import Notifier
from esp.telemetry import lasting
from esp.telemetry.log import get_logger
from esp.telemetry.outage import Outage

log = get_logger(__name__)

_K = TypeVar("_K")


class Counted(msgspec.Struct, frozen=True):
    """Messages of a mailbox came, went, or got other flags."""

    now: Listed
    after: Mailbox
    before: Mailbox | None
    """`None`: the mailbox was not there before, or another one had this name."""


class Named(msgspec.Struct, frozen=True):
    """A name came, went (`now.mailbox` is `None`), replaced another, or stands above one that did."""

    now: Listed
    old_name: str | None = None


class Subscribed(msgspec.Struct, frozen=True):
    """A name was subscribed to, or is no longer."""

    now: Listed


class Annotated(msgspec.Struct, frozen=True):
    """Annotations of a mailbox, or of the server, were changed."""

    now: Listed | None
    entries: tuple[str, ...]


News = Counted | Named | Subscribed | Annotated


class Watcher(Protocol):
    """An object that wants to be told."""

    def happened(self, news: Sequence[News]) -> None:
        """Take news; must not block."""


class Watched:
    """What is known of one account's mailboxes."""

    __slots__ = ("accounts", "listed", "looking", "names", "principal", "stamp", "watchers")

    def __init__(self, principal: Principal) -> None:
        self.principal = principal
        self.listed: dict[str, Listed] = {}
        self.looking = asyncio.Lock()
        """One look at a time: an older state must not be taken for the newest one."""
        self.names: dict[MailboxId, str] = {}
        self.accounts: set[AccountId] = {principal.account}
        """The account itself, and all whose mailboxes it sees."""
        self.stamp: tuple[int, int, int] | None = None
        self.watchers: set[Watcher] = set()

    def tell(self, news: Sequence[News]) -> None:
        """Give news to all watchers."""
        for watcher in tuple(self.watchers) if news else ():
            watcher.happened(news)

    def name(self, name: str) -> Listed:
        """Return what is known of a name."""
        return self.listed.get(name) or Listed(name=name, mailbox=None, subscribed=False, has_children=False)


class Watching:
    """All accounts that are watched by this process."""

    def __init__(
        self, database: Database, mailboxes: Mailboxes, notifier: Notifier, poll_interval: float
    ) -> None:
        self._database = database
        self._mailboxes = mailboxes
        self._notifier = notifier
        self._poll_interval = poll_interval
        self._watched: dict[AccountId, Watched] = {}
        self._by_mailbox: dict[MailboxId, set[Watched]] = {}
        self._by_account: dict[AccountId, set[Watched]] = {}
        self._changed: set[MailboxId] = set()
        self._stale: set[Watched] = set()
        self._catching_up: asyncio.Task[None] | None = None
        self._poller: asyncio.Task[None] | None = None
        self._look_now = asyncio.Event()
        self._outage = Outage()
        notifier.subscribe(self._heard)
        notifier.subscribe_accounts(self._account_changed)
        notifier.subscribe_connection(lambda _: self._look_now.set())

    def start(self) -> None:
        """Begin to look for changes that were not notified."""
        self._poller = lasting.start("watching", self._poll)

    async def close(self) -> None:
        """Stop."""
        for task in (self._poller, self._catching_up):
            await lasting.stop(task)

    async def watch(self, principal: Principal, watcher: Watcher) -> Watched:
        """Have a watcher told of changes to an account's mailboxes, and return their present state.

        Raises:
            UnavailableError: PostgreSQL does not answer.
        """
        while True:
            watched = self._watched.get(principal.account)
            if watched is None:
                watched = Watched(principal)
                self._keep(watched, await self._mailboxes.listed(principal))
                # Another watcher may have been as fast. Changes while nobody listened are found by the look below.
                watched = self._watched.setdefault(principal.account, watched)
                self._index(watched)
            await self.look(watched)
            # The last other watcher may have left meanwhile: then nobody would tell this one of changes.
            if self._watched.get(principal.account) is watched:
                watched.watchers.add(watcher)
                return watched

    def unwatch(self, watched: Watched, watcher: Watcher) -> None:
        """Tell a watcher of no more changes."""
        watched.watchers.discard(watcher)
        if not watched.watchers and self._watched.get(watched.principal.account) is watched:
            del self._watched[watched.principal.account]
            self._stale.discard(watched)
            self._forget(watched)

    async def look(self, watched: Watched) -> None:
        """Find all changes since the last look, and tell the watchers.

        Raises:
            UnavailableError: PostgreSQL does not answer.
        """
        async with watched.looking:
            listed = await self._mailboxes.listed(watched.principal)
            before, names = watched.listed, watched.names
            self._forget(watched)
            self._keep(watched, [_newest(name, before, names) for name in listed])
            self._index(watched)
            watched.tell(list(_differences(before, names, watched)))

    # Notifications

    def _heard(self, changes: Changes) -> None:
        for mailbox, modseq in changes:
            for watched in self._by_mailbox.get(mailbox, ()):
                known = watched.listed[watched.names[mailbox]].mailbox
                if known is None or known.highest_modseq < modseq:
                    self._changed.add(mailbox)
        self._wake()

    def _account_changed(self, change: AccountChange) -> None:
        if change.annotations:
            self._annotated(change)
            return
        everybody = change.account == EVERYBODY
        self._stale.update(self._watched.values() if everybody else self._by_account.get(change.account, ()))
        self._wake()

    def _annotated(self, change: AccountChange) -> None:
        concerned = (
            self._watched.values() if change.mailbox is None else self._by_mailbox.get(change.mailbox, ())
        )
        for watched in concerned:
            mine = watched.principal.account == change.account
            entries = tuple(entry for entry in change.annotations if mine or not annotation.is_private(entry))
            if entries:
                now = None if change.mailbox is None else watched.listed[watched.names[change.mailbox]]
                watched.tell([Annotated(now, entries)])

    # Finding out

    def _wake(self) -> None:
        if self._catching_up is None and (self._changed or self._stale):
            self._catching_up = asyncio.create_task(self._catch_up())

    async def _catch_up(self) -> None:
        try:
            while self._changed or self._stale:
                await self._catch_up_once()
        except EspError as error:
            self._not_looked(error)  # the poll will try again
        finally:
            self._catching_up = None

    async def _catch_up_once(self) -> None:
        changed, self._changed = self._changed, set()
        stale, self._stale = self._stale, set()
        try:
            if changed:
                await self._count(changed)
            while stale:
                watched = next(iter(stale))
                if watched.watchers:
                    await self.look(watched)
                stale.discard(watched)
        finally:
            # Left over if a look failed: there may be no second notification.
            self._stale |= {watched for watched in stale if watched.watchers}

    async def _count(self, changed: set[MailboxId]) -> None:
        async with self._database.connection() as connection:
            found = {mailbox.id: mailbox for mailbox in await sql.by_ids(connection, list(changed))}
        news: dict[Watched, list[News]] = {}
        for mailbox in changed:
            for watched in tuple(self._by_mailbox.get(mailbox, ())):
                name = watched.names[mailbox]
                before, after = watched.listed[name], found.get(mailbox)
                if before.mailbox is None or after is None:
                    self._stale.add(watched)  # deleted
                elif after.highest_modseq > before.mailbox.highest_modseq:
                    watched.listed[name] = now = msgspec.structs.replace(before, mailbox=after)
                    news.setdefault(watched, []).append(Counted(now, after, before.mailbox))
        for watched, happened in news.items():
            watched.tell(happened)

    async def _poll(self) -> None:
        while True:
            await until_look(self._look_now, self._notifier, self._poll_interval)
            try:
                await self._look_for_lost_word()
            except EspError as error:
                self._not_looked(error)
            else:
                if self._outage.ends():
                    log.warning("watched_mailboxes_looked_at_again")

    def _not_looked(self, error: EspError) -> None:
        if self._outage.begins():
            log.warning("watched_mailboxes_not_looked_at", error=str(error))

    async def _look_for_lost_word(self) -> None:
        if not self._watched:
            return
        owners = {watched: watched.accounts for watched in self._watched.values()}
        async with self._database.connection() as connection:
            stamps = await sql.stamps(connection, list(self._by_account))
        for watched, accounts in owners.items():
            parts = [stamps[account] for account in accounts if account in stamps]
            stamp = (sum(p[0] for p in parts), sum(p[1] for p in parts), sum(p[2] for p in parts))
            if watched.stamp != stamp:
                watched.stamp = stamp
                self._stale.add(watched)
        self._wake()

    # What is known

    def _keep(self, watched: Watched, listed: Sequence[Listed]) -> None:
        watched.listed = {name.name: name for name in listed}
        watched.names = {name.mailbox.id: name.name for name in listed if name.mailbox is not None}
        owners = {name.mailbox.account for name in listed if name.mailbox is not None}
        watched.accounts = {watched.principal.account} | owners

    def _index(self, watched: Watched) -> None:
        if self._watched.get(watched.principal.account) is watched:
            for mailbox in watched.names:
                self._by_mailbox.setdefault(mailbox, set()).add(watched)
            for account in watched.accounts:
                self._by_account.setdefault(account, set()).add(watched)

    def _forget(self, watched: Watched) -> None:
        for mailbox in watched.names:
            _take_out(self._by_mailbox, mailbox, watched)
        for account in watched.accounts:
            _take_out(self._by_account, account, watched)


def _take_out(index: dict[_K, set[Watched]], key: _K, watched: Watched) -> None:
    if (found := index.get(key)) is not None:
        found.discard(watched)
        if not found:
            del index[key]


def _newest(name: Listed, before: Mapping[str, Listed], names: Mapping[MailboxId, str]) -> Listed:
    """Return a name with the known counts, if a notification about its mailbox was faster than the look."""
    if name.mailbox is None or name.mailbox.id not in names:
        return name
    known = before[names[name.mailbox.id]].mailbox
    if known is None or known.highest_modseq <= name.mailbox.highest_modseq:
        return name
    return msgspec.structs.replace(name, mailbox=known)


def _differences(before: dict[str, Listed], names: dict[MailboxId, str], watched: Watched) -> Iterator[News]:
    renamed = {
        names[mailbox]: new for mailbox, new in watched.names.items() if names.get(mailbox, new) != new
    }
    affected = [name for mailbox, name in watched.names.items() if mailbox not in names]
    affected += [name for mailbox, name in names.items() if mailbox not in watched.names]
    # RFC 5465 §5.4: the mailbox and its direct parent, whether the parent exists or not.
    parents = {above[-1] for name in affected if (above := mailbox_name.superiors(name))}
    for name in sorted({*affected, *parents} - set(renamed.values())):
        yield Named(watched.name(name))
    for old, new in renamed.items():
        if not _is_moved_along(old, new, renamed):
            yield Named(watched.name(new), old)
    for name in sorted(before.keys() | watched.listed.keys()):
        earlier, now = before.get(name), watched.name(name)
        if (earlier is not None and earlier.subscribed) != now.subscribed:
            yield Subscribed(now)
        if now.mailbox is None:
            continue
        if now.mailbox.id in names:
            # By its former name: a notification about its messages may not have come before the one about its new name.
            known = before[names[now.mailbox.id]].mailbox
            if known is not None and now.mailbox.highest_modseq != known.highest_modseq:
                yield Counted(now, now.mailbox, known)
        # A mailbox that is new to the watchers may have got messages before anybody looked.
        elif now.mailbox.messages or (earlier is not None and earlier.mailbox is not None):
            yield Counted(now, now.mailbox, None)


def _is_moved_along(old: str, new: str, renamed: Mapping[str, str]) -> bool:
    """Whether a name changed only with one above it (RFC 5465 §5.4: no event of its own)."""
    for above in mailbox_name.superiors(old):
        to = renamed.get(above)
        if to is not None and new == to + old.removeprefix(above):
            return True
    return False
