"""Several sessions and several processes on one mailbox: who hears what, and when."""

import asyncio
from pathlib import Path

import pytest

from tests.imap.client import Client
from tests.imap.world import Imap, World


async def idling(door: Imap, address: str) -> Client:
    client = await door.login(address)
    await client.ok("SELECT INBOX")
    client.send("i IDLE\r\n")
    await client.until("+ ")
    return client


async def test_idle_hears_of_mail_that_another_process_took(world: World) -> None:
    address = await world.account()
    # Nobody looks within the hour: what comes is what the other process told.
    here, there = [await world.open_door(poll_interval=3600.0) for _ in range(2)]
    client = await idling(here, address)
    async with asyncio.timeout(10):
        for door in (here, there):
            await door.notifier.until_connected()
    sender = await there.login(address)
    for number in range(1, 51):
        assert (await sender.append("INBOX", b"Subject: x\r\n\r\nx\r\n")).startswith("OK")
        assert await client.line() == f"* {number} EXISTS"
        assert await client.line() == f"* {number} RECENT"
    client.send("DONE\r\n")
    assert (await client.line()).startswith("i OK")
    for connected in (client, sender):
        await connected.close()
    for door in (here, there):
        await world.close_door(door)


async def test_idle_hears_of_flags_and_expunges(world: World, imap: Imap) -> None:
    address = await world.account()
    other = await world.open_door()
    sender = await other.login(address)
    await sender.append("INBOX", b"x")
    client = await idling(imap, address)
    await sender.ok("SELECT INBOX")
    await sender.ok("STORE 1 +FLAGS (\\Flagged $Label)")
    assert await client.line() == "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Label)"
    assert "PERMANENTFLAGS" in await client.line()
    assert "\\Flagged" in await client.line()
    await sender.ok("STORE 1 +FLAGS.SILENT \\Deleted")
    assert "\\Deleted" in await client.line()
    await sender.ok("EXPUNGE")
    assert await client.line() == "* 1 EXPUNGE"
    for connected in (client, sender):
        await connected.close()
    await world.close_door(other)


async def test_without_redis_mail_is_seen_by_polling(world: World, imap: Imap, tmp_path: Path) -> None:
    address = await world.account()
    alone = await world.open_door(valkey=f"unix://{tmp_path}/nothing.sock", poll_interval=0.2)
    client = await idling(alone, address)
    sender = await imap.login(address)
    await sender.append("INBOX", b"x")
    assert await client.line() == "* 1 EXISTS"
    client.send("DONE\r\n")
    await client.until("i OK")
    # And at once, when the client asks.
    await sender.append("INBOX", b"x")
    assert "* 2 EXISTS" in await client.ok("NOOP")
    for connected in (client, sender):
        await connected.close()
    await world.close_door(alone)


