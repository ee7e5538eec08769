"""Hostile clients and hostile mail against a whole running ESP: bounded time and memory, clear replies."""

import asyncio
import imaplib
import resource
import smtplib
import socket
import ssl
import time

import pytest

from tests.scenarios.test_real_clients import BOB, found, login
from tests.support.instance import Instance

VICTIM = "admin@example.test"  # whose inbox no client of another test has to read
SMUGGLED = (
    b"MAIL FROM:<admin@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n"
)


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\n\0.\r\n"]
)
def test_no_second_message_is_smuggled(esp_instance: Instance, end: bytes) -> None:
    """RFC 5321 §4.1.1.4: only CRLF.CRLF ends the mail data."""
    with socket.create_connection(("127.0.0.1", esp_instance.ports["smtp"]), timeout=30) as connection:
        stream = connection.makefile("rwb")

        def say(octets: bytes) -> bytes:
            stream.write(octets)
            stream.flush()
            line = stream.readline()
            while line[3:4] == b"-":
                line = stream.readline()
            return line

        assert stream.readline().startswith(b"220")
        assert say(b"EHLO smuggler.test\r\n").startswith(b"250")
        assert say(b"MAIL FROM:<x@smuggler.test>\r\n").startswith(b"250")
        assert say(b"RCPT TO:<alice@example.test>\r\n").startswith(b"250")
        assert say(b"DATA\r\n").startswith(b"354")
        answer = say(b"Subject: carrier\r\n\r\nhello" + end + SMUGGLED + b".\r\n")
        assert answer[:3] in {b"250", b"550", b"554", b"500", b"501"}
        stream.write(b"QUIT\r\n")
        stream.flush()
        rest = stream.read()
    # One reply for one DATA, then the goodbye: nothing inside was taken for a command.
    assert rest.startswith(b"221")
    assert rest.count(b"\r\n") == 1
    assert found(esp_instance, BOB, "smuggled") == []


