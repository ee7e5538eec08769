"""Where Maildir and database differ, and which of the two is right.

In: one account, or all. Out: findings, each mended or not. The file is right about octets, the database about flags
and about which messages exist; the rest can be computed.

It may run beside a live server: files are listed before the database is read, as of one moment, and what was changed
in between, or still waits in the outbox, is no finding.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from esp.core.errors import EspError, NotFoundError
from esp.core.mailbox import Mailbox
from esp.core.message import FIRST_KEYWORD_BIT, SystemFlag
from esp.core.principal import AccountId
from esp.native import Entry, Store, describe
from esp.services import upkeep as jobs
from esp.services.adoption import adopt, keywords_of, known_keywords
from esp.storage import maildir
from esp.storage.maildir import Card
from esp.storage.postgres import mailboxes as mailboxes_sql
from esp.storage.postgres import upkeep
from esp.storage.postgres.pool import Database
from esp.storage.postgres.upkeep import Account, Row, Snapshot


class Kind(StrEnum):
    """What differs."""

    MISSING_FILE = "missing-file"
    """A message has no file. Mended from a copy of the same octets; without one, the message is expunged."""
    ORPHAN_FILE = "orphan-file"
    """A file has no message. Put into quarantine, or made a message (`adopt`)."""
    WRONG_SIZE = "wrong-size"
    """A file has no message. It is quarantined, or made a message (`adopt`)."""
    WRONG_NAME = "wrong-name"
    """A file's length has changed. Its content row is void: the message is expunged, the file adopted as a new one."""
    MISSING_CONTENT = "missing-content"
    """A file's letters are not those of the message's flags, or not those recorded in its row."""
    WRONG_COUNTERS = "wrong-counters"
    """The content row of a message is lost. It is read from the file again."""
    MISSING_FOLDER = "missing-folder"
    """A mailbox has no Maildir."""
    WRONG_CARD = "wrong-card"
    """`esp-mailbox.json` is missing or says something else."""
    STRAY_FOLDER = "stray-folder"
    """A Maildir has no mailbox. With `adopt`, it gets one."""
    LEFTOVER = "leftover"
    """An old file in `tmp`. Removed."""


class Finding(msgspec.Struct, frozen=True):
    """One difference."""

    account: str
    mailbox: str
    kind: Kind
    detail: str
    uid: int | None = None
    mended: bool = False


class Report(msgspec.Struct, frozen=True):
    """What a check found."""

    accounts: int
    mailboxes: int
    messages: int
    findings: tuple[Finding, ...]


