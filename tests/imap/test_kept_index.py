"""The index of a large mailbox outlives the process that made it."""

import asyncio
import re

import pytest

from esp.services import open_mailboxes
from esp.services.history import History
from tests.imap.client import Client
from tests.imap.world import Imap, World

EVERYTHING = "UID FETCH 1:* (FLAGS MODSEQ RFC822.SIZE INTERNALDATE EMAILID BODY.PEEK[])"
KEPT = "FROM mailbox_index WHERE mailbox_id = (SELECT max(id) FROM mailbox WHERE name = 'INBOX')"


@pytest.fixture(autouse=True)
def _three_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_mailboxes, "WORTH_KEEPING", 3)
    monkeypatch.setattr(open_mailboxes, "KEEP_AFTER", 0.0)


async def filled(world: World, imap: Imap) -> tuple[str, Client]:
    """Return an account with six messages, and a session that has them selected and has left their index."""
    address = await world.account()
    client = await imap.login(address)
    for number in range(6):
        await client.append("INBOX", b"Subject: %d\r\n\r\n" % number)
    await client.ok("ENABLE CONDSTORE")
    await client.ok("SELECT INBOX")
    async with asyncio.timeout(10):
        while await world.database_value(f"SELECT modseq {KEPT}") is None:
            await asyncio.sleep(0.005)
    return address, client


async def everything(client: Client) -> list[str]:
    lines = [re.sub(r" ?\\Recent", "", line) for line in await client.ok(EVERYTHING)]
    assert lines.pop().startswith("OK")
    return lines


async def seen_anew(world: World, address: str) -> list[str]:
    """Return what a session of a new process sees."""
    door = await world.open_door()
    client = await door.login(address)
    await client.ok("ENABLE CONDSTORE")
    await client.ok("SELECT INBOX")
    lines = await everything(client)
    await client.close()
    await world.close_door(door)
    return lines


async def hide_sizes(world: World) -> None:
    """Change what is read only by who does not begin with a kept index."""
    await world.database_value(
        "UPDATE message SET size = 7 WHERE mailbox_id = (SELECT max(id) FROM mailbox WHERE name = 'INBOX')"
    )


async def test_a_new_process_reads_what_was_kept_and_what_has_happened_since(
    world: World, imap: Imap
) -> None:
    address, client = await filled(world, imap)
    await hide_sizes(world)
    await client.ok("UID STORE 2:4 +FLAGS.SILENT (\\Flagged $Later)")
    await client.ok("UID STORE 3,6 +FLAGS.SILENT (\\Deleted)")
    await client.ok("UID EXPUNGE 3")
    await client.append("INBOX", b"Subject: new\r\n\r\n", "(\\Draft)")
    there = await everything(client)
    assert len(there) == 6
    assert await seen_anew(world, address) == there
    assert not any("RFC822.SIZE 7 " in line for line in there)
    await client.close()


async def test_changes_are_remembered_for_those_who_begin_there(world: World, imap: Imap) -> None:
    address, client = await filled(world, imap)
    await hide_sizes(world)
    await client.ok("UID STORE 2:4 +FLAGS.SILENT (\\Flagged)")
    await History(world.database, 3600.0, 0.0).forget()
    assert await seen_anew(world, address) == await everything(client)
    await client.close()


async def test_what_nobody_can_bring_up_to_date_is_of_no_use_and_forgotten(world: World, imap: Imap) -> None:
    address, client = await filled(world, imap)
    await client.ok("UID STORE 2 +FLAGS.SILENT (\\Deleted)")
    await client.ok("UID EXPUNGE 2")
    await client.ok("UID STORE 5 +FLAGS.SILENT (\\Answered)")
    await hide_sizes(world)
    await world.database_value("UPDATE mailbox SET changed_horizon = highest_modseq RETURNING id")
    lines = await seen_anew(world, address)
    assert ["RFC822.SIZE 7 " in line for line in lines] == [True] * 5
    assert ["\\Answered" in line for line in lines].index(True) == 3
    await world.database_value("UPDATE mailbox SET changed_horizon = highest_modseq + 1 RETURNING id")
    await History(world.database, 3600.0).forget()
    assert await world.database_value(f"SELECT count(*) {KEPT}") == 0
    await client.close()


async def test_what_another_version_has_kept_is_replaced(world: World, imap: Imap) -> None:
    address, client = await filled(world, imap)
    await world.database_value("UPDATE mailbox_index SET octets = '\\x00'::bytea")
    assert await seen_anew(world, address) == await everything(client)
    async with asyncio.timeout(10):
        while await world.database_value(f"SELECT length(octets) {KEPT}") == 1:
            door = await world.open_door()
            other = await door.login(address)
            await other.ok("SELECT INBOX")
            await asyncio.sleep(0.02)
            await other.close()
            await world.close_door(door)
    await client.close()


async def test_nothing_is_kept_of_a_mailbox_that_is_no_more(world: World, imap: Imap) -> None:
    _, client = await filled(world, imap)
    count = "SELECT count(*) FROM mailbox_index"
    before = await world.database_value(count)
    await client.ok("CREATE Other")
    await client.ok("COPY 1:* Other")
    await client.ok("SELECT Other")
    async with asyncio.timeout(10):
        while await world.database_value(count) == before:
            await asyncio.sleep(0.005)
    await client.ok("CLOSE")
    await client.ok("DELETE Other")
    assert await world.database_value(count) == before
    await client.close()
