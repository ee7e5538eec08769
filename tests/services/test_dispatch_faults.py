"""Dispatch between stores that fail: nothing that was answered is lost, nothing that was refused appears."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from esp.config import sections
from esp.core.errors import EspError, StorageFullError, UnavailableError
from esp.native import Store
from esp.services import batch as batch_module
from esp.services import dispatch as dispatch_module
from esp.services.checking import check
from esp.services.dispatch import Dispatch, Incoming
from esp.services.upkeep import Upkeep
from esp.storage.postgres.pool import Database
from tests.services.conftest import Box, Publications, add_box
from tests.support import stores

BODY = b"Subject: x\r\n\r\nHello\r\n"
HOST = "faulty.example.test"


class Proxy:
    """Stands between ESP and PostgreSQL, and cuts the connection that carries a batch, once, as told."""

    def __init__(self, server: Path, listen: Path) -> None:
        self._server = str(server)
        self._listen = str(listen)
        self.cut: str | None = None
        self.release = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._listener = await asyncio.start_unix_server(self._connected, self._listen)

    async def stop(self) -> None:
        assert self._listener is not None
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream_reader, upstream = await asyncio.open_unix_connection(self._server)
        back = asyncio.create_task(self._back(upstream_reader, writer))
        try:
            while octets := await reader.read(1 << 20):
                if self.cut and HOST.encode() in octets and b",S=" in octets:
                    await self._cut(octets, upstream, upstream_reader, writer, back)
                    return
                upstream.write(octets)
        finally:
            back.cancel()
            writer.close()
            upstream.close()

    async def _cut(
        self,
        octets: bytes,
        upstream: asyncio.StreamWriter,
        upstream_reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: "asyncio.Task[None]",
    ) -> None:
        how, self.cut = self.cut, None
        back.cancel()
        await asyncio.gather(back, return_exceptions=True)
        if how == "after":
            # It is carried out and answered; the answer never arrives.
            upstream.write(octets)
            await upstream_reader.read(1)
        writer.close()
        if how == "late":
            # It is still under way when the connection is gone already.
            await self.release.wait()
            with contextlib.suppress(OSError):
                upstream.write(octets)
                await upstream.drain()
                await upstream_reader.read(1)

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while octets := await reader.read(1 << 20):
            writer.write(octets)
        writer.close()


@pytest_asyncio.fixture(loop_scope="session")
async def proxied(
    database: Database, database_settings: sections.Database, postgres: Path, tmp_path: Path
) -> AsyncIterator[tuple[Proxy, Database]]:
    folder = stores.sockets(postgres)
    listen = folder.parent / f"p{tmp_path.name[-12:]}"
    listen.mkdir()
    proxy = Proxy(folder / ".s.PGSQL.5432", listen / ".s.PGSQL.5432")
    await proxy.start()
    dsn = database_settings.dsn.replace(str(folder), str(listen))
    opened = await Database.open(sections.Database(dsn=dsn, pool_size=2))
    yield proxy, opened
    await opened.close()
    await proxy.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def faulty(
    proxied: tuple[Proxy, Database], root: Path, publications: Publications
) -> AsyncIterator[Dispatch]:
    dispatch = Dispatch(Store(root, 4, True, HOST), proxied[1], publications)
    yield dispatch
    await dispatch.close()


@pytest.fixture
def own_stores() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="esp-"))
    yield folder
    shutil.rmtree(folder)


async def messages(database: Database, box: Box) -> list[tuple[int, str]]:
    async with database.connection() as connection:
        return [
            (row[0], row[1])
            for row in await connection.fetch(
                "SELECT uid, file FROM message WHERE mailbox_id = $1 ORDER BY uid", box.mailbox
            )
        ]


def names(root: Path, box: Box) -> list[str]:
    return sorted(path.name for path in (root / box.folder).glob("*/*"))


@pytest.mark.parametrize("cut", ["before", "after", "late"])
async def test_a_connection_cut_around_the_commit_delivers_once(
    proxied: tuple[Proxy, Database], faulty: Dispatch, database: Database, root: Path, cut: str
) -> None:
    box = await add_box(database)
    await faulty.deliver(Incoming(b"", BODY, (box.target(),)))
    proxied[0].cut = cut

    placed = await asyncio.gather(*(faulty.deliver(Incoming(b"", BODY, (box.target(),))) for _ in range(5)))
    proxied[0].release.set()

    assert proxied[0].cut is None
    assert sorted(place.uid for (place,) in placed) == [2, 3, 4, 5, 6]
    assert len({place.modseq for (place,) in placed}) == 1
    found = await messages(database, box)
    assert [uid for uid, _ in found] == [1, 2, 3, 4, 5, 6]
    assert sorted(file for _, file in found) == names(root, box)


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
    before = batch_module.FIND_TIMEOUT
    batch_module.FIND_TIMEOUT = 0.5
    try:
        return await delivery
    finally:
        batch_module.FIND_TIMEOUT = before


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
