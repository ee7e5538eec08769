"""Client libraries of other languages against a running ESP: each does what a mail program does, and hears of new mail.

A client is a program that is given port, CA file, user and password. It says IDLING when it waits, whereupon a message
comes by LMTP, and DONE when everything was as it should be.
"""

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import debian, lmtp
from tests.support.instance import Instance

FOLDER = Path(__file__).parent
USER = "client@example.test"
PASSWORD = secrets.token_urlsafe(12)
PATIENCE = 60
Command = Callable[[Path], list[str]]


@pytest.fixture(scope="module")
def door(esp_instance: Instance) -> Iterator[Instance]:
    """A running ESP with an account for all clients, one after the other."""
    esp_instance.cli("user", "add", USER, "--password-stdin", text=PASSWORD)
    yield esp_instance
    esp_instance.cli("user", "remove", USER)


def _prepared(source: str, work: Path, *command: str) -> Path:
    """Copy a client to where it may be built, and build it; skip when what it needs cannot be had."""
    folder = work / source
    shutil.copytree(FOLDER / source, folder)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        pytest.skip(f"NOT TESTED: {' '.join(command)} failed: {(done.stdout + done.stderr)[-300:]}")
    return folder


def _imapflow(work: Path) -> list[str]:
    debian.require("node", "npm")
    folder = _prepared("imapflow", work, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
    return ["node", str(folder / "client.js")]


def _go(work: Path) -> list[str]:
    debian.require("go")
    return [str(_prepared("go", work, "go", "build", "-o", "client", ".") / "client")]


def _perl(_: Path) -> list[str]:
    if (
        subprocess.run(["perl", "-MMail::IMAPClient", "-e1"], capture_output=True, check=False).returncode
        != 0
    ):
        debian.install("libmail-imapclient-perl", "libio-socket-ssl-perl")
    if (
        subprocess.run(["perl", "-MMail::IMAPClient", "-e1"], capture_output=True, check=False).returncode
        != 0
    ):
        pytest.skip("NOT TESTED: only root can apt-get install libmail-imapclient-perl")
    return ["perl", str(FOLDER / "perl" / "client.pl")]


def _ruby(_: Path) -> list[str]:
    debian.require("ruby")
    return ["ruby", str(FOLDER / "ruby" / "client.rb")]


CLIENTS: dict[str, Command] = {
    "imapflow": _imapflow,
    "go-imap": _go,
    "Mail::IMAPClient": _perl,
    "net-imap": _ruby,
    "IMAPClient": lambda _: [sys.executable, str(FOLDER / "with_imapclient.py")],
    "aioimaplib": lambda _: [sys.executable, str(FOLDER / "with_aioimaplib.py")],
}


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_does_its_day(door: Instance, name: str, tmp_path: Path) -> None:
    arguments = [str(door.ports["imaps"]), str(door.ca_file), USER, PASSWORD]
    log = tmp_path / "errors"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [*CLIENTS[name](tmp_path), *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "SSL_CERT_FILE": str(door.ca_file)},
        ) as process,
    ):
        patience = threading.Timer(PATIENCE, process.kill)
        patience.start()
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line.strip())
            if line.strip() == "IDLING":
                asyncio.run(lmtp.deliver(door.ports["lmtp"], USER, f"for {name}"))
        patience.cancel()
    assert said[-1:] == ["DONE"], (said, log.read_text()[-2000:])
