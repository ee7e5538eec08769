"""An account's mail written as a Maildir or as mbox files, for other programs or as a copy to keep.

In: an account and an empty folder, or the folder of an earlier export of it. Out: every message with its octets, date,
flags and folder. A Maildir holds exactly the octets; another run adds new messages, and names follow flags. An mbox
gets its name only when it is complete; another run leaves the complete ones alone.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec

from esp.core.errors import InvalidError, NotFoundError
from esp.core.mailbox import Mailbox
from esp.core.message import FIRST_KEYWORD_BIT
from esp.core.principal import Principal
from esp.native import Store, sync_file_system
from esp.services.mailboxes import Listed, Mailboxes
from esp.storage import mailbox_files, maildir
from esp.storage.mailbox_files import MaildirWriter, MboxWriter, Outgoing, Read
from esp.storage.postgres import exports
from esp.storage.postgres.exports import Row
from esp.storage.postgres.pool import Database

MARK = "esp-export.json"
ROWS_AT_ONCE = 500
THREADS = 4
PIECE = 1024 * 1024


class Format(StrEnum):
    """What is written."""

    MAILDIR = "maildir"
    MBOXRD = "mboxrd"


class Mark(msgspec.Struct, frozen=True):
    """What a folder with an export says about itself."""

    account: str
    format: Format


class Written(msgspec.Struct, frozen=True):
    """The outcome for a mailbox, or for a part of it."""

    mailbox: str
    messages: int = 0
    octets: int = 0
    present: int = 0
    """Written by an earlier run."""
    gone: int = 0
    """Expunged meanwhile."""
    inexact: int = 0
    """Messages an mbox cannot hold exactly: without a line end at the end, or with fields that are the mbox's own."""

    def __add__(self, other: "Written") -> "Written":
        """Return the sum of both."""
        return Written(
            self.mailbox,
            self.messages + other.messages,
            self.octets + other.octets,
            self.present + other.present,
            self.gone + other.gone,
            self.inexact + other.inexact,
        )


class Watch(Protocol):
    """Is told how far an export is."""

    def begin(self, folder: str, size: int) -> None:
        """A mailbox with `size` messages begins."""

    def advance(self, weight: int, messages: int, octets: int) -> None:
        """`weight` messages are done with, `messages` of them written now."""

    def end(self, done: Written) -> None:
        """It is done."""


