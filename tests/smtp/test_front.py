"""The thread before the sessions: nobody can tell which of the two has answered."""

import asyncio
import contextlib
import random
import re
import resource
import select
import socket
import threading
from typing import Any

import pytest
from structlog.testing import capture_logs

from esp.config.sections import Security, Smtp
from esp.core.address import Address
from esp.core.errors import OverQuotaError
from esp.core.quota import Quota
from esp.core.routing import Local, Resolution
from esp.smtp import front
from tests.smtp.support import Talk, World, world
from tests.support.directory import ALICE, BOB
from tests.support.resets import make_resetting, reset

BEHIND_A_PROXY = Security(proxy_networks=("192.0.2.1/32",))
"""Who comes from elsewhere than the proxy is met by a session at once."""

GREETINGS = ["EHLO x", "EHLO  client.test ", "HELO x", "LHLO x", "EHLO", "ehlo y", "EHLO a b", "EHLO \u00fc"]
SENDERS = [
    "MAIL FROM:<a@b.test>",
    "MAIL FROM:<>",
    "mail from:<A.B@B.TEST> SIZE=100 BODY=8BITMIME",
    'MAIL FROM:<"a b"@b.test> BODY=7BIT',
    "MAIL FROM:<a@b.test> SIZE=5000",
    "MAIL FROM:<a@b.test> SIZE=999999999",
    "MAIL FROM:<a@b.test> SMTPUTF8",
    "MAIL FROM:<\u00fc@b.test> SMTPUTF8",
    "MAIL FROM:<a@b.test> RET=FULL",
    "MAIL FROM:<a@b.test> AUTH=<>",
    "MAIL FROM:<a@[192.0.2.7]>",
    "MAIL FROM:<a@b..test>",
    "MAIL TO:<a@b.test>",
]
RECIPIENTS = [
    *(
        f"RCPT TO:<{name}@example.test>"
        for name in ("alice", "bob", "BOB", "alice+tag", "team", "nobody", "full", "small", "off", "down")
    ),
    "RCPT TO:<bob@EXAMPLE.TEST>",
    "RCPT TO:<elsewhere@example.test>",
    "RCPT TO:<x@other.test>",
    "RCPT TO:<postmaster>",
    "RCPT TO:<@relay.test:bob@example.test>",
    "RCPT TO:<bob@[192.0.2.7]>",
    "RCPT TO:<bob@example.test> NOTIFY=NEVER",
    "RCPT TO:<\u00fc@example.test>",
    "RCPT FROM:<bob@example.test>",
]
CONTENTS = [
    b"Subject: x\r\n\r\nhello\r\n",
    b"",
    b"..dots\r\n..\r\n",
    b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n",
    b"Subject: large\r\n\r\n" + b"0123456789\r\n" * 300,
    b"Subject: too large\r\n\r\n" + b"0123456789\r\n" * 2000,
    b"Received: by x\r\n" * 101 + b"\r\nloop\r\n",
    b"Subject: bare\n\r\nline end\r\n",
]
OTHERS = [
    "RSET",
    "NOOP",
    "NOOP x",
    "VRFY alice",
    "HELP",
    "HELP MAIL",
    "EXPN x",
    "AUTH PLAIN",
    "STARTTLS",
    "WHAT",
    "",
]


def said(dice: random.Random) -> bytes:
    """Return what a client says from beginning to end, whatever it is answered."""
    octets = dice.choice(GREETINGS).encode() + b"\r\n"
    for _ in range(dice.randint(1, 12)):
        match dice.randrange(8):
            case 0:
                octets += dice.choice(GREETINGS + OTHERS).encode() + b"\r\n"
            case 1:
                octets += b"BDAT 12%s\r\nSubject: x\r\n" % dice.choice([b"", b" LAST"])
            case 2:
                octets += dice.choice([*OTHERS, *SENDERS, *RECIPIENTS, "DATA"]).encode() + b"\r\n"
            case _:
                octets += dice.choice([SENDERS[0], dice.choice(SENDERS)]).encode() + b"\r\n"
                for _ in range(dice.choice([0, 1, 1, 1, 2, 5])):
                    octets += dice.choice([*RECIPIENTS[:3], dice.choice(RECIPIENTS)]).encode() + b"\r\n"
                octets += b"DATA\r\n" + dice.choice([CONTENTS[0], dice.choice(CONTENTS)]) + b".\r\n"
    return octets + b"QUIT\r\n"


