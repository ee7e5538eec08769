"""Mail moved from a real Dovecot into a running ESP, and on from there to other programs."""

import imaplib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from esp.native import mailbox_from_utf7
from tests.support.debian import require
from tests.support.dovecot_server import PASSWORD, DovecotServer
from tests.support.instance import PROJECT, Instance

CAROL = "carol"
DAVE = "dave"
WHEN = '"05-Feb-2024 10:11:12 +0300"'
FOLDERS = {"INBOX": 60, "Sent Items": 5, "Work": 0, "Work.2026 &AOQ-": 7, "50 %": 3}
FLAGS = ("", "\\Seen", "\\Flagged \\Answered $Forwarded", "\\Draft \\Deleted Later")


def letter(folder: str, number: int) -> bytes:
    body = b"x" * (number % 7 * 1000) + b"\r\nFrom me\r\n\xff\x80 8 bit\r\n" * (number % 3)
    if number == 3:
        body += b"0123456789abcd\r\n" * 150_000
    return (
        f"From: a@b\r\nSubject: {folder} {number}\r\nMessage-ID: <{number}.{folder}@x>\r\n\r\n".encode()
        + body
    )


@pytest.fixture(scope="module", params=["", "INBOX."])
def dovecot(
    request: pytest.FixtureRequest,
) -> Iterator[DovecotServer]:
    """Carol's account, with and without a prefix of all names."""
    prefix = request.param
    # Not below pytest's own folder: each run of pytest closes that to Dovecot's user, also while another is under way.
    with (
        tempfile.TemporaryDirectory() as home,
        DovecotServer(Path(home), CAROL, DAVE, prefix=prefix) as server,
    ):
        client = login(server)
        for folder, count in FOLDERS.items():
            name = folder if folder == "INBOX" else f'"{prefix}{folder}"'
            if folder not in {"INBOX", "Sent Items"}:
                assert client.create(name)[0] == "OK"
            for number in range(count):
                assert client.append(name, f"({FLAGS[number % 4]})", WHEN, letter(folder, number))[0] == "OK"
        client.logout()
        yield server


def login(server: DovecotServer, user: str = CAROL) -> imaplib.IMAP4_SSL:
    context = ssl.create_default_context(cafile=server.ca_file)
    client = imaplib.IMAP4_SSL("localhost", server.imaps, ssl_context=context)
    client.authenticate("PLAIN", lambda _: f"\0{user}\0{PASSWORD}".encode())
    return client


@pytest.fixture
def user(esp_instance: Instance, request: pytest.FixtureRequest) -> Iterator[str]:
    address = f"u{abs(hash(request.node.name)) % 10**9}@example.test"
    esp_instance.cli("user", "add", address, "--password-stdin", text="secret of hers\n")
    yield address
    esp_instance.cli("user", "remove", address)


def pull(server: DovecotServer, user: str, *options: str, scheme: str = "imaps") -> list[str]:
    port = server.imaps if scheme == "imaps" else server.imap
    source = f"{scheme}://{CAROL}@localhost:{port}"
    return [
        "message",
        "import",
        user,
        "--from",
        source,
        "--password-stdin",
        "--ca-file",
        str(server.ca_file),
        *options,
    ]


def contents(esp: Instance, user: str) -> dict[str, list[tuple[bytes, frozenset[str], str]]]:
    """Return octets, flags and date of all messages by mailbox, in the order of UIDs."""
    client = session(esp, user)
    found = {}
    for line in client.list()[1]:
        name = line.decode().rpartition(' "/" ')[2]
        client.select(name, readonly=True)
        fetched = client.uid("FETCH", "1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")[1]
        parts = [one for one in fetched if isinstance(one, tuple)]
        if parts:
            found[mailbox_from_utf7(name.strip('"'))] = [values(head, octets) for head, octets in parts]
    client.logout()
    return found


