"""What IMAP returns is what SMTP was given, octet for octet, behind the trace fields that ESP adds (RFC 5321 §4.4)."""

import re
import smtplib

from tests.scenarios.test_real_clients import login
from tests.support import corpus
from tests.support.instance import Instance

ADMIN = "admin@example.test"  # whose inbox no client of another test reads
TRACE = re.compile(
    rb"Return-Path: <[^>]*>\r\nAuthentication-Results: [^\r\n]+; none\r\nReceived: (?:[^\r\n]|\r\n[ \t])+\r\n"
)


def test_every_message_of_the_corpus_comes_back_as_it_was_sent(esp_instance: Instance) -> None:
    sent: list[bytes] = []
    with smtplib.SMTP("127.0.0.1", esp_instance.ports["smtp"], timeout=60) as client:
        client.ehlo()
        for message in corpus.messages():
            octets = as_mail_data(message.canonical)
            client.mail("corpus@sender.test", ["BODY=8BITMIME"])
            client.rcpt(ADMIN)
            client.putcmd("DATA")
            assert client.getreply()[0] == 354
            # Dot-stuffing and nothing else: smtplib's own quoting would mend line ends.
            stuffed = octets.replace(b"\r\n.", b"\r\n..")
            client.send((b"." + stuffed if stuffed.startswith(b".") else stuffed) + b".\r\n")
            code, reply = client.getreply()
            if octets.lower().count(b"\r\nreceived:") > 100:  # RFC 5321 §6.3: it goes round in circles
                assert code == 554
                continue
            assert code == 250, (message.name, reply)
            sent.append(octets)
    assert len(sent) >= 200

    client = login(esp_instance, ADMIN)
    client.select("INBOX", readonly=True)
    uids = client.uid("SEARCH", "HEADER", "Return-Path", "corpus@sender.test")[1][0].split()
    assert len(uids) == len(sent)
    for uid, octets in zip(uids, sent, strict=True):
        fetched = client.uid("FETCH", uid.decode(), "(BODY.PEEK[])")[1][0][1]
        assert fetched.endswith(octets)
        assert TRACE.fullmatch(fetched.removesuffix(octets))
    client.logout()


def as_mail_data(octets: bytes) -> bytes:
    """Make of any octets what SMTP can carry: lines that end with CR LF, no CR or LF alone, no NUL."""
    lines = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\0", b"").split(b"\n")
    text = b"\r\n".join(line[:990] for line in lines)
    return text if text.endswith(b"\r\n") else text + b"\r\n"
