"""Changing the messages of mailboxes: flags, copies, moves, expunges (RFC 3501 §6.4, RFC 6851).

In: UIDs of one mailbox. Out: what was changed, after it is durable: files first, rows second, then notifications to the
other processes. What happens to one message happens completely or not at all; so does one call of `copy` or `move`.
Flags and expunges of very many go in pieces (`TOGETHER`), one transaction each: after a failure, some may be done.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from esp.core.errors import (
    EspError,
    NotFoundError,
    OverQuotaError,
    UnavailableError,
)
from esp.core.mailbox import ContentId, Mailbox, MailboxId, ModSeq, Uid
from esp.core.message import FIRST_KEYWORD_BIT, StoreMode
from esp.core.principal import AccountId
from esp.core.rights import allows_keywords
from esp.native import MessageSection
from esp.services.announcing import Announcer
from esp.services.file_failures import file_errors
from esp.storage import maildir
from esp.storage.maildir import Maildirs
from esp.storage.postgres import directory, outbox
from esp.storage.postgres import mailboxes as mailboxes_sql
from esp.storage.postgres import messages as sql
from esp.storage.postgres.outbox import Topic
from esp.storage.postgres.pool import Connection, Database

WORTH_OVERLAPPING = range(100, 5_000)
"""Numbers of copies for which rows are written while files are linked. With fewer, a short hold counts more: others may
wait for the locked mailboxes and for the connection. With more, these would be held for too long."""

TOGETHER = 100_000
"""Messages changed in one transaction: some millions would exceed the time limit of a statement."""


class Stored(msgspec.Struct, frozen=True):
    """What a STORE did."""

    modseq: ModSeq
    """The mailbox's highest mod-sequence at the end of the STORE."""
    after: ModSeq
    """The mailbox's highest just before it."""
    own: ModSeq
    """All mod-sequences after `after` up to this one are of this STORE; less than `modseq` if others came between."""
    modified: frozenset[int]
    """Not changed: somebody else had changed them after `unchanged_since` (RFC 7162 §3.1.3)."""


class Copied(msgspec.Struct, frozen=True):
    """What COPY or MOVE did, for COPYUID (RFC 4315 §3): the n-th source became the n-th copy."""

    uidvalidity: int
    sources: list[Uid]
    copies: list[Uid]


class MessagesGoneError(EspError):
    """Some of the messages do not exist any more, but all were wanted."""


