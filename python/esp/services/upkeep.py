"""Background work that keeps Maildir and database in agreement.

In: outbox rows, and what crashes leave. Out: file names that show the flags, cards that show the names, files and
content rows removed, orphans put aside.

**Orphans.** The file comes first and its row second (`dispatch`), so a crash between them leaves a file without a row.
The client never got a 250 and tries again: adopting the file would show the message twice. The janitor therefore moves
it to `<storage.path>/quarantine`, where an administrator can look at it; `check` with `adopt` turns files into messages
(for mail restored from a backup, or left by another program). Only names that ESP made are touched, none younger than
the grace period, since its delivery may still be under way, and none that waits to be unlinked.
"""

import asyncio
import time
from collections import defaultdict
from pathlib import Path

import msgspec

from esp.core.errors import EspError
from esp.core.mailbox import ContentId, Mailbox, MailboxId, Uid
from esp.core.message import FIRST_KEYWORD_BIT
from esp.core.principal import AccountId
from esp.native import Entry, Store
from esp.services.describing import describe
from esp.storage import maildir, quarantine
from esp.storage.postgres import mailboxes, messages, outbox, upkeep
from esp.storage.postgres.outbox import Topic
from esp.storage.postgres.pool import Connection, Database
from esp.storage.postgres.upkeep import Account
from esp.telemetry.log import cause_of, get_logger

GRACE = 3600.0
"""Seconds; far longer than any delivery takes from its file to its rows."""
WINDOW = 7 * 86400.0
"""Seconds; the janitor passes over folders that have not changed for so long: it has looked at them since."""
TMP_AGE = 36 * 3600.0
"""Seconds; by the Maildir paper, a file in `tmp` that is so old belongs to nobody."""
SECOND = 1_000_000_000

log = get_logger(__name__)


class Swept(msgspec.Struct, frozen=True):
    """What the janitor found."""

    mailboxes: int
    """How many were looked at."""
    quarantined: tuple[str, ...]
    """Paths, below the root, where the orphans were."""
    leftovers: int
    """Old files removed from `tmp`."""


