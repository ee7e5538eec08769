"""Dispatch between stores that fail: nothing that was answered is lost, nothing that was refused appears."""

import asyncio
import contextlib
import shutil
import ssl
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
import pytest_asyncio

from esp.config import sections
from esp.core.errors import EspError, StorageFullError, UnavailableError
from esp.native import DeliverItem, Failure, Line, Store, Stored
from esp.services import dispatch as dispatch_module
from esp.services import lost_commit
from esp.services.checking import check
from esp.services.dispatch import Dispatch, Incoming
from esp.services.upkeep import Upkeep
from esp.storage.postgres.pool import Database
from tests.services.conftest import Publications, add_box, deadlock_once, journaled, messages, names
from tests.smtp.conftest import make_certificate
from tests.support import stores
from tests.support.proxy import Proxy, tcp_door

BODY = b"Subject: x\r\n\r\nHello\r\n"
HOST = "faulty.example.test"


@pytest.fixture(params=["synced", "journaled"])
def store(root: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """Files before rows, and beside them."""
    store = journaled(root, HOST) if request.param == "journaled" else Store(root, 4, True, HOST)
    yield store
    store.close()


@pytest_asyncio.fixture(loop_scope="session")
async def faulty(
    proxied: tuple[Proxy, Database], store: Store, publications: Publications
) -> AsyncIterator[Dispatch]:
    dispatch = Dispatch(store, proxied[1], publications)
    yield dispatch
    await dispatch.close()


@pytest.fixture
def own_stores() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="esp-"))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("cut", ["before", "after", "late"])
async def test_a_connection_cut_around_the_commit_delivers_once(
    proxied: tuple[Proxy, Database], faulty: Dispatch, database: Database, root: Path, cut: str
) -> None:
    box = await add_box(database)
    await faulty.deliver(Incoming(b"", BODY, (box.target(),)))
    proxied[0].marks, proxied[0].cut = (HOST.encode(), b",S="), cut

    placed = await asyncio.gather(*(faulty.deliver(Incoming(b"", BODY, (box.target(),))) for _ in range(5)))
    proxied[0].release.set()

    assert proxied[0].cut is None
    assert sorted(place.uid for (place,) in placed) == [2, 3, 4, 5, 6]
    assert len({place.modseq for (place,) in placed}) == 1
    found = await messages(database, box)
    assert [uid for uid, _ in found] == [1, 2, 3, 4, 5, 6]
    assert sorted(file for _, file in found) == names(root, box)


async def test_a_batch_rolled_back_is_tried_again(dispatch: Dispatch, database: Database, root: Path) -> None:
    box = await add_box(database)

    async with deadlock_once(database) as tries:
        (placed,) = await dispatch.deliver(Incoming(b"", BODY, (box.target(),)))
        assert await tries() == 2

    assert [(placed.uid, name) for name in names(root, box)] == await messages(database, box)


async def test_a_database_that_is_away_refuses_and_leaves_nothing(
    store: Store, root: Path, own_stores: Path
) -> None:
    stores_folder = own_stores
    server = stores.postgres(stores_folder)
    async with stores.running(server) as process:
        await stores.make_template(stores_folder)
        settings = sections.Database(dsn=stores.dsn(stores_folder, stores.TEMPLATE), timeout=2)
        opened = await Database.open(settings)
        dispatch = Dispatch(store, opened, Publications())
        box = await add_box(opened)
        await dispatch.deliver(Incoming(b"", BODY, (box.target(),)))
        process.send_signal(server.stop_signal)
        await asyncio.to_thread(process.wait, 30)

        with pytest.raises(UnavailableError):
            await with_short_search(dispatch.deliver(Incoming(b"", BODY, (box.target(),))))

    orphans = len(names(root, box)) - 1
    async with stores.running(stores.postgres(stores_folder)):
        (placed,) = await dispatch.deliver(Incoming(b"", BODY, (box.target(),)))
        assert placed.uid == 2
        # Of the refused one the file may be left, since it was not known; the janitor takes it away.
        swept = await Upkeep(opened, store, root).janitor(grace=0)
        assert len(swept.quarantined) == orphans
        assert [uid for uid, _ in await messages(opened, box)] == [1, 2]
        assert sorted(file for _, file in await messages(opened, box)) == names(root, box)
        report = await check(opened, store, root, account=box.folder, grace=0)
        assert {finding.kind.value for finding in report.findings} <= {"wrong-card"}
        await dispatch.close()
        await opened.close()


