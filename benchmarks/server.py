"""What the measurements need to know of a server, whichever it is."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from benchmarks.processes import ProcessTree

HOST = "127.0.0.1"
PASSWORD = "correct horse battery staple"  # of all hundred users


class Server(Protocol):
    """A running mail server with the users of `messages.users`, each with `PASSWORD`."""

    name: str
    smtp_port: int
    submission_port: int
    imap_port: int
    imaps_port: int
    fill_sessions: int
    """With how many sessions a single mailbox is filled fastest."""

    @property
    def tree(self) -> ProcessTree:
        """All processes of the server, its databases included."""

    def start(self) -> None:
        """Start and return once mail can be sent and read."""

    def stop(self) -> None:
        """Stop all processes; the mail stays."""

    def versions(self) -> dict[str, str]:
        """Return the parts and their versions."""


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]


def wait_until(condition: Callable[[], bool], what: str, limit: float = 30.0) -> None:
    """Ask until `condition` holds.

    Raises:
        TimeoutError: it did not within `limit` seconds.
    """
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {limit:.0f} s")
        time.sleep(0.05)


def greets(port: int, greeting: bytes) -> bool:
    """Tell whether a server greets on `port`."""
    try:
        with socket.create_connection((HOST, port), timeout=5) as connection:
            return connection.recv(512).startswith(greeting)
    except OSError:
        return False


def terminate(pid: int, what: str, limit: float = 30.0) -> None:
    """End one process that we started, by its id, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: gone(pid), f"{what} stops", limit)


def gone(pid: int) -> bool:
    """Tell whether a process has ended; one of our own children is waited for."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return not Path(f"/proc/{pid}").exists()
