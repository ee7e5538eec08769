"""What a connection bears: TLS begun midway, pipelines, silence, deaf clients, huge announcements."""

import asyncio
import base64
import itertools
import ssl
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from esp.config import sections
from esp.core.network import Networks
from esp.imap.connection import GATHERED, PARTS_AT_ONCE, READ_AHEAD, Connection, Event
from esp.imap.session import Session
from esp.native import CommandReader
from esp.telemetry import metrics
from tests.imap.client import Client
from tests.imap.world import Imap, World
from tests.support.resets import reset


def resident() -> int:
    """Octets of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def upgraded(client: Client, context: ssl.SSLContext) -> None:
    await client.writer.start_tls(context, server_hostname="localhost")


async def test_starttls_hides_what_follows(
    world: World, imap: Imap, tls: tuple[sections.Tls, ssl.SSLContext]
) -> None:
    address = await world.account()
    client = await Client.connect(imap.port)
    assert "STARTTLS" in await client.line()
    await client.ok("STARTTLS")
    await upgraded(client, tls[1])
    capabilities = (await client.ok("CAPABILITY"))[0]
    assert "STARTTLS" not in capabilities
    assert "LOGINDISABLED" not in capabilities
    await client.ok(f"LOGIN {address} secret")
    assert (await client.command("STARTTLS"))[-1].startswith("BAD")
    await client.close()


async def test_commands_behind_starttls_are_not_carried_into_tls(
    imap: Imap, tls: tuple[sections.Tls, ssl.SSLContext]
) -> None:
    # CVE-2011-0411: a command injected in clear text must not be answered as if it had come under TLS.
    client = await Client.connect(imap.port)
    await client.line()
    client.send("a STARTTLS\r\nb NOOP\r\n")
    assert (await client.line()).startswith("a OK")
    await upgraded(client, tls[1])
    assert [line.split()[0] for line in await client.ok("NOOP")] == ["OK"]
    await client.close()


@pytest.mark.parametrize("end", ["reset", "end", "nonsense"])
async def test_who_leaves_amid_the_handshake_is_gone(imap: Imap, end: str) -> None:
    client = await Client.connect(imap.port)
    await client.line()
    await client.ok("STARTTLS")
    assert metrics.IMAP_SESSIONS._value.get() == 1
    match end:
        case "reset":
            reset(client.writer)
        case "end":
            client.writer.write_eof()
        case _:
            client.send("a NOOP\r\n")
    async with asyncio.timeout(10):
        while metrics.IMAP_SESSIONS._value.get():
            await asyncio.sleep(0)


async def test_no_password_in_clear_text(world: World, tls: tuple[sections.Tls, ssl.SSLContext]) -> None:
    address = await world.account()
    world.plaintext, trusted = (), world.plaintext
    door = await world.open_door()
    world.plaintext = trusted
    client = await Client.connect(door.port)
    greeting = await client.line()
    assert "LOGINDISABLED" in greeting
    assert "AUTH=" not in greeting
    assert (await client.command(f"LOGIN {address} secret"))[-1].startswith("NO [PRIVACYREQUIRED]")
    proof = base64.b64encode(f"\0{address}\0secret".encode()).decode()
    assert (await client.command(f"AUTHENTICATE PLAIN {proof}"))[-1].startswith("NO [PRIVACYREQUIRED]")
    secure = await Client.connect(door.imaps_port, tls=tls[1])
    assert "AUTH=PLAIN" in await secure.line()
    await secure.ok(f"AUTHENTICATE PLAIN {proof}")
    for connected in (client, secure):
        await connected.close()
    await world.close_door(door)


async def test_pipelined_commands_are_answered_in_order(client: Client) -> None:
    commands = [
        "SELECT INBOX",
        "APPEND INBOX {3+}\r\nabc",
        "NOOP",
        "FETCH 1 FLAGS",
        "STORE 1 +FLAGS (\\Deleted)",
    ]
    commands += ["EXPUNGE", "CREATE x", "SELECT x", "UNSELECT", 'LIST "" x']
    client.send("".join(f"p{n} {command}\r\n" for n, command in enumerate(commands)))
    lines = await client.until(f"p{len(commands) - 1} ")
    tagged = [line.split()[0:2] for line in lines if line.startswith("p")]
    assert tagged == [[f"p{n}", "OK"] for n in range(len(commands))]
    assert next(line for line in lines if "EXPUNGE" in line) == "* 1 EXPUNGE"


async def test_a_gibibyte_announced_takes_no_memory(client: Client) -> None:
    before = resident()
    client.send("a APPEND INBOX {1073741824}\r\n")
    assert (await client.line()).startswith("a NO [TOOBIG]")
    await client.ok("NOOP")
    client.send("b LOGIN {1073741824}\r\n")
    line = await client.line()
    assert line.startswith(("b BAD", "b NO"))
    assert resident() - before < 8 * 1024 * 1024


async def test_a_gibibyte_sent_without_asking_ends_the_connection(client: Client) -> None:
    client.send("a APPEND INBOX {1073741824+}\r\nxxx")
    assert (await client.line()).startswith("a NO [TOOBIG]")
    assert (await client.line()).startswith("* BYE")
    assert await client.line() == ""


async def test_a_large_literal_of_a_refused_command_is_read_to_its_end(client: Client) -> None:
    # As much as is read ahead, and more: the connection no longer listens while the mailbox is looked for.
    message = b"x" * 4 * READ_AHEAD
    for command in ("APPEND nowhere", 'APPEND nowhere CATENATE (URL "/;UID=1" TEXT'):
        client.send(f"a {command} {{{len(message)}+}}\r\n".encode() + message + b"\r\n")
        assert (await client.line()).startswith("a NO [TRYCREATE]")
        await client.ok("NOOP")


async def test_an_endless_line_ends_the_connection(imap: Imap) -> None:
    client = await Client.connect(imap.port)
    await client.line()
    before = resident()
    try:
        for _ in range(256):
            client.send(b"x" * 65536)
            await client.writer.drain()
    except ConnectionError:
        pass
    assert resident() - before < 32 * 1024 * 1024
    await client.close()


async def test_a_client_that_does_not_read_grows_no_memory(world: World, imap: Imap) -> None:
    address = await world.account()
    client = await imap.login(address)
    message = b"Subject: big\r\n\r\n" + b"0123456789abcdef" * 65536
    for _ in range(8):
        assert (await client.append("INBOX", message)).startswith("OK")
    await client.ok("SELECT INBOX")
    deaf = await Client.connect(imap.port, limit=1024)
    await deaf.line()
    deaf.send(f"a LOGIN {address} secret\r\nb SELECT INBOX\r\n")
    before = resident()
    for n in range(50):
        deaf.send(f"c{n} FETCH 1:* BODY.PEEK[]\r\n")
    # Others are served meanwhile, again and again, until the deaf one's answers fill every buffer.
    for _ in range(50):
        await client.ok("FETCH 1 (FLAGS ENVELOPE)")
        await asyncio.sleep(0.01)
    assert resident() - before < 32 * 1024 * 1024
    deaf.writer.transport.abort()
    await client.ok("NOOP")
    await client.close()


async def test_responses_that_nobody_reads_are_not_kept(imap: Imap) -> None:
    deaf = await Client.connect(imap.port, limit=1024)
    (session,) = imap.door._sessions
    # The responses are 45 MB, more than sockets hold.
    deaf.send(b"c CAPABILITY\r\n" * 60_000)
    most = 0
    async with asyncio.timeout(60):
        while not session.connection.paused:
            await asyncio.sleep(0.01)
    for _ in range(20):
        await asyncio.sleep(0.01)
        most = max(most, session.connection.transport.get_write_buffer_size())
    assert most < 1024 * 1024
    # Whoever reads again is answered everything.
    for _ in range(120_000):
        await deaf.line()
    assert (await deaf.line()).startswith("c OK")
    await deaf.close()


async def test_whoever_never_logs_in_is_sent_away(world: World) -> None:
    door = await world.open_door(login_timeout=0.3)
    client = await Client.connect(door.port)
    await client.line()
    started = time.monotonic()
    assert (await client.line()).startswith("* BYE")
    assert time.monotonic() - started < 4
    assert await client.line() == ""
    await client.close()
    await world.close_door(door)


async def test_whoever_idles_is_told_that_we_are_here_and_not_sent_away(world: World) -> None:
    # Outlook: see `Session.silent`
    address = await world.account()
    door = await world.open_door(idle_reminder=0.2, idle_timeout=0.5)
    client = await door.login(address)
    await client.ok("SELECT INBOX")
    client.send("i IDLE\r\n")
    await client.until("+ ")
    for _ in range(2):
        assert await client.line() == "* OK Still here"
    client.send("DONE\r\n")
    assert (await client.until("i "))[-1].startswith("i OK")
    # Out of IDLE, silence is silence.
    assert (await client.line()).startswith("* BYE")
    await client.close()
    await world.close_door(door)


async def test_a_stopping_door_says_goodbye(world: World) -> None:
    address = await world.account()
    door = await world.open_door()
    idle, waiting = await door.login(address), await door.login(address)
    await waiting.ok("SELECT INBOX")
    waiting.send("a IDLE\r\n")
    await waiting.until("+")
    await world.close_door(door)
    for client in (idle, waiting):
        assert (await client.line()).startswith("* BYE")
        assert await client.line() == ""
        await client.close()


async def test_one_account_cannot_take_every_connection(world: World) -> None:
    address = await world.account()
    door = await world.open_door(max_connections_per_user=2, max_connections=4)
    door.door._exempt = Networks()
    first, second = await door.login(address), await door.login(address)
    third = await Client.connect(door.port)
    await third.line()
    assert (await third.command(f"LOGIN {address} secret"))[-1].startswith("NO [LIMIT]")
    await first.close()
    fourth = await door.login(address)
    fifth = await Client.connect(door.port)
    sixth = await Client.connect(door.port)
    assert any([(await c.line()).startswith("* BYE") for c in (fifth, sixth)])
    for client in (second, third, fourth, fifth, sixth):
        await client.close()
    await world.close_door(door)


async def test_bad_logins_are_slow_and_few(world: World, imap: Imap) -> None:
    address = await world.account()
    client = await Client.connect(imap.port)
    await client.line()
    started = time.monotonic()
    client.send("".join(f"a{n} LOGIN {address} wrong\r\n" for n in range(12)))
    lines = await client.until("* BYE")
    assert sum("AUTHENTICATIONFAILED" in line for line in lines) <= 4
    assert time.monotonic() - started >= 3
    await client.close()


async def test_nonsense_does_not_go_on_for_ever(imap: Imap) -> None:
    client = await Client.connect(imap.port)
    await client.line()
    client.send("x y z\r\n" * 100)
    lines = await client.until("* BYE")
    assert len(lines) < 40
    await client.close()


@pytest.mark.parametrize("octets", [b"a NOOP\r\n", b"a LOGIN {3+}\r\nabc {1+}\r\nx\r\n"])
async def test_octets_may_come_one_by_one(octets: bytes, imap: Imap) -> None:
    client = await Client.connect(imap.port)
    await client.line()
    for octet in octets:
        client.send(bytes([octet]))
        await client.writer.drain()
        await asyncio.sleep(0)
    assert (await client.line()).startswith("a ")
    await client.close()


async def test_the_log_never_calls_two_connections_the_same(imap: Imap) -> None:
    """Not an object's address, which the next one has when that is gone."""
    assert len({Session(imap.door).number for _ in range(3)}) == 3