async def with_short_search(delivery: "asyncio._CoroutineLike[object]") -> object:
    before = lost_commit.FIND_TIMEOUT
    lost_commit.FIND_TIMEOUT = 0.5
    try:
        return await delivery
    finally:
        lost_commit.FIND_TIMEOUT = before


async def test_a_message_that_the_database_cannot_take_keeps_no_other_out(
    dispatch: Dispatch, database: Database, root: Path
) -> None:
    box = await add_box(database)
    async with database.connection() as connection:
        await connection.execute(
            """
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN IF NEW.message_id = 'poison' THEN RAISE 'poison'; END IF; RETURN NEW; END $$;
            CREATE TRIGGER refuse BEFORE INSERT ON content FOR EACH ROW EXECUTE FUNCTION refuse();
            """
        )
    bodies = [b"Message-ID: <%s>\r\n\r\n" % name for name in (b"a", b"poison", b"b\0c")]

    results = await asyncio.gather(
        *(dispatch.deliver(Incoming(b"", body, (box.target(),))) for body in bodies), return_exceptions=True
    )

    async with database.connection() as connection:
        await connection.execute("DROP FUNCTION refuse CASCADE")
    assert [isinstance(result, UnavailableError) for result in results] == [False, True, False]
    assert len(names(root, box)) == 2


async def test_a_file_that_cannot_be_made_keeps_no_other_message_out(
    dispatch: Dispatch, database: Database, root: Path
) -> None:
    first, second, third = [await add_box(database) for _ in range(3)]
    (root / "example.test").mkdir()
    (root / second.folder).write_text("no folder can be made here")

    results = await asyncio.gather(
        *(dispatch.deliver(Incoming(b"", BODY, (box.target(),))) for box in (first, second, third)),
        dispatch.deliver(Incoming(b"", BODY, (first.target(), second.target()))),
        return_exceptions=True,
    )

    assert [isinstance(result, UnavailableError) for result in results] == [False, True, False, True]
    for box, count in ((first, 1), (second, 0), (third, 1)):
        found = await messages(database, box)
        assert len(found) == count
        assert [file for _, file in found] == names(root, box)
    # And the connection that was told so is good for more.
    ((placed,),) = await asyncio.gather(dispatch.deliver(Incoming(b"", BODY, (first.target(),))))
    assert placed.uid == 2