async def heard(made: World, octets: bytes, cuts: list[int]) -> bytes:
    """Say it in pieces, as far as the server listens; return all that was answered."""
    loop = asyncio.get_running_loop()
    with socket.create_connection(("127.0.0.1", made.door.port)) as connection:
        connection.setblocking(False)

        async def speak() -> None:
            with contextlib.suppress(ConnectionError):
                for begin, end in zip([0, *cuts], [*cuts, len(octets)], strict=True):
                    await loop.sock_sendall(connection, octets[begin:end])
                    for _ in range(3):
                        await asyncio.sleep(0)

        answer = b""
        speaking = asyncio.create_task(speak())
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                while more := await loop.sock_recv(connection, 65536):
                    answer += more
            await speaking
    return re.sub(rb"250 2\.0\.0 OK [0-9a-f.]+", b"250 2.0.0 OK *", answer)


def kept(made: World) -> list[Any]:
    """Return what was delivered, without the ids and dates of Received."""
    changing = re.compile(rb"(?<= id )[0-9a-f.]+|(?<=;\r\n).*")
    return [
        (changing.sub(b"*", incoming.prefix), body, incoming.targets)
        for incoming, body in made.dispatch.delivered
    ]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("lmtp", [False, True], ids=["smtp", "lmtp"])
async def test_whatever_is_said_the_front_and_a_session_answer_alike(seed: int, lmtp: bool) -> None:
    dice = random.Random(seed)
    smtp = Smtp(memory_limit=2000, max_message_size=20_000, max_errors=1000, max_recipients=4)
    async with (
        world(smtp=smtp, lmtp=lmtp) as first,
        world(smtp=smtp, lmtp=lmtp, security=BEHIND_A_PROXY) as second,
    ):
        for _ in range(25):
            octets = said(dice)
            if lmtp:
                octets = octets.replace(b"EHLO ", b"LHLO ", 1)
            cuts = sorted(dice.randint(0, len(octets)) for _ in range(dice.choice([0, 0, 2, 9])))
            first.dispatch.fail = {2: OverQuotaError("full")} if dice.random() < 0.1 else {}
            second.dispatch.fail = first.dispatch.fail
            assert await heard(first, octets, cuts) == await heard(second, octets, cuts), octets
            assert kept(first) == kept(second), octets
        assert first.dispatch.delivered


async def send(talk: Talk, recipient: str, size: int = 0) -> str:
    codes = await talk.all_of(
        [f"MAIL FROM:<a@b.test> SIZE={size}", f"RCPT TO:<{recipient}@example.test>", "RSET"]
    )
    return codes[1]


async def test_a_recipient_is_asked_for_once_in_a_while_and_when_something_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(front, "_REMEMBERED", 600.0)
    async with world() as made:
        asked: list[Address] = []
        resolve = made.directory.resolve

        async def resolved(recipient: Address) -> Resolution:
            asked.append(recipient)
            return await resolve(recipient)

        monkeypatch.setattr(made.directory, "resolve", resolved)
        talk, other = await Talk.to(made), await Talk.to(made)
        for each in (talk, other):
            await each.ask("EHLO x")
            assert [await send(each, "bob") for _ in range(3)] == ["250"] * 3
        assert len(asked) == 1
        # Of Alice the directory remembers nothing: her mail might go elsewhere too.
        assert [await send(talk, "alice") for _ in range(3)] == ["250"] * 3
        assert len(asked) == 4
        made.door.forget()
        assert await send(talk, "bob") == "250"
        assert len(asked) == 5
        assert made.door.sessions == set()


async def test_what_was_found_before_a_change_is_not_remembered_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(front, "_REMEMBERED", 600.0)

    async def resolved(_: Address) -> Resolution:
        return Local((ALICE,))

    async with world() as made:
        # The question was asked when it was Alice's address. Somebody else has asked since then, and it is Bob's.
        monkeypatch.setattr(made.directory, "resolve", resolved)
        talk = await Talk.to(made)
        for _ in range(2):
            await talk.begin("bob@example.test")
            talk.send(CONTENTS[0])
            assert (await talk.ask(".")).startswith("250 2.0.0")
        targets = [incoming.targets[0].mailbox for incoming, _ in made.dispatch.delivered]
        assert targets == [ALICE.mailbox, BOB.mailbox]


async def test_a_recipient_is_known_for_messages_that_it_has_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(front, "_REMEMBERED", 600.0)
    async with world() as made:
        made.directory.quotas[2] = Quota(900, 1000, 1, None)
        talk = await Talk.to(made)
        await talk.ask("EHLO x")
        assert [await send(talk, "bob", size) for size in (0, 100, 101, 0)] == ["250", "250", "452", "250"]


