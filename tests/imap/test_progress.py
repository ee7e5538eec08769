"""Commands that take long, and those that would (RFC 9585, RFC 9738)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from esp.imap.progress import Progress
from esp.services import messages as messages_module
from tests.imap.world import World


@asynccontextmanager
async def held(world: World, statement: str, *arguments: object) -> AsyncIterator[None]:
    """Keep a lock of the database."""
    async with world.database.transaction() as tx:
        await tx.execute(statement, *arguments)
        yield


async def test_a_client_that_waits_is_told_so(world: World) -> None:
    address = await world.account()
    door = await world.open_door(progress_interval=0.02)
    client = await door.login(address)
    await client.append("INBOX", b"x")
    await client.ok("SELECT INBOX")
    account = world.fake.principals[address].account
    async with held(world, "SELECT FROM mailbox WHERE account_id = $1 FOR UPDATE", account):
        client.send("slow COPY 1 Trash\r\n")
        for _ in range(2):
            assert await client.line() == '* OK [INPROGRESS ("slow" NIL NIL)] Still at it'
    assert (await client.until("slow "))[-1].startswith("slow OK [COPYUID")
    await client.close()
    await world.close_door(door)


async def test_what_is_counted_is_told(world: World) -> None:
    address = await world.account()
    door = await world.open_door(progress_interval=0.02)
    client = await door.login(address)
    for number in range(3):
        await client.append("INBOX", b"Subject: %d\r\n\r\nHi\r\n" % number)
    await client.ok("SELECT INBOX")
    account = world.fake.principals[address].account
    async with held(world, "SELECT pg_advisory_xact_lock(x'455350'::int, $1::int)", account):
        client.send("slow FETCH 1:3 (PREVIEW)\r\n")
        assert await client.line() == '* OK [INPROGRESS ("slow" 0 3)] Still at it'
    assert (await client.until("slow "))[-4:-1] == [f'* {n} FETCH (PREVIEW "Hi")' for n in (1, 2, 3)]
    await client.close()
    await world.close_door(door)


class FakeConnection:
    """Takes what is written."""

    def __init__(self) -> None:
        self.closing = self.paused = False
        self.written: list[bytes] = []
        self.heard = asyncio.Event()

    def write(self, octets: bytes) -> None:
        self.written.append(octets)
        self.heard.set()


async def test_nothing_comes_between_the_pieces_of_a_response() -> None:
    connection, other = FakeConnection(), FakeConnection()
    with (
        Progress(connection, "a", 0.001) as progress,  # type: ignore[arg-type]
        Progress(other, "b", 0.005),  # type: ignore[arg-type]
    ):
        progress.paused = True
        await other.heard.wait()  # by now it would have been told several times
        assert connection.written == []
        progress.paused = False
        progress.reached(7, 9)
        await connection.heard.wait()
    assert connection.written[0] == b'* OK [INPROGRESS ("a" 7 9)] Still at it\r\n'


async def test_too_many_messages_are_not_copied(world: World) -> None:
    address = await world.account()
    door = await world.open_door(save_limit=2)
    client = await door.login(address)
    for _ in range(4):
        await client.append("INBOX", b"x")
    assert " SAVELIMIT=2" in (await client.ok("CAPABILITY"))[0]
    await client.ok("SELECT INBOX")
    assert (await client.command("COPY 1:4 Trash"))[-1].startswith("NO [MESSAGELIMIT 2 3] ")
    assert "MESSAGES 0" in (await client.ok("STATUS Trash (MESSAGES)"))[0]
    await client.ok("UID COPY 3:4 Trash")
    # RFC 9738 §3: only COPY and APPEND with SAVELIMIT
    moved = await client.ok("MOVE 1:4 Trash")
    # RFC 6851 §3.3: but not in one transaction.
    assert [line.split()[-3:] for line in moved if "COPYUID" in line] == [
        ["1:2", "3:4]", "Moved"],
        ["3:4", "5:6]", "Moved"],
    ]
    assert "MESSAGES 6" in (await client.ok("STATUS Trash (MESSAGES)"))[0]
    await client.close()
    await world.close_door(door)


async def test_very_many_messages_are_not_expunged_in_one_transaction(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages_module, "TOGETHER", 2)
    address = await world.account()
    client = await world.doors[0].login(address)
    for _ in range(5):
        await client.append("INBOX", b"x")
    await client.ok("SELECT INBOX")
    await client.ok("STORE 1:* +FLAGS.SILENT (\\Deleted)")
    query = "SELECT highest_modseq FROM mailbox WHERE name = 'INBOX' AND account_id = $1"
    account = world.fake.principals[address].account
    before = await world.database_value(query, account)

    expunged = await client.ok("EXPUNGE")

    assert sum("EXPUNGE" in line and line.startswith("*") for line in expunged) == 5
    assert await world.database_value(query, account) == before + 3  # type: ignore[operator]
    await client.close()


async def test_very_many_messages_are_changed_in_pieces_and_a_silent_store_stays_silent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages_module, "TOGETHER", 2)
    address = await world.account()
    client, other = await world.doors[0].login(address), await world.doors[-1].login(address)
    for _ in range(5):
        await client.append("INBOX", b"x")
    for one in (client, other):
        await one.ok("SELECT INBOX")

    assert await client.ok("STORE 1:* +FLAGS.SILENT (\\Seen)") == ["OK STORE completed"]
    told = await client.ok("STORE 2:5 +FLAGS (\\Flagged)")

    query = "SELECT array_agg(uids ORDER BY modseq) FROM changed WHERE account_id = $1"
    account = world.fake.principals[address].account
    assert await world.database_value(query, account) == ["1:2", "3:4", "5:5", "2:3", "4:5"]
    assert [line.split()[1] for line in told[:-1]] == ["2", "3", "4", "5"]
    heard = await other.ok("NOOP")
    assert [line.count("\\Seen") + line.count("\\Flagged") for line in heard[:-1]] == [1, 2, 2, 2, 2]
    for one in (client, other):
        await one.close()
