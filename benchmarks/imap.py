"""An IMAP client that only measures: blocking socket, large reads, nothing parsed that need not be.

Its own share of the time is a few microseconds for a command and what the kernel takes to copy the octets.
"""

import itertools
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import msgspec

from benchmarks.server import HOST, PASSWORD

_KEPT = 64 * 1024
_LAST = 4096
"""Octets at the end of an answer that hold its tagged response."""


class Response(msgspec.Struct, frozen=True):
    """How a command was answered."""

    text: bytes
    """All of a short answer; the last 64 KiB of a long one."""
    octets: int
    seconds: float


class RefusedError(Exception):
    """A command was answered NO or BAD, or the connection was closed."""


def tags() -> Iterator[bytes]:
    """Return what one connection tags its commands with; no mail holds this at the start of a line."""
    return map(b"ZQX%d".__mod__, itertools.count(1))


def status(text: bytes | bytearray, tag: bytes) -> bytes | None:
    """Return what follows the tag in the response that ends an answer; `None` as long as there is none."""
    _, found, said = (b"\r\n" + text[-_LAST:]).rpartition(b"\r\n" + tag + b" ")
    return said if found and said.endswith(b"\r\n") else None


def check(sent: bytes, text: bytes, tag: bytes) -> None:
    """Return if what was sent was answered with OK.

    Raises:
        RefusedError: it was not.
    """
    said = status(text, tag) or b""
    if not said.startswith(b"OK"):
        raise RefusedError(f"{sent[:120]!r}: {said[:300]!r}")


def tls_context() -> ssl.SSLContext:
    """Return a context that trusts anybody: who listens on 127.0.0.1 is known here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class ImapConnection:
    """One connection, one command at a time."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, timeout: float = 120.0) -> None:
        plain = socket.create_connection((HOST, port), timeout=timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = plain if tls is None else tls.wrap_socket(plain, server_hostname="localhost")
        self._buffer = bytearray(0)
        self._tags = tags()
        self._read_until(lambda text: text.endswith(b"\r\n"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close without LOGOUT."""
        self._socket.close()

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def _read_until(self, complete: Callable[[bytes], bool]) -> tuple[bytes, int]:
        kept = b""
        octets = 0
        while True:
            chunk = self._socket.recv(1 << 20 if octets > _KEPT else _KEPT)
            if not chunk:
                raise RefusedError(f"closed after {kept[-200:]!r}")
            octets += len(chunk)
            kept = (kept + chunk)[-_KEPT:]
            if complete(kept):
                return kept, octets

    def command(self, line: str | bytes) -> Response:
        """Send a command and time it until its tagged response.

        Raises:
            RefusedError: it was not OK.
        """
        tag = next(self._tags)
        octets = line.encode() if isinstance(line, str) else line
        return self._finish(tag, tag + b" " + octets + b"\r\n")

    def _finish(self, tag: bytes, sent: bytes) -> Response:
        began = time.perf_counter()
        self._socket.sendall(sent)
        text, count = self._read_until(lambda text: status(text, tag) is not None)
        seconds = time.perf_counter() - began
        check(sent, text, tag)
        return Response(text=text, octets=count, seconds=seconds)

    def login(self, user: str) -> Response:
        """Log in as one of the benchmark's users."""
        return self.command(f'LOGIN "{user}" "{PASSWORD}"')

    def append(self, mailbox: str, message: bytes) -> Response:
        """Append with a non-synchronising literal (RFC 7888): one round trip on both servers."""
        tag = next(self._tags)
        return self._finish(
            tag, b"%s APPEND %s {%d+}\r\n%s\r\n" % (tag, mailbox.encode(), len(message), message)
        )

    def messages(self, mailbox: str) -> int:
        """Return how many messages a mailbox shows (STATUS)."""
        found = re.search(rb"MESSAGES (\d+)", self.command(f"STATUS {mailbox} (MESSAGES)").text)
        if found is None:
            raise RefusedError("STATUS without MESSAGES")
        return int(found[1])

    def idle(self) -> None:
        """Begin IDLE (RFC 2177)."""
        self._idling = next(self._tags)
        self._socket.sendall(self._idling + b" IDLE\r\n")
        self._read_until(lambda text: text.startswith(b"+ ") or b"\r\n+ " in text)

    def wait_for(self, token: bytes) -> float:
        """Read until a line holds `token`; return when it came (`perf_counter`)."""
        self._read_until(lambda text: token in text)
        return time.perf_counter()

    def done(self) -> None:
        """End IDLE."""
        self._finish(self._idling, b"DONE\r\n")


def fill(port: int, users: Sequence[str], mailbox: str, messages: Iterable[bytes]) -> float:
    """Append all messages, with a session for each entry of `users`; return the seconds it took."""
    sessions = len(users)
    connections = [ImapConnection(port) for _ in users]
    for connection, user in zip(connections, users, strict=True):
        connection.login(user)
    source = iter(messages)
    batch: list[bytes]

    def work(connection: ImapConnection, mine: Sequence[bytes]) -> None:
        for message in mine:
            connection.append(mailbox, message)

    seconds = 0.0
    with ThreadPoolExecutor(sessions) as pool:
        while True:
            batch = list(itertools.islice(source, 1000))
            if not batch:
                break
            began = time.perf_counter()
            list(pool.map(work, connections, [batch[index::sessions] for index in range(sessions)]))
            seconds += time.perf_counter() - began
    for connection in connections:
        connection.close()
    return seconds
