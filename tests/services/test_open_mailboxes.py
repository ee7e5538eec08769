"""The index of a mailbox so large that two connections read it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from esp.config import sections
from esp.core.errors import UnavailableError
from esp.core.mailbox import Mailbox
from esp.native import ContentCache, FetchItems, SequenceSet, View
from esp.services import open_mailboxes as open_mailboxes_module
from esp.services.open_mailboxes import WORTH_HALVING, OpenMailbox, OpenMailboxes
from esp.storage.postgres import mailboxes
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


def sizes(opened: OpenMailbox) -> bytes:
    items = FetchItems("(UID RFC822.SIZE)")
    fetch = View(opened.index).fetch(SequenceSet("1:*"), items, uid=False, contents=ContentCache())
    out = bytearray()
    while (piece := fetch.step(1 << 20)) is not None:
        assert isinstance(piece, bytes)
        out += piece
    return bytes(out)


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