class Messages:
    """Changes messages; one object for each process."""

    def __init__(
        self, database: Database, maildirs: Maildirs, notifier: Announcer, unlink_after: float
    ) -> None:
        self._database = database
        self._maildirs = maildirs
        self._notifier = notifier
        self._unlink_after = unlink_after

    async def add_keywords(self, mailbox: MailboxId, keywords: tuple[str, ...]) -> None:
        """Add keywords to the mailbox, so that there are bits for them.

        Raises:
            NotFoundError: the mailbox was deleted.
            LimitError: the mailbox would have too many.
        """
        async with self._database.transaction() as tx:
            locked = await _lock(tx, mailbox)
            await mailboxes_sql.add_keywords(tx, locked, keywords)

    async def store(
        self,
        mailbox: MailboxId,
        uids: list[int],
        mode: StoreMode,
        bits: int,
        unchanged_since: int | None = None,
        *,
        settable: int = -1,
    ) -> Stored:
        """Change flags: of `bits` only those within `settable`, and `replace` removes no others.

        Raises:
            NotFoundError: the mailbox was deleted.
        """
        refused: set[int] = set()
        after = own = modseq = ModSeq(0)
        # RFC 7162 §3.1.3: UNCHANGEDSINCE is tested "for each message", which is changed or not by itself, so a piece
        # may have a mod-sequence of its own. The test of a message and its change are under one lock.
        for first in range(0, len(uids) or 1, TOGETHER):
            some = uids[first : first + TOGETHER]
            async with self._database.transaction() as tx:
                locked = await _lock(tx, mailbox)
                if unchanged_since is not None:
                    modified = await sql.changed_since(tx, locked, some, unchanged_since)
                    refused |= modified
                    some = [uid for uid in some if uid not in modified]
                changed = await sql.set_flags(tx, locked, some, mode, bits, settable=settable)
            modseq = changed.modseq
            if first == 0:
                after = own = locked.highest_modseq
            if locked.highest_modseq == own:
                own = modseq
            if changed.messages:
                await self._notifier.publish([(mailbox, modseq)])
        return Stored(modseq=modseq, after=after, own=own, modified=frozenset(refused))

    async def expunge(self, mailbox: MailboxId, uids: list[int]) -> ModSeq:
        """Remove those of the messages that have `\\Deleted` now, and return the mailbox's highest mod-sequence.

        Raises:
            NotFoundError: the mailbox was deleted.
        """
        modseq = ModSeq(0)
        for first in range(0, len(uids) or 1, TOGETHER):
            async with self._database.transaction() as tx:
                locked = await _lock(tx, mailbox)
                removal = removal_of(locked, self._unlink_after)
                some = uids[first : first + TOGETHER]
                expunged = await sql.expunge(tx, locked, some, removal, deleted_only=True)
            modseq = expunged.modseq
            if expunged.uids:
                await self._notifier.publish([(mailbox, modseq)])
        return modseq

    async def copy(
        self,
        source: MailboxId,
        target: MailboxId,
        uids: list[int],
        *,
        settable: int = -1,
        whole: bool = False,
    ) -> Copied:
        """Copy messages with flags, keywords and internal date: all of them that still exist, or none.

        Flags outside `settable` are not copied. The account of `target` is charged.

        Raises:
            MessagesGoneError: with `whole`, one does not exist any more.
            NotFoundError: one of the mailboxes was deleted.
            OverQuotaError: the account has no room for them.
        """
        return await self._copy(source, target, uids, settable, move=False, whole=whole)

    async def move(
        self, source: MailboxId, target: MailboxId, uids: list[int], *, settable: int = -1
    ) -> Copied:
        """Move messages: like `copy`, and they are expunged from `source` in the same transaction.

        Raises:
            NotFoundError: one of the mailboxes was deleted.
        """
        return await self._copy(source, target, uids, settable, move=True)

    async def move_all(self, source: MailboxId, target: MailboxId) -> None:
        """Move every message that is there now, in pieces; if cut off, each message is in one of the two mailboxes.

        Raises:
            NotFoundError: one of the mailboxes was deleted.
        """
        async with self._database.connection() as connection:
            mailbox = await mailboxes_sql.by_id(connection, source)
        done = Uid(0)
        while True:
            async with self._database.connection() as connection:
                uids = await sql.uids(connection, mailbox, range(done + 1, mailbox.uidnext), most=TOGETHER)
            if not uids:
                return
            await self._copy(source, target, uids, -1, move=True)
            done = uids[-1]

    async def section(
        self, mailbox: Mailbox, uid: Uid, section: str, partial: tuple[int, int] | None
    ) -> MessageSection:
        """Return a section of a message, to be read in pieces.

        Raises:
            NotFoundError: there is no such message, or it has no such section.
            UnavailableError: it cannot be read.
        """
        async with self._database.connection() as connection:
            rows = await sql.rows(connection, mailbox, [uid])
        if not rows:
            raise NotFoundError("There is no such message")
        folder = maildir.folder(mailbox.home, mailbox.directory)
        try:
            return await self._maildirs.section(folder, rows[0].file, rows[0].file_flags, section, partial)
        except FileNotFoundError as error:
            raise NotFoundError("There is no such message") from error
        except ValueError as error:
            raise NotFoundError("The message has no such section") from error
        except OSError as error:
            raise UnavailableError("The mail storage does not answer") from error

    async def _copy(
        self,
        source_id: MailboxId,
        target_id: MailboxId,
        uids: Sequence[int],
        settable: int,
        *,
        move: bool,
        whole: bool = False,
    ) -> Copied:
        async with self._database.connection() as connection:
            source = await mailboxes_sql.by_id(connection, source_id)
            target = await mailboxes_sql.by_id(connection, target_id)
            rows = await sql.rows(connection, source, uids)
            charged = target.account if not move or source.account != target.account else None
            if charged is not None:
                await _check_quota(connection, charged, rows)
        if whole and len(rows) < len(uids):
            raise MessagesGoneError("Some of the messages were expunged")
        if not rows:
            return Copied(uidvalidity=target.uidvalidity, sources=[], copies=[])
        change = _Change(source_id, target_id, source.highest_modseq, settable, charged, move)
        copies = self._named(source, target, rows, settable)
        wanted = len(uids) if whole else 0
        linking = asyncio.create_task(self._link(target, copies))
        try:
            if len(copies) not in WORTH_OVERLAPPING:
                await linking
            try:
                copied, changes = await self._record(change, copies, linking, wanted)
            except _FilesGoneError:
                there = await linking
                copies = [copy for copy in copies if copy.row.uid in there]
                copied, changes = await self._record(change, copies, linking, wanted)
        except UnavailableError:
            # Whether the commit took place is unknown: an orphan is found by the janitor, a lost file by nobody.
            raise
        except EspError:
            await asyncio.wait([linking])
            if linking.exception() is None:
                await self._maildirs.unlink(
                    [copy.path for copy in copies if copy.row.uid in linking.result()]
                )
            raise
        finally:
            # On failure, do not wait for the thread, which goes on; the janitor finds what it makes.
            linking.cancel()
            await asyncio.gather(linking, return_exceptions=True)
        late = linking.result().difference(copied.sources)  # expunged before the transaction
        await self._maildirs.unlink([copy.path for copy in copies if copy.row.uid in late])
        await self._notifier.publish(changes)
        return Copied(uidvalidity=target.uidvalidity, sources=copied.sources, copies=copied.uids)

    async def _record(
        self, change: "_Change", copies: "list[_Copy]", linking: asyncio.Task[set[Uid]], wanted: int
    ) -> tuple[sql.Copied, list[tuple[MailboxId, ModSeq]]]:
        """Write the rows while `linking` makes their files; they are committed after the files are durable.

        Raises:
            MessagesGoneError: fewer than `wanted` messages still exist.
            _FilesGoneError: nothing was written, since a message that exists has no file.
            EspError: as `_copy`, or `linking` failed.
        """
        async with self._database.transaction() as tx:
            if change.charged is not None:
                await mailboxes_sql.lock_quota(tx, change.charged)
                await _check_quota(tx, change.charged, [copy.row for copy in copies])
            locked = await mailboxes_sql.lock(tx, {change.source, change.target})
            source, target = locked[change.source], locked[change.target]
            if source.highest_modseq != change.modseq:
                copies = await _reread(tx, source, copies)
            copied = await _add_copies(tx, source, target, copies, change.settable)
            if len(copied.sources) < wanted:
                raise MessagesGoneError("Some of the messages were expunged")
            changes = [(target.id, copied.modseq)]
            if change.move:
                source = await _lock(tx, change.source)  # counted again if it is the target as well
                expunged = await sql.expunge(
                    tx,
                    source,
                    copied.sources,
                    removal_of(source, self._unlink_after),
                    deleted_only=False,
                    keep_contents=source.account == target.account,
                )
                changes.append((source.id, expunged.modseq))
            # A row without a file must be impossible: the files are waited for before the commit.
            if not await linking >= set(copied.sources):
                raise _FilesGoneError("A message has no file")
        return copied, changes

    def _named(self, source: Mailbox, target: Mailbox, rows: list[sql.Row], settable: int) -> "list[_Copy]":
        folder = maildir.folder(target.home, target.directory)
        copies: list[_Copy] = []
        for row, base in zip(rows, self._maildirs.names([row.size for row in rows]), strict=True):
            letters = maildir.flag_letters(row.flags & settable)
            copies.append(_Copy(row, base, letters, path_of(source, row), f"{folder}/cur/{base}:2,{letters}"))
        return copies

    async def _link(self, target: Mailbox, copies: "list[_Copy]") -> set[Uid]:
        """Make the files, and return the UIDs of the sources that had one."""
        folder = maildir.folder(target.home, target.directory)
        with file_errors():
            there = await self._maildirs.link(
                [copy.source for copy in copies],
                folder,
                [copy.base for copy in copies],
                [copy.letters for copy in copies],
            )
        return {copy.row.uid for copy, found in zip(copies, there, strict=True) if found}