async def test_looking_for_changes_outlives_an_error_that_nobody_thought_of(
    world: World, imap: Imap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = await world.account()
    alone = await world.open_door(valkey=f"unix://{tmp_path}/nothing.sock", poll_interval=0.1)
    client = await idling(alone, address)
    look = alone.door.open_mailboxes._look
    failures = []

    async def fail_once() -> None:
        if not failures:
            failures.append(True)
            raise ZeroDivisionError
        await look()

    monkeypatch.setattr(alone.door.open_mailboxes, "_look", fail_once)
    sender = await imap.login(address)
    await sender.append("INBOX", b"x")
    assert await client.line() == "* 1 EXISTS"
    assert failures
    for connected in (client, sender):
        await connected.close()
    await world.close_door(alone)


async def test_an_expunge_by_another_process_waits_for_a_command_that_may_tell(
    world: World, imap: Imap
) -> None:
    # PITFALLS 18, RFC 3501 §7.4.1 and §5.5
    address = await world.account()
    other = await world.open_door()
    reader, writer = await imap.login(address), await other.login(address)
    for number in range(4):
        await writer.append("INBOX", b"Subject: %d\r\n\r\n" % number)
    await reader.ok("SELECT INBOX")
    await writer.ok("SELECT INBOX")
    await writer.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")
    await writer.ok("EXPUNGE")
    # Whether word has come or not: number 3 is UID 3 until EXPUNGE is told.
    assert (await reader.ok("FETCH 3 (UID)"))[0] == "* 3 FETCH (UID 3)"
    assert (await reader.ok("SEARCH UID 3"))[-2] == "* SEARCH 3"
    assert "* 2 EXPUNGE" in await reader.ok("NOOP")
    assert (await reader.ok("FETCH 2 (UID)"))[0] == "* 2 FETCH (UID 3)"
    for connected in (reader, writer):
        await connected.close()
    await world.close_door(other)


async def test_the_session_of_a_deleted_mailbox_is_ended(world: World, imap: Imap) -> None:
    address = await world.account()
    first, second = await imap.login(address), await imap.login(address)
    await first.ok("CREATE doomed")
    await first.ok("SELECT doomed")
    first.send("i IDLE\r\n")
    await first.until("+")
    await second.ok("DELETE doomed")
    assert (await first.line()).startswith("* BYE")
    await second.ok("CREATE doomed")
    for connected in (first, second):
        await connected.close()


@pytest.mark.parametrize("command", ["CLOSE", "UNSELECT"])
async def test_a_mailbox_that_was_deleted_can_be_left(world: World, imap: Imap, command: str) -> None:
    address = await world.account()
    first, second = await imap.login(address), await imap.login(address)
    await first.ok("CREATE doomed")
    await first.ok("SELECT doomed")
    await second.ok("DELETE doomed")
    assert await first.ok(command) == [f"OK {command} completed"]
    await first.ok("SELECT INBOX")
    for client in (first, second):
        await client.close()


async def test_many_sessions_store_into_one_mailbox(world: World, imap: Imap) -> None:
    address = await world.account()
    other = await world.open_door()
    clients = [await (imap, other)[n % 2].login(address) for n in range(10)]
    await asyncio.gather(*(client.append("INBOX", b"x%d" % n) for n, client in enumerate(clients)))
    await asyncio.gather(*(client.ok("SELECT INBOX") for client in clients))
    await asyncio.gather(
        *(
            client.ok(f"STORE {1 + (n + turn) % 10} {'+' if turn % 2 else '-'}FLAGS (\\Flagged k{n})")
            for turn in range(4)
            for n, client in enumerate(clients)
            if turn == 0
        )
    )
    for turn in range(1, 5):
        await asyncio.gather(
            *(
                client.ok(f"STORE {1 + (n + turn) % 10} {'+' if turn % 2 else '-'}FLAGS (\\Flagged k{n})")
                for n, client in enumerate(clients)
            )
        )
    seen = []
    for client in clients:
        await client.ok("NOOP")
        seen.append(
            [
                line.replace(" \\Recent", "").replace("\\Recent ", "").replace("\\Recent", "")
                for line in await client.ok("UID FETCH 1:* FLAGS")
                if "FETCH (" in line
            ]
        )
    assert all(lines == seen[0] for lines in seen)
    assert len(seen[0]) == 10
    for client in clients:
        await client.close()
    await world.close_door(other)


def recent(lines: list[str]) -> int:
    (count,) = [int(line.split()[1]) for line in lines if line.endswith(" RECENT")]
    return count


async def test_recent_is_given_to_one_session_of_all_processes(world: World, imap: Imap) -> None:
    address = await world.account()
    other = await world.open_door()
    here, there, asker = await imap.login(address), await other.login(address), await imap.login(address)
    # RFC 3501 §6.3.2, §2.3.2: who only looks takes nothing, and sees as recent what nobody was told of.
    await there.ok("EXAMINE INBOX")
    await asker.append("INBOX", b"Subject: x\r\n\r\nx\r\n")
    assert recent(await there.ok("NOOP")) == 1
    for client in (here, there):
        await client.ok("SELECT INBOX")
    for number in range(2, 5):
        await asker.append("INBOX", b"Subject: x\r\n\r\nx\r\n")
        told = [await client.ok("NOOP") for client in (there, here)]
        assert [recent(lines) for lines in told] == [number - 1, 1]
        assert "(RECENT 0)" in (await asker.ok("STATUS INBOX (RECENT)"))[0]
    assert recent(await asker.ok("SELECT INBOX")) == 0
    for client in (here, there, asker):
        await client.close()
    await world.close_door(other)