def values(head: bytes, octets: bytes) -> tuple[bytes, frozenset[str], str]:
    date = time.strftime("%F %T", time.gmtime(time.mktime(imaplib.Internaldate2tuple(head))))
    return octets, frozenset(flag.decode() for flag in imaplib.ParseFlags(head)) - {"\\Recent"}, date


def session(esp: Instance, user: str) -> imaplib.IMAP4_SSL:
    context = ssl.create_default_context(cafile=str(esp.ca_file))
    client = imaplib.IMAP4_SSL("localhost", esp.ports["imaps"], ssl_context=context)
    client.login(user, "secret of hers")
    return client


def expected() -> dict[str, list[tuple[bytes, frozenset[str], str]]]:
    names = {"INBOX": "INBOX", "Sent Items": "Sent", "Work.2026 &AOQ-": "Work/2026 ä", "50 %": "50 _"}
    return {
        names[folder]: [
            (letter(folder, n), frozenset(FLAGS[n % 4].split()), "2024-02-05 07:11:12") for n in range(count)
        ]
        for folder, count in FOLDERS.items()
        if count
    }


@pytest.mark.parametrize("scheme", ["imaps", "imap"])
def test_an_account_of_dovecot_is_here_afterwards(
    esp_instance: Instance, user: str, dovecot: DovecotServer, scheme: str
) -> None:
    done = esp_instance.command("esp.cli.admin", *pull(dovecot, user, scheme=scheme), text=PASSWORD + "\n")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "imported 75 messages" in done.stdout
    assert contents(esp_instance, user) == expected()
    again = json.loads(
        esp_instance.command(
            "esp.cli.admin", *pull(dovecot, user, "--json", scheme=scheme), text=PASSWORD + "\n"
        ).stdout
    )
    assert {(one["imported"], one["failed"]) for one in again["folders"]} == {(0, 0)}


@pytest.mark.parametrize("dovecot", [""], indirect=True)
def test_certificates_and_passwords_are_checked(
    esp_instance: Instance, user: str, dovecot: DovecotServer
) -> None:
    run: Callable[..., subprocess.CompletedProcess[str]] = esp_instance.command
    untrusted = [argument for argument in pull(dovecot, user) if argument != "--ca-file"]
    untrusted.remove(str(dovecot.ca_file))

    refused = run("esp.cli.admin", *untrusted, text=PASSWORD + "\n")
    assert (refused.returncode, "certificate" in refused.stderr) == (1, True), refused.stderr
    unchecked = run(
        "esp.cli.admin", *untrusted, "--tls", "unverified", "--mailbox", "Sent", text=PASSWORD + "\n"
    )
    assert (unchecked.returncode, "imported 5" in unchecked.stdout) == (0, True), unchecked.stderr
    wrong = run("esp.cli.admin", *pull(dovecot, user), text="wrong\n")
    assert (wrong.returncode, "refused the login" in wrong.stderr) == (1, True), wrong.stderr
    clear = run("esp.cli.admin", *pull(dovecot, user, "--tls", "none", scheme="imap"), text=PASSWORD + "\n")
    assert clear.returncode == 0, clear.stderr
    assert PASSWORD not in refused.stderr + wrong.stderr + clear.stderr


def test_a_session_that_has_the_mailbox_open_sees_them_come(
    esp_instance: Instance, user: str, dovecot: DovecotServer
) -> None:
    client = session(esp_instance, user)
    client.select("INBOX")

    done = esp_instance.command(
        "esp.cli.admin", *pull(dovecot, user, "--mailbox", "INBOX"), text=PASSWORD + "\n"
    )

    assert done.returncode == 0, done.stderr
    client.noop()
    assert client.response("EXISTS")[1][-1] == b"60"
    client.logout()