class _FilesGoneError(EspError):
    """A message that exists has no file."""


class _Copy(NamedTuple):
    row: sql.Row
    base: str
    letters: str
    source: str
    """Where the file is."""
    path: str
    """Where the copy will be, and its file."""


class _Change(NamedTuple):
    source: MailboxId
    target: MailboxId
    modseq: ModSeq
    """The highest mod-sequence of `source` when its messages were read."""
    settable: int
    charged: AccountId | None
    move: bool


def path_of(mailbox: Mailbox, row: sql.Row) -> str:
    """Return the path of a message's file, below the root of all Maildirs."""
    folder = maildir.folder(mailbox.home, mailbox.directory)
    return maildir.file_path(folder, row.file, row.file_flags)


def removal_of(mailbox: Mailbox, after: float) -> sql.Removal:
    """Return what becomes of the files of a mailbox's messages when the messages are removed."""
    return sql.Removal(folder=maildir.folder(mailbox.home, mailbox.directory), after=after)


async def _lock(tx: Connection, mailbox: MailboxId) -> Mailbox:
    return (await mailboxes_sql.lock(tx, [mailbox]))[mailbox]


async def _check_quota(connection: Connection, account: AccountId, rows: Sequence[sql.Row]) -> None:
    quota = await directory.quota(connection, account)
    if not quota.fits(sum(row.size for row in rows), len(rows)):
        raise OverQuotaError("The account has no room for this")


