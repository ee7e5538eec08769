"""The janitor, the check and the rebuild: what is healed is what was broken, and nothing else is touched."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from esp.core.mailbox import SpecialUse
from esp.core.message import MAX_KEYWORDS, SystemFlag
from esp.native import DeliverItem, Entry, Store, Stored
from esp.services.checking import Kind, Report, check
from esp.services.dispatch import Dispatch, Incoming
from esp.services.messages import Messages
from esp.services.rebuilding import rebuild
from esp.services.upkeep import Upkeep
from esp.storage import maildir, quarantine
from esp.storage.maildir import Card
from esp.storage.postgres import outbox
from esp.storage.postgres.pool import Connection, Database
from tests.services.conftest import Box, Publications, add_box

BODY = b"From: a@example.test\r\nSubject: Hello\r\nMessage-ID: <1@example.test>\r\n\r\nHi\r\n"


class Asked(Database):
    """Remembers what the database was asked."""

    def __init__(self, database: Database) -> None:
        self._real = database
        self.statements: list[str] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        async with self._real.connection() as connection:
            with connection.query_logger(lambda query: self.statements.append(query.query)):
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with self._real.transaction() as tx:
            with tx.query_logger(lambda query: self.statements.append(query.query)):
                yield tx

    def reads_of_unlink(self) -> int:
        return sum("'unlink'" in statement for statement in self.statements)


@pytest.fixture
def upkeep(database: Database, store: Store, root: Path) -> Upkeep:
    return Upkeep(database, store, root)


async def filled(
    dispatch: Dispatch, database: Database, root: Path, *flags: int, card: bool = True
) -> tuple[Box, list[Path]]:
    """Return a mailbox with a message for each flag set, and the files in the order of UIDs."""
    box = await add_box(database)
    for flag in flags:
        await dispatch.deliver(Incoming(b"", BODY, (box.target(flag),)))
    if card:
        async with database.connection() as connection:
            validity = await connection.fetchval("SELECT uidvalidity FROM mailbox WHERE id = $1", box.mailbox)
        (root / box.folder / "tmp").mkdir(parents=True, exist_ok=True)
        maildir.write_card(root, box.folder, Card("INBOX", validity, None, False))
    return box, files(root, box)


def files(root: Path, box: Box) -> list[Path]:
    found = [path for part in ("new", "cur") for path in (root / box.folder / part).glob("*")]
    return sorted(found, key=lambda path: maildir.received_at(path.name) or (0, 0, 0))


async def checked(
    database: Database, store: Store, root: Path, box: Box, **how: bool
) -> list[tuple[Kind, bool]]:
    report: Report = await check(database, store, root, account=box.folder, grace=0, **how)
    return [(finding.kind, finding.mended) for finding in report.findings]


async def uids(database: Database, box: Box) -> list[int]:
    async with database.connection() as connection:
        return [
            row[0]
            for row in await connection.fetch(
                "SELECT uid FROM message WHERE mailbox_id = $1 ORDER BY uid", box.mailbox
            )
        ]


async def test_nothing_is_found_where_nothing_is_wrong(
    dispatch: Dispatch, database: Database, store: Store, root: Path
) -> None:
    box, _ = await filled(dispatch, database, root, 0, SystemFlag.SEEN, SystemFlag.DRAFT | SystemFlag.FLAGGED)

    assert await checked(database, store, root, box) == []


async def test_the_outbox_is_asked_for_files_without_a_message_only(
    dispatch: Dispatch, database: Database, store: Store, root: Path
) -> None:
    box, _ = await filled(dispatch, database, root, 0, SystemFlag.SEEN)
    asked = Asked(database)
    assert await checked(asked, store, root, box) == []
    assert asked.statements
    assert asked.reads_of_unlink() == 0

    (expunged,) = store.deliver([DeliverItem(b"", BODY, [box.folder], ["S"], 0)])
    assert isinstance(expunged, Stored)
    async with database.connection() as connection:
        await outbox.add(connection, "unlink", outbox.Unlink(paths=expunged.paths), delay=3600)

    assert await checked(asked, store, root, box) == []
    assert asked.reads_of_unlink() == 1


async def test_files_of_a_deleted_mailbox_that_wait_for_a_worker_are_no_finding(
    dispatch: Dispatch, database: Database, store: Store, root: Path
) -> None:
    box, _ = await filled(dispatch, database, root, 0)
    store.make_folder(f"{box.folder}/.Gone")
    (waiting,) = store.deliver([DeliverItem(b"", BODY, [f"{box.folder}/.Gone"], ["S"], 0)])
    assert isinstance(waiting, Stored)
    async with database.connection() as connection:
        await outbox.add(connection, "unlink", outbox.Unlink(paths=waiting.paths), delay=3600)
    assert await checked(database, store, root, box) == []

    store.deliver([DeliverItem(b"", BODY, [f"{box.folder}/.Gone"], ["S"], 0)])
    assert await checked(database, store, root, box) == [(Kind.STRAY_FOLDER, False)]


async def test_the_janitor_puts_aside_what_has_no_row_and_nothing_else(
    dispatch: Dispatch, database: Database, store: Store, root: Path, upkeep: Upkeep
) -> None:
    box, (kept,) = await filled(dispatch, database, root, 0)
    (orphan,) = store.deliver([DeliverItem(b"", BODY, [box.folder], [None], 0)])
    (expunged,) = store.deliver([DeliverItem(b"", BODY, [box.folder], ["S"], 0)])
    foreign = root / box.folder / "new" / "1700000000.123.elsewhere"
    foreign.write_bytes(BODY)
    assert isinstance(orphan, Stored) and isinstance(expunged, Stored)
    async with database.connection() as connection:
        await outbox.add(connection, "unlink", outbox.Unlink(paths=expunged.paths), delay=3600)

    assert (await upkeep.janitor()).quarantined == ()
    swept = await upkeep.janitor(grace=0)

    assert swept.quarantined == tuple(orphan.paths)
    assert (root / "quarantine" / box.folder / orphan.base).read_bytes() == BODY
    assert kept.exists()
    assert foreign.exists()
    assert (root / expunged.paths[0]).exists()


async def test_an_orphan_that_goes_by_itself_does_not_stop_the_janitor(
    dispatch: Dispatch, database: Database, store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upkeep = Upkeep(database, store, root)
    (first, _), (second, _) = [await filled(dispatch, database, root, 0) for _ in range(2)]
    orphans = [store.deliver([DeliverItem(b"", BODY, [box.folder], [None], 0)])[0] for box in (first, second)]
    going = orphans[0]
    assert isinstance(going, Stored) and isinstance(orphans[1], Stored)
    listed = upkeep._scan

    def scanned(folder: str) -> list[Entry]:
        entries = listed(folder)
        (root / going.paths[0]).unlink(missing_ok=True)
        return entries

    monkeypatch.setattr(upkeep, "_scan", scanned)

    assert (await upkeep.janitor(grace=0)).quarantined == tuple(orphans[1].paths)


async def test_a_message_whose_file_is_lost_comes_back_from_a_copy_or_goes(
    dispatch: Dispatch, database: Database, store: Store, root: Path
) -> None:
    box, (first, _second) = await filled(dispatch, database, root, SystemFlag.SEEN, 0)
    first.unlink()

    assert await checked(database, store, root, box) == [(Kind.MISSING_FILE, False)]
    assert await checked(database, store, root, box, fix=True) == [(Kind.MISSING_FILE, True)]
    assert await checked(database, store, root, box) == []
    assert await uids(database, box) == [2]
    async with database.connection() as connection:
        assert (
            await connection.fetchval("SELECT uids FROM expunged WHERE mailbox_id = $1", box.mailbox) == "1"
        )
        # A COPY of the second, whose own file is lost then.
        other = await add_box(database)
        await connection.execute(
            """
            INSERT INTO message (account_id, mailbox_id, uid, content_id, modseq, flags, size, internal_date, file)
            SELECT account_id, mailbox_id, 3, content_id, modseq, 0, size, internal_date, 'lost' FROM message
            WHERE mailbox_id = $1 AND uid = 2
            """,
            box.mailbox,
        )
        await connection.execute(
            "UPDATE mailbox SET uidnext = 4, messages = 2, unseen = 2, octets = octets * 2 WHERE id = $1",
            box.mailbox,
        )
        modseq = await connection.fetchval("SELECT highest_modseq FROM mailbox WHERE id = $1", box.mailbox)
    assert await checked(database, store, root, box, fix=True) == [(Kind.MISSING_FILE, True)]
    assert await checked(database, store, root, box) == []
    assert await uids(database, box) == [2, 3]
    async with database.connection() as connection:
        # Sessions that have the mailbox open look for a file where they were told: they must be told anew.
        modseqs = "SELECT modseq, (SELECT highest_modseq FROM mailbox WHERE id = $1) FROM message WHERE mailbox_id = $1"
        row = await connection.fetchrow(f"{modseqs} AND uid = 3", box.mailbox)
    assert row is not None and row[0] == row[1] > modseq
    assert len({path.stat().st_ino for path in files(root, box)}) == 1
    assert files(root, other) == []


async def test_an_empty_mount_point_expunges_nothing(
    dispatch: Dispatch, database: Database, store: Store, root: Path
) -> None:
    box, _ = await filled(dispatch, database, root, 0, 0)
    (root / "example.test").rename(root.parent / "away")

    found = await checked(database, store, root, box, fix=True)

    assert {mended for _, mended in found} == {False}
    assert await uids(database, box) == [1, 2]
    (root.parent / "away").rename(root / "example.test")


async def test_names_counters_contents_cards_and_leftovers_are_mended(
    dispatch: Dispatch, database: Database, store: Store, root: Path
) -> None:
    box, (seen, new) = await filled(dispatch, database, root, SystemFlag.SEEN, 0, card=False)
    seen.rename(seen.with_name(seen.name.replace(":2,S", ":2,FS")))
    new.rename(root / box.folder / "cur" / new.name)
    leftover = root / box.folder / "tmp" / "1700000000.M1P1Q1.x"
    leftover.write_bytes(b"half")
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE mailbox SET messages = 7, unseen = 9, octets = 1, uidnext = 1 WHERE id = $1", box.mailbox
        )
        await connection.execute("DELETE FROM content WHERE account_id = $1", box.account)

    found = await checked(database, store, root, box, fix=True)

    assert sorted(found) == sorted(
        [
            (Kind.WRONG_CARD, True),
            *[(Kind.WRONG_NAME, True)] * 2,
            *[(Kind.MISSING_CONTENT, True)] * 2,
            (Kind.WRONG_COUNTERS, True),
        ]
    )
    assert leftover.exists()  # not old enough
    assert [path.name.partition(":")[2] for path in files(root, box)] == ["2,S", "2,"]
    assert await checked(database, store, root, box) == []
    assert (await dispatch.deliver(Incoming(b"", BODY, (box.target(),))))[0].uid == 3


async def test_a_file_of_another_length_is_a_new_message(
    dispatch: Dispatch, database: Database, store: Store, root: Path
) -> None:
    box, (path,) = await filled(dispatch, database, root, SystemFlag.SEEN)
    path.write_bytes(BODY + b"more\r\n")

    assert await checked(database, store, root, box, fix=True) == [(Kind.WRONG_SIZE, True)]

    assert await checked(database, store, root, box) == []
    assert await uids(database, box) == [2]


async def test_an_orphan_is_put_aside_or_adopted_as_asked(
    dispatch: Dispatch, database: Database, store: Store, root: Path
) -> None:
    box, _ = await filled(dispatch, database, root, 0)
    foreign = root / box.folder / "cur" / "1700000000.123.elsewhere:2,RSa"
    foreign.write_bytes(BODY)
    os.utime(foreign, (1_700_000_000, 1_700_000_000))

    assert await checked(database, store, root, box) == [(Kind.ORPHAN_FILE, False)]
    assert await checked(database, store, root, box, fix=True, adopt=True) == [(Kind.ORPHAN_FILE, True)]
    assert await checked(database, store, root, box) == []
    async with database.connection() as connection:
        row = await connection.fetchrow(
            "SELECT * FROM message WHERE mailbox_id = $1 AND uid = 2", box.mailbox
        )
    assert row is not None
    assert (row["flags"], row["internal_date"]) == (
        SystemFlag.ANSWERED | SystemFlag.SEEN,
        datetime.fromtimestamp(1_700_000_000, UTC),
    )

    store.deliver([DeliverItem(b"", BODY, [box.folder], [None], 0)])
    assert await checked(database, store, root, box, fix=True) == [(Kind.ORPHAN_FILE, True)]
    assert len(files(root, box)) == 2


async def test_file_names_follow_flags_and_expunged_files_go(
    dispatch: Dispatch, database: Database, store: Store, root: Path, upkeep: Upkeep
) -> None:
    box, paths = await filled(dispatch, database, root, 0, SystemFlag.SEEN)
    async with database.transaction() as tx:
        await tx.execute("UPDATE message SET flags = 10 WHERE mailbox_id = $1 AND uid = 1", box.mailbox)
        await tx.execute("UPDATE message SET flags = 0 WHERE mailbox_id = $1 AND uid = 2", box.mailbox)
        await tx.execute("UPDATE mailbox SET unseen = 1 WHERE id = $1", box.mailbox)
        await outbox.add(tx, "rename", outbox.Rename(box.account, box.mailbox, [1, 2, 99]))  # type: ignore[list-item]
    # Not yet renamed is no finding: the outbox knows.
    assert await checked(database, store, root, box) == []

    assert await upkeep.rename_files() == 2

    assert [path.name.partition(":")[2] for path in files(root, box)] == ["2,FS", "2,"]
    assert await checked(database, store, root, box) == []

    async with database.transaction() as tx:
        await tx.execute("DELETE FROM message WHERE mailbox_id = $1", box.mailbox)
        await tx.execute("UPDATE mailbox SET messages = 0, unseen = 0, octets = 0 WHERE id = $1", box.mailbox)
        # By the names they had before.
        stale = [str(path.relative_to(root)) for path in paths]
        await outbox.add(tx, "unlink", outbox.Unlink(paths=stale))
    assert await upkeep.unlink_files() == 2
    assert files(root, box) == []
    assert await checked(database, store, root, box) == []


async def test_a_lost_database_is_made_again_from_the_maildirs(
    dispatch: Dispatch, database: Database, store: Store, root: Path
) -> None:
    when = datetime(2001, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
    box, _ = await filled(dispatch, database, root, 0, SystemFlag.SEEN)
    await dispatch.deliver(Incoming(b"", BODY, (box.target(SystemFlag.FLAGGED),), when))
    async with database.connection() as connection:
        old = await connection.fetchval("SELECT uidvalidity FROM mailbox WHERE id = $1", box.mailbox)
        await connection.execute("SELECT setval('uidvalidity', 5)")
        for table in ("message", "content", "mailbox", "account"):
            await connection.execute(f"DELETE FROM {table}")
    card = Card("Entwürfe/Alt", old + 7, SpecialUse.DRAFTS, subscribed=True)
    await asyncio.to_thread(maildir.make_mailbox, store, root, f"{box.folder}/.Moved", card)

    rebuilt = await rebuild(database, store, root, account=box.folder)

    assert [(one.mailbox, one.messages, one.made) for one in rebuilt] == [
        ("INBOX", 3, True),
        (card.name, 0, True),
    ]
    assert all(one.uidvalidity > old for one in rebuilt)
    assert rebuilt[1].uidvalidity > card.uidvalidity
    async with database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT m.uid, m.flags, m.internal_date, d.name, a.local_part, b.unseen, c.message_id
            FROM message AS m JOIN mailbox AS b ON b.id = m.mailbox_id JOIN account AS a ON a.id = b.account_id
            JOIN domain AS d ON d.id = a.domain_id
            JOIN content AS c ON c.account_id = m.account_id AND c.id = m.content_id ORDER BY m.uid
            """
        )
        assert await connection.fetchval("SELECT count(*) FROM subscription WHERE name = $1", card.name) == 1
    user = box.folder.partition("/")[2]
    assert [(r["uid"], r["flags"]) for r in rows] == [(1, 0), (2, SystemFlag.SEEN), (3, SystemFlag.FLAGGED)]
    assert rows[2]["internal_date"] == when
    assert {(r["name"], r["local_part"], r["unseen"], r["message_id"]) for r in rows} == {
        ("example.test", user, 2, "1@example.test")
    }
    assert await rebuild(database, store, root, account=box.folder) == ()
    assert (await check(database, store, root, account=box.folder, grace=0)).findings == ()


