"""The doors of a running ESP: real directory, real passwords, real files."""

import json
import re
import smtplib
import ssl
from pathlib import Path

from tests.support.instance import Instance


def mail_files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.glob("**/new/*") if path.is_file()]


def test_mail_of_every_door_is_in_the_maildir(own_instance: Instance) -> None:
    folder, ports = own_instance.folder, own_instance.ports
    passwords = json.loads((folder / "demo-credentials.json").read_text())
    context = ssl.create_default_context(cafile=str(folder / "tls" / "ca.pem"))
    large = "Subject: large\r\n\r\n" + "".join(f"{n} {'x' * 60}\r\n" for n in range(40_000))

    with smtplib.SMTP("localhost", ports["smtp"]) as client:
        client.starttls(context=context)
        assert client.sendmail("x@other.test", ["bob@example.test"], "Subject: by smtp\r\n\r\ntext\r\n") == {}
        assert client.sendmail("x@other.test", ["bob@example.test"], large) == {}
        assert client.sendmail("x@other.test", ["postmaster"], "Subject: to postmaster\r\n\r\n") == {}
        assert client.docmd("MAIL FROM:<>")[0] == 250
        assert client.docmd("RCPT TO:<x@other.test>")[0] == 550
    with smtplib.SMTP_SSL("localhost", ports["submissions"], context=context) as client:
        client.login("alice@example.test", passwords["alice@example.test"])
        client.sendmail(
            "alice@example.test", ["bob@example.test"], "Subject: by submissions\r\nBcc: c@d\r\n\r\n"
        )
        assert client.docmd("MAIL FROM:<bob@example.test>")[0] == 553
    with smtplib.LMTP("localhost", ports["lmtp"]) as client:
        client.sendmail("x@other.test", ["bob@example.test"], "Subject: by lmtp\r\n\r\n")

    lines = own_instance.log.read_text().splitlines()
    (login,) = [line for line in lines if " login " in line]
    (connection,) = re.findall(r" connection=(\d+) ", login)
    (told,) = [line for line in lines if " message_accepted " in line and " user=alice@example.test" in line]
    assert f" connection={connection} door=submissions " in told

    files = mail_files(folder)
    for subject in (b"by smtp", b"by submissions", b"by lmtp", b"to postmaster"):
        assert sum(b"Subject: %s\r\n" % subject in octets for octets in files) == 1, subject
    assert sum(octets.endswith(large.encode()) for octets in files) == 1
    (submitted,) = [octets for octets in files if b"by submissions" in octets]
    assert b"\r\nAuthentication-Results: mail.example.test; auth=pass\r\n" in submitted
    assert b"Bcc" not in submitted
    assert b"\r\nMessage-ID: <" in submitted
    assert b"with ESMTPSA id" in submitted


def test_an_alias_whose_account_was_removed_is_refused_at_rcpt_and_told_of(esp_instance: Instance) -> None:
    esp_instance.cli("user", "add", "leaver@example.test", "--password-stdin", text="secret\n")
    esp_instance.cli("alias", "add", "desk@example.test", "leaver@example.test")
    esp_instance.cli("alias", "add", "both@example.test", "leaver@example.test", "bob@example.test")
    with smtplib.SMTP("localhost", esp_instance.ports["smtp"]) as client:
        client.ehlo()
        client.docmd("MAIL FROM:<>")
        assert client.docmd("RCPT TO:<desk@example.test>")[0] == 250  # and this process remembers it
        removed = esp_instance.cli("user", "remove", "leaver@example.test", "--json")
        assert removed["aliases"] == ["both@example.test", "desk@example.test"]
        assert client.docmd("RCPT TO:<desk@example.test>") == (550, b"5.1.1 No such user here")
        assert client.docmd("RCPT TO:<both@example.test>")[0] == 250  # bob still has his
    listed = {a["alias"]: a["nobodys"] for a in esp_instance.cli("alias", "list", "--json")}
    assert listed["desk@example.test"] == listed["both@example.test"] == ["leaver@example.test"]
    for alias in listed:
        esp_instance.cli("alias", "remove", alias)