class Check:
    """Compares, and with `fix` mends; with `adopt`, orphans become messages, whichever program made them."""

    def __init__(
        self,
        database: Database,
        store: Store,
        root: Path,
        *,
        fix: bool = False,
        adopt: bool = False,
        grace: float = jobs.GRACE,
    ) -> None:
        self._database = database
        self._store = store
        self._root = root
        self._fix = fix
        self._adopt = adopt
        self._grace = grace

    async def run(self, account: str | None = None) -> Report:
        """Check the account with this folder, or all.

        Raises:
            NotFoundError: there is no such account.
        """
        async with self._database.connection() as connection:
            accounts = await upkeep.accounts(connection, account)
        if account is not None and not accounts:
            raise NotFoundError("Account does not exist")
        findings: list[Finding] = []
        mailboxes = messages = 0
        for one in accounts:
            async with self._database.connection() as connection:
                boxes = await mailboxes_sql.listed(connection, one.id)
            for box in boxes:
                checked = await self._mailbox(one, box)
                if checked is not None:
                    mailboxes += 1
                    messages += checked[0]
                    findings += checked[1]
            findings += [finding async for finding in self._strays(one)]
        return Report(len(accounts), mailboxes, messages, tuple(findings))

    async def _mailbox(self, account: Account, mailbox: Mailbox) -> tuple[int, list[Finding]] | None:
        folder = maildir.folder(account.maildir, mailbox.directory)
        entries = await asyncio.to_thread(self._scan, folder)
        old = {
            entry.base for entry in entries or () if entry.part != "tmp" and jobs.is_older(entry, self._grace)
        }
        async with self._database.connection() as connection:
            snapshot = await upkeep.snapshot(connection, account, mailbox.id, old)
        if snapshot is None:
            return None
        one = _Mailbox(
            self._database,
            self._store,
            self._root,
            account=account,
            folder=folder,
            snapshot=snapshot,
            fix=self._fix,
        )
        await one.folder_and_card(missing=entries is None)
        await one.messages(entries or [])
        await one.orphans(entries or [], adopt_them=self._adopt)
        await one.counters()
        return len(snapshot.rows), one.findings

    def _scan(self, folder: str) -> list[Entry] | None:
        try:
            return self._store.scan(folder)
        except FileNotFoundError:
            return None

    async def _strays(self, account: Account) -> AsyncIterator[Finding]:
        """Folders first, rows second: then a mailbox created meanwhile is not taken for a stray."""
        folders = await asyncio.to_thread(lambda: list(maildir.directories(self._root, account.maildir)))
        async with self._database.connection() as connection:
            known = {box.directory for box in await mailboxes_sql.listed(connection, account.id)}
            strays = [directory for directory in folders if directory not in known]
            if not strays:
                return  # nearly always so, and the whole outbox need not be read
            waiting = await upkeep.unlinking_below(connection, account.maildir)
        for directory in strays:
            folder = maildir.folder(account.maildir, directory)
            entries = [e for e in await asyncio.to_thread(self._scan, folder) or [] if e.base not in waiting]
            card = maildir.read_card(self._root, folder)
            if card is None and not entries:
                if self._fix:
                    await asyncio.to_thread(maildir.remove_if_empty, self._root, folder)
                continue
            name = card.name if card else maildir.name_of(directory)
            detail = f"{folder}: {len(entries)} files"
            mended = False
            if self._fix and self._adopt:
                mended = await self._make_mailbox(account, name, directory, card)
            elif self._fix and card is not None and not entries:
                # Left by a CREATE that was cut off, or by a DELETE.
                await asyncio.to_thread(maildir.forget_mailbox, self._root, folder)
                await asyncio.to_thread(maildir.remove_if_empty, self._root, folder)
                mended = True
            yield Finding(account.address, name, Kind.STRAY_FOLDER, detail, mended=mended)

    async def _make_mailbox(self, account: Account, name: str, directory: str, card: Card | None) -> bool:
        folder = maildir.folder(account.maildir, directory)
        words = await asyncio.to_thread(keywords_of, self._root / folder)
        async with self._database.transaction() as tx:
            made, _ = await upkeep.ensure_mailbox(
                tx,
                account.id,
                name,
                directory,
                special_use=card.special_use if card else None,
                subscribed=card.subscribed if card else True,
                above=card.uidvalidity if card else 0,
                keywords=words,
            )
        files = maildir.Maildirs(self._store, self._root)
        await files.describe(account.maildir, made, subscribed=card.subscribed if card else True)
        entries = [e for e in await asyncio.to_thread(self._store.scan, folder) if e.part != "tmp"]
        return await _adopted(
            self._database, self._store, account.id, made, folder=folder, entries=entries, keywords=words
        )


