"""ESP as `make run` starts it, with all its state in a folder of its own."""

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from benchmarks.messages import DOMAIN, users
from benchmarks.processes import ProcessTree
from benchmarks.server import HOST, PASSWORD, free_ports, gone, greets, terminate, wait_until

PROJECT = Path(__file__).resolve().parent.parent
_LONGEST_START = 600.0  # the first one may build


def _installed(name: str) -> str:
    """Return the path of a command of the environment we run in."""
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return shutil.which(name, path=places) or name


class Esp:
    """The instance under `home`."""

    name = "ESP"
    fill_sessions = 10

    def __init__(self, home: Path, command: list[str]) -> None:
        self._home = home
        self._command = command
        ports = free_ports(7)
        self.smtp_port, self.imap_port, self.imaps_port, self._api_port, self.submission_port = ports[:5]
        self._environment = {
            **os.environ,
            "ESP_VAR": str(home),
            "ESP_SMTP__PORT": str(ports[0]),
            "ESP_IMAP__PORT": str(ports[1]),
            "ESP_IMAP__IMAPS_PORT": str(ports[2]),
            "ESP_API__PORT": str(ports[3]),
            "ESP_SMTP__SUBMISSION_PORT": str(ports[4]),
            "ESP_SMTP__SUBMISSIONS_PORT": str(ports[5]),
            "ESP_SMTP__LMTP_PORT": str(ports[6]),
            # The load logs in without TLS on both servers.
            "ESP_SECURITY__PLAINTEXT_LOGIN_NETWORKS": json.dumps(["127.0.0.0/8"]),
            # As many sessions of one user as the measurement of idle ones wants.
            "ESP_IMAP__MAX_CONNECTIONS_PER_USER": "2000",
        }
        self._started: subprocess.Popen[bytes] | None = None
        self._tree = ProcessTree()

    @property
    def tree(self) -> ProcessTree:
        """The supervisor and all below it: doors, workers, PostgreSQL, Valkey."""
        return self._tree

    def start(self) -> None:
        """Start, wait until ready, and make the users when this is the first start.

        Raises:
            TimeoutError: it does not become ready; its output is in the log beside its folder.
        """
        self._home.mkdir(parents=True, exist_ok=True)
        with (self._home.parent / "esp.log").open("ab") as log:
            # A group of its own: Ctrl-C in this program must reach ESP through us only, once.
            self._started = subprocess.Popen(
                self._command,
                cwd=PROJECT,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        started = self._started

        def ready() -> bool:
            if started.poll() is not None:
                raise RuntimeError(f"ESP ended at the start; see {self._home.parent / 'esp.log'}")
            return self._ready()

        wait_until(ready, "ESP is ready", _LONGEST_START)
        self._tree = ProcessTree(int((self._home / "run" / "esp.pid").read_text()))
        wait_until(lambda: greets(self.smtp_port, b"220 "), "ESP's SMTP door greets")
        wait_until(lambda: greets(self.imap_port, b"* OK"), "ESP's IMAP door greets")
        marker = self._home / "users-made"
        if not marker.exists():
            self._make_users()
            marker.touch()

    def _ready(self) -> bool:
        with contextlib.suppress(OSError):
            url = f"http://{HOST}:{self._api_port}/health/ready"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        return False

    def _administer(self, *arguments: str) -> None:
        subprocess.run(
            [_installed("esp-cli"), *arguments],
            cwd=PROJECT,
            env=self._environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def _make_users(self) -> None:
        table = self._home / "users.csv"
        with table.open("w", newline="") as file:
            table.chmod(0o600)
            writer = csv.writer(file)
            writer.writerow(["email", "password"])
            writer.writerows([user, PASSWORD] for user in users())
        self._administer("domain", "add", DOMAIN)
        self._administer("user", "import", str(table))

    def stop(self) -> None:
        """Stop the supervisor by its id; it ends the rest."""
        pid_file = self._home / "run" / "esp.pid"
        if pid_file.exists():
            terminate(int(pid_file.read_text()), "ESP", 60)
        if self._started is not None:
            if self._started.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._started.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._started.wait(30)
            self._started = None
        left = [stat for stat in self._tree.members() if not gone(stat.pid)]
        if left:
            names = ", ".join(f"{stat.name} ({stat.pid})" for stat in left)
            print(f"ESP left processes behind: {names}", file=sys.stderr)

    def versions(self) -> dict[str, str]:
        """Return ESP's version and commit."""
        answer = subprocess.run(
            [_installed("esp-server"), "version", "--json"],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        with contextlib.suppress(json.JSONDecodeError):
            said = json.loads(answer)
            commit = str(said.get("commit") or said.get("git_commit") or "")[:12]
            return {"ESP": f"{said.get('version', '?')} {commit}".strip()}
        return {"ESP": "?"}