async def test_a_bug_is_logged_with_the_connection_and_who_has_logged_in(
    world: World, imap: Imap, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = await world.account()
    client = await imap.login(address)
    (session,) = imap.door._sessions

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(imap.door.mailboxes, "listed", broken)
    with capture_logs() as events:
        client.send('a LIST "" *\r\n')
        assert (await client.line()).startswith("* BYE [SERVERBUG]")
    (event,) = events
    assert (event["event"], event["connection"], event["user"]) == (
        "command_crashed",
        session.number,
        address,
    )
    await client.close()


class Packets(asyncio.Transport):
    """Keeps what is sent, each call for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def close(self) -> None:
        pass


class Answering:
    """Answers each command in two pieces, after a wait if one is asked for."""

    def __init__(self) -> None:
        self.connection = Connection(self, CommandReader(max_append=1), 60.0)
        self.transport = Packets()
        self.handled = 0
        self.wait: asyncio.Future[None] | None = None
        self.connection.connection_made(self.transport)

    async def handle(self, event: Event) -> None:
        self.connection.write(b"one ")
        if self.wait is not None:
            await self.wait
        self.connection.write(b"two\r\n")
        self.handled += 1

    async def opened(self) -> None:
        pass

    def writable(self) -> None:
        pass

    def silent(self) -> None:
        pass

    def failed(self, error: BaseException) -> None:
        raise error

    def closed(self) -> None:
        pass


async def ticks(count: int) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_an_answer_is_one_packet() -> None:
    answering = Answering()
    await ticks(3)
    answering.connection.data_received(b"a NOOP\r\n")
    await ticks(3)
    assert answering.transport.sent == [b"one two\r\n"]


async def test_what_was_written_before_a_wait_goes_out() -> None:
    answering = Answering()
    answering.wait = asyncio.get_running_loop().create_future()
    await ticks(3)
    answering.connection.data_received(b"a NOOP\r\n")
    await ticks(4)
    assert answering.transport.sent == [b"one "]
    answering.wait.set_result(None)
    await ticks(3)
    assert answering.transport.sent == [b"one ", b"two\r\n"]


async def test_much_is_not_gathered() -> None:
    answering = Answering()
    await ticks(3)
    for _ in range(3):
        answering.connection.write(b"x" * (GATHERED // 2))
    assert [len(sent) for sent in answering.transport.sent] == [GATHERED]
    answering.connection.close()
    assert [len(sent) for sent in answering.transport.sent] == [GATHERED, GATHERED // 2]


@pytest.mark.parametrize(("line", "at_once"), [(b"a NOOP\r\n", 1), (b"a )\r\n", PARTS_AT_ONCE)])
async def test_others_have_their_turn_between_commands_and_after_some_other_events(
    line: bytes, at_once: int
) -> None:
    answering = Answering()
    await ticks(3)
    answering.connection.data_received(line * 20)
    seen = []
    while answering.handled < 20:
        await asyncio.sleep(0)
        seen.append(answering.handled)
    assert max(later - earlier for earlier, later in itertools.pairwise([0, *seen])) == at_once