class _Mailbox:
    """The check of one mailbox."""

    def __init__(
        self,
        database: Database,
        store: Store,
        root: Path,
        *,
        account: Account,
        folder: str,
        snapshot: Snapshot,
        fix: bool,
    ) -> None:
        self._database = database
        self._store = store
        self._root = root
        self._account = account
        self._folder = folder
        self._snapshot = snapshot
        self._mailbox = snapshot.mailbox
        self._fix = fix
        self._keywords: tuple[str, ...] = ()
        """What the letters of file names stand for, according to the card."""
        self.findings: list[Finding] = []

    def _found(self, kind: Kind, detail: str, *, uid: int | None = None, mended: bool = False) -> None:
        self.findings.append(
            Finding(self._account.address, self._mailbox.name, kind, detail, uid, mended=mended)
        )

    async def folder_and_card(self, *, missing: bool) -> None:
        """Compare the card and the folder with the row."""
        mailbox, subscribed = self._mailbox, self._snapshot.subscribed
        card = await asyncio.to_thread(maildir.read_card, self._root, self._folder)
        self._keywords = card.keywords if card is not None else ()
        expected = maildir.card_of(mailbox, subscribed=subscribed)
        lags = self._snapshot.describing or self._may_lag(card, expected)
        if not missing and (card == expected or (lags and not self._fix)):
            return
        # The root must exist: an empty mount point is no reason to expunge all mail.
        mend = self._fix and (not missing or (self._root / self._account.maildir).is_dir())
        if mend:
            files = maildir.Maildirs(self._store, self._root)
            await files.describe(self._account.maildir, mailbox, subscribed=subscribed)
        if missing or not lags:
            self._found(Kind.MISSING_FOLDER if missing else Kind.WRONG_CARD, self._folder, mended=mend)

    def _may_lag(self, card: Card | None, expected: Card) -> bool:
        """Tell whether the card lacks nothing but keywords whose letters no file name has yet."""
        if card is None or msgspec.structs.replace(card, keywords=expected.keywords) != expected:
            return False
        known = len(card.keywords)
        every = len(maildir.KEYWORD_LETTERS)
        return card.keywords == expected.keywords[:known] and not any(
            maildir.flags_of(row.file_flags, every) >> (FIRST_KEYWORD_BIT + known)
            for row in self._snapshot.rows
        )

    async def messages(self, entries: Sequence[Entry]) -> None:
        """Compare each message with its file."""
        files = {entry.base: entry for entry in entries if entry.part != "tmp"}
        lost: list[Row] = []
        for row in self._snapshot.rows:
            entry = files.get(row.file)
            if entry is None:
                if not await self._is_there(row):
                    lost.append(row)
            elif entry.size != row.size:
                await self._wrong_size(row, entry)
            else:
                await self._name(row, entry)
                if not row.described:
                    await self._content(row)
        for row in lost:
            await self._lost(row)

    async def _is_there(self, row: Row) -> bool:
        """Look again: the file may have come, or been renamed, while the folder was listed."""
        try:
            await asyncio.to_thread(self._store.read, self._folder, row.file, row.file_flags, 0, 0)
        except FileNotFoundError:
            return False
        return True

    async def _lost(self, row: Row) -> None:
        mended = False
        if self._fix:
            mended = await self._linked_from_copy(row)
            if not mended and (self._root / self._folder).is_dir():
                async with self._database.transaction() as tx:
                    await upkeep.forget(tx, self._account.id, self._mailbox.id, [row.uid])
                mended = True
        self._found(Kind.MISSING_FILE, row.file, uid=row.uid, mended=mended)

    async def _linked_from_copy(self, row: Row) -> bool:
        async with self._database.connection() as connection:
            copies = await upkeep.copies(connection, self._account.id, row.content)
        letters = maildir.file_letters(row.flags)
        (base,) = self._store.names([row.size])
        for directory, file, file_flags in copies:
            if file == row.file:
                continue
            folder = maildir.folder(self._account.maildir, directory)
            source = maildir.file_path(folder, file, file_flags)
            try:
                (made,) = await asyncio.to_thread(self._store.link, [source], self._folder, [base], [letters])
            except OSError:
                continue
            if made:
                async with self._database.connection() as connection:
                    await upkeep.set_file(
                        connection, self._account.id, self._mailbox.id, row.uid, file=base, file_flags=letters
                    )
                return True
        return False

    async def _wrong_size(self, row: Row, entry: Entry) -> None:
        if self._fix:
            async with self._database.transaction() as tx:
                await upkeep.forget(tx, self._account.id, self._mailbox.id, [row.uid])
            mended = await self._adopt(entry, self._keywords)
        else:
            mended = False
        detail = f"{row.file}: {entry.size} octets, not {row.size}"
        self._found(Kind.WRONG_SIZE, detail, uid=row.uid, mended=mended)

    async def _name(self, row: Row, entry: Entry) -> None:
        now = entry.letters if entry.part == "cur" else None
        wanted = jobs.wanted_letters(row.flags, now)
        is_named = entry.part == "new" or entry.letters is not None
        if row.renaming or (now == wanted == row.file_flags and is_named):
            return
        mended = False
        if self._fix:
            if not is_named:
                wanted = wanted or ""
            async with self._database.transaction() as tx:
                await upkeep.lock_names(tx, self._mailbox.id)
                (failure,) = await asyncio.to_thread(
                    self._store.rename, self._folder, [(row.file, now, wanted)]
                )
                if failure is None:
                    await upkeep.set_file_flags(tx, self._account.id, self._mailbox.id, row.uid, wanted)
                    mended = True
        detail = f"{entry.part}/{jobs.file_name(entry)}: should have the letters {wanted or 'none'}"
        self._found(Kind.WRONG_NAME, detail, uid=row.uid, mended=mended)

    async def _content(self, row: Row) -> None:
        if self._fix:
            octets = await asyncio.to_thread(self._store.read, self._folder, row.file, row.file_flags)
            described = await asyncio.to_thread(describe, octets)
            async with self._database.connection() as connection:
                await upkeep.describe_again(connection, self._account.id, row.content, len(octets), described)
        self._found(Kind.MISSING_CONTENT, row.file, uid=row.uid, mended=self._fix)

    async def orphans(self, entries: Sequence[Entry], *, adopt_them: bool) -> None:
        """Find files without messages, and old ones in `tmp`."""
        for entry in entries:
            file = f"{entry.part}/{jobs.file_name(entry)}"
            if entry.part == "tmp":
                if jobs.is_older(entry, jobs.TMP_AGE):
                    if self._fix:
                        await asyncio.to_thread(jobs.remove_leftovers, self._root, self._folder, [entry])
                    self._found(Kind.LEFTOVER, file, mended=self._fix)
                continue
            if entry.base not in self._snapshot.unclaimed:
                continue
            mended = False
            if self._fix and adopt_them:
                mended = await self._adopt(entry, self._keywords if maildir.is_ours(entry.base) else ())
            elif self._fix:
                mended = await asyncio.to_thread(self._aside, entry)
            self._found(Kind.ORPHAN_FILE, file, mended=mended)

    async def _adopt(self, entry: Entry, keywords: tuple[str, ...]) -> bool:
        return await _adopted(
            self._database, self._store, self._account.id, self._mailbox,
            folder=self._folder, entries=[entry], keywords=keywords,
        )  # fmt: skip

    def _aside(self, entry: Entry) -> bool:
        try:
            maildir.put_aside(self._root, self._folder, entry.part, jobs.file_name(entry))
        except OSError:
            return False
        return True

    async def counters(self) -> None:
        """Compare the counters in the mailbox's row with its messages."""
        rows, mailbox = self._snapshot.rows, self._mailbox
        wrong = [
            f"{name} {now}, not {then}"
            for name, then, now in (
                ("messages", mailbox.messages, len(rows)),
                ("unseen", mailbox.unseen, sum(not row.flags & SystemFlag.SEEN for row in rows)),
                ("octets", mailbox.octets, sum(row.size for row in rows)),
            )
            if then != now
        ]
        last = max((row.uid for row in rows), default=0)
        if mailbox.uidnext <= last:
            wrong.append(f"UIDNEXT above {last}, not {mailbox.uidnext}")
        modseq = max(max((row.modseq for row in rows), default=0), self._snapshot.expunged)
        if mailbox.highest_modseq < modseq:
            wrong.append(f"HIGHESTMODSEQ at least {modseq}, not {mailbox.highest_modseq}")
        if not wrong:
            return
        if self._fix:
            async with self._database.transaction() as tx:
                await upkeep.recount(tx, self._account.id, mailbox.id)
        self._found(Kind.WRONG_COUNTERS, "; ".join(wrong), mended=self._fix)


async def _adopted(
    database: Database,
    store: Store,
    account: AccountId,
    mailbox: Mailbox,
    *,
    folder: str,
    entries: list[Entry],
    keywords: tuple[str, ...],
) -> bool:
    try:
        return len(entries) == await adopt(
            database, store, account=account, mailbox=mailbox.id, folder=folder, entries=entries,
            keywords=known_keywords(mailbox, keywords),
        )  # fmt: skip
    except EspError:
        return False


async def check(
    database: Database,
    store: Store,
    root: Path,
    *,
    account: str | None = None,
    fix: bool = False,
    adopt: bool = False,
    grace: float = jobs.GRACE,
) -> Report:
    """Compare Maildir and database, for the account with this folder or for all; see `Check`.

    Raises:
        NotFoundError: there is no such account.
    """
    return await Check(database, store, root, fix=fix, adopt=adopt, grace=grace).run(account)
