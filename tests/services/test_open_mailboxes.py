"""The index of a mailbox so large that two connections read it."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from esp.config import sections
from esp.core.errors import UnavailableError
from esp.core.mailbox import Mailbox
from esp.core.message import SystemFlag
from esp.native import ContentCache, FetchItems, SequenceSet, View
from esp.services import open_mailboxes as open_mailboxes_module
from esp.services.open_mailboxes import WORTH_HALVING, OpenMailbox, OpenMailboxes
from esp.storage.postgres import mailboxes
from esp.storage.postgres import messages as messages_sql
from esp.storage.postgres.pool import Connection, Database
from esp.storage.redis import Notifier, connect
from tests.services.conftest import add_box

UIDS = range(1, WORTH_HALVING + 2, 3)


async def add_large(database: Database) -> Mailbox:
    """Make a mailbox with gaps between its UIDs, of which each message has its UID as size."""
    box = await add_box(database)
    async with database.transaction() as tx:
        await tx.execute(
            """
            INSERT INTO message (account_id, mailbox_id, uid, content_id, modseq, flags, size, internal_date, file)
            SELECT $1, $2, uid, uid, 2, 0, uid, now(), 'name' || uid FROM generate_series(1, $3::int, 3) AS uid
            """,
            box.account,
            box.mailbox,
            UIDS[-1],
        )
        await tx.execute(
            "UPDATE mailbox SET uidnext = $2, highest_modseq = 2, messages = $3 WHERE id = $1",
            box.mailbox,
            UIDS[-1] + 1,
            len(UIDS),
        )
        return await mailboxes.by_id(tx, box.mailbox)


def fetched(opened: OpenMailbox, numbers: str, items: str) -> bytes:
    wanted = FetchItems(items)
    fetch = View(opened.index).fetch(SequenceSet(numbers), wanted, uid=False, contents=ContentCache())
    out = bytearray()
    while (piece := fetch.step(1 << 20)) is not None:
        assert isinstance(piece, bytes)
        out += piece
    return bytes(out)


def sizes(opened: OpenMailbox) -> bytes:
    return fetched(opened, "1:*", "(UID RFC822.SIZE)")


def last_flags(opened: OpenMailbox) -> bytes:
    return fetched(opened, "*", "(UID FLAGS MODSEQ)").partition(b"FETCH ")[2].strip()


EXPECTED = b"".join(
    b"* %d FETCH (UID %d RFC822.SIZE %d)\r\n" % (number, uid, uid) for number, uid in enumerate(UIDS, 1)
)


class Limited(Database):
    """Lends connections a few times."""

    def __init__(self, database: Database, lends: int | None = None) -> None:
        self._real = database
        self._lends = lends
        self.now = 0
        self.lent = 0

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:  # type: ignore[override]
        if self._lends == 0:
            raise UnavailableError("No connection to the database")
        if self._lends is not None:
            self._lends -= 1
        async with self._real.connection() as connection:
            self.now += 1
            self.lent += 1
            try:
                yield connection
            finally:
                self.now -= 1


async def test_a_large_mailbox_is_read_by_two_connections_and_is_whole(database: Database) -> None:
    mailbox = await add_large(database)
    lending = Limited(database)
    opened = OpenMailbox(lending, mailbox, "nowhere")
    await opened.refresh()
    assert lending.lent == 3  # the first for what the mailbox's row says
    assert (opened.index.modseq, opened.index.uidnext) == (2, UIDS[-1] + 1)
    assert sizes(opened) == EXPECTED


@pytest.mark.parametrize("lends", [1, 2])
async def test_a_half_that_cannot_be_read_leaves_nothing_of_the_other(database: Database, lends: int) -> None:
    mailbox = await add_large(database)
    opened = OpenMailbox(Limited(database, lends), mailbox, "nowhere")
    with pytest.raises(UnavailableError):
        await opened.refresh()
    assert opened.index.modseq == 0
    opened._database = database
    await opened.refresh()
    assert sizes(opened) == EXPECTED


async def test_whoever_is_cancelled_while_halves_are_read_leaves_both(database: Database) -> None:
    mailbox = await add_large(database)
    lending = Limited(database)
    opened = OpenMailbox(lending, mailbox, "nowhere")
    async with database.transaction() as tx:
        # Nobody can read until this ends.
        await tx.execute("LOCK TABLE message IN ACCESS EXCLUSIVE MODE")
        waiting = asyncio.create_task(opened.refresh())
        async with asyncio.timeout(10):
            while lending.now < 2:
                await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert lending.now == 0
    await opened.refresh()
    assert sizes(opened) == EXPECTED


@pytest.mark.parametrize("halves", [True, False])
async def test_what_changes_between_the_statements_is_told_as_of_one_moment(
    database: Database, monkeypatch: pytest.MonkeyPatch, halves: bool
) -> None:
    """Of one mod-sequence all processes tell the same (RFC 7162 §3.1)."""
    mailbox = await add_large(database)
    opened = OpenMailbox(database, mailbox, "nowhere")
    uid = UIDS[-1]
    if not halves:
        await opened.refresh()
        uid += 1
        async with database.transaction() as tx:
            await tx.execute(
                """
                INSERT INTO message (account_id, mailbox_id, uid, content_id, modseq, flags, size, internal_date, file)
                VALUES ($1, $2, $3, $3, 3, 0, $3, now(), 'name')
                """,
                mailbox.account,
                mailbox.id,
                uid,
            )
            await tx.execute(
                "UPDATE mailbox SET uidnext = $2, highest_modseq = 3 WHERE id = $1", mailbox.id, uid + 1
            )
    before = 2 if halves else 3
    read = messages_sql.copy_rows
    # The first reading, whole or of halves, finds a message that is newer than the mailbox was; the second one has a
    # change made meanwhile that it must not see.
    changing = {0: SystemFlag.FLAGGED, 2 if halves else 1: SystemFlag.SEEN}
    calls = itertools.count()
    turn = asyncio.Lock()  # neither half is read before the change

    async def read_late(*args: Any, **kwargs: Any) -> None:
        async with turn:
            if (flag := changing.pop(next(calls), None)) is not None:
                await add(flag)
        await read(*args, **kwargs)

    async def add(flag: SystemFlag) -> None:
        async with database.transaction() as tx:
            locked = (await mailboxes.lock(tx, [mailbox.id]))[mailbox.id]
            await messages_sql.set_flags(tx, locked, [uid], "add", flag)

    monkeypatch.setattr(messages_sql, "copy_rows", read_late)
    opened.heard(before)
    await opened.refresh()
    assert last_flags(opened) == b"(UID %d FLAGS (\\Flagged) MODSEQ (%d))" % (uid, before + 1)
    assert opened.index.modseq == before + 1
    assert opened.index.messages == len(UIDS) + (not halves)
    assert not changing

    await opened.refresh(ask=True)
    assert last_flags(opened) == b"(UID %d FLAGS (\\Flagged \\Seen) MODSEQ (%d))" % (uid, before + 2)


@pytest.fixture
async def everything(database: Database, root: Path, valkey: str) -> AsyncIterator[OpenMailboxes]:
    notifier = Notifier(connect(sections.Redis(url=valkey)))
    opened = OpenMailboxes(database, notifier, root, 60.0)
    yield opened
    await opened.close()
    await notifier.close()


async def test_of_indexes_too_large_to_stay_the_last_one_stays(
    database: Database, everything: OpenMailboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_mailboxes_module, "WARM_OCTETS", 1)
    first, second = await add_large(database), await add_large(database)

    before = [await everything.open(first), await everything.open(second)]
    for opened in before:
        everything.release(opened)

    assert await everything.open(second) is before[1]
    assert await everything.open(first) is not before[0]


async def test_very_many_small_indexes_are_too_large_together(
    database: Database, everything: OpenMailboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_mailboxes_module, "WARM_OCTETS", 100_000)
    boxes = [await add_box(database) for _ in range(30)]
    async with database.connection() as connection:
        found = await mailboxes.by_ids(connection, [box.mailbox for box in boxes])
    before = []
    for mailbox in found:
        before.append(await everything.open(mailbox))
        everything.release(before[-1])

    again = [await everything.open(mailbox) for mailbox in found]

    assert again[-1] is before[-1]
    same = [new is old for new, old in zip(again, before, strict=True)]
    assert same == sorted(same)  # those released first went first
    assert 10 < sum(same) < 25
