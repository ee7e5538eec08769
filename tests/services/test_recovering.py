"""After a power cut: messages that were answered get their files back, and no others."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog

from esp.core.message import SystemFlag
from esp.native import Store
from esp.services import recovering
from esp.services.dispatch import Dispatch, Incoming, Placed
from esp.services.recovering import recover
from esp.storage.postgres.pool import Database
from tests.services.conftest import Box, Publications, add_box, names

BODY = b"Subject: %d\r\n\r\nHello\r\n"


class Machine:
    """What delivers, with a journal; and its power."""

    def __init__(self, root: Path, database: Database) -> None:
        self.root = root
        self.database = database
        self.store = Store(root, 4, True, "mx", journal=True)
        self.dispatch = Dispatch(self.store, database, Publications())

    async def begin(self, box: Box) -> None:
        """Deliver once, and wait until there is a journal, with nothing in it."""
        await self.deliver(box)
        async with asyncio.timeout(60):
            while not ((journal := self._journal()) and journal.stat().st_atime == 0):
                await asyncio.sleep(0.01)

    async def deliver(self, *boxes: Box, flags: int = 0, body: bytes = BODY) -> tuple[Placed, ...]:
        return await self.dispatch.deliver(Incoming(b"", body, tuple(box.target(flags) for box in boxes)))

    async def cut(self, *files: Path) -> None:
        """Leave the journal as it is; of what was not synced, `files` are lost."""
        journal = self._journal()
        assert journal is not None
        kept = self.root / "kept"
        shutil.copy(journal, kept)
        await self.dispatch.close()
        self.store.close()
        assert not journal.exists()
        kept.rename(journal)
        for file in files:
            file.unlink()

    def _journal(self) -> Path | None:
        return next((path for path in (self.root / ".journal").glob("*") if path.name != "lock"), None)


@pytest.fixture(autouse=True)
def _own_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """A logger keeps the set-up of its first use, which may have been that of a test of a command."""
    monkeypatch.setattr(recovering, "log", structlog.get_logger())


@pytest_asyncio.fixture(loop_scope="session")
async def box(database: Database) -> Box:
    return await add_box(database)


@pytest_asyncio.fixture(loop_scope="session")
async def machine(root: Path, database: Database, box: Box) -> AsyncIterator[Machine]:
    machine = Machine(root, database)
    await machine.begin(box)
    yield machine
    await machine.dispatch.close()
    await asyncio.to_thread(machine.store.close)


def path_of(root: Path, box: Box, name: str) -> Path:
    (path,) = (root / box.folder).glob(f"*/{name}*")
    return path


async def file_of(database: Database, root: Path, box: Box, placed: Placed) -> Path:
    async with database.connection() as connection:
        name = await connection.fetchval(
            "SELECT file FROM message WHERE mailbox_id = $1 AND uid = $2", box.mailbox, placed.uid
        )
    return path_of(root, box, name)


async def execute(database: Database, statement: str, *arguments: object) -> None:
    async with database.connection() as connection:
        await connection.execute(statement, *arguments)


async def test_messages_get_their_files_back_under_the_names_they_have_by_now(
    machine: Machine, database: Database, root: Path, box: Box
) -> None:
    other = await add_box(database)
    (one,) = await machine.deliver(box, body=b"Subject: one\r\n\r\n1\r\n")
    both = await machine.deliver(box, other, body=b"Subject: both\r\n\r\n2\r\n")
    (flagged,) = await machine.deliver(box, flags=SystemFlag.SEEN, body=b"Subject: flagged\r\n\r\n3\r\n")
    files = [
        await file_of(database, root, *where)
        for where in ((box, one), (box, both[0]), (other, both[1]), (box, flagged))
    ]
    before = [file.read_bytes() for file in files]
    names_before = names(root, box), names(root, other)
    # The worker had given it another name, and the database says so.
    await execute(
        database, "UPDATE message SET flags = 4, file_flags = 'F' WHERE mailbox_id = $1 AND uid = $2",
        box.mailbox, flagged.uid,
    )  # fmt: skip
    await machine.cut(*files)

    await recover(Store(root, 2, True, "mx"), database)

    renamed = files[3].with_name(files[3].name.replace(":2,S", ":2,F"))
    assert [file.read_bytes() for file in (*files[:3], renamed)] == before
    assert files[1].stat().st_ino == files[2].stat().st_ino
    expected = sorted(name.replace(":2,S", ":2,F") for name in names_before[0])
    assert (names(root, box), names(root, other)) == (expected, names_before[1])
    assert [path.name for path in (root / ".journal").iterdir()] == ["lock"]


async def test_what_was_expunged_or_never_answered_stays_away(
    machine: Machine, database: Database, root: Path, box: Box
) -> None:
    other = await add_box(database)
    (expunged,) = await machine.deliver(box)
    both = await machine.deliver(box, other)
    (removed,) = await machine.deliver(other)
    files = [
        await file_of(database, root, *where)
        for where in ((box, expunged), (box, both[0]), (other, both[1]), (other, removed))
    ]
    await execute(
        database, "DELETE FROM message WHERE mailbox_id = $1 AND uid = ANY($2)",
        box.mailbox, [expunged.uid, both[0].uid],
    )  # fmt: skip
    # As one that was moved: its row is in another folder's mailbox.
    await execute(database, "UPDATE mailbox SET directory = '.Elsewhere' WHERE id = $1", other.mailbox)
    await machine.cut(*files)
    before = names(root, box)

    await recover(Store(root, 2, True, "mx"), database)

    assert names(root, box) == before
    assert names(root, other) == []


async def test_what_cannot_be_brought_back_now_is_left_for_later(
    machine: Machine, database: Database, root: Path, box: Box
) -> None:
    others = await add_box(database)
    (placed,) = await machine.deliver(box)
    (others_placed,) = await machine.deliver(others)
    file = await file_of(database, root, box, placed)
    others_file = await file_of(database, root, others, others_placed)
    octets = file.read_bytes()
    await machine.cut(file, others_file)
    file.parent.rename(file.parent.with_name("aside"))
    file.parent.write_bytes(b"no folder")

    with structlog.testing.capture_logs() as logs:
        assert not await recover(Store(root, 2, True, "mx"), database)

    assert [line["event"] for line in logs if line["log_level"] == "critical"] == ["journal_not_replayed"]
    assert others_file.read_bytes() == octets
    file.parent.unlink()
    file.parent.with_name("aside").rename(file.parent)
    with structlog.testing.capture_logs() as logs:
        assert await recover(Store(root, 2, True, "mx"), database)
    assert [line for line in logs if line["log_level"] == "critical"] == []
    assert file.read_bytes() == octets


async def test_a_journal_that_cannot_be_read_keeps_nobody_from_the_others(
    machine: Machine, database: Database, root: Path, box: Box
) -> None:
    (placed,) = await machine.deliver(box)
    file = await file_of(database, root, box, placed)
    octets = file.read_bytes()
    await machine.cut(file)
    for name in ("0", "9"):  # before the other and after it
        (root / ".journal" / name).mkdir()

    with structlog.testing.capture_logs() as logs:
        assert not await recover(Store(root, 2, True, "mx"), database)

    assert [line["event"] for line in logs if line["log_level"] == "critical"] == ["journal_not_replayed"] * 2
    assert file.read_bytes() == octets


@pytest.mark.parametrize("sync", [True, False])
async def test_nothing_left_is_nothing_done(root: Path, database: Database, sync: bool) -> None:
    with structlog.testing.capture_logs() as logs:
        await recover(Store(root, 2, sync, "mx"), database)

    assert logs == []
    assert list(root.iterdir()) == []