async def test_a_bug_where_a_recipient_is_looked_for_is_answered_and_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(*_: object) -> object:
        raise RuntimeError("a bug")

    async with world() as made:
        talk = await Talk.to(made)
        await talk.all_of(["EHLO x", "MAIL FROM:<a@b.test>"])
        monkeypatch.setattr(made.directory, "resolve", broken)
        with capture_logs() as events:
            assert await talk.ask("RCPT TO:<alice@example.test>") == "451 4.3.0 Local error"
        assert [event["event"] for event in events if event.get("exc_info")] == [
            "recipient_failed",
            "command_failed",
        ]


async def test_a_bug_where_a_message_is_taken_over_is_answered_and_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> object:
        raise RuntimeError("a bug")

    async with world(lmtp=True) as made:
        talk = await Talk.to(made)
        codes = await talk.all_of(
            ["LHLO x", "MAIL FROM:<a@b.test>", *["RCPT TO:<alice@example.test>"] * 2, "DATA"]
        )
        assert codes[-1] == "354"
        with monkeypatch.context() as patch, capture_logs() as events:
            patch.setattr(made.door.reception, "resume", broken)
            assert await talk.ask(".") == "451 4.3.0 Local error"
            assert await talk.reply() == "451 4.3.0 Local error"
        assert [event["event"] for event in events if event.get("exc_info")] == ["transaction_not_taken_over"]
        assert (await talk.ask("NOOP")).startswith("250")


async def test_refusals_of_the_front_count_for_the_session() -> None:
    async with world(smtp=Smtp(max_errors=1)) as made:
        talk = await Talk.to(made)
        await talk.ask("EHLO x")
        for _ in range(2):
            await talk.all_of(["MAIL FROM:<a@b.test>", "RCPT TO:<bob@example.test>", "DATA"])
            talk.send(CONTENTS[6] + b".\r\n")
            assert (await talk.reply()).startswith("554 5.4.6")
        assert (await talk.reply()).startswith("421 4.7.0")


async def test_refusals_of_the_front_alone_may_be_too_many() -> None:
    async with world(smtp=Smtp(max_errors=0)) as made:
        talk = await Talk.to(made)
        await talk.begin("bob@example.test")
        talk.send(CONTENTS[6] + b".\r\nNOOP\r\n")
        assert [(await talk.reply())[:9] for _ in range(2)] == ["554 5.4.6", "421 4.7.0"]
        assert await talk.closed()


@pytest.mark.parametrize("security", [None, BEHIND_A_PROXY], ids=["front", "session"])
async def test_each_recipient_has_its_reply_also_when_refusals_become_too_many(
    security: Security | None,
) -> None:
    async with world(smtp=Smtp(max_errors=1), lmtp=True, security=security) as made:
        talk = await Talk.to(made)
        recipients = ["RCPT TO:<alice@example.test>"] * 3
        assert (await talk.all_of(["LHLO x", "MAIL FROM:<a@b.test>", *recipients, "DATA"]))[-1] == "354"
        talk.send(CONTENTS[6] + b".\r\n")
        assert [(await talk.reply())[:3] for _ in range(4)] == ["554", "554", "554", "421"]
        assert await talk.closed()


async def test_a_door_without_descriptors_tells_so_and_takes_connections_when_there_are_some() -> None:
    async with world() as made:
        with contextlib.ExitStack() as stack:
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
            taken, waiting = [stack.enter_context(socket.socket()) for _ in range(2)]
            with stack.enter_context(socket.socket()) as last:
                # Room for one: the number that is free now.
                resource.setrlimit(resource.RLIMIT_NOFILE, (last.fileno() + 1, limits[1]))
            with capture_logs() as events:
                for client in (taken, waiting):
                    client.settimeout(10)
                    client.connect(("127.0.0.1", made.door.port))
                async with asyncio.timeout(10):
                    while not events:
                        await asyncio.sleep(0)
            assert {event["event"] for event in events} == {"accept_failed"}
            assert taken.recv(3) == b"220"
            taken.close()
            assert waiting.recv(3) == b"220"


async def test_who_is_gone_before_a_session_takes_over_is_counted_out() -> None:
    async with world() as made:
        assert made.door.front is not None
        with socket.create_connection(("127.0.0.1", made.door.port)) as client:
            client.sendall(b"VRFY x\r\n")
            # The thread has given it away, and nobody has taken it: the event loop has not had its turn.
            assert select.select([made.door.front], [], [], 10)[0]
            make_resetting(client)
        with capture_logs() as events:
            async with asyncio.timeout(10):
                while made.door.census.total:
                    await asyncio.sleep(0)
        assert events == []
        assert made.door.sessions == set()