class Stalled:
    """A store whose disk hangs: files are known to be durable when the test says so."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.goes_on = threading.Event()
        self.begun = 0
        self.held = False

    def begin(self, items: list[DeliverItem]) -> "Stalled | None":
        delivering = self._store.begin(items)
        if delivering is None:
            return None
        self.begun += 1
        self._delivering = delivering
        return self

    @property
    def stored(self) -> list[Stored]:
        return self._delivering.stored

    def finish(self, line: Line, success: bytes, failure: bytes) -> None:
        self.held = True

        def send() -> None:
            self.goes_on.wait()
            with contextlib.suppress(OSError):
                line.send(success)

        threading.Thread(target=send, daemon=True).start()

    def failures(self) -> list[Failure | None]:
        self.goes_on.wait()
        return self._delivering.failures()

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


@pytest.mark.parametrize("hangs", ["longer than the statement may take", "longer than is waited for it"])
async def test_a_disk_that_hangs_longer_than_the_database_waits_makes_mail_late_only(
    database_settings: sections.Database, database: Database, root: Path, hangs: str
) -> None:
    box = await add_box(database)
    opened = await Database.open(msgspec.structs.replace(database_settings, timeout=1.0))
    whole = journaled(root)
    stalled = Stalled(whole)
    dispatch = Dispatch(stalled, opened, Publications())  # type: ignore[arg-type]

    delivering = asyncio.gather(*(dispatch.deliver(Incoming(b"", BODY, (box.target(),))) for _ in range(3)))
    while not stalled.held:
        await asyncio.sleep(0.01)
    if hangs == "longer than the statement may take":
        # We wait two seconds more than PostgreSQL.
        async with database.connection() as connection:
            await stores.held_longer_than(1.0, connection)
    else:
        # The mailbox is locked, but no longer than we wait for PostgreSQL.
        async with database.transaction() as tx:
            await tx.execute("SELECT 1 FROM mailbox WHERE id = $1 FOR UPDATE", box.mailbox)
    assert not delivering.done()
    stalled.goes_on.set()
    placed = await delivering

    assert stalled.begun == 1
    assert sorted(place.uid for (place,) in placed) == [1, 2, 3]
    assert sorted(file for _, file in await messages(database, box)) == names(root, box)
    await dispatch.close()
    await opened.close()
    whole.close()


async def test_a_database_behind_tls_has_its_rows_written_after_the_files(
    database_settings: sections.Database, database: Database, postgres: Path, root: Path, tmp_path: Path
) -> None:
    box = await add_box(database)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(tmp_path))
    counted = Stalled(journaled(root))
    counted.goes_on.set()
    async with tcp_door(stores.sockets(postgres) / ".s.PGSQL.5432", context) as port:
        parts = urlsplit(database_settings.dsn)
        dsn = f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}"
        opened = await Database.open(sections.Database(dsn=dsn))
        dispatch = Dispatch(counted, opened, Publications())  # type: ignore[arg-type]
        for uid in (1, 2, 3):
            (placed,) = await dispatch.deliver(Incoming(b"", BODY, (box.target(),)))
            assert placed.uid == uid
        await dispatch.close()
        await opened.close()
    # Tried once, and then known not to be possible.
    assert counted.begun == 1
    assert sorted(file for _, file in await messages(database, box)) == names(root, box)
    counted.close()


async def test_a_client_that_goes_away_disturbs_nobody(
    dispatch: Dispatch, database: Database, root: Path
) -> None:
    box = await add_box(database)
    tasks = [asyncio.create_task(dispatch.deliver(Incoming(b"", BODY, (box.target(),)))) for _ in range(40)]
    for number, task in enumerate(tasks):
        await asyncio.sleep(0 if number % 4 else 0.002)
        if number % 2:
            task.cancel()

    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert not any(isinstance(result, EspError) for result in results)
    answered = {result[0].uid for result in results if isinstance(result, tuple)}
    found = await messages(database, box)
    assert answered <= {uid for uid, _ in found}
    assert [uid for uid, _ in found] == list(range(1, len(found) + 1))
    await dispatch.close()
    assert sorted(file for _, file in await messages(database, box)) == names(root, box)


async def test_too_much_at_once_is_refused_for_now(
    dispatch: Dispatch, database: Database, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = await add_box(database)
    monkeypatch.setattr(dispatch_module, "WAITING_MESSAGES", 10)

    results = await asyncio.gather(
        *(dispatch.deliver(Incoming(b"", BODY, (box.target(),))) for _ in range(50)), return_exceptions=True
    )

    refused = [result for result in results if isinstance(result, UnavailableError)]
    assert len(refused) == 40
    assert len(names(root, box)) == 10


async def test_a_full_disk_is_said_to_be_full(database: Database, tmp_path: Path) -> None:
    import os
    import subprocess

    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=True)
    try:
        dispatch = Dispatch(Store(disk, 4, True, "mx"), database, Publications())
        box = await add_box(database)
        results = await asyncio.gather(
            *(dispatch.deliver(Incoming(b"", BODY * 400, (box.target(),))) for _ in range(20)),
            return_exceptions=True,
        )
        full = [result for result in results if isinstance(result, StorageFullError)]
        kept = [result for result in results if isinstance(result, tuple)]
        assert full and kept and len(full) + len(kept) == 20
        assert sorted(file for _, file in await messages(database, box)) == names(disk, box)
        await dispatch.close()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