async def _reread(tx: Connection, source: Mailbox, copies: "list[_Copy]") -> "list[_Copy]":
    """Return the copies with the messages as they are now; those expunged meanwhile are left out."""
    now = {row.uid: row for row in await sql.rows(tx, source, [copy.row.uid for copy in copies])}
    return [copy._replace(row=now[copy.row.uid]) for copy in copies if copy.row.uid in now]


async def _add_copies(
    tx: Connection, source: Mailbox, target: Mailbox, linked: list[_Copy], settable: int
) -> sql.Copied:
    used = 0
    for copy in linked:
        used |= copy.row.flags
    bit_of = {keyword: 1 << (FIRST_KEYWORD_BIT + n) for n, keyword in enumerate(source.keywords)}
    carried = [keyword for keyword, bit in bit_of.items() if used & bit] if allows_keywords(settable) else []
    known = (
        target.keywords if source.id == target.id else await mailboxes_sql.add_keywords(tx, target, carried)
    )
    target_bit = mailboxes_sql.bits_of(known)
    bits = (
        []
        if not carried
        else [
            (bit, target_bit[keyword.lower()])
            for keyword, bit in bit_of.items()
            if keyword.lower() in target_bit
        ]
    )
    adopted: list[ContentId | None] = []
    if source.account != target.account:
        contents = [copy.row.content for copy in linked]
        by_old = await sql.adopt_contents(tx, source.account, target.account, contents)
        adopted = [by_old.get(content) for content in contents]
    copied = await sql.add_copies(
        tx,
        source,
        target,
        [(copy.row.uid, copy.base, copy.letters) for copy in linked],
        bits,
        settable=settable,
        adopted=adopted,
    )
    # The linked files have no letters of keywords, which differ in each mailbox. Their letters of system flags are from
    # before the mailbox was locked: somebody may have changed them since.
    wrong = {
        copy.row.uid
        for copy in linked
        if (bits and copy.row.flags >> FIRST_KEYWORD_BIT)
        or copy.letters != maildir.flag_letters(copy.row.flags & settable)
    }
    late = [uid for before, uid in zip(copied.sources, copied.uids, strict=True) if before in wrong]
    if late:
        await outbox.add(tx, Topic.RENAME, outbox.Rename(target.account, target.id, late))
    return copied
