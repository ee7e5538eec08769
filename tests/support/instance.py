"""A whole ESP on free ports, started as `make run` starts it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from esp.server import state

PROJECT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 120.0
STOP_TIMEOUT = 90.0
_PORTS = {
    "smtp": "ESP_SMTP__PORT",
    "submission": "ESP_SMTP__SUBMISSION_PORT",
    "submissions": "ESP_SMTP__SUBMISSIONS_PORT",
    "lmtp": "ESP_SMTP__LMTP_PORT",
    "imap": "ESP_IMAP__PORT",
    "imaps": "ESP_IMAP__IMAPS_PORT",
    "api": "ESP_API__PORT",
}


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens to, taken all at once so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class Instance:
    """An ESP whose state is all below `folder`."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        """By door: smtp, submission, submissions, lmtp, imap, imaps, api."""
        self._overrides = environment
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder.with_name(folder.name + ".log")

    @property
    def environment(self) -> dict[str, str]:
        """What the instance, and commands that are to find it, run with."""
        ports = {variable: str(self.ports[door]) for door, variable in _PORTS.items()}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("ESP_")}
        path = os.pathsep.join(filter(None, (str(PROJECT / "python"), os.environ.get("PYTHONPATH"))))
        return {
            **inherited,
            "PYTHONPATH": path,
            "ESP_VAR": str(self.folder),
            "ESP_SMTP__PROCESSES": "2",
            "ESP_IMAP__PROCESSES": "2",
            **ports,
            **self._overrides,
        }

    # Life

    def start(self, *, wait: bool = True) -> None:
        """Start, and wait until everything serves."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "esp.cli.server", "serve", "--demo", str(self.folder)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        if wait:
            self.wait_ready()

    def wait_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Wait until `/health/ready` answers 200 and every role has all its processes."""
        deadline = time.monotonic() + timeout
        while not (self.is_ready() and self._complete()):
            if self.process is None or self.process.poll() is not None:
                raise RuntimeError(f"ESP ended:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"ESP is not ready after {timeout} s:\n{self.log_tail()}")
            time.sleep(0.02)

    def stop(self) -> int:
        """Stop in order, and return the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT)

    def kill_group(self) -> None:
        """SIGKILL the supervisor with its process group, and wait until all it started is gone."""
        assert self.process is not None
        pids = self.descendants()
        os.killpg(self.process.pid, signal.SIGKILL)
        self._await_end(pids)

    def kill_all(self) -> None:
        """SIGKILL the supervisor and all that descend from it, and wait until they are gone."""
        assert self.process is not None
        # Stopped from the top down, for who still runs might start another meanwhile.
        pids = _descendants(self.process.pid, halt=True)
        for pid in (self.process.pid, *pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._await_end(pids)

    def _await_end(self, pids: Sequence[int]) -> None:
        assert self.process is not None
        self.process.wait()
        deadline = time.monotonic() + STOP_TIMEOUT
        while any(map(_alive, pids)) and time.monotonic() < deadline:
            time.sleep(0.02)

    # Looking at it

    def health(self) -> tuple[int, dict[str, Any]]:
        """Return status and body of `/health/ready`; status 0 when nobody answers."""
        url = f"http://127.0.0.1:{self.ports['api']}/health/ready"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError:
            return 0, {}

    def is_ready(self) -> bool:
        """Tell what `/health/ready` says."""
        return self.health()[0] == 200

    def metrics(self) -> str:
        """Return `/metrics`."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['api']}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    def descendants(self) -> list[int]:
        """Return the process ids of all that the supervisor started, and of what these did."""
        assert self.process is not None
        return _descendants(self.process.pid)

    def state(self) -> state.State:
        """Return the supervisor's own view."""
        found = state.read(self.folder / "run")
        assert found is not None
        return found

    def pids(self, role: str) -> list[int]:
        """Return the process ids of a role, of `postgres`, `valkey` or `supervisor`, smallest first."""
        found = self.state()
        if role == "supervisor":
            return [found.supervisor]
        if role in found.stores:
            return [found.stores[role].pid]
        return sorted(process.pid for process in found.roles.get(role, []))

    @property
    def passwords(self) -> dict[str, str]:
        """By address."""
        found: dict[str, str] = json.loads((self.folder / "demo-credentials.json").read_text())
        return found

    @property
    def ca_file(self) -> Path:
        """The CA that clients are to trust."""
        return self.folder / "tls" / "ca.pem"

    @property
    def mail(self) -> Path:
        """Root of all Maildirs."""
        return Path(self._overrides.get("ESP_STORAGE__PATH", str(self.folder / "mail")))

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines of the log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""

    # Doing something with it

    def cli(self, *arguments: str, check: bool = True, text: str | None = None) -> Any:
        """Run `esp-cli`, and return what it prints: parsed when it was asked for `--json`."""
        done = self.command("esp.cli.admin", *arguments, text=text)
        if check and done.returncode != 0:
            raise RuntimeError(f"esp-cli {' '.join(arguments)}: {done.returncode}\n{done.stderr}")
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    def command(
        self, module: str, *arguments: str, text: str | None = None, extra: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run one of the two commands as the user of this instance would."""
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=PROJECT,
            env={**self.environment, **(extra or {})},
            input=text,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def flush_valkey(self) -> None:
        """FLUSHALL."""
        import redis

        with redis.Redis(unix_socket_path=str(self.folder / "run" / "stores" / "valkey.sock")) as client:
            client.flushall()

    def _complete(self) -> bool:
        found = self.state()
        return found.ready and all(process.ready for each in found.roles.values() for process in each)


def _descendants(pid: int, *, halt: bool = False) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):  # gone meanwhile
        if halt:
            os.kill(pid, signal.SIGSTOP)
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *_descendants(child, halt=halt)]
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