async def letters_and_flags(database: Database, root: Path, box: Box) -> list[tuple[str, int]]:
    """Return for each message the letters of its file, and what the database says."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT file, flags FROM message WHERE mailbox_id = $1 ORDER BY uid", box.mailbox
        )
    names = {path.name.partition(":")[0]: path.name.partition(":2,")[2] for path in files(root, box)}
    return [(names[row["file"]], row["flags"]) for row in rows]


async def test_names_agree_with_flags_after_workers_that_overtake_each_other(
    dispatch: Dispatch, database: Database, store: Store, root: Path, publications: Publications
) -> None:
    box, _ = await filled(dispatch, database, root, *[0] * 20)
    messages = Messages(database, maildir.Maildirs(store, root), publications, 60.0)  # type: ignore[arg-type]
    await messages.add_keywords(box.mailbox, ("Later", "$Forwarded"))
    async with database.connection() as connection:
        await connection.execute("UPDATE outbox SET not_before = now() WHERE topic = 'rename'")
    changing = True

    async def change() -> None:
        nonlocal changing
        random = Random(5321)
        for _ in range(60):
            uids = random.sample(range(1, 21), 8)
            bits = random.choice([8, 2, 16, 1 << 8, 1 << 9, 8 | 1 << 9])
            await messages.store(box.mailbox, uids, random.choice(["add", "remove", "replace"]), bits)
            async with database.connection() as connection:
                await connection.execute("UPDATE outbox SET not_before = now() WHERE topic = 'rename'")
        changing = False

    async def work() -> None:
        # One row at a time, so that four workers have rows of the same messages in their hands.
        worker = Upkeep(database, store, root, batch=1)
        while changing:
            await worker.rename_files()
            await asyncio.sleep(0)

    await asyncio.gather(change(), *(work() for _ in range(4)))
    await Upkeep(database, store, root).rename_files()

    for letters, flags in await letters_and_flags(database, root, box):
        assert maildir.flags_of(letters, 2) == flags
    card = maildir.read_card(root, box.folder)
    assert card is not None and card.keywords == ("Later", "$Forwarded")
    assert await checked(database, store, root, box) == []


async def test_a_keyword_alone_is_written_into_names(
    dispatch: Dispatch, database: Database, store: Store, root: Path, publications: Publications
) -> None:
    box, _ = await filled(dispatch, database, root, 0, 0)
    messages = Messages(database, maildir.Maildirs(store, root), publications, 60.0)  # type: ignore[arg-type]
    await messages.add_keywords(box.mailbox, ("Later", "$Forwarded"))
    for mode, letters in (("add", "b"), ("remove", "")):
        await messages.store(box.mailbox, [1], mode, 1 << 9)  # type: ignore[arg-type]
        async with database.connection() as connection:
            await connection.execute("UPDATE outbox SET not_before = now() WHERE topic = 'rename'")
        await Upkeep(database, store, root).rename_files()
        assert [found for found, _ in await letters_and_flags(database, root, box)] == [letters, ""]
    assert await checked(database, store, root, box) == []


class Held:
    """A store whose first renaming waits to be let go."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.begun, self.go_on = threading.Event(), threading.Event()

    def rename(self, *arguments: object) -> object:
        self.begun.set()
        assert self.go_on.wait(30)
        return self._store.rename(*arguments)  # type: ignore[arg-type]