async def test_5000_idle_connections_disturb_nobody(esp_instance: Instance) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20000), hard))
    writers: list[asyncio.StreamWriter] = []

    async def idle(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        await asyncio.wait_for(reader.readline(), 30)

    try:
        for port in (esp_instance.ports["smtp"], esp_instance.ports["imap"]):
            for _ in range(25):
                await asyncio.gather(*(idle(port) for _ in range(100)))
        started = time.monotonic()
        await asyncio.to_thread(one_mail_and_back, esp_instance, "past the idle crowd")
        assert time.monotonic() - started < 10
    finally:
        for writer in writers:
            writer.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def one_mail_and_back(instance: Instance, subject: str, body: bytes = b"x\r\n", header: bytes = b"") -> bytes:
    """Send one message to the victim and return it as IMAP has it."""
    with smtplib.SMTP("127.0.0.1", instance.ports["smtp"], timeout=60) as client:
        client.sendmail(
            "a@attack.test", [VICTIM], f"Subject: {subject}\r\n".encode() + header + b"\r\n" + body
        )
    return found(instance, VICTIM, subject)[-1]


async def test_slow_clients_hold_nobody_up(esp_instance: Instance) -> None:
    async def drip(port: int, octets: bytes) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for index in range(len(octets)):
                writer.write(octets[index : index + 1])
                await asyncio.sleep(0.05)
        except OSError:
            return
        finally:
            writer.close()

    tasks = [
        asyncio.create_task(
            drip(esp_instance.ports["smtp"], b"EHLO slow.test\r\nMAIL FROM:<a@b.test>\r\n" * 20)
        )
        for _ in range(100)
    ] + [asyncio.create_task(drip(esp_instance.ports["imap"], b"a CAPABILITY\r\n" * 50)) for _ in range(100)]
    started = time.monotonic()
    await asyncio.to_thread(one_mail_and_back, esp_instance, "past the slow crowd")
    assert time.monotonic() - started < 10
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def nested(levels: int) -> tuple[bytes, bytes]:
    header = b'Content-Type: multipart/mixed; boundary="b0"\r\n'
    body = b"".join(
        b'--b%d\r\nContent-Type: multipart/mixed; boundary="b%d"\r\n\r\n' % (level, level + 1)
        for level in range(levels)
    )
    return header, body + b"--b%d\r\n\r\nheart\r\n" % levels


def wide(parts: int) -> tuple[bytes, bytes]:
    header = b'Content-Type: multipart/mixed; boundary="b"\r\n'
    return header, b"".join(b"--b\r\n\r\npart %d\r\n" % n for n in range(parts)) + b"--b--\r\n"


HOSTILE = {
    "1000 levels": nested(1000),
    "10000 parts": wide(10000),
    "unending boundary": (b'Content-Type: multipart/mixed; boundary="a"\r\n', b"--a\r\n" * 20000),
    "many parameters": (b"Content-Type: text/plain" + b";\r\n a=b" * 5000 + b"\r\n", b"x\r\n"),
    "deep comment": (b"To: " + b"(" * 900 + b"x" + b")" * 900 + b" a@b\r\n", b"x\r\n"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_mime_is_bounded(esp_instance: Instance, name: str) -> None:
    header, body = HOSTILE[name]
    started = time.monotonic()
    message = one_mail_and_back(esp_instance, f"hostile {name}", body, header)
    assert message.endswith(body)
    client = login(esp_instance, VICTIM)
    client.select("INBOX")
    uid = client.uid("SEARCH", "SUBJECT", f'"hostile {name}"')[1][0].split()[-1].decode()
    for item in ("BODYSTRUCTURE", "ENVELOPE", "BODY.PEEK[1]", "BODY.PEEK[HEADER]"):
        assert client.uid("FETCH", uid, f"({item})")[0] == "OK"
    assert client.uid("SEARCH", "TEXT", '"no such text"')[1] == [b""]
    client.logout()
    assert time.monotonic() - started < 20


def test_a_megabyte_header_line_gets_a_clear_reply(esp_instance: Instance) -> None:
    with smtplib.SMTP("127.0.0.1", esp_instance.ports["smtp"], timeout=60) as client:
        client.ehlo()
        client.mail("a@attack.test")
        client.rcpt(VICTIM)
        code, _ = client.data(b"Subject: long\r\nX-Long: " + b"y" * 1_000_000 + b"\r\n\r\nx\r\n")
        assert code in {250, 500, 552, 554}
        assert client.noop()[0] == 250


def test_a_gigabyte_literal_is_refused_before_it_is_sent(esp_instance: Instance) -> None:
    client = login(esp_instance, VICTIM)
    client.send(b"big APPEND INBOX {1073741824}\r\n")
    line = client.readline()
    assert line.startswith((b"big NO", b"big BAD"))
    assert client.noop()[0] == "OK"
    client.logout()


@pytest.mark.parametrize(
    ("door", "injected"),
    [
        ("smtp", b"STARTTLS\r\nMAIL FROM:<injected@a.test>\r\n"),
        ("submission", b"STARTTLS\r\nAUTH PLAIN AGEAYg==\r\n"),
    ],
)
def test_octets_sent_with_starttls_are_not_commands(
    esp_instance: Instance, door: str, injected: bytes
) -> None:
    """RFC 3207 §4.2: what was pipelined in clear text is not executed under TLS.

    There is no TLS under which it could be: the server refuses, and ends the connection.
    """
    with socket.create_connection(("127.0.0.1", esp_instance.ports[door]), timeout=10) as connection:
        connection.recv(4096)
        connection.sendall(b"EHLO a.test\r\n")
        connection.recv(4096)
        connection.sendall(injected)
        answers = b""
        while chunk := connection.recv(4096):
            answers += chunk
    assert answers.startswith(b"503 ")
    assert b"250" not in answers


def test_octets_sent_with_starttls_are_thrown_away_by_imap(esp_instance: Instance) -> None:
    """RFC 9051 §6.2.1: the handshake begins behind them, and nothing under it answers them."""
    context = ssl.create_default_context(cafile=str(esp_instance.ca_file))
    with socket.create_connection(("127.0.0.1", esp_instance.ports["imap"]), timeout=10) as connection:
        connection.recv(4096)
        connection.sendall(b"a STARTTLS\r\nb NOOP\r\n")
        assert connection.recv(4096).startswith(b"a OK ")
        with context.wrap_socket(connection, server_hostname="localhost") as protected:
            protected.sendall(b"c NOOP\r\n")
            assert protected.recv(4096).startswith(b"c OK ")


def test_login_guessing_is_slowed_down(own_instance: Instance) -> None:
    """Twelve wrong passwords in a row do not all get an answer at once (PITFALLS 10)."""
    started, refused = time.monotonic(), 0
    for _ in range(12):
        client = connect(own_instance)
        try:
            client.login("nobody-here@example.test", "wrong")
        except imaplib.IMAP4.error:
            refused += 1
        finally:
            client.shutdown()
    assert refused == 12
    assert time.monotonic() - started > 2


def connect(instance: Instance) -> imaplib.IMAP4_SSL:
    context = ssl.create_default_context(cafile=str(instance.ca_file))
    return imaplib.IMAP4_SSL("localhost", instance.ports["imaps"], ssl_context=context, timeout=30)