def test_killed_at_any_moment_and_run_again_each_message_comes_once(
    esp_instance: Instance, user: str, tmp_path: Path
) -> None:
    root = tmp_path / "source"
    for part in ("cur", "new", "tmp"):
        (root / part).mkdir(parents=True)
    count = 4000
    for number in range(count):
        (root / "cur" / f"{number:06}.x:2,S").write_bytes(letter("kill", number % 3) + b"%d\r\n" % number)
    command = [sys.executable, "-m", "esp.cli.admin", "message", "import", user, "--from", str(root)]
    kills = 0
    last = 0
    while True:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=esp_instance.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        # Each time somewhat further than before, so that it comes to an end.
        until = last + 700
        while process.poll() is None and (last := kept(esp_instance, user)) < until:
            time.sleep(0.02)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1

    assert process.stderr is not None
    assert process.returncode == 0, process.stderr.read()
    assert kills >= 3
    assert [octets for octets, _, _ in contents(esp_instance, user)["INBOX"]] == [
        letter("kill", number % 3) + b"%d\r\n" % number for number in range(count)
    ]


def kept(esp: Instance, user: str) -> int:
    folder = esp.mail / "example.test" / user.partition("@")[0]
    return sum(1 for _ in (folder / "cur").iterdir())


def test_an_exported_maildir_is_good_for_mbsync_mutt_and_dovecot(
    esp_instance: Instance, user: str, dovecot: DovecotServer, tmp_path: Path
) -> None:
    require("mbsync", "mutt")
    done = esp_instance.command("esp.cli.admin", *pull(dovecot, user), text=PASSWORD + "\n")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"

    esp_instance.cli("message", "export", user, "--to", str(out))

    # mutt, on a terminal that nobody looks at: it finds a message and pipes it out.
    keys = f"<limit>~s 4<enter><pipe-message>cat > {tmp_path}/piped<enter><exit>"
    (tmp_path / "muttrc").write_text(
        f'set mbox_type=Maildir\nset folder="{out}"\nset wait_key=no\nset pipe_decode=no\npush "{keys}"\n'
    )
    subprocess.run(
        ["script", "-qec", f"mutt -n -R -F {tmp_path}/muttrc -f {out}/.Sent", "/dev/null"],
        env={"TERM": "xterm", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (tmp_path / "piped").read_bytes().split() == letter("Sent Items", 4).split()
    # Dovecot itself, as its own Maildir.
    home = dovecot.mail(DAVE)
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(out, home)
    for path in (home, *home.rglob("*")):
        os.chown(path, home.parent.stat().st_uid, -1)
    client = login(dovecot, DAVE)
    client.select('"INBOX.Sent"' if "INBOX." in dovecot.prefix else "Sent", readonly=True)
    fetched = client.uid("FETCH", "1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")[1]
    assert [values(*one) for one in fetched[::2]] == expected()["Sent"]
    client.logout()
    # mbsync: from the exported Maildir into another account of this server.
    other = f"m{user}"
    esp_instance.cli("user", "add", other, "--password-stdin", text="secret of hers\n")
    try:
        (tmp_path / "mbsyncrc").write_text(
            f"IMAPAccount esp\nHost localhost\nPort {esp_instance.ports['imaps']}\nUser {other}\n"
            f'Pass "secret of hers"\nSSLType IMAPS\nCertificateFile {esp_instance.ca_file}\n'
            f"\nIMAPStore there\nAccount esp\n"
            f"\nMaildirStore here\nInbox {out}\nSubFolders Maildir++\n"
            "\nChannel all\nFar :there:\nNear :here:\nPatterns INBOX Sent\nCreate Far\nSync Push\nCopyArrivalDate yes\n"
            f"SyncState {tmp_path}/state/\n"
        )
        (tmp_path / "state").mkdir()
        pushed = subprocess.run(
            ["mbsync", "-c", str(tmp_path / "mbsyncrc"), "all"],
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert pushed.returncode == 0, pushed.stderr
        synced = contents(esp_instance, other)
        assert {name: len(messages) for name, messages in synced.items()} == {"INBOX": 60, "Sent": 5}
        system = {flag for flag in " ".join(FLAGS).split() if flag.startswith("\\")}
        for name in synced:
            assert [flags & system for _, flags, _ in synced[name]] == [
                flags & system for _, flags, _ in expected()[name]
            ]
    finally:
        esp_instance.cli("user", "remove", other)