async def test_a_worker_with_older_flags_is_not_the_last_to_rename(
    dispatch: Dispatch, database: Database, store: Store, root: Path, publications: Publications
) -> None:
    box, _ = await filled(dispatch, database, root, 0)
    messages = Messages(database, maildir.Maildirs(store, root), publications, 60.0)  # type: ignore[arg-type]
    held = Held(store)

    async def changed(bits: int) -> None:
        await messages.store(box.mailbox, [1], "add", bits)
        async with database.connection() as connection:
            await connection.execute("UPDATE outbox SET not_before = now() WHERE topic = 'rename'")

    await changed(SystemFlag.SEEN)
    slow = asyncio.create_task(Upkeep(database, held, root).rename_files())  # type: ignore[arg-type]
    await asyncio.to_thread(held.begun.wait)
    await changed(SystemFlag.FLAGGED)
    quick = asyncio.create_task(Upkeep(database, store, root).rename_files())
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with database.connection() as connection:
        while not quick.done() and not await connection.fetchval(waiting):
            pass
    held.go_on.set()
    await asyncio.gather(slow, quick)

    assert await letters_and_flags(database, root, box) == [("FS", SystemFlag.SEEN | SystemFlag.FLAGGED)]


async def test_keywords_survive_the_loss_of_the_database(
    dispatch: Dispatch, database: Database, store: Store, root: Path, upkeep: Upkeep
) -> None:
    box, _ = await filled(dispatch, database, root)
    words = tuple(f"Word{n}" for n in range(MAX_KEYWORDS))
    for number in range(0, MAX_KEYWORDS, 5):
        target = box.target(SystemFlag.SEEN, *words[number : number + 5])
        await dispatch.deliver(Incoming(b"", BODY, (target,)))
    await dispatch.deliver(Incoming(b"", BODY, (box.target(SystemFlag.FLAGGED),)))
    await upkeep.rename_files()
    assert await checked(database, store, root, box) == []
    before = [flags for _, flags in await letters_and_flags(database, root, box)]
    async with database.connection() as connection:
        for table in ("message", "content", "mailbox", "account"):
            await connection.execute(f"DELETE FROM {table}")

    await rebuild(database, store, root, account=box.folder)

    async with database.connection() as connection:
        row = await connection.fetchrow(
            """
            SELECT b.keywords, array_agg(m.flags ORDER BY m.uid)
            FROM mailbox AS b JOIN message AS m ON m.mailbox_id = b.id GROUP BY b.id
            """
        )
    assert row is not None
    assert tuple(row[0]) == words
    assert row[1] == before
    assert before[0] == SystemFlag.SEEN | 0b11111 << 8
    assert (await check(database, store, root, account=box.folder, grace=0)).findings == ()