class Exporting:
    """Writes mail out; one object for each run."""

    def __init__(self, database: Database, mailboxes: Mailboxes, store: Store) -> None:
        self._database = database
        self._mailboxes = mailboxes
        self._store = store

    async def run(
        self, principal: Principal, target: Path, kind: Format, only: frozenset[str], watch: Watch
    ) -> tuple[Written, ...]:
        """Write all mailboxes, or `only` some, below `target`.

        Raises:
            InvalidError: there is something else in that folder.
            NotFoundError: there is no such mailbox.
            OSError: it cannot be written.
        """
        listed = [
            one for one in await self._mailboxes.listed(principal) if one.own and one.mailbox is not None
        ]
        if unknown := only - {one.name for one in listed}:
            raise NotFoundError(f"There is no mailbox {sorted(unknown)[0]}")
        await asyncio.to_thread(_claim, target, Mark(principal.address, kind))
        done: list[Written] = []
        directories, files = set[str](), set[Path]()
        for one in listed:
            mailbox = one.mailbox
            assert mailbox is not None
            if only and one.name not in only:
                continue
            watch.begin(one.name, mailbox.messages)
            written = Written(one.name)
            if kind is Format.MAILDIR:
                parts = self._maildir(principal, one, target, directories)
            else:
                parts = self._mbox(principal, mailbox, target, files)
            async for part in parts:
                written = written + part
                watch.advance(part.messages + part.present + part.gone, part.messages, part.octets)
            done.append(written)
            watch.end(written)
        if kind is Format.MAILDIR:
            subscribed = [one.name for one in listed if one.subscribed and one.name != "INBOX"]
            await asyncio.to_thread(mailbox_files.write_subscriptions, target, subscribed)
            # One sync for all: syncing each file would take longer than everything else.
            await asyncio.to_thread(sync_file_system, target)
        return tuple(done)

    async def _maildir(
        self, principal: Principal, listed: Listed, target: Path, taken: set[str]
    ) -> AsyncIterator[Written]:
        mailbox = listed.mailbox
        assert mailbox is not None
        directory = maildir.directory_for(mailbox.name, taken)
        taken.add(directory)
        card = maildir.card_of(mailbox, subscribed=listed.subscribed)
        writer = MaildirWriter(target, directory, card)
        await asyncio.to_thread(writer.prepare)
        async for rows in self._rows(mailbox):
            parts = [rows[n::THREADS] for n in range(THREADS)]
            for done in await asyncio.gather(
                *(asyncio.to_thread(self._write, principal, mailbox, writer, part) for part in parts)
            ):
                yield done

    async def _mbox(
        self, principal: Principal, mailbox: Mailbox, target: Path, taken: set[Path]
    ) -> AsyncIterator[Written]:
        writer = MboxWriter(target, mailbox.name, taken)
        if await asyncio.to_thread(writer.is_written):
            yield Written(mailbox.name, present=mailbox.messages)
            return
        with writer:
            async for rows in self._rows(mailbox):
                yield await asyncio.to_thread(self._write, principal, mailbox, writer, rows)
            await asyncio.to_thread(writer.finish)

    async def _rows(self, mailbox: Mailbox) -> AsyncIterator[Sequence[Row]]:
        last = 0
        while True:
            async with self._database.connection() as connection:
                rows = await exports.rows_after(connection, mailbox, last, ROWS_AT_ONCE)
            if not rows:
                return
            yield rows
            last = rows[-1].uid

    def _write(
        self,
        principal: Principal,
        mailbox: Mailbox,
        writer: MaildirWriter | MboxWriter,
        rows: Sequence[Row],
    ) -> Written:
        folder = maildir.folder(principal.maildir, mailbox.directory)
        messages = octets = present = gone = inexact = 0
        for row in rows:
            try:
                exact = writer.write(_outgoing(mailbox, row), self._reader(folder, row))
            except NotFoundError:
                gone += 1
                continue
            if exact is None:
                present += 1
                continue
            messages += 1
            octets += row.size
            inexact += not exact
        return Written(mailbox.name, messages, octets, present, gone, inexact)

    def _reader(self, folder: str, row: Row) -> Read:
        def read(at: int) -> bytes:
            try:
                return self._store.read(folder, row.file, row.file_flags, at, PIECE)
            except FileNotFoundError as error:
                # Not the error as it is: a folder of the export that is gone must not pass for expunged messages.
                raise NotFoundError("The message is gone") from error

        return read


def _outgoing(mailbox: Mailbox, row: Row) -> Outgoing:
    words = (word for bit, word in enumerate(mailbox.keywords, FIRST_KEYWORD_BIT) if row.flags >> bit & 1)
    return Outgoing(
        row.file, row.flags, tuple(words), row.internal_date, row.size, is_new=row.file_flags is None
    )


def _claim(target: Path, mark: Mark) -> None:
    """Make the folder, or check that it is ours to go on in."""
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = target / MARK
    try:
        found = msgspec.json.decode(file.read_bytes(), type=Mark)
    except FileNotFoundError:
        if any(target.iterdir()):
            raise InvalidError(f"{target} is not empty: name a folder that is, or is to be made") from None
        file.write_bytes(msgspec.json.encode(mark) + b"\n")
    except msgspec.DecodeError:
        raise InvalidError(f"{file} cannot be read: name another folder") from None
    else:
        if found != mark:
            raise InvalidError(f"{target} has an export of {found.account} as {found.format.value}")
