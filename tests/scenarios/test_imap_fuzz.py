"""Octets that no client sends, to both doors of a running ESP: no role ends, nothing hangs or leaks, replies are
well-formed.

Seeds are the dialogues of `tests/golden`. Lines are mutated, literals are random, connections are cut. One run is
`ESP_FUZZ_SECONDS` for each door, from `ESP_FUZZ_SEED`; pytest's `faulthandler_timeout` has to be longer.
"""

import asyncio
import logging
import os
import random
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.instance import Instance
from tests.support.wire import Wire, parse

GOLDEN = Path(__file__).parent.parent / "golden"
SECONDS = float(os.environ.get("ESP_FUZZ_SECONDS", "8"))
SEED = int(os.environ.get("ESP_FUZZ_SEED", "3501"))
PATIENCE = 20.0
MOST_GROWTH = 150 * 1024 * 1024
"""Of a process's memory, over the whole run."""
MOST_DESCRIPTORS = 64
"""That a process may have more than before: connections to the database, mailboxes that are open."""
_LOG = logging.getLogger(__name__)
_REPLY = re.compile(rb"[2-5]\d\d[ -].*\r\n\Z", re.DOTALL)
_SPICE = (
    b"{", b"}", b"(", b")", b'"', b"\\", b"*", b"%", b"[", b"]", b"<", b">", b"\0", b"\r", b"\xff", b"\xc3", b" ",
    b"&", b"&AAA-", b"%00", b"{0+}\r\n", b"{4}\r\n", b"{99999999999}\r\n", b"~{3+}\r\nabc", b"0", b"4294967295",
    b"18446744073709551616", b"1:*", b"$", b"NIL", b"A" * 5000, b"(" * 300,
)  # fmt: skip


def lines(door: str) -> list[bytes]:
    """Return what clients say in the dialogues of a door."""
    texts = [path.read_text() for path in sorted((GOLDEN / door).glob("*.txt"))]
    said = {found for text in texts for found in re.findall(r"^C\d?: ?(.*)$", text, re.MULTILINE)}
    return [line.encode() for line in sorted(said)]


def mutate(chance: random.Random, line: bytes, others: list[bytes]) -> bytes:
    """Return a line that is wrong in one to three ways."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randint(0, len(line))
        match chance.randrange(6):
            case 0:
                line = line[:at] + chance.choice(_SPICE) + line[at:]
            case 1:
                line = line[:at] + line[at + chance.randint(1, 8) :]
            case 2:
                line = line[:at] + bytes([chance.randrange(256)]) + line[at + 1 :]
            case 3:
                line = line[:at] + chance.choice(others)[chance.randint(0, 20) :]
            case 4:
                words = line.split(b" ")
                chance.shuffle(words)
                line = b" ".join(words)
            case _:
                line = line[:at] + line[at : at + 10] * chance.randint(2, 20) + line[at:]
    return line


def memory(pids: list[int]) -> int:
    """Return the largest resident size, in octets."""
    return max(
        int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) * 1024  # type: ignore[index]
        for pid in pids
    )


def descriptors(pids: list[int]) -> int:
    """Return the largest number of open files."""
    return max(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)


async def attack_imap(instance: Instance, chance: random.Random, user: str, password: str) -> None:
    """One connection: log in perhaps, say a few things, leave."""
    others = lines("imap")
    wire = await Wire.connect(instance.ports["imap"])
    try:
        if chance.random() < 0.9:
            await wire.ok(f'LOGIN {user} "{password}"'.encode())
            if chance.random() < 0.8:
                await wire.command(b"SELECT INBOX")
        for _ in range(chance.randint(1, 12)):
            wire.send(
                mutate(chance, chance.choice(others).replace(b"{address}", user.encode()), others) + b"\r\n"
            )
            await _answers(wire, chance)
    except ConnectionError:
        pass  # after a BYE, or reset by what was sent behind it
    finally:
        await wire.close()


async def _answers(wire: Wire, chance: random.Random) -> None:
    # A command that waits for the rest of a literal is not answered; then the rest comes, or the connection ends.
    try:
        async with asyncio.timeout(0.15 + chance.random() * 0.1):
            while (await wire.read()).tag in {"*", "+"}:
                pass
    except TimeoutError:
        wire.send(chance.randbytes(chance.randint(0, 40)) + b"\r\n")


async def attack_smtp(instance: Instance, chance: random.Random, user: str) -> None:
    """One connection to SMTP, submission or LMTP."""
    others = lines("smtp")
    port = instance.ports[chance.choice(("smtp", "submission", "lmtp"))]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE):
            greeting = await reader.readline()
        assert greeting.startswith(b"220 "), greeting
        for line in (
            b"EHLO fuzz",
            b"LHLO fuzz",
            b"MAIL FROM:<a@example.org>",
            b"RCPT TO:<%b>" % user.encode(),
        ):
            writer.write(line + b"\r\n")
        for _ in range(chance.randint(1, 12)):
            writer.write(mutate(chance, chance.choice(others), others) + b"\r\n")
        if chance.random() < 0.5:
            writer.write(b"\r\n.\r\nQUIT\r\n")
        # A client that waits in vain for a reply leaves: what was sent may be half a message.
        async with asyncio.timeout(0.3):
            while line := await reader.readline():
                assert _REPLY.fullmatch(line), line
    except (ConnectionError, TimeoutError):
        pass
    finally:
        writer.close()


async def converse(port: int, *lines: bytes) -> list[bytes]:
    """Return the last lines of the replies to the greeting and to each of the lines, which are sent by turns."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    replies = []
    try:
        async with asyncio.timeout(PATIENCE):
            for line in (b"", *lines):
                writer.write(line)
                while (reply := await reader.readline())[3:4] == b"-":
                    pass
                replies.append(reply)
    finally:
        writer.close()
    return replies


