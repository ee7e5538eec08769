"""Dovecot as a reference: its `imap` program run on a Maildir of its own, over a pipe, as the user we are."""

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support import debian

_IMAP = Path("/usr/lib/dovecot/imap")
_NOBODY = 65534


def fetch(messages: Sequence[bytes], items: Sequence[str]) -> list[dict[str, bytes]]:
    """Return what Dovecot answers to `FETCH (items)` for each message, each value as it came on the wire.

    Values of `BODY[…]` are the octets of the literal or string itself.
    """
    debian.require("dovecot")
    folder = Path(tempfile.mkdtemp(prefix="esp-dovecot-"))
    try:
        return _fetch(folder, messages, items)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fetch(folder: Path, messages: Sequence[bytes], items: Sequence[str]) -> list[dict[str, bytes]]:
    user = pwd.getpwuid(os.geteuid() or _NOBODY)
    maildir = folder / "Maildir"
    for place in ("cur", "new", "tmp"):
        (maildir / place).mkdir(parents=True)
    for number, octets in enumerate(messages):
        (maildir / "cur" / f"{1_700_000_000 + number}.M{number}P1.reference:2,S").write_bytes(octets)
    config = folder / "dovecot.conf"
    config.write_text(
        f"base_dir = {folder}/run\nstate_dir = {folder}/run\nlog_path = {folder}/log\nssl = no\n"
        f"mail_location = maildir:{maildir}\nstats_writer_socket_path =\nfirst_valid_uid = 0\n"
        f"mail_uid = {user.pw_uid}\nmail_gid = {user.pw_gid}\n"
    )
    for path in (folder, *folder.rglob("*")):
        if os.geteuid() == 0:
            os.chown(path, user.pw_uid, user.pw_gid)
    environment = {"USER": user.pw_name, "HOME": str(folder), "PATH": os.environ["PATH"]}
    with subprocess.Popen(
        [_IMAP, "-c", config],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # LOGOUT only after the answer: at the end of its input the program drops what it still has to say.
        process.stdin.write(f"a EXAMINE INBOX\r\nb FETCH 1:* ({' '.join(items)})\r\n".encode())
        process.stdin.flush()
        answer = bytearray()
        while (end := _DONE.search(answer, max(len(answer) - 70_000, 0))) is None:
            chunk = os.read(process.stdout.fileno(), 65_536)
            assert chunk, answer[-2000:]
            answer += chunk
        process.stdin.write(b"c LOGOUT\r\n")
        process.stdin.close()
        assert end[1] == b"OK", end[0]
    return parse_fetch(bytes(answer))


_DONE = re.compile(rb"\r\nb (OK|NO|BAD) [^\r\n]*\r\n$")
_FETCH = re.compile(rb"\* (\d+) FETCH \(")
_NAME = re.compile(rb"[A-Z0-9.]+(?:\[[^\]]*\])?(?:<\d+>)?")
_LITERAL = re.compile(rb"~?\{(\d+)\}\r\n")


def parse_fetch(stream: bytes) -> list[dict[str, bytes]]:
    """Return the items of all FETCH responses by message, later ones joined to the first."""
    found: dict[int, dict[str, bytes]] = {}
    at = 0
    while at < len(stream):
        match = _FETCH.match(stream, at)
        if match is None:
            at = stream.index(b"\n", at) + 1
            continue
        items = found.setdefault(int(match[1]), {})
        at = match.end()
        while stream[at : at + 1] != b")":
            at += stream[at : at + 1] == b" "
            name = _NAME.match(stream, at)
            assert name is not None, stream[at : at + 80]
            end = value_end(stream, name.end() + 1)
            raw = stream[name.end() + 1 : end]
            items[name[0].decode()] = string(raw) if b"[" in name[0] else raw
            at = end
        at += 3
    return [found[number] for number in sorted(found)]


def value_end(stream: bytes, at: int) -> int:
    """Return where the value that begins at `at` ends: a list, a string, a literal or an atom."""
    first = stream[at : at + 1]
    if first == b"(":
        at += 1
        while stream[at : at + 1] != b")":
            at = value_end(stream, at + (stream[at : at + 1] == b" "))
        return at + 1
    if first == b'"':
        at += 1
        while stream[at : at + 1] != b'"':
            assert stream[at : at + 1] not in (b"", b"\r", b"\n", b"\0"), "quoted string"
            at += 1 + (stream[at : at + 1] == b"\\")
        return at + 1
    if literal := _LITERAL.match(stream, at):
        return literal.end() + int(literal[1])
    start = at
    while stream[at : at + 1] not in (b" ", b")", b"(", b"\r", b""):
        at += 1
    assert at > start, stream[at : at + 40]
    return at


def string(raw: bytes) -> bytes:
    """Return the octets of an nstring; NIL has none."""
    if raw == b"NIL":
        return b""
    if literal := _LITERAL.match(raw):
        return raw[literal.end() :]
    return re.sub(rb"\\(.)", rb"\1", raw[1:-1])
