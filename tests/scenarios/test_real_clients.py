"""Ordinary mail clients from Debian against a running ESP: what they send arrives, what is there they can read."""

import imaplib
import mailbox
import re
import ssl
import subprocess
import textwrap
import threading
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.support.debian import require
from tests.support.instance import Instance

ALICE = "alice@example.test"
BOB = "bob@example.test"


def run(*command: str, stdin: str = "", cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a client, bounded in time; its output is the failure message."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=120, cwd=cwd, env=env, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def login(instance: Instance, user: str) -> imaplib.IMAP4_SSL:
    context = ssl.create_default_context(cafile=str(instance.ca_file))
    client = imaplib.IMAP4_SSL("localhost", instance.ports["imaps"], ssl_context=context, timeout=30)
    client.login(user, instance.passwords[user])
    return client


def found(instance: Instance, user: str, subject: str, folder: str = "INBOX") -> list[bytes]:
    """Return the whole of each message with that subject, oldest first."""
    client = login(instance, user)
    client.select(folder, readonly=True)
    uids = client.uid("SEARCH", "SUBJECT", f'"{subject}"')[1][0].split()
    bodies = [client.uid("FETCH", uid.decode(), "(BODY.PEEK[])")[1][0][1] for uid in uids]
    client.logout()
    return bodies


@pytest.fixture(autouse=True, scope="module")
def tools() -> None:
    for tool in ("swaks", "curl", "mutt", "neomutt", "fetchmail", "mbsync", "offlineimap"):
        require(tool)


SWAKS_WAYS = {
    "plain": lambda i: ["--server", f"127.0.0.1:{i.ports['smtp']}"],
    "starttls": lambda i: ["--server", f"127.0.0.1:{i.ports['smtp']}", "--tls"],
    "pipelining": lambda i: ["--server", f"127.0.0.1:{i.ports['smtp']}", "--pipeline"],
    "submission": lambda i: ["--server", f"127.0.0.1:{i.ports['submission']}", "--tls", *_auth(i, "PLAIN")],
    "submission-login": lambda i: [
        "--server",
        f"127.0.0.1:{i.ports['submission']}",
        "--tls",
        *_auth(i, "LOGIN"),
    ],
    "implicit-tls": lambda i: [
        "--server",
        f"127.0.0.1:{i.ports['submissions']}",
        "--tlsc",
        *_auth(i, "PLAIN"),
    ],
    "lmtp": lambda i: ["--server", f"127.0.0.1:{i.ports['lmtp']}", "--protocol", "LMTP"],
}


def _auth(instance: Instance, mechanism: str) -> list[str]:
    return ["--auth", mechanism, "--auth-user", ALICE, "--auth-password", instance.passwords[ALICE]]


@pytest.mark.parametrize("way", SWAKS_WAYS)
def test_swaks_delivers(esp_instance: Instance, way: str) -> None:
    subject = f"swaks {way}"
    command = ["swaks", "--to", BOB, "--from", ALICE, "--header", f"Subject: {subject}", "--body", "by swaks"]
    run(*command, *SWAKS_WAYS[way](esp_instance))
    (message,) = found(esp_instance, BOB, subject)
    assert b"by swaks" in message


def test_curl_sends_and_reads(esp_instance: Instance, tmp_path: Path) -> None:
    mail = tmp_path / "mail.txt"
    mail.write_text(f"From: {ALICE}\r\nTo: {BOB}\r\nSubject: by curl\r\n\r\ncurl body\r\n", newline="")
    common = ["curl", "-sS", "--fail", "--cacert", str(esp_instance.ca_file), "--ssl-reqd"]
    run(
        *common,
        f"smtp://localhost:{esp_instance.ports['submission']}",
        "--user", f"{ALICE}:{esp_instance.passwords[ALICE]}",
        "--mail-from", ALICE, "--mail-rcpt", BOB, "--upload-file", str(mail),
    )  # fmt: skip
    user = f"{BOB}:{esp_instance.passwords[BOB]}"
    imap = f"imaps://localhost:{esp_instance.ports['imaps']}/INBOX"
    uids = run(*common, "--user", user, f"{imap}?SUBJECT%20%22by%20curl%22").split()
    number = uids[-1]
    assert "curl body" in run(*common, "--user", user, f"{imap};MAILINDEX={number}")


def test_imaplib_goes_through_every_command(esp_instance: Instance) -> None:
    client = login(esp_instance, BOB)

    def ok(result: tuple[str, list[object]]) -> list[object]:
        assert result[0] == "OK", result
        return result[1]

    assert client.create('"Work/2026"')[0] == "OK"
    ok(client.subscribe('"Work/2026"'))
    assert any(b"Work/2026" in line for line in ok(client.list()))
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "imaplib", BOB, ALICE
    message.set_content("hello from imaplib")
    when = '"05-Feb-2024 10:11:12 +0300"'
    ok(client.append('"Work/2026"', "(\\Seen $Label1)", when, message.as_bytes()))
    ok(client.select('"Work/2026"'))
    fetched = ok(client.fetch("1", "(FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[TEXT])"))
    assert b"$Label1" in fetched[0][0]
    # RFC 3501 §9: the day is two digits or a space and a digit; any zone that names the same moment will do.
    assert re.search(rb'INTERNALDATE "[ 0]5-Feb-2024 (07:11:12 \+0000|10:11:12 \+0300)"', fetched[0][0])
    assert fetched[0][1].strip() == b"hello from imaplib"
    ok(client.store("1", "+FLAGS", "(\\Flagged)"))
    assert ok(client.search(None, "FLAGGED", "SUBJECT", "imaplib")) == [b"1"]
    assert ok(client.search(None, "TEXT", '"from imaplib"')) == [b"1"]
    ok(client.copy("1", "Archive"))
    ok(client.store("1", "+FLAGS", "(\\Deleted)"))
    assert ok(client.expunge()) == [b"1"]
    assert ok(client.status('"Work/2026"', "(MESSAGES UIDNEXT UNSEEN)")) == [
        b"Work/2026 (MESSAGES 0 UIDNEXT 2 UNSEEN 0)"
    ]
    ok(client.close())
    ok(client.rename('"Work/2026"', '"Work/Old"'))
    ok(client.delete('"Work/Old"'))
    ok(client.select("Archive"))
    assert ok(client.search(None, "SUBJECT", "imaplib")) != [b""]
    client.logout()


def test_mutt_reads_and_saves(esp_instance: Instance, tmp_path: Path) -> None:
    run("swaks", "--server", f"127.0.0.1:{esp_instance.ports['smtp']}", "--to", ALICE, "--from", BOB,
        "--header", "Subject: for mutt", "--body", "mutt body")  # fmt: skip
    copy = tmp_path / "copy"
    rc = tmp_path / "muttrc"
    rc.write_text(
        textwrap.dedent(f"""
        set folder="imaps://localhost:{esp_instance.ports["imaps"]}/"
        set spoolfile="+INBOX"
        set imap_user="{ALICE}"
        set imap_pass="{esp_instance.passwords[ALICE]}"
        set ssl_ca_certificates_file="{esp_instance.ca_file}"
        set ssl_usesystemcerts=no
        set header_cache=""
        set mbox_type=mbox
        set confirmappend=no
        set confirmcreate=no
        set move=no
        set copy=no
        set wait_key=no
        set quit=yes
        push "<tag-pattern>~s 'for mutt'<enter><tag-prefix><copy-message><kill-line>{copy}<enter><quit>"
        """)
    )
    environment = {"TERM": "xterm", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    # mutt wants a terminal; script(1) from util-linux gives it one.
    run("script", "-qec", f"mutt -n -F {rc}", "/dev/null", env=environment)
    bodies = [m.get_payload() for m in mailbox.mbox(copy)]
    assert bodies
    assert all("mutt body" in body for body in bodies)


def test_neomutt_with_qresync_and_names_outside_ascii(esp_instance: Instance, tmp_path: Path) -> None:
    run("swaks", "--server", f"127.0.0.1:{esp_instance.ports['smtp']}", "--to", ALICE, "--from", BOB,
        "--header", "Subject: for neomutt", "--body", "neomutt body")  # fmt: skip
    rc = tmp_path / "neomuttrc"
    # Its second start has a cache to bring up to date. Saving copies into a mailbox made for it, and deletes.
    settings = f"""
        set folder="imaps://localhost:{esp_instance.ports["imaps"]}/"
        set spoolfile="+INBOX"
        set imap_user="{ALICE}"
        set imap_pass="{esp_instance.passwords[ALICE]}"
        set ssl_ca_certificates_file="{esp_instance.ca_file}"
        set ssl_starttls=no
        set imap_qresync=yes
        set imap_condstore=yes
        set header_cache="{tmp_path}/cache"
        set message_cachedir="{tmp_path}/cache"
        set charset=utf-8
        set confirmappend=no
        set confirmcreate=no
        set move=no
        set delete=yes
        set wait_key=no
        set quit=yes
        """
    environment = {"TERM": "xterm", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    (tmp_path / "cache").mkdir()
    save = "<limit>~s 'for neomutt'<enter><flag-message><save-message><kill-line>+Neu/Grüße<enter><quit>"
    for keys in ("<quit>", save):
        rc.write_text(textwrap.dedent(settings) + f'push "{keys}"\n')
        run("script", "-qec", f"neomutt -n -F {rc}", "/dev/null", env=environment)
    assert found(esp_instance, ALICE, "for neomutt") == []
    (message,) = found(esp_instance, ALICE, "for neomutt", '"Neu/Gr&APwA3w-e"')
    assert b"neomutt body" in message


def test_fetchmail_takes_what_is_new_and_waits_for_more(esp_instance: Instance, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    rc = tmp_path / "fetchmailrc"
    rc.write_text(
        textwrap.dedent(f"""
        set no bouncemail
        poll localhost protocol imap port {esp_instance.ports["imaps"]}
        user "{BOB}" password "{esp_instance.passwords[BOB]}"
        ssl sslcertck sslcertfile "{esp_instance.ca_file}" fetchall nokeep idle mda "cat >> {taken}"
        """)
    )
    rc.chmod(0o600)

    def send(subject: str) -> None:
        run("swaks", "--server", f"127.0.0.1:{esp_instance.ports['smtp']}", "--to", BOB, "--from", ALICE,
            "--header", f"Subject: {subject}", "--body", "taken")  # fmt: skip

    send("before fetchmail")
    with subprocess.Popen(
        ["fetchmail", "--nodetach", "--verbose", "-f", rc, "--pidfile", tmp_path / "pid"],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        patience = threading.Timer(60, process.kill)
        patience.start()
        assert process.stdout is not None
        said = []
        sent = False
        for line in process.stdout:
            said.append(line)
            if line.startswith("fetchmail: IMAP> ") and line.endswith(" IDLE\n"):
                if sent:
                    process.terminate()
                else:
                    send("while fetchmail waits")
                    sent = True
        patience.cancel()
    assert taken.exists(), said
    subjects = set(re.findall(r"^Subject: (.*)$", taken.read_text(), re.MULTILINE))
    assert {"before fetchmail", "while fetchmail waits"} <= subjects, said
    assert found(esp_instance, BOB, "before fetchmail") == []


def test_mbsync_both_ways_and_nothing_left_to_do(esp_instance: Instance, tmp_path: Path) -> None:
    run("swaks", "--server", f"127.0.0.1:{esp_instance.ports['smtp']}", "--to", ALICE, "--from", BOB,
        "--header", "Subject: down by mbsync", "--body", "down")  # fmt: skip
    local = tmp_path / "Mail"
    local.mkdir()
    config = tmp_path / "mbsyncrc"
    config.write_text(
        textwrap.dedent(f"""
        IMAPAccount esp
        Host localhost
        Port {esp_instance.ports["imaps"]}
        User {ALICE}
        Pass "{esp_instance.passwords[ALICE]}"
        SSLType IMAPS
        CertificateFile {esp_instance.ca_file}

        IMAPStore far
        Account esp

        MaildirStore near
        Path {local}/
        Inbox {local}/INBOX
        SubFolders Verbatim

        Channel esp
        Far :far:
        Near :near:
        Patterns *
        Create Both
        Expunge Both
        SyncState *
        """)
    )
    sync = ["mbsync", "-c", str(config), "-a", "-V"]
    run(*sync)
    inbox = mailbox.Maildir(local / "INBOX", create=False)
    assert "down by mbsync" in {message["Subject"] for message in inbox}

    new = mailbox.MaildirMessage(b"From: a@b\nSubject: up by mbsync\nMessage-ID: <up@mbsync>\n\nup\n")
    new.add_flag("F")
    inbox.add(new)
    folder = mailbox.Maildir(local / "Made here", create=True)
    folder.add(b"From: a@b\nSubject: in a new folder\n\nx\n")
    run(*sync)
    (message,) = found(esp_instance, ALICE, "up by mbsync")
    assert message.endswith(b"\r\n\r\nup\r\n")
    assert found(esp_instance, ALICE, "in a new folder", '"Made here"')

    before = sorted(
        path.relative_to(local) for path in local.rglob("*") if "/cur/" in str(path) or "/new/" in str(path)
    )
    second = run(*sync)
    after = sorted(
        path.relative_to(local) for path in local.rglob("*") if "/cur/" in str(path) or "/new/" in str(path)
    )
    assert before == after
    summary = [line for line in second.splitlines() if line.startswith(("Far:", "Near:", "Channels"))]
    assert all(mark not in "".join(summary) for mark in ("+1", "*1", "#1")), second

    client = login(esp_instance, ALICE)
    client.select("INBOX")
    uid = client.uid("SEARCH", "SUBJECT", '"up by mbsync"')[1][0].decode()
    client.uid("STORE", uid, "-FLAGS", "(\\Flagged)")
    client.uid("STORE", uid, "+FLAGS", "(\\Seen)")
    client.logout()
    run(*sync)
    flags = {
        message["Subject"]: message.get_flags() for message in mailbox.Maildir(local / "INBOX", create=False)
    }
    assert flags["up by mbsync"] == "S"


def test_offlineimap_syncs_both_ways(esp_instance: Instance, tmp_path: Path) -> None:
    run("swaks", "--server", f"127.0.0.1:{esp_instance.ports['smtp']}", "--to", BOB, "--from", ALICE,
        "--header", "Subject: for offlineimap", "--body", "offline")  # fmt: skip
    local = tmp_path / "Mail"
    config = tmp_path / "offlineimaprc"
    config.write_text(
        textwrap.dedent(f"""
        [general]
        accounts = esp
        metadata = {tmp_path}/state
        ui = basic
        [Account esp]
        localrepository = near
        remoterepository = far
        [Repository near]
        type = Maildir
        localfolders = {local}
        [Repository far]
        type = IMAP
        remotehost = localhost
        remoteport = {esp_instance.ports["imaps"]}
        remoteuser = {BOB}
        remotepass = {esp_instance.passwords[BOB]}
        ssl = yes
        sslcacertfile = {esp_instance.ca_file}
        """)
    )
    run("offlineimap", "-c", str(config), "-o")
    assert "for offlineimap" in {
        message["Subject"] for message in mailbox.Maildir(local / "INBOX", create=False)
    }
    (local / "INBOX" / "cur" / "1700000000_0.1.host:2,S").write_bytes(
        b"From: a@b\nSubject: up by offlineimap\nMessage-ID: <up@offlineimap>\n\nup\n"
    )
    run("offlineimap", "-c", str(config), "-o")
    assert len(found(esp_instance, BOB, "up by offlineimap")) == 1