async def serve_as_ever(instance: Instance, user: str, password: str) -> None:
    """Deliver a message by each door that takes some, and find all of them in the mailbox."""
    to, subject = user.encode(), secrets.token_hex(8).encode()
    for door, greeting in (("smtp", b"EHLO"), ("lmtp", b"LHLO")):
        replies = await converse(
            instance.ports[door],
            greeting + b" client.example\r\n",
            b"MAIL FROM:<a@example.org>\r\n",
            b"RCPT TO:<%b>\r\n" % to,
            b"DATA\r\n",
            b"Subject: %b\r\n\r\nx\r\n.\r\n" % subject,
            b"QUIT\r\n",
        )
        assert [reply[:3] for reply in replies] == [b"220", b"250", b"250", b"250", b"354", b"250", b"221"], (
            replies
        )
    wire = await Wire.connect(instance.ports["imap"])
    await wire.ok(f'LOGIN {user} "{password}"'.encode())
    await wire.ok(b"SELECT INBOX")
    found, _ = await wire.ok(b"SEARCH SUBJECT " + subject)
    assert len(found.values) == 2, found
    await wire.close()


@pytest.mark.parametrize("door", ["imap", "smtp"])
async def test_nothing_a_client_says_ends_a_role(own_fuzzed: Instance, door: str) -> None:
    instance, user = own_fuzzed, "fuzz@example.test"
    password = secrets.token_urlsafe(8)
    instance.cli("user", "add", user, "--password-stdin", text=password)
    await serve_as_ever(instance, user, password)
    chance = random.Random(SEED)
    roles = {role: instance.pids(role) for role in ("imap", "smtp")}
    before, open_before = memory(roles[door]), descriptors(roles[door])
    end = time.monotonic() + SECONDS
    connections = 0

    async def worker() -> None:
        nonlocal connections
        while time.monotonic() < end:
            connections += 1
            async with asyncio.timeout(3 * PATIENCE):
                if door == "imap":
                    await attack_imap(instance, chance, user, password)
                else:
                    await attack_smtp(instance, chance, user)

    await asyncio.gather(*(worker() for _ in range(4)))
    assert {role: instance.pids(role) for role in roles} == roles, instance.log_tail()
    assert "crashed" not in instance.log.read_text(errors="replace")
    await serve_as_ever(instance, user, password)
    async with asyncio.timeout(PATIENCE):
        while descriptors(roles[door]) > open_before + MOST_DESCRIPTORS:
            await asyncio.sleep(0.1)
    growth, more = memory(roles[door]) - before, descriptors(roles[door]) - open_before
    _LOG.info("%s: %d connections, %d octets and %d descriptors more", door, connections, growth, more)
    assert growth < MOST_GROWTH
    instance.cli("user", "remove", user)


def test_the_reader_of_responses_is_strict() -> None:
    for wrong in (
        b"* OK\r\n",
        b"* 1 FETCH (FLAGS ()\r\n",
        b"a OK [UIDNEXT 3]\r\n",
        b'* LIST () "/" "a\r\n',
        b"x\r\n",
    ):
        with pytest.raises(AssertionError):
            parse(wrong)


def test_the_reader_of_responses_knows_what_names_may_hold() -> None:
    for name in ("a[", "[", "]a", "a[b]c", "a}"):
        assert parse(b'* LIST () "/" %b\r\n' % name.encode()).values == [[], b"/", name]
    section = parse(b"* 1 FETCH (BODY[HEADER.FIELDS (A B)]<0> NIL UID 1)\r\n")
    assert list(section.items) == ["BODY[HEADER.FIELDS (A B)]<0>", "UID"]


@pytest.fixture
def own_fuzzed(instance_factory: Callable[..., Instance]) -> Instance:
    """A running ESP that takes passwords in clear text from here, and any number of failures and messages."""
    here = '["127.0.0.0/8"]'
    return instance_factory(
        ESP_SECURITY__PLAINTEXT_LOGIN_NETWORKS=here,
        ESP_SECURITY__LIMIT_EXEMPT_NETWORKS=here,
        ESP_SECURITY__LOGIN_FAILURES="1000000000",
    )
