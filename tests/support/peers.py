"""ESP and Dovecot as two servers that get the same commands: one session each, responses as values, waiting in line."""

import os
import pwd
import re
import select
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tests.support import debian
from tests.support.wire import ClosedError, Response, parse

PATIENCE = 30.0
_IMAP = Path("/usr/lib/dovecot/imap")
_NOBODY = 65534
_LITERAL_AT_END = re.compile(rb"\{(\d+)\}\r\n\Z")


class Pipe(Protocol):
    """Octets in and out."""

    def send(self, octets: bytes) -> None:
        """Write all."""

    def receive(self) -> bytes:
        """Return some octets; none at the end, or when nothing came for too long."""

    def close(self) -> None:
        """End it."""


class Socket:
    """A connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, octets: bytes) -> None:
        """Write all."""
        self._connection.sendall(octets)

    def receive(self) -> bytes:
        """Return some octets; none at the end."""
        return self._connection.recv(65_536)

    def close(self) -> None:
        """End it."""
        self._connection.close()


class _Process:
    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def send(self, octets: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(octets)
        self._process.stdin.flush()

    def receive(self) -> bytes:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        return os.read(self._process.stdout.fileno(), 65_536) if ready else b""

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


class Peer:
    """A session with a server."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.transcript: deque[bytes] = deque(maxlen=60)
        self._buffer = b""
        self._tags = 0

    def read(self) -> Response:
        """Return the next response.

        Raises:
            ClosedError: there is none.
            MalformedError: it is none.
        """
        at = 0
        while True:
            end = self._buffer.find(b"\r\n", at)
            if end < 0:
                chunk = self.pipe.receive()
                if not chunk:
                    raise ClosedError(f"after {list(self.transcript)[-4:]}, {self._buffer[-200:]!r}")
                self._buffer += chunk
                continue
            literal = _LITERAL_AT_END.search(self._buffer, at, end + 2)
            if literal is None:
                raw, self._buffer = self._buffer[: end + 2], self._buffer[end + 2 :]
                self.transcript.append(b"S: " + raw[:400])
                return parse(raw)
            at = end + 2 + int(literal[1])
            while len(self._buffer) < at:
                self._buffer += self.pipe.receive()

    def command(self, command: bytes) -> list[Response]:
        """Send a command, with `{n+}` literals in it, and return all responses; the last is the tagged one.

        Where the server gave up before it knew the tag, the last is an untagged BAD.
        """
        self._tags += 1
        tag = f"t{self._tags}"
        octets = tag.encode() + b" " + command + b"\r\n"
        self.transcript.append(b"C: " + octets[:400])
        self.pipe.send(octets)
        found = [self.read()]
        while found[-1].tag != tag and (found[-1].tag, found[-1].name) != ("*", "BAD"):
            found.append(self.read())
        return found

    def answer(self, command: bytes) -> bytes:
        """As `command`, the octets; ends with a request to continue as well."""
        self._tags += 1
        tag = f"t{self._tags}"
        self.pipe.send(tag.encode() + b" " + command + b"\r\n")
        found = [self.read()]
        while found[-1].tag not in {tag, "+"}:
            found.append(self.read())
        return b"".join(response.raw for response in found)


def secure(port: int, ca_file: Path) -> Peer:
    """Return a session of ESP over TLS."""
    context = ssl.create_default_context(cafile=str(ca_file))
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
    # Commands are sent in several pieces, and each waits for its answer.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer = Peer(Socket(context.wrap_socket(connection, server_hostname="localhost")))
    peer.read()
    return peer


def esp(port: int, ca_file: Path, user: str, password: str) -> Peer:
    """Return a session of ESP that is logged in."""
    peer = secure(port, ca_file)
    assert peer.command(f'LOGIN {user} "{password}"'.encode())[-1].name == "OK"
    return peer


class Dovecot:
    """Dovecot's `imap` programs, as many as are asked for, on one Maildir of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._user = pwd.getpwuid(os.geteuid() or _NOBODY)
        for place in ("cur", "new", "tmp"):
            (folder / "Maildir" / place).mkdir(parents=True)
        self._config = folder / "dovecot.conf"
        self._config.write_text(
            f"base_dir = {folder}/run\nstate_dir = {folder}/run\nlog_path = {folder}/log\nssl = no\n"
            f"mail_location = maildir:{folder}/Maildir\nstats_writer_socket_path =\nfirst_valid_uid = 0\n"
            f"mail_uid = {self._user.pw_uid}\nmail_gid = {self._user.pw_gid}\n"
            "mail_fsync = never\nnamespace inbox {\n  inbox = yes\n  separator = /\n}\n"
        )
        for path in (folder, *folder.rglob("*")):
            if os.geteuid() == 0:
                os.chown(path, self._user.pw_uid, self._user.pw_gid)

    def session(self) -> Peer:
        """Return a session that is logged in."""
        process = subprocess.Popen(
            [_IMAP, "-c", self._config],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                "USER": self._user.pw_name,
                "HOME": str(self._folder),
                "PATH": os.environ["PATH"],
                "TZ": "UTC",
            },
        )
        return Peer(_Process(process))


@contextmanager
def dovecot() -> Iterator[Dovecot]:
    """A Dovecot whose mail is gone afterwards."""
    debian.require("dovecot")
    folder = Path(tempfile.mkdtemp(prefix="esp-dovecot-"))
    try:
        yield Dovecot(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
