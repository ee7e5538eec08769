"""Mail as it comes to a running ESP: from many at once, to many at once, and for whom it was."""

import imaplib
import re
import smtplib
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

from tests.scenarios.test_real_clients import login
from tests.support.instance import Instance

MANY = 100
ADMIN = "admin@example.test"  # whose inbox no client of another test reads


def test_100_sessions_at_once_to_one_mailbox(own_instance: Instance) -> None:
    """100 times 250, and 100 distinct rising UIDs without a gap or an orphan (PITFALLS 3)."""
    all_there = threading.Barrier(MANY, timeout=60)

    def send(number: int) -> int:
        with smtplib.SMTP("127.0.0.1", own_instance.ports["smtp"], timeout=60) as client:
            client.ehlo()
            client.mail(f"sender{number}@load.test")
            client.rcpt(ADMIN)
            all_there.wait()
            return client.data(f"Subject: parallel {number}\r\n\r\nx\r\n".encode())[0]

    with ThreadPoolExecutor(MANY) as pool:
        assert list(pool.map(send, range(MANY))) == [250] * MANY

    client = login(own_instance, ADMIN)
    client.select("INBOX", readonly=True)
    answer = client.fetch("1:*", "(UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
    client.logout()
    told = [part for part in answer if isinstance(part, tuple)]
    assert [int(re.findall(rb"UID (\d+)", head)[0]) for head, _ in told] == list(range(1, MANY + 1))
    assert {subject.strip() for _, subject in told} == {b"Subject: parallel %d" % n for n in range(MANY)}
    assert own_instance.cli("mailbox", "check", "--all", "--json")["findings"] == []


def test_one_message_for_100_recipients_is_one_inode(own_instance: Instance) -> None:
    recipients = [f"reader{number}@example.test" for number in range(MANY)]
    people = own_instance.folder / "people.csv"
    people.write_text("".join(f"{address},secret\n" for address in recipients))
    own_instance.cli("user", "import", str(people))

    with smtplib.SMTP("127.0.0.1", own_instance.ports["smtp"], timeout=60) as client:
        assert client.sendmail("a@load.test", recipients, b"Subject: to all\r\n\r\nx\r\n") == {}

    files = [path for path in own_instance.mail.glob("example.test/reader*/new/*") if path.is_file()]
    assert len(files) == MANY
    assert len({path.stat().st_ino for path in files}) == 1
    assert own_instance.cli("mailbox", "check", "--all", "--json")["findings"] == []


def test_every_name_that_is_ours_arrives_and_no_other(own_instance: Instance) -> None:
    """PITFALLS 2: another domain, aliases, tags, catch-all, other names of a domain, over SMTP."""
    cli = own_instance.cli
    cli("domain", "add", "second.test")
    cli("domain", "add", "other.test", "--alias-of", "example.test")
    cli("user", "add", "carol@second.test", "--password-stdin", text="secret")
    cli("alias", "add", "sales@example.test", ADMIN)
    cli("alias", "add", "@second.test", ADMIN)
    ours = [
        "carol@second.test",
        "sales@example.test",
        "admin+tag@example.test",
        "ADMIN@Example.Test",
        "whoever@second.test",
        "admin@other.test",
        "sales@other.test",
    ]
    with smtplib.SMTP("127.0.0.1", own_instance.ports["smtp"], timeout=60) as client:
        client.ehlo()
        for number, address in enumerate(ours):
            client.sendmail("a@load.test", [address], f"Subject: {number}\r\n\r\nx\r\n".encode())
        client.mail("a@load.test")
        refused = {
            address: client.rcpt(address)[0] for address in ("x@example.test", "x@third.test", "x@other.test")
        }
    assert set(refused.values()) == {550}
    counts = {row["address"]: row["quota"]["messages"] for row in cli("user", "list", "--json")}
    assert counts == {ADMIN: 6, "carol@second.test": 1, "alice@example.test": 0, "bob@example.test": 0}


def test_the_author_is_who_the_message_says_and_not_the_envelope(esp_instance: Instance) -> None:
    """PITFALLS 4 and 7: an account made a moment ago; From, Date and Subject from the header, the path in the trace."""
    address = "newcomer@example.test"
    esp_instance.cli("user", "add", address, "--password-stdin", text="secret")
    message = (
        b"From: Ann Author <ann@author.test>\r\nTo: Undisclosed: ;\r\n"
        b"Date: Tue, 3 Feb 2015 04:05:06 +0700\r\nSubject: whose\r\n\r\nx\r\n"
    )
    with smtplib.SMTP("127.0.0.1", esp_instance.ports["smtp"], timeout=60) as client:
        client.sendmail("bounces@list.test", [address], message)
    context = ssl.create_default_context(cafile=str(esp_instance.ca_file))
    with imaplib.IMAP4_SSL("localhost", esp_instance.ports["imaps"], ssl_context=context) as inbox:
        inbox.login(address, "secret")
        inbox.select("INBOX", readonly=True)
        envelope = inbox.fetch("1", "(ENVELOPE)")[1][0]
        assert b'(("Ann Author" NIL "ann" "author.test"))' in envelope
        assert b'ENVELOPE ("Tue, 3 Feb 2015 04:05:06 +0700" "whose" ' in envelope
        assert b"bounces" not in envelope
        assert inbox.search(None, "FROM", "bounces")[1] == [b""]
        assert inbox.search(None, "FROM", "ann@author.test", "SENTON", "3-Feb-2015")[1] == [b"1"]
        field = inbox.fetch("1", "(BODY.PEEK[HEADER.FIELDS (RETURN-PATH)])")[1][0][1]
        assert field == b"Return-Path: <bounces@list.test>\r\n\r\n"
    esp_instance.cli("user", "remove", address)
