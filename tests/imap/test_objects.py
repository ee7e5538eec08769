"""What keeps its name: mailboxes, messages, threads, and what indexing adds to them (RFC 8474, RFC 8514, RFC 8970)."""

import re

from esp.services.indexing import Indexing
from tests.imap.client import Client
from tests.imap.world import Imap, World

FIRST = b"Message-ID: <1@example.test>\r\nSubject: one\r\n\r\nFirst of all\r\n"
REPLY = b"Message-ID: <2@example.test>\r\nReferences: <1@example.test>\r\nSubject: Re: one\r\n\r\nYes\r\n"
OTHER = b"Message-ID: <3@example.test>\r\nSubject: two\r\n\r\nElse\r\n"


async def mailbox_id(client: Client, mailbox: str) -> str:
    lines = await client.ok(f"STATUS {mailbox} (MAILBOXID)")
    found = re.search(r"MAILBOXID \((\w+)\)", lines[0])
    assert found is not None, lines
    return found[1]


async def objects(client: Client) -> list[tuple[str, str]]:
    """Return EMAILID and THREADID of all messages."""
    lines = await client.ok("FETCH 1:* (EMAILID THREADID)")
    return re.findall(r"EMAILID \((\w+)\) THREADID \((\w+)\)", "\n".join(lines))


async def test_a_mailbox_keeps_its_id_through_renaming_and_no_other_gets_it(client: Client) -> None:
    created = (await client.ok("CREATE first"))[-1]
    before = await mailbox_id(client, "first")
    assert f"[MAILBOXID ({before})]" in created
    await client.ok("RENAME first second")
    assert await mailbox_id(client, "second") == before
    assert f"* OK [MAILBOXID ({before})] Mailbox identifier" in await client.ok("EXAMINE second")
    await client.ok("DELETE second")
    await client.ok("CREATE first")
    assert await mailbox_id(client, "first") != before
    # RFC 3501 §6.3.5: INBOX stays, its messages go.
    inbox = await mailbox_id(client, "INBOX")
    await client.ok("RENAME INBOX old")
    assert await mailbox_id(client, "INBOX") == inbox
    assert await mailbox_id(client, "old") != inbox


async def test_copies_are_the_same_message_and_replies_the_same_thread(client: Client) -> None:
    for message in (FIRST, OTHER, REPLY):
        await client.append("INBOX", message)
    await client.ok("SELECT INBOX")
    first, other, reply = await objects(client)
    assert first[1] == reply[1] != other[1]
    assert len({first[0], other[0], reply[0]}) == 3
    await client.ok("COPY 1 Archive")
    await client.ok("MOVE 2 Archive")
    assert await objects(client) == [first, reply]
    await client.ok("SELECT Archive")
    assert await objects(client) == [first, other]
    await client.append("Archive", REPLY)
    await client.ok("NOOP")
    assert (await client.ok(f"SEARCH THREADID {first[1]}"))[0] == "* SEARCH 1 3"
    assert (await client.ok(f"UID SEARCH NOT EMAILID {first[0]}"))[0] == "* SEARCH 2 3"
    assert (await client.ok(f"SEARCH OR EMAILID {other[0]} EMAILID {first[0]}"))[0] == "* SEARCH 1 2"


async def test_what_was_told_before_the_worker_came_stays_true(world: World, imap: Imap) -> None:
    address = await world.account()
    client = await imap.login(address)
    for message in (REPLY, FIRST):
        await client.append("INBOX", message)
    await client.ok("SELECT INBOX")
    before = await objects(client)
    await Indexing(world.database, world.root).work()
    # Another process, which has seen none of it
    other = await world.open_door()
    again = await other.login(address)
    await again.ok("SELECT INBOX")
    assert await objects(again) == before
    for connected in (client, again):
        await connected.close()
    await world.close_door(other)


async def test_a_lazy_preview_comes_once_a_worker_has_made_it(world: World, imap: Imap) -> None:
    client = await imap.login(await world.account())
    await client.append(
        "INBOX", "Content-Type: text/plain; charset=utf-8\r\n\r\nGrüße\r\n\r\naus  Köln".encode()
    )
    await client.ok("SELECT INBOX")
    assert (await client.ok("FETCH 1 PREVIEW (LAZY)"))[0] == "* 1 FETCH (PREVIEW NIL)"
    await Indexing(world.database, world.root).work()
    assert (await client.ok("FETCH 1 PREVIEW (LAZY)"))[0] == "* 1 FETCH (PREVIEW {17}\r\nGrüße aus Köln)"
    await client.close()


async def test_a_copy_is_saved_when_it_is_made(world: World, imap: Imap) -> None:
    client = await imap.login(await world.account())
    await client.append("INBOX", FIRST, date='"02-Jan-2019 00:00:00 +0000"')
    await world.database_value("UPDATE message SET saved_at = '2020-03-04 05:06:07+00'")
    await client.ok("SELECT INBOX")
    lines = await client.ok("FETCH 1 (INTERNALDATE SAVEDATE)")
    assert lines[0] == (
        '* 1 FETCH (INTERNALDATE " 2-Jan-2019 00:00:00 +0000" SAVEDATE " 4-Mar-2020 05:06:07 +0000")'
    )
    assert (await client.ok("SEARCH SAVEDON 4-Mar-2020 SAVEDBEFORE 5-Mar-2020"))[0] == "* SEARCH 1"
    assert (await client.ok("SEARCH SAVEDSINCE 5-Mar-2020"))[0] == "* SEARCH"
    await client.ok("COPY 1 Archive")
    await client.ok("SELECT Archive")
    assert (await client.ok("SEARCH SAVEDSINCE 5-Mar-2020 ON 2-Jan-2019"))[0] == "* SEARCH 1"
    await client.close()


async def test_keys_of_uids_beyond_the_last(client: Client) -> None:
    # RFC 9738 §3.2
    for _ in range(3):
        await client.append("INBOX", b"x")
    await client.ok("SELECT INBOX")
    for key, found in (
        ("UIDAFTER 1", " 2 3"),
        ("UIDAFTER 3", ""),
        ("UIDAFTER 4294967295", ""),
        ("UIDBEFORE 3", " 1 2"),
        ("UIDBEFORE 1", ""),
        ("NOT UIDAFTER 2", " 1 2"),
    ):
        assert (await client.ok(f"UID SEARCH {key}"))[0] == f"* SEARCH{found}", key
    for key in ("UIDAFTER 0", "UIDBEFORE *", "UIDAFTER", "UIDBEFORE 4294967296"):
        assert (await client.command(f"UID SEARCH {key}"))[-1].startswith("BAD"), key
