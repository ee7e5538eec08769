"""Copies whose rows are written while their files are made."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from esp.core.errors import NotFoundError, OverQuotaError, StorageFullError, UnavailableError
from esp.core.mailbox import Mailbox
from esp.core.message import FIRST_KEYWORD_BIT, SystemFlag
from esp.native import Store
from esp.services import messages as messages_module
from esp.services.messages import WORTH_OVERLAPPING, Messages
from esp.storage.maildir import Maildirs
from esp.storage.postgres import mailboxes
from esp.storage.postgres import messages as messages_sql
from esp.storage.postgres.pool import Connection, Database
from tests.services.conftest import Publications, add_box

UIDS = list(range(1, WORTH_OVERLAPPING.start + 21))


class Hooked(Database):
    """Lets somebody else be first with every transaction."""

    def __init__(self, database: Database, before: Callable[[], Awaitable[object]]) -> None:
        self._real = database
        self._before = before
        self.connection = database.connection  # type: ignore[method-assign]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        await self._before()
        async with self._real.transaction() as tx:
            yield tx


class CutOff(Database):
    """Commits, and cannot say so."""

    def __init__(self, database: Database) -> None:
        self._real = database
        self.connection = database.connection  # type: ignore[method-assign]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with self._real.transaction() as tx:
            yield tx
        raise UnavailableError("The database does not answer")


class SlowMaildirs(Maildirs):
    """Makes links when it is told to."""

    def __init__(self, store: Store, root: Path) -> None:
        super().__init__(store, root)
        self.asked = asyncio.Event()
        self.go = threading.Event()

    async def link(
        self, sources: Sequence[str], folder_: str, bases: Sequence[str], letters: Sequence[str | None]
    ) -> list[bool]:
        self.asked.set()
        await asyncio.to_thread(self.go.wait, 30)
        return await super().link(sources, folder_, bases, letters)


class FullMaildirs(Maildirs):
    """Has no room."""

    async def link(
        self, sources: Sequence[str], folder_: str, bases: Sequence[str], letters: Sequence[str | None]
    ) -> list[bool]:
        raise OSError(28, "No space left on device")


class Boxes:
    """A mailbox with a file for each of `UIDS`, and an empty one of the same account."""

    def __init__(
        self, database: Database, store: Store, root: Path, source: Mailbox, target: Mailbox
    ) -> None:
        self.database = database
        self.maildirs = Maildirs(store, root)
        self.source = source
        self.target = target
        self.from_ = root / source.home
        self.to = root / source.home / target.directory

    def messages(self, database: Database | None = None, maildirs: Maildirs | None = None) -> Messages:
        return Messages(database or self.database, maildirs or self.maildirs, Publications(), 60.0)

    def files(self) -> set[str]:
        return {path.name for path in (self.to / "cur").iterdir()}

    async def rows(self, mailbox: Mailbox) -> set[str]:
        """Names of the files that rows speak of."""
        async with self.database.connection() as connection:
            found = await connection.fetch(
                "SELECT file || ':2,' || file_flags AS name FROM message WHERE account_id = $1 AND mailbox_id = $2",
                mailbox.account,
                mailbox.id,
            )
        return {row["name"] for row in found}


@pytest.fixture
def boxes_of(database: Database, store: Store, root: Path) -> Callable[[], Awaitable[Boxes]]:
    async def make() -> Boxes:
        box = await add_box(database)
        store.make_folder(box.folder)
        names = store.names([1] * len(UIDS))
        for name in names:
            (root / box.folder / "cur" / f"{name}:2,S").write_bytes(b"x")
        async with database.transaction() as tx:
            target = await mailboxes.create(tx, box.account, "To", ".To", None)
            await tx.execute(
                """
                INSERT INTO message (account_id, mailbox_id, uid, content_id, modseq, flags, size, internal_date, file,
                    file_flags)
                SELECT $1, $2, uid, uid, 2, 1, 1, now(), file, 'S'
                FROM unnest($3::text[]) WITH ORDINALITY AS f (file, uid)
                """,
                box.account,
                box.mailbox,
                names,
            )
            await tx.execute(
                "UPDATE mailbox SET uidnext = $2, highest_modseq = 2, messages = $3, octets = $3 WHERE id = $1",
                box.mailbox,
                UIDS[-1] + 1,
                len(UIDS),
            )
            source = await mailboxes.by_id(tx, box.mailbox)
        store.make_folder(f"{box.folder}/.To")
        return Boxes(database, store, root, source, target)

    return make


Make = Callable[[], Awaitable[Boxes]]


async def test_rows_of_copies_are_committed_after_their_files_are_there(boxes_of: Make, root: Path) -> None:
    boxes = await boxes_of()
    slow = SlowMaildirs(boxes.maildirs._store, root)
    seen: list[str] = []

    async def note() -> None:
        seen.append("transaction")

    copying = asyncio.create_task(
        boxes.messages(Hooked(boxes.database, note), slow).copy(boxes.source.id, boxes.target.id, UIDS)
    )
    await slow.asked.wait()
    async with asyncio.timeout(10):
        while not await _is_locked(boxes):
            await asyncio.sleep(0)
    assert seen == ["transaction"]  # which is open, and waits
    assert await boxes.rows(boxes.target) == set()
    assert not copying.done()
    slow.go.set()
    copied = await copying
    assert copied.sources == UIDS
    assert await boxes.rows(boxes.target) == boxes.files()
    assert len(boxes.files()) == len(UIDS)


async def test_a_message_without_a_file_is_not_copied_and_all_others_are(boxes_of: Make) -> None:
    boxes = await boxes_of()
    gone = sorted((boxes.from_ / "cur").iterdir())[7]
    gone.unlink()
    await boxes.messages().move_all(boxes.source.id, boxes.target.id)
    assert await boxes.rows(boxes.target) == boxes.files()
    assert await boxes.rows(boxes.source) == {gone.name}


async def test_a_full_disk_takes_the_rows_back(boxes_of: Make, root: Path) -> None:
    boxes = await boxes_of()
    full = FullMaildirs(boxes.maildirs._store, root)
    with pytest.raises(StorageFullError):
        await boxes.messages(maildirs=full).move(boxes.source.id, boxes.target.id, UIDS)
    assert await boxes.rows(boxes.target) == set()
    assert len(await boxes.rows(boxes.source)) == len(UIDS)


@pytest.mark.parametrize("move", [False, True])
async def test_flags_that_change_while_files_are_made_are_copied_and_come_into_their_names(
    boxes_of: Make, move: bool
) -> None:
    boxes = await boxes_of()

    async def change() -> None:
        plain = boxes.messages()
        await plain.add_keywords(boxes.source.id, ("later",))
        await plain.store(boxes.source.id, [3, 4], "replace", SystemFlag.FLAGGED)
        await plain.store(boxes.source.id, [5], "add", 1 << FIRST_KEYWORD_BIT)

    changed = boxes.messages(Hooked(boxes.database, change))
    copied = await (changed.move if move else changed.copy)(boxes.source.id, boxes.target.id, UIDS)
    assert copied.sources == UIDS
    async with boxes.database.connection() as connection:
        target = await mailboxes.by_id(connection, boxes.target.id)
        there = {row.uid: row.flags for row in await messages_sql.rows(connection, target, copied.copies)}
        left = await connection.fetch(
            "SELECT payload FROM outbox WHERE topic = 'rename' AND payload->>'mailbox' = $1", str(target.id)
        )
    assert target.keywords == ("later",)
    flagged, kept = int(SystemFlag.FLAGGED), 1
    assert [there[uid] for uid in copied.copies[1:6]] == [
        kept, flagged, flagged, kept | 1 << FIRST_KEYWORD_BIT, kept,
    ]  # fmt: skip
    assert [json.loads(row["payload"])["uids"] for row in left] == [copied.copies[2:5]]
    assert await boxes.rows(boxes.target) == boxes.files()


async def test_a_target_deleted_while_files_are_made_leaves_none(boxes_of: Make) -> None:
    boxes = await boxes_of()

    async def delete() -> None:
        async with boxes.database.transaction() as tx:
            await mailboxes.delete(tx, boxes.target.id)

    hooked = Hooked(boxes.database, delete)
    with pytest.raises(NotFoundError):
        await boxes.messages(hooked).copy(boxes.source.id, boxes.target.id, UIDS)
    assert boxes.files() == set()


async def test_a_quota_that_is_filled_meanwhile_leaves_no_file(boxes_of: Make) -> None:
    boxes = await boxes_of()

    async def limit() -> None:
        async with boxes.database.connection() as connection:
            await connection.execute(
                "UPDATE account SET quota_messages = $2 WHERE id = $1", boxes.source.account, len(UIDS) + 5
            )

    with pytest.raises(OverQuotaError):
        await boxes.messages(Hooked(boxes.database, limit)).copy(boxes.source.id, boxes.target.id, UIDS)
    assert boxes.files() == set()
    assert await boxes.rows(boxes.target) == set()


async def test_files_stay_when_it_is_not_known_whether_their_rows_were_committed(boxes_of: Make) -> None:
    boxes = await boxes_of()
    with pytest.raises(UnavailableError):
        await boxes.messages(CutOff(boxes.database)).copy(boxes.source.id, boxes.target.id, UIDS)
    assert len(boxes.files()) == len(UIDS)
    assert await boxes.rows(boxes.target) == boxes.files()


async def test_a_copy_that_is_cancelled_while_files_are_made_has_no_rows(boxes_of: Make, root: Path) -> None:
    boxes = await boxes_of()
    slow = SlowMaildirs(boxes.maildirs._store, root)
    copying = asyncio.create_task(boxes.messages(maildirs=slow).move(boxes.source.id, boxes.target.id, UIDS))
    async with asyncio.timeout(10):
        while not await _is_locked(boxes):
            await asyncio.sleep(0)
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    slow.go.set()
    assert not await _is_locked(boxes)
    assert await boxes.rows(boxes.target) == set()
    assert len(await boxes.rows(boxes.source)) == len(UIDS)


async def test_a_conditional_store_in_pieces_refuses_what_somebody_changed_between_them(
    boxes_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages_module, "TOGETHER", 2)
    boxes = await boxes_of()
    pieces = 0

    async def change_others() -> None:
        nonlocal pieces
        pieces += 1
        if pieces == 2:
            # The first piece is done with, and UID 1 with it.
            await boxes.messages().store(boxes.source.id, [1, 3], "add", SystemFlag.DRAFT)

    hooked = boxes.messages(Hooked(boxes.database, change_others))
    stored = await hooked.store(boxes.source.id, [1, 2, 3, 4, 5], "add", SystemFlag.FLAGGED, 2)

    assert stored.modified == {3}
    # 3 is ours, 4 the other's, 5 and 6 ours.
    assert (stored.after, stored.own, stored.modseq) == (2, 3, 6)
    first, draft, flagged = 1, int(SystemFlag.DRAFT), int(SystemFlag.FLAGGED)
    async with boxes.database.connection() as connection:
        rows = await messages_sql.rows(connection, boxes.source, [1, 2, 3, 4, 5])
    assert [row.flags for row in rows] == [
        first | flagged | draft, first | flagged, first | draft, first | flagged, first | flagged,
    ]  # fmt: skip


async def test_of_a_store_that_fails_half_way_others_hear_what_was_done(
    boxes_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages_module, "TOGETHER", 2)
    boxes = await boxes_of()
    publications = Publications()
    pieces = 0

    async def fail() -> None:
        nonlocal pieces
        pieces += 1
        if pieces == 3:
            raise UnavailableError("The database does not answer")

    hooked = Messages(Hooked(boxes.database, fail), boxes.maildirs, publications, 60.0)
    with pytest.raises(UnavailableError):
        await hooked.store(boxes.source.id, [1, 2, 3, 4, 5], "add", SystemFlag.FLAGGED)
    assert publications.batches == [[(boxes.source.id, 3)], [(boxes.source.id, 4)]]


async def test_all_messages_of_a_mailbox_are_moved_in_pieces_but_none_that_came_meanwhile(
    boxes_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages_module, "TOGETHER", 50)
    boxes = await boxes_of()
    pieces: list[int] = []

    async def deliver() -> None:
        pieces.append(len(await boxes.rows(boxes.source)))
        if len(pieces) == 1:
            await boxes.messages().copy(boxes.source.id, boxes.source.id, [1])

    await boxes.messages(Hooked(boxes.database, deliver)).move_all(boxes.source.id, boxes.target.id)

    assert pieces == [len(UIDS), len(UIDS) + 1 - 50, len(UIDS) + 1 - 100]
    assert len(await boxes.rows(boxes.target)) == len(UIDS)
    assert await boxes.rows(boxes.target) == boxes.files()
    assert len(await boxes.rows(boxes.source)) == 1


async def _is_locked(boxes: Boxes) -> bool:
    """Whether a transaction has the target."""
    async with boxes.database.connection() as connection:
        found = await connection.fetchval(
            "SELECT true FROM mailbox WHERE id = $1 FOR UPDATE SKIP LOCKED", boxes.target.id
        )
    return not found