async def test_a_session_that_takes_over_reads_no_more_than_it_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world() as made:

        async def resolved(_: Address) -> Resolution:
            # Not before the thread has read ahead as much as it may.
            while made.door.limits.held < 66_000:
                await asyncio.sleep(0)
            return Local((BOB,))

        def flood() -> None:
            with socket.create_connection(("127.0.0.1", made.door.port)) as client:
                reading = threading.Thread(target=lambda: all(iter(lambda: client.recv(65536), b"")))
                reading.start()
                client.sendall(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<x@example.test>\r\n")
                # The thread does not answer the second MAIL.
                client.sendall(b"MAIL FROM:<>\r\n" + b"NOOP\r\n" * 500_000 + b"QUIT\r\n")
                reading.join()

        monkeypatch.setattr(made.directory, "resolve", resolved)
        flooding = asyncio.get_running_loop().run_in_executor(None, flood)
        most = 0
        while not flooding.done():
            await asyncio.sleep(0)
            most = max(0, most, *(session.native.buffered for session in made.door.sessions))
        await flooding
        assert 64 * 1024 < most < 1024 * 1024


async def test_who_has_said_all_and_shut_down_is_answered() -> None:
    async with world() as made:
        made.dispatch.gate = asyncio.Event()
        talk = await Talk.to(made)
        await talk.begin("bob@example.test")
        talk.send(CONTENTS[0] + b".\r\nNOOP\r\n")
        talk.writer.write_eof()
        await made.dispatch.entered.wait()
        made.dispatch.gate.set()
        assert [(await talk.reply())[:9] for _ in range(2)] == ["250 2.0.0"] * 2
        assert await talk.closed()


async def test_who_left_before_the_reply_is_named_in_the_log() -> None:
    async with world() as made:
        made.dispatch.gate = asyncio.Event()
        talk = await Talk.to(made)
        await talk.begin("bob@example.test")
        with capture_logs() as events:
            talk.send(CONTENTS[0] + b".\r\n")
            await made.dispatch.entered.wait()
            reset(talk.writer)
            while made.door.census.total:
                await asyncio.sleep(0)
            made.dispatch.gate.set()
            while not any(event["event"] == "client_left_before_reply" for event in events):
                await asyncio.sleep(0)
        assert made.dispatch.bodies == [CONTENTS[0]]


async def test_a_door_that_closes_lets_messages_end_and_gives_all_others_away() -> None:
    async with world() as made:
        made.dispatch.gate = asyncio.Event()
        idle, sending, delivering = [await Talk.to(made) for _ in range(3)]
        await idle.ask("EHLO x")
        for talk in (sending, delivering):
            await talk.begin("bob@example.test")
        delivering.send(CONTENTS[0] + b".\r\n")
        await made.dispatch.entered.wait()
        closing = asyncio.create_task(made.door.drain(20))
        assert (await idle.reply()).startswith("421 4.3.2")
        with pytest.raises(ConnectionRefusedError):
            await Talk.to(made)
        sending.send(CONTENTS[0] + b".\r\n")
        made.dispatch.gate.set()
        for talk in (sending, delivering):
            assert (await talk.reply()).startswith("250 2.0.0")
            assert (await talk.reply()).startswith("421 4.3.2")
            assert await talk.closed()
        await closing
        assert made.door.census.total == 0
        assert len(made.dispatch.bodies) == 2


async def test_a_door_that_closes_waits_also_for_whom_the_front_gave_away_last() -> None:
    async with world() as made:
        made.dispatch.gate = asyncio.Event()
        idle, delivering = [await Talk.to(made) for _ in range(2)]
        await idle.ask("VRFY x")
        await delivering.begin("bob@example.test")
        delivering.send(CONTENTS[0] + b".\r\nMAIL FROM:<a@b.test>\r\n")
        await made.dispatch.entered.wait()
        closing = asyncio.create_task(made.door.drain(20))
        assert (await idle.reply()).startswith("421 4.3.2")
        assert await idle.closed()
        made.dispatch.gate.set()
        assert [(await delivering.reply())[:9] for _ in range(2)] == ["250 2.0.0", "250 2.1.0"]
        assert await delivering.all_of(["RCPT TO:<bob@example.test>", "DATA"]) == ["250", "354"]
        delivering.send(CONTENTS[0] + b".\r\n")
        assert (await delivering.reply()).startswith("250 2.0.0")
        assert (await delivering.reply()).startswith("421 4.3.2")
        await closing
        assert len(made.dispatch.bodies) == 2


async def test_deliveries_that_hang_do_not_keep_a_door_open() -> None:
    async with world() as made:
        made.dispatch.gate = asyncio.Event()
        talk = await Talk.to(made)
        await talk.begin("bob@example.test")
        talk.send(CONTENTS[0] + b".\r\n")
        await made.dispatch.entered.wait()
        await made.door.drain(0.05)
        assert await talk.closed()
        made.dispatch.gate.set()
