"""Connections: how many, how long, how slow, through TLS and proxies."""

import asyncio
import base64
import gc
import hashlib
import hmac
import resource
import socket
import ssl
import struct
import time
import weakref

import pytest
from structlog.testing import capture_logs

from esp.config.sections import Security, Smtp
from esp.core.proxy import SIGNATURE
from esp.core.quota import Quota
from esp.services.certificates import ServerContext
from tests.smtp.support import Talk, world
from tests.support.resets import reset


async def starttls(talk: Talk, context: ssl.SSLContext) -> None:
    assert (await talk.ask("STARTTLS")).startswith("220")
    await talk.writer.start_tls(context, server_hostname="localhost")


async def test_starttls_forgets_what_was_said_in_clear(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    async with world(tls=server_tls) as made:
        talk = await Talk.to(made)
        assert "250-STARTTLS" in await talk.ask("EHLO client.test")
        await talk.ask("MAIL FROM:<a@b.test>")
        await starttls(talk, client_tls)
        assert (await talk.ask("MAIL FROM:<a@b.test>")).startswith("503")
        features = await talk.ask("EHLO client.test")
        assert "STARTTLS" not in features
        assert (await talk.ask("STARTTLS")).startswith("503")
        await talk.all_of(["MAIL FROM:<a@b.test>", "RCPT TO:<alice@example.test>", "DATA"])
        assert (await talk.ask("Subject: x\r\n\r\n.")).startswith("250")
        ((incoming, _),) = made.dispatch.delivered
        assert b"with ESMTPS id" in incoming.prefix
        assert b"(using TLSv1.3 with cipher " in incoming.prefix
        await talk.close()


@pytest.mark.parametrize(
    "rest", [b"MAIL FROM:<a@b.test>\r\nRCPT TO:<alice@example.test>\r\n", b"NOOP", b"\n"]
)
async def test_nothing_can_be_slipped_in_behind_starttls(server_tls: ssl.SSLContext, rest: bytes) -> None:
    async with world(tls=server_tls) as made:
        talk = await Talk.to(made)
        await talk.ask("EHLO client.test")
        talk.send(b"STARTTLS\r\n" + rest)
        assert (await talk.reply()).startswith("503 5.5.0")
        assert await talk.closed()


@pytest.mark.parametrize("end", ["reset", "end", "nonsense"])
async def test_who_leaves_amid_the_handshake_is_counted_out(server_tls: ssl.SSLContext, end: str) -> None:
    async with world(tls=server_tls) as made:
        talk = await Talk.to(made)
        assert (await talk.ask("STARTTLS")).startswith("220")
        match end:
            case "reset":
                reset(talk.writer)
            case "end":
                talk.writer.write_eof()
            case _:
                talk.send("NOOP\r\n")
        async with asyncio.timeout(10):
            while made.door.census.total:
                await asyncio.sleep(0)
        assert made.door.sessions == set()


async def test_clear_text_after_the_220_is_no_handshake(server_tls: ssl.SSLContext) -> None:
    async with world(tls=server_tls) as made:
        talk = await Talk.to(made)
        await talk.ask("EHLO client.test")
        assert (await talk.ask("STARTTLS")).startswith("220")
        talk.send(b"MAIL FROM:<a@b.test>\r\n")
        async with asyncio.timeout(5):
            said = await talk.reader.read()
        assert b"250" not in said


async def test_passwords_are_taken_under_tls_only(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    plain = "AUTH PLAIN " + base64.b64encode(b"\0alice@example.test\0secret").decode()
    async with world(submission=True, tls=server_tls) as made:
        talk = await Talk.to(made)
        assert "AUTH" not in await talk.ask("EHLO client.test")
        assert (await talk.ask(plain)).startswith("538 5.7.11")
        await starttls(talk, client_tls)
        assert "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN" in await talk.ask("EHLO client.test")
        assert (await talk.ask(plain)).startswith("235")
        await talk.all_of(["MAIL FROM:<alice@example.test>", "RCPT TO:<bob@example.test>", "DATA"])
        assert (await talk.ask("Subject: x\r\nBcc: y@z.test\r\n\r\n.")).startswith("250")
        ((incoming, body),) = made.dispatch.delivered
        assert b"with ESMTPSA id" in incoming.prefix
        assert b"\r\nDate: " in incoming.prefix
        assert b"\r\nMessage-ID: <" in incoming.prefix
        assert body == b"Subject: x\r\n\r\n"
        await talk.close()


@pytest.mark.parametrize("plus", [False, True])
async def test_scram_proves_both_sides(
    server_tls: ServerContext, client_tls: ssl.SSLContext, plus: bool
) -> None:
    mechanism, header, bound = "SCRAM-SHA-256", b"n,,", b""
    if plus:
        assert server_tls.binding is not None
        mechanism, header, bound = f"{mechanism}-PLUS", b"p=tls-server-end-point,,", server_tls.binding.data
    async with world(submission=True, tls=server_tls, implicit_tls=True) as made:
        talk = await Talk.to(made, tls=client_tls)
        await talk.ask("EHLO client.test")
        bare = "n=alice@example.test,r=clientnonce"
        initial = base64.b64encode(header + bare.encode()).decode()
        first = await talk.ask(f"AUTH {mechanism} {initial}")
        server_first = base64.b64decode(first.removeprefix("334 ")).decode()
        nonce = server_first.split(",")[0].removeprefix("r=")
        salted = hashlib.pbkdf2_hmac("sha256", b"secret", b"salt", 4096)
        key = hmac.digest(salted, b"Client Key", "sha256")
        without = f"c={base64.b64encode(header + bound).decode()},r={nonce}"
        message = f"{bare},{server_first},{without}".encode()
        signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
        last = await talk.ask(base64.b64encode(f"{without},p={proof}".encode()).decode())
        verifier = base64.b64encode(
            hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
        )
        assert base64.b64decode(last.removeprefix("334 ")) == b"v=" + verifier
        assert (await talk.ask("")).startswith("235")
        await talk.close()


async def test_too_many_bad_passwords_have_to_wait() -> None:
    wrong = "AUTH PLAIN " + base64.b64encode(b"\0alice@example.test\0wrong").decode()
    networks = Security(plaintext_login_networks=("127.0.0.1/32",))
    async with world(submission=True, security=networks, smtp=Smtp(max_errors=5)) as made:
        talk = await Talk.to(made)
        await talk.ask("EHLO client.test")
        answers = [(await talk.ask(wrong))[:9] for _ in range(4)]
        assert answers == ["535 5.7.8"] * 3 + ["454 4.7.0"]


async def test_an_exchange_ends_with_a_line_that_is_none() -> None:
    networks = Security(plaintext_login_networks=("127.0.0.0/8",))
    async with world(submission=True, security=networks) as made:
        talk = await Talk.to(made)
        await talk.ask("EHLO client.test")
        assert (await talk.ask("AUTH PLAIN")).startswith("334")
        # RFC 4954 §6, and the connection goes on.
        assert (await talk.ask("x" * 13_000)).startswith("500 5.5.6")
        assert (await talk.ask("AUTH PLAIN")).startswith("334")
        assert (await talk.ask(b"AGE\rA\r\n")).startswith("500 5.5.2")
        assert (await talk.ask("AUTH PLAIN")).startswith("334")
        assert (await talk.ask(b"*\n")).startswith("500 5.5.2")
        assert await talk.closed()


async def test_too_many_refusals_end_the_session() -> None:
    async with world(smtp=Smtp(max_errors=3)) as made:
        talk = await Talk.to(made)
        codes = await talk.all_of(["A", "B", "C", "D"])
        assert codes == ["500"] * 4
        assert (await talk.reply()).startswith("421 4.7.0")
        assert await talk.closed()


async def test_connections_are_limited_in_all_and_from_one_address() -> None:
    async with world(smtp=Smtp(max_connections_per_ip=2)) as made:
        first, second = await Talk.to(made), await Talk.to(made)
        third = await Talk.to(made, greet=False)
        assert (await third.reply()).startswith("421 4.7.0")
        assert await third.closed()
        await first.ask("QUIT")
        while made.door.census.total > 1:
            await asyncio.sleep(0)
        await Talk.to(made)
        assert (await second.ask("NOOP")).startswith("250")
    exempt = Security(limit_exempt_networks=("127.0.0.0/8",))
    async with world(smtp=Smtp(max_connections_per_ip=1, max_connections=3), security=exempt) as made:
        open_ones = [await Talk.to(made) for _ in range(3)]
        last = await Talk.to(made, greet=False)
        assert (await last.reply()).startswith("421 4.7.0")
        assert (await open_ones[0].ask("NOOP")).startswith("250")


async def test_recipients_are_limited() -> None:
    async with world(smtp=Smtp(max_recipients=2)) as made:
        talk = await Talk.to(made)
        await talk.all_of(["EHLO x", "MAIL FROM:<a@b.test>"])
        # Alice has to be asked for, Bob is remembered.
        codes = await talk.all_of(
            [f"RCPT TO:<{name}@example.test>" for name in ("alice", "bob") * 2] + ["DATA"]
        )
        assert codes == ["250", "250", "452", "452", "354"]
        assert (await talk.ask(".")).startswith("250")


async def test_a_full_mailbox_is_told_at_rcpt_when_it_is_remembered_too() -> None:
    async with world() as made:
        made.directory.quotas[2] = Quota(100, 100, 1, None)
        talk = await Talk.to(made)
        codes = await talk.all_of(["EHLO x", "MAIL FROM:<a@b.test>", "RCPT TO:<bob@example.test>", "DATA"])
        assert codes[2:] == ["452", "503"]


@pytest.mark.parametrize("said", [b"", b"EHLO x\r\n", b"EHLO x", b"EHLO x\r\nMAIL FROM:<a@b.test>\r\n"])
async def test_a_silent_client_is_given_up(said: bytes) -> None:
    async with world(smtp=Smtp(idle_timeout=0.05), sweep=0.01) as made:
        talk = await Talk.to(made)
        talk.send(said)
        async with asyncio.timeout(5):
            rest = await talk.reader.read()
        assert rest.splitlines()[-1].startswith(b"421 4.4.2")


async def test_a_message_that_drips_is_given_up() -> None:
    async with world(smtp=Smtp(idle_timeout=60, data_timeout=0.1), sweep=0.01) as made:
        talk = await Talk.to(made)
        await talk.begin()
        async with asyncio.timeout(5):
            while not talk.reader.at_eof():
                talk.send(b"x")
                try:
                    async with asyncio.timeout(0.01):
                        line = await talk.reader.readline()
                        assert line.startswith(b"421 4.4.2")
                        break
                except TimeoutError:
                    continue


async def test_a_client_that_reads_no_replies_holds_no_memory() -> None:
    async with world(smtp=Smtp(idle_timeout=1.5), sweep=0.05) as made:
        other = await Talk.to(made)
        reader, writer = await asyncio.open_connection("127.0.0.1", made.door.port, limit=1)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        flood = b"HELP\r\n" * 20_000
        with pytest.raises((TimeoutError, ConnectionError)):
            async with asyncio.timeout(10):
                while True:
                    writer.write(flood)
                    await writer.drain()
                    assert made.door.limits.held < 2_000_000
                    assert (await other.ask("NOOP")).startswith("250")
        writer.transport.abort()


async def test_pipelined_floods_let_others_have_their_turn() -> None:
    async with world() as made:
        flooding, other = await Talk.to(made), await Talk.to(made)
        flooding.send(b"NOOP\r\n" * 30_000)
        started = time.monotonic()
        assert (await other.ask("NOOP")).startswith("250")
        assert time.monotonic() - started < 1
        for _ in range(30_000):
            assert await flooding.reader.readline() == b"250 2.0.0 OK\r\n"


async def test_five_thousand_idle_connections_disturb_nobody() -> None:
    wanted = 5000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * wanted + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"needs {needed} file descriptors, may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    clients: list[socket.socket] = []
    try:
        async with world(smtp=Smtp(max_connections_per_ip=wanted + 10)) as made, asyncio.timeout(60):
            before = _resident()
            loop = asyncio.get_running_loop()
            for _ in range(wanted):
                client = socket.socket()
                client.setblocking(False)
                clients.append(client)
                await loop.sock_connect(client, ("127.0.0.1", made.door.port))
            while made.door.census.total < wanted:
                await asyncio.sleep(0.01)
            # Both ends live in this process; sockets of the clients are part of it.
            assert _resident() - before < 60 * 1024 * 1024
            talk = await Talk.to(made)
            started = time.monotonic()
            await talk.begin()
            assert (await talk.ask("Subject: x\r\n\r\n.")).startswith("250")
            assert time.monotonic() - started < 1
    finally:
        for client in clients:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _resident() -> int:
    with open("/proc/self/statm") as statm:  # noqa: PTH123 - one line
        return int(statm.read().split()[1]) * resource.getpagesize()


def proxy_header(source: str, command: int = 0x21) -> bytes:
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    addresses = socket.inet_pton(family, source) * 2 + struct.pack("!HH", 4321, 25)
    kind = 0x21 if family == socket.AF_INET6 else 0x11
    tlv = b"\x04\x00\x03abc"
    return SIGNATURE + struct.pack("!BBH", command, kind, len(addresses + tlv)) + addresses + tlv


PROXIES = Security(proxy_networks=("127.0.0.0/8",))


@pytest.mark.parametrize("source", ["192.0.2.7", "2001:db8::7"])
async def test_a_proxy_tells_who_connects(source: str) -> None:
    async with world(security=PROXIES) as made:
        talk = await Talk.to(made, greet=False)
        header = proxy_header(source)
        talk.send(header[:7])
        await asyncio.sleep(0.01)
        talk.send(header[7:] + b"EHLO client.test\r\n")
        assert (await talk.reply()).startswith("220")
        await talk.reply()
        await talk.all_of(["MAIL FROM:<a@b.test>", "RCPT TO:<alice@example.test>", "DATA"])
        await talk.ask(".")
        ((incoming, _),) = made.dispatch.delivered
        assert f"{'IPv6:' if ':' in source else ''}{source}]".encode() in incoming.prefix


async def test_a_proxy_may_check_for_itself() -> None:
    async with world(security=PROXIES) as made:
        talk = await Talk.to(made, greet=False)
        talk.send(SIGNATURE + b"\x20\x00\x00\x00")
        assert (await talk.reply()).startswith("220")


@pytest.mark.parametrize(
    "header",
    [b"EHLO client.test\r\n", b"PROXY TCP4 192.0.2.7 192.0.2.8 1 25\r\n", SIGNATURE + b"\x21\x11\x00\x04abcd",
     SIGNATURE + b"\x21\x11\xff\xff", SIGNATURE + b"\x2f\x11\x00\x0c" + b"x" * 12],
)  # fmt: skip
async def test_who_should_be_a_proxy_and_is_none_is_not_heard(header: bytes) -> None:
    async with world(security=PROXIES) as made:
        talk = await Talk.to(made, greet=False)
        talk.send(header)
        assert await talk.closed()


async def test_a_proxy_header_from_elsewhere_is_no_header() -> None:
    async with world(security=Security(proxy_networks=("192.0.2.0/24",))) as made:
        talk = await Talk.to(made)
        talk.send(proxy_header("192.0.2.7"))
        assert (await talk.reply()).startswith("500")


async def test_implicit_tls_behind_a_proxy(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    async with world(security=PROXIES, tls=server_tls, implicit_tls=True) as made:
        raw = socket.create_connection(("127.0.0.1", made.door.port))
        raw.sendall(proxy_header("192.0.2.7"))
        raw.setblocking(False)
        talk = Talk(*await asyncio.open_connection(sock=raw, ssl=client_tls, server_hostname="localhost"))
        assert (await talk.reply()).startswith("220")
        await talk.close()


async def test_a_drain_lets_transactions_end_and_sends_the_idle_away() -> None:
    async with world() as made:
        idle, busy = await Talk.to(made), await Talk.to(made)
        await busy.begin()
        draining = asyncio.create_task(made.door.drain(5.0))
        assert (await idle.reply()).startswith("421 4.3.2")
        assert await idle.closed()
        with pytest.raises(OSError):
            await Talk.to(made)
        assert (await busy.ask("Subject: x\r\n\r\n.")).startswith("250")
        assert (await busy.reply()).startswith("421 4.3.2")
        assert await busy.closed()
        await draining
        assert len(made.dispatch.bodies) == 1


async def test_a_drain_waits_for_a_delivery_only_so_long() -> None:
    async with world() as made:
        made.dispatch.gate = asyncio.Event()
        talk = await Talk.to(made)
        await talk.begin()
        talk.send("Subject: x\r\n\r\n.\r\n")
        await made.dispatch.entered.wait()
        await made.door.drain(0.1)
        assert await talk.closed()
        made.dispatch.gate.set()


async def test_who_sends_decides_where_a_tag_leads() -> None:
    """RFC 4314 §2.1, right `p`: asked for the principal, or for somebody that nobody knows."""
    networks = Security(plaintext_login_networks=("127.0.0.0/8",))
    right = "AUTH PLAIN " + base64.b64encode(b"\0alice@example.test\0secret").decode()
    async with world() as outside, world(submission=True, security=networks) as inside:
        for made, login, sender, mailbox in (
            (outside, [], "sender@other.test", 1),
            (inside, [right], "alice@example.test", 101),
        ):
            talk = await Talk.to(made)
            await talk.all_of(["EHLO client.test", *login])
            codes = await talk.all_of([f"MAIL FROM:<{sender}>", "RCPT TO:<alice+box@example.test>", "DATA"])
            assert codes == ["250", "250", "354"]
            assert (await talk.ask("Subject: x\r\n\r\nx\r\n.")).startswith("250")
            assert [target.mailbox for target in made.dispatch.delivered[0][0].targets] == [mailbox]


@pytest.mark.parametrize("last", ["", "NOO", "EHLO x\r\n", "AUTH LOGIN\r\n", "AUTH LOGIN\r\nYWx"])
async def test_who_has_said_all_is_let_go(last: str) -> None:
    networks = Security(plaintext_login_networks=("127.0.0.0/8",))
    async with world(submission=True, security=networks) as made:
        talk = await Talk.to(made)
        await talk.ask("EHLO x")
        talk.send(last)
        talk.writer.write_eof()
        async with asyncio.timeout(5):
            await talk.reader.read()
        await talk.close()


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_connection_that_ended_holds_no_memory(
    encrypted: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    async with world(tls=server_tls) as made:
        talk = await Talk.to(made)
        await talk.ask("EHLO x")
        if encrypted:
            await starttls(talk, client_tls)
            await talk.ask("EHLO x")
        await talk.begin()
        assert (await talk.ask("Subject: x\r\n\r\n.")).startswith("250")
        await talk.ask("HELP")
        (session,) = made.door.sessions
        ended = asyncio.Event()
        weakref.finalize(session, ended.set)
        del session
        gc.disable()
        try:
            await talk.ask("QUIT")
            await talk.close()
            async with asyncio.timeout(5):
                await ended.wait()
        finally:
            gc.enable()


def broken(*_: object, **__: object) -> object:
    raise RuntimeError("a bug")


@pytest.mark.parametrize(
    ("part", "what", "verb"),
    [("door", "features", 0), ("reception", "mail", 1), ("directory", "remembered", 2)],
    ids=["EHLO", "MAIL", "RCPT"],
)
async def test_a_bug_in_a_verb_that_waits_for_nothing_is_answered_and_logged(
    part: str, what: str, verb: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["EHLO client.test", "MAIL FROM:<a@b.test>", "RCPT TO:<bob@example.test>", "NOOP"]
    async with world() as made:
        parts = {"door": made.door, "reception": made.door.reception, "directory": made.directory}
        talk = await Talk.to(made)
        # From here on a session answers, not the front.
        await talk.ask("HELP")
        monkeypatch.setattr(parts[part], what, broken)
        for line in lines[:verb]:
            assert (await talk.ask(line)).startswith("250")
        with capture_logs() as events:
            talk.send(f"{lines[verb]}\r\nNOOP\r\n")
            assert await talk.reply() == "451 4.3.0 Local error"
            assert (await talk.reply()).startswith("250")
        monkeypatch.undo()
        assert (await talk.all_of(lines[verb:]))[0] == "250"
    (event,) = [event for event in events if event.get("exc_info")]
    assert (event["event"], event["log_level"]) == ("command_failed", "error")
    assert event["source"] == "esp.smtp.connection"


@pytest.mark.parametrize("last", ["", " LAST"])
async def test_a_bug_at_a_chunk_ends_the_connection(last: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world() as made:
        # The native reader is told at each chunk, and takes only a truth value.
        monkeypatch.setattr(made.door.reception, "strip_bcc", "no bool")
        talk = await Talk.to(made)
        await talk.all_of(["EHLO client.test", "MAIL FROM:<a@b.test>", "RCPT TO:<bob@example.test>"])
        talk.send(f"BDAT 4{last}\r\n1234NOOP\r\n")
        assert (await talk.reply()).startswith("421 4.3.0")
        assert await talk.closed()


async def test_a_bug_among_the_octets_of_a_message_ends_the_connection() -> None:
    async with world(smtp=Smtp(memory_limit=1024)) as made:
        made.spool_error = RuntimeError("a bug")
        talk = await Talk.to(made)
        await talk.begin()
        talk.send(b"Subject: x\r\n\r\n" + b"x\r\n" * 10_000)
        assert (await talk.reply()).startswith("421 4.3.0")
        assert await talk.closed()
        assert made.spools[0].closed