async def test_a_maildir_of_dovecot_is_rebuilt_with_its_keywords(
    database: Database, store: Store, root: Path
) -> None:
    folder = "example.test/dovecot"
    for part in ("cur", "new", "tmp"):
        (root / folder / part).mkdir(parents=True)
    (root / folder / "dovecot-keywords").write_text("0 Later\n2 $Junk\n")
    (root / folder / "cur" / "1700000000.M1P1.host,S=3,W=3:2,PSac").write_bytes(BODY)

    await rebuild(database, store, root, account=folder)

    async with database.connection() as connection:
        row = await connection.fetchrow(
            """
            SELECT b.keywords, m.flags FROM account AS a JOIN mailbox AS b ON b.account_id = a.id
            JOIN message AS m ON m.mailbox_id = b.id WHERE a.maildir = $1
            """,
            folder,
        )
    assert row is not None
    words = {word for n, word in enumerate(row["keywords"]) if row["flags"] >> (8 + n) & 1}
    assert all(row["keywords"])
    assert (words, row["flags"] & 0xFF) == ({"Later", "$Junk"}, SystemFlag.SEEN)


async def test_the_quarantine_is_emptied_when_its_time_has_come(
    database: Database, store: Store, root: Path
) -> None:
    for part in ("new", "cur", "tmp"):
        (root / "example.test/gone" / part).mkdir(parents=True)
    (root / "example.test/gone/new/orphan").write_bytes(BODY)
    maildir.put_aside(root, "example.test/gone", "new", "orphan")
    (root / "quarantine" / "removed-1").mkdir()
    (root / "quarantine" / "removed-1" / "left").touch()

    await Upkeep(database, store, root, retention=3600.0).janitor()
    assert [one.path for one in quarantine.held(root)] == ["example.test/gone/orphan"]
    await Upkeep(database, store, root).janitor()  # no retention: for ever
    assert [one.size for one in quarantine.held(root)] == [len(BODY)]
    assert (root / "quarantine" / "removed-1").exists()

    await Upkeep(database, store, root, retention=1e-6).janitor()
    assert list((root / "quarantine").iterdir()) == []