class Upkeep:
    """A worker's jobs that tidy up; each may run in several workers at once."""

    def __init__(
        self, database: Database, store: Store, root: Path, *, batch: int = 500, retention: float = 0.0
    ) -> None:
        """Make it; `retention` is the number of seconds that files stay in quarantine (0: for ever)."""
        self._database = database
        self._store = store
        self._root = root
        self._batch = batch
        self._retention = retention

    async def rename_files(self) -> int:
        """Rename files to show their flags, as far as the outbox asks for it; return the number of messages."""
        count = 0
        while leased := await outbox.lease(self._database, Topic.RENAME, self._batch):
            wanted: defaultdict[tuple[AccountId, MailboxId], set[Uid]] = defaultdict(set)
            for row in leased:
                assert isinstance(row.payload, outbox.Rename)
                wanted[row.payload.account, row.payload.mailbox].update(row.payload.messages())
            for (account, mailbox), uids in wanted.items():
                count += await self._rename(account, mailbox, sorted(uids))
            await outbox.done(self._database, [row.id for row in leased])
        return count

    async def _rename(self, account: AccountId, mailbox: MailboxId, uids: list[Uid]) -> int:
        async with self._database.transaction() as tx:
            await upkeep.lock_names(tx, mailbox)
            folder, rows = await upkeep.names_to_mend(tx, account, mailbox, uids)
            changes = [
                (row.uid, row.file, row.file_flags, wanted)
                for row in rows
                if (wanted := wanted_letters(row.flags, row.file_flags)) != row.file_flags
            ]
            if folder is None or not changes:
                return 0
            if any(row.flags >> FIRST_KEYWORD_BIT for row in rows):
                await self._write_down_keywords(tx, mailbox, folder)
            try:
                results = await asyncio.to_thread(
                    self._store.rename, folder, [change[1:] for change in changes]
                )
            except FileNotFoundError:
                return 0
            done: list[tuple[Uid, str | None]] = []
            for (uid, _, _, letters), failure in zip(changes, results, strict=True):
                if failure is None:
                    done.append((uid, letters))
                elif failure.reason != "missing":
                    log.warning("upkeep_rename_failed", error=str(failure))
            # After the renaming: a crash in between leaves an outdated name in the row, and readers expect that.
            await upkeep.note_names(tx, account, mailbox, done)
        return len(done)

    async def _write_down_keywords(self, tx: Connection, mailbox: MailboxId, folder: str) -> None:
        """Have the card say what the letters of keywords stand for, before file names have them."""
        found = await mailboxes.described(tx, [mailbox], lock=True)
        card = await asyncio.to_thread(maildir.read_card, self._root, folder)
        if not found or (card is not None and card.keywords == found[0][0].keywords):
            return
        ((one, subscribed),) = found
        card = maildir.card_of(one, subscribed=subscribed)
        await asyncio.to_thread(maildir.make_mailbox, self._store, self._root, folder, card)

    async def describe_mailboxes(self) -> int:
        """Write the cards that the process changing the rows could not write; return the number of mailboxes."""
        count = 0
        files = maildir.Maildirs(self._store, self._root)
        while leased := await outbox.lease(self._database, Topic.DESCRIBE, 1):
            for row in leased:
                assert isinstance(row.payload, outbox.Describe)
                try:
                    await describe(self._database, files, row.payload.mailboxes)
                except EspError as error:
                    log.warning("upkeep_describe_failed", error=error.detail, cause=cause_of(error))
                    await outbox.retry(self._database, row)
                else:
                    count += len(row.payload.mailboxes)
                    await outbox.done(self._database, [row.id])
        return count

    async def unlink_files(self) -> int:
        """Remove the files of expunged messages when their time has come, with content rows; return how many."""
        count = 0
        while leased := await outbox.lease(self._database, Topic.UNLINK, self._batch):
            done: list[int] = []
            folders: set[str] = set()
            for row in leased:
                assert isinstance(row.payload, outbox.Unlink)
                files = row.payload.files()
                failures = await asyncio.to_thread(self._store.unlink, files)
                for failure in failures:
                    log.warning("upkeep_unlink_failed", error=str(failure))
                count += len(files) - len(failures)
                folders.update(path.rsplit("/", 2)[0] for path in files)
                await self._forget(row.payload)
                if failures:
                    await outbox.retry(self._database, row)
                else:
                    done.append(row.id)
            for folder in folders:
                await asyncio.to_thread(maildir.remove_if_empty, self._root, folder)
            await outbox.done(self._database, done)
        return count

    async def _forget(self, unlink: outbox.Unlink) -> None:
        if unlink.contents:
            contents = [ContentId(int(content)) for content in unlink.contents.split(",")]
            async with self._database.connection() as connection:
                await messages.forget_contents(connection, unlink.account, contents)

    async def janitor(self, *, grace: float = GRACE, window: float = WINDOW) -> Swept:
        """Put orphans of crashes aside, and remove what crashes left in `tmp`."""
        looked_at = leftovers = 0
        quarantined: list[str] = []
        async with self._database.connection() as connection:
            accounts = await upkeep.accounts(connection)
        for account in accounts:
            async with self._database.connection() as connection:
                boxes = await mailboxes.listed(connection, account.id)
            for mailbox in boxes:
                folder = maildir.folder(account.maildir, mailbox.directory)
                if not await asyncio.to_thread(self._changed_within, folder, window):
                    continue
                looked_at += 1
                entries = await asyncio.to_thread(self._scan, folder)
                quarantined += await self._put_orphans_aside(account, mailbox, folder, entries, grace)
                old = [e for e in entries if e.part == "tmp" and is_older(e, TMP_AGE)]
                leftovers += await asyncio.to_thread(remove_leftovers, self._root, folder, old)
        if self._retention and (
            count := await asyncio.to_thread(quarantine.empty, self._root, self._retention)
        ):
            log.info("upkeep_quarantine_emptied", files=count)
        if quarantined or leftovers:
            log.warning("upkeep_orphans_found", quarantined=quarantined, leftovers=leftovers)
        return Swept(looked_at, tuple(quarantined), leftovers)

    def _changed_within(self, folder: str, window: float) -> bool:
        oldest = time.time() - window
        for part in ("new", "cur", "tmp"):
            try:
                if (self._root / folder / part).stat().st_mtime >= oldest:
                    return True
            except FileNotFoundError:
                continue
        return False

    def _scan(self, folder: str) -> list[Entry]:
        try:
            return self._store.scan(folder)
        except FileNotFoundError:
            return []

    async def _put_orphans_aside(
        self, account: Account, mailbox: Mailbox, folder: str, entries: list[Entry], grace: float
    ) -> list[str]:
        suspects = [e for e in entries if e.part != "tmp" and maildir.is_ours(e.base) and is_older(e, grace)]
        if not suspects:
            return []
        # The files were listed first: what has become a message or was expunged since is known here.
        async with self._database.transaction() as tx:
            unclaimed = await upkeep.unclaimed(
                tx, account.maildir, mailbox, [entry.base for entry in suspects]
            )
        aside: list[str] = []
        for entry in suspects:
            if entry.base in unclaimed:
                file = file_name(entry)
                try:
                    await asyncio.to_thread(maildir.put_aside, self._root, folder, entry.part, file)
                except FileNotFoundError:
                    continue  # removed or renamed since it was listed; go on with the others
                aside.append(f"{folder}/{entry.part}/{file}")
        return aside


def wanted_letters(flags: int, now: str | None) -> str | None:
    """Return the letters a file should have; a file that has left `new` does not return there."""
    letters = maildir.all_letters(flags)
    if now is not None and _flags(now) == _flags(letters):
        return now  # another program's letters may stay
    return letters if letters or now is not None else None


def _flags(letters: str) -> int:
    return maildir.flags_of(letters, len(maildir.KEYWORD_LETTERS))


def file_name(entry: Entry) -> str:
    """Return the name of a file as the scan found it."""
    return entry.base if entry.letters is None else f"{entry.base}:2,{entry.letters}"


def is_older(entry: Entry, seconds: float) -> bool:
    """Tell whether a file has been there unchanged for `seconds`; its modification time may be any date."""
    return entry.ctime_ns <= (time.time() - seconds) * SECOND


def remove_leftovers(root: Path, folder: str, entries: list[Entry]) -> int:
    """Remove files from `tmp`; return how many."""
    for entry in entries:
        (root / folder / "tmp" / file_name(entry)).unlink(missing_ok=True)
    return len(entries)
