"""A first start killed at any moment: the next one does all that was left to do."""

import os
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest
from cryptography import x509

from esp.config import load
from esp.server import cluster, demo
from esp.server.failure import StartError
from tests.support import stores

_KILLED_AT_FILE = """
import sys
from pathlib import Path
from tests.support import stores
stores.postgres(Path(sys.argv[1])).start()
"""

_KILLED_AT_RENAME = """
import os, signal, sys
from pathlib import Path
from tests.support import stores

def watch(event, arguments):
    if event == "os.rename" and os.fspath(arguments[1]).endswith("postgres/" + sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
stores.postgres(Path(sys.argv[1])).start()
"""

# In folder after folder a first start is killed, each after one line more of what writes files, and started again.
_KILLED_AT_LINE = """
import os, sys
from pathlib import Path
from esp.server import demo

def die_after(lines):
    left = lines
    def trace(frame, event, argument):
        nonlocal left
        code = frame.f_code
        if code.co_filename != demo.__file__ and code.co_name not in ("write_text", "write_bytes", "replace"):
            return None
        left -= event == "line"
        if left < 0:
            os.kill(os.getpid(), 9)
        return trace
    sys.settrace(trace)

def code_of_start(folder, lines=None):
    child = os.fork()
    if child == 0:
        if lines is not None:
            die_after(lines)
        demo.prepare_folder(folder, {})
        sys.settrace(None)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

lines, code = 0, None
while code != 0:
    folder = Path(sys.argv[1]) / str(lines)
    code = code_of_start(folder, lines)
    assert code in (0, -9), code
    assert code_of_start(folder) == 0
    lines += 1
"""


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Short: a socket's path is.
    return tmp_path_factory.mktemp("f")


def _started(script: str, *arguments: object) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)])


async def _is_whole(folder: Path) -> bool:
    async with stores.running(stores.postgres(folder)):
        connection = await asyncpg.connect(stores.dsn(folder))
        await connection.execute("CREATE TABLE t (n integer)")
        await connection.close()
    return not list((folder / "postgres").glob("initdb-*"))


@pytest.mark.parametrize(
    "appears",
    [
        pytest.param("postgres", id="its folder"),
        pytest.param("postgres/*/PG_VERSION", id="PG_VERSION, which initdb writes first"),
        pytest.param("postgres/*/global/pg_control", id="what says that there is a cluster"),
        pytest.param("postgres/*/base/1/1259_fsm", id="the catalogue"),
        pytest.param("postgres/*/base/4", id="the first copy of the template"),
        pytest.param("postgres/*/base/5", id="the last thing initdb makes"),
        pytest.param("postgres/*/base/1????", id="the database of CREATE DATABASE"),
    ],
)
async def test_postgresql_is_made_by_the_next_start_when_the_first_was_killed_at(
    folder: Path, appears: str
) -> None:
    first = _started(_KILLED_AT_FILE, folder)
    deadline = time.monotonic() + 60
    while not list(folder.glob(appears)):
        assert time.monotonic() < deadline
    first.kill()
    first.wait()
    assert await _is_whole(folder)


@pytest.mark.parametrize("name", ["base", "postgresql.conf", "PG_VERSION"])
async def test_postgresql_is_made_by_the_next_start_when_the_first_was_killed_before_it_moved(
    folder: Path, name: str
) -> None:
    assert _started(_KILLED_AT_RENAME, folder, name).wait() == -signal.SIGKILL
    assert await _is_whole(folder)


def test_files_that_are_not_postgresqls_are_never_cleared_away(folder: Path) -> None:
    (folder / "postgres").mkdir()
    (folder / "postgres" / "letters.txt").write_text("dear")
    with pytest.raises(StartError, match=r"other files \(letters.txt\); set database.path to a folder"):
        stores.postgres(folder).start()
    assert (folder / "postgres" / "letters.txt").read_text() == "dear"


async def test_a_socket_lock_that_names_another_program_is_no_obstacle(folder: Path) -> None:
    server = stores.postgres(folder)
    async with stores.running(server):
        pass
    lines = [str(os.getpid()), str(folder / "postgres"), "1", "5432", str(stores.sockets(folder)), ""]
    (stores.sockets(folder) / ".s.PGSQL.5432.lock").write_text("\n".join(lines))
    async with stores.running(server):
        pass


async def test_what_a_killed_server_left_running_ends_before_the_next_starts(folder: Path) -> None:
    server = stores.postgres(folder)
    async with stores.running(server) as process:
        connection = await asyncpg.connect(stores.dsn(folder))
        session = connection.get_server_pid()
        # Stopped, so that it cannot see its server die; going on, it does so at once.
        os.kill(session, signal.SIGSTOP)
        process.kill()
        process.wait()
        awake = subprocess.Popen(["/bin/sh", "-c", f"sleep 0.5; kill -CONT {session}"])
        cluster.end_leftovers(folder / "postgres")
        assert awake.wait() == 0
        assert not Path(f"/proc/{session}/cwd").exists()
        connection.terminate()


def test_the_demo_is_made_whole_by_the_next_start_when_the_first_was_killed_at_any_line(
    folder: Path,
) -> None:
    assert _started(_KILLED_AT_LINE, folder).wait() == 0
    made = list(folder.iterdir())
    assert len(made) > 50
    for each in made:
        tls = each / "tls"
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls / "cert.pem", tls / "key.pem")
        ca, certificate = (
            x509.load_pem_x509_certificate((tls / name).read_bytes()) for name in ("ca.pem", "cert.pem")
        )
        certificate.verify_directly_issued_by(ca)
        assert load(each / "esp.yaml").server.hostname == demo.HOSTNAME
        assert set(demo.passwords(each)) == {*demo.USERS, demo.ADMIN}
