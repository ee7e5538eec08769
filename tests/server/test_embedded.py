"""The stores that ESP runs itself: any user, any folder, any crash."""

import asyncio
import os
import select
import signal
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

from esp.core.errors import EspError
from esp.server.embedded import until_ready
from esp.server.failure import StartError
from esp.server.stores import Stores
from esp.server.unprivileged import User
from tests.support import stores


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Below a folder that only its owner may enter, as the checkout of a root user often is.
    outer = tmp_path_factory.mktemp("o")
    outer.chmod(0o700)
    return outer / "d"


async def ask(folder: Path, question: str) -> object:
    connection = await asyncpg.connect(stores.dsn(folder))
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def test_a_table_survives_a_killed_server(folder: Path) -> None:
    server = stores.postgres(folder)
    async with stores.running(server) as process:
        await stores.execute(folder, "CREATE TABLE t AS SELECT 7 AS n", database="esp")
        process.kill()
        process.wait()
    async with stores.running(server):
        assert await ask(folder, "SELECT n FROM t") == 7


async def test_a_server_that_was_left_behind_is_replaced(folder: Path) -> None:
    server = stores.postgres(folder)
    first = server.start()
    await until_ready(server, first)
    async with stores.running(server):
        assert first.wait() == 0
        assert await ask(folder, "SELECT 1") == 1


async def test_a_process_id_file_that_names_another_program_is_no_obstacle(folder: Path) -> None:
    server = stores.postgres(folder)
    async with stores.running(server):
        pass
    lines = [str(os.getpid()), str(folder / "postgres"), "1", "5432", "", "", "", "ready"]
    (folder / "postgres" / "postmaster.pid").write_text("\n".join(lines))
    async with stores.running(server):
        assert await ask(folder, "SELECT 1") == 1


async def test_data_of_another_major_version_is_refused_with_advice(folder: Path) -> None:
    server = stores.postgres(folder)
    (folder / "postgres").mkdir(parents=True)
    (folder / "postgres" / "PG_VERSION").write_text("12\n")
    with pytest.raises(StartError, match="made by PostgreSQL 12, this is .*pg_dumpall"):
        server.start()


async def test_the_server_accepts_nobody_else(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    async with stores.running(stores.postgres(folder)):
        sockets = stores.sockets(folder)
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "postgres").stat().st_mode) == 0o700
        assert (folder / "postgres").stat().st_uid == User.choose().uid != 0


async def test_postgresql_is_lean(folder: Path) -> None:
    async with stores.running(stores.postgres(folder)) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) <= 5
        assert await ask(folder, "SHOW jit") == "off"
        assert await ask(folder, "SHOW listen_addresses") == ""


async def test_what_postgresql_had_at_hand_it_has_again_after_a_start(folder: Path) -> None:
    server = stores.postgres(folder)
    async with stores.running(server):
        await stores.execute(
            folder, "CREATE TABLE t AS SELECT generate_series(1, 50000) AS n", database="esp"
        )
        await ask(folder, "SELECT sum(n) FROM t")
    log = folder / "postgres.log"
    before = len(log.read_text())
    async with stores.running(server):
        async with asyncio.timeout(20):
            while "autoprewarm successfully prewarmed" not in log.read_text()[before:]:
                await asyncio.sleep(0.05)
        await ask(folder, "SELECT pg_stat_reset()")
        await ask(folder, "SELECT sum(n) FROM t")
        await ask(folder, "SELECT pg_stat_force_next_flush()")
        read = "SELECT heap_blks_read FROM pg_statio_user_tables WHERE relname = 't' AND heap_blks_hit > 100"
        assert await ask(folder, read) == 0


async def test_what_valkey_said_it_kept_survives_a_kill(folder: Path) -> None:
    server = stores.valkey(folder)
    url = f"unix://{stores.sockets(folder) / 'valkey.sock'}"
    async with stores.running(server) as process:
        client = redis.asyncio.from_url(url)
        await client.set("k", "v")
        await client.aclose()
        process.send_signal(signal.SIGKILL)
        process.wait()
    async with stores.running(server):
        client = redis.asyncio.from_url(url)
        assert await client.get("k") == b"v"
        await client.aclose()


async def test_valkey_whose_file_was_torn_by_a_power_cut_begins_empty(folder: Path) -> None:
    server = stores.valkey(folder)
    client = redis.asyncio.from_url(f"unix://{stores.sockets(folder) / 'valkey.sock'}")
    async with stores.running(server):
        await client.set("k", "v")
        await client.aclose()
    (torn,) = (folder / "valkey" / "appendonlydir").glob("*.incr.aof")
    with torn.open("ab") as file:
        file.write(bytes(4096))  # its length was durable, its octets were not
    with pytest.raises(StartError, match="append only file"):
        await until_ready(server, server.start())
    kept = Stores(lambda: None, asyncio.create_task)
    await kept.start([server])
    assert kept.ready
    assert await client.get("k") is None
    assert await client.set("k", "w")
    await client.aclose()
    kept.prepare_to_stop()
    await kept.stop()
    async with stores.running(server):
        assert await client.get("k") == b"w"
        await client.aclose()
    assert (folder / "valkey" / "damaged" / torn.name).exists()


async def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    server = stores.postgres(folder)
    async with stores.running(server):
        pass
    (folder / "postgres" / "postgresql.conf").write_text("port = none\n")
    process = server.start()
    with pytest.raises(StartError, match="none"):
        await until_ready(server, process)
    assert process.wait() != 0


def test_a_user_that_does_not_exist_is_named() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root chooses")
    with pytest.raises(EspError, match="no-such-user.*useradd"):
        User.choose("no-such-user")


def test_children_die_with_their_parent(tmp_path: Path) -> None:
    script = (
        "import os, subprocess, sys\n"
        "from pathlib import Path\n"
        "from esp.server.unprivileged import User\n"
        "child = User.choose().start(lambda names: ['/bin/sleep', '600'], [], subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    try:
        descriptor = os.pidfd_open(int(done.stdout))
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 10)[0]
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("megabytes", [8, 20, 30, 40])
def test_a_disk_that_fills_up_while_postgresql_is_made_is_told_and_the_next_start_begins_anew(
    tmp_path: Path, megabytes: int
) -> None:
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    options = f"size={megabytes}m,mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", disk], check=True)
    try:
        with pytest.raises(StartError, match=f"disk full: {disk}/postgres; free space .*ESP_VAR"):
            stores.postgres(disk).start()
        assert not (disk / "postgres" / "PG_VERSION").exists()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
