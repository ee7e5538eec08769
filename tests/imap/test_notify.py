"""NOTIFY across processes (RFC 5465): how soon, how much, and what is held back."""

import asyncio
import statistics
import time
from pathlib import Path

import pytest

from esp.imap import notifying
from tests.imap.client import Client
from tests.imap.world import Imap, World


async def watching(door: Imap, address: str, what: str, mailbox: str | None = None) -> Client:
    client = await door.login(address)
    if mailbox is not None:
        await client.ok(f"SELECT {mailbox}")
    await client.ok(f"NOTIFY SET {what}")
    return client


async def test_another_process_is_heard_of_within_the_time_that_was_promised(
    world: World, imap: Imap
) -> None:
    address = await world.account()
    other = await world.open_door()
    client = await watching(imap, address, "(PERSONAL (MessageNew MessageExpunge MailboxName))")
    sender = await other.login(address)
    waits = []
    for number in range(1, 16):
        assert (await sender.append("Archive", b"x")).startswith("OK")
        answered = time.perf_counter()
        assert f"MESSAGES {number})" in await client.line()
        waits.append(time.perf_counter() - answered)
        await sender.ok(f"CREATE n{number}")
        answered = time.perf_counter()
        assert (await client.line()).endswith(f" n{number}")
        waits.append(time.perf_counter() - answered)
    assert statistics.median(waits) < 0.1, sorted(waits)
    for connected in (client, sender):
        await connected.close()
    await world.close_door(other)


async def test_without_redis_it_is_found_by_looking(world: World, imap: Imap, tmp_path: Path) -> None:
    address = await world.account()
    alone = await world.open_door(valkey=f"unix://{tmp_path}/nothing.sock", poll_interval=0.2)
    events = "(PERSONAL (MessageNew MessageExpunge MailboxName SubscriptionChange))"
    client = await watching(alone, address, events)
    sender = await imap.login(address)
    await sender.append("Archive", b"x")
    assert "MESSAGES 1" in await client.line()
    await sender.ok("CREATE new")
    assert (await client.line()).endswith(" new")
    await sender.ok("UNSUBSCRIBE Archive")
    assert await client.line() == '* LIST (\\HasNoChildren \\Archive) "/" Archive'
    for connected in (client, sender):
        await connected.close()
    await world.close_door(alone)


async def test_a_flag_elsewhere_is_told_as_far_as_it_can_be(world: World, imap: Imap) -> None:
    # RFC 5465 §5.1
    address = await world.account()
    plain = await watching(imap, address, "(PERSONAL (MessageNew MessageExpunge FlagChange))")
    knowing = await imap.login(address)
    await knowing.ok("ENABLE CONDSTORE")
    await knowing.ok("NOTIFY SET (PERSONAL (MessageNew MessageExpunge FlagChange))")
    other = await imap.login(address)
    await other.append("Archive", b"x")
    await other.ok("SELECT Archive")
    assert "UIDNEXT 2 MESSAGES 1 UNSEEN 1)" in await plain.line()
    assert "UIDNEXT 2 MESSAGES 1 UNSEEN 1 HIGHESTMODSEQ" in await knowing.line()
    await other.ok("STORE 1 +FLAGS (\\Flagged)")
    assert "UNSEEN 1 HIGHESTMODSEQ" in await knowing.line()
    await other.ok("STORE 1 +FLAGS (\\Seen)")
    line = await plain.line()
    assert "UNSEEN 0)" in line
    assert "MESSAGES" not in line
    for connected in (plain, knowing, other):
        await connected.close()


async def test_delayed_expunges_wait_for_a_command_that_may_tell(world: World, imap: Imap) -> None:
    # RFC 5465 §6.1.2
    address = await world.account()
    other = await imap.login(address)
    for _ in range(3):
        await other.append("INBOX", b"x")
    client = await watching(imap, address, "(SELECTED-DELAYED (MessageNew MessageExpunge))", "INBOX")
    await other.ok("SELECT INBOX")
    await other.ok("STORE 1 +FLAGS.SILENT \\Deleted")
    await other.ok("EXPUNGE")
    await other.append("INBOX", b"x")
    assert await client.line() == "* 4 EXISTS"
    assert (await client.ok("FETCH 2 UID"))[-2] == "* 2 FETCH (UID 2)"
    assert "* 1 EXPUNGE" in await client.ok("NOOP")
    await other.ok("STORE 1 +FLAGS.SILENT \\Deleted")
    client.send("i IDLE\r\n")
    await client.until("+ ")
    await other.ok("EXPUNGE")
    assert (await client.until("* 1 EXPUNGE"))[-1] == "* 1 EXPUNGE"
    for connected in (client, other):
        await connected.close()


async def test_the_mailbox_that_inbox_is_renamed_to_is_told_with_its_messages(
    world: World, imap: Imap
) -> None:
    # RFC 3501 §6.3.5: a new mailbox gets INBOX's messages; RFC 5465 §5.4, §5.1
    address = await world.account()
    other = await imap.login(address)
    await other.append("INBOX", b"x")
    client = await watching(imap, address, "(PERSONAL (MessageNew MessageExpunge MailboxName))")
    await other.ok("RENAME INBOX old")
    lines = {await client.line() for _ in range(3)}
    assert '* LIST (\\HasNoChildren) "/" old' in lines
    assert any(line.startswith("* STATUS old ") and "UIDNEXT 2 MESSAGES 1" in line for line in lines)
    assert any(line.startswith("* STATUS INBOX ") and "MESSAGES 0" in line for line in lines)
    for connected in (client, other):
        await connected.close()


async def test_own_messages_are_not_fetched(world: World, imap: Imap) -> None:
    # RFC 5465 §5.2
    address = await world.account()
    events = "(SELECTED (MessageNew (UID FLAGS) MessageExpunge))"
    client = await watching(imap, address, events, "INBOX")
    await client.append("INBOX", b"own")
    await client.ok("COPY 1 INBOX")
    other = await imap.login(address)
    await other.append("INBOX", b"another's")
    lines = await client.until("* 3 FETCH")
    assert not [line for line in lines if line.startswith(("* 1 FETCH", "* 2 FETCH"))]
    assert "UID 3" in lines[-1]
    for connected in (client, other):
        await connected.close()


async def test_what_is_fetched_stays_unseen(world: World, imap: Imap) -> None:
    address = await world.account()
    client = await watching(imap, address, "(SELECTED (MessageNew (BODY[]) MessageExpunge))", "INBOX")
    other = await imap.login(address)
    await other.append("INBOX", b"Subject: x\r\n\r\n" + b"y" * 300_000)
    assert (await client.until("* 1 FETCH"))[-1].endswith("y)")
    assert "\\Seen" not in (await client.ok("FETCH 1 FLAGS"))[0]
    for connected in (client, other):
        await connected.close()


async def test_none_excepts_a_mailbox(world: World, imap: Imap) -> None:
    address = await world.account()
    client = await watching(imap, address, "(PERSONAL (MessageNew MessageExpunge)) (MAILBOXES Junk NONE)")
    other = await imap.login(address)
    await other.append("Junk", b"x")
    await other.append("Archive", b"x")
    assert (await client.line()).startswith("* STATUS Archive")
    for connected in (client, other):
        await connected.close()


async def test_the_subscribed_are_those_that_are_so_now(world: World, imap: Imap) -> None:
    # RFC 5465 §6.4
    address = await world.account()
    client = await watching(imap, address, "(SUBSCRIBED (MessageNew MessageExpunge SubscriptionChange))")
    other = await imap.login(address)
    await other.ok("CREATE new")
    await other.append("new", b"x")
    await other.ok("SUBSCRIBE new")
    assert await client.line() == '* LIST (\\HasNoChildren \\Subscribed) "/" new'
    await other.append("new", b"x")
    assert "* STATUS new" in await client.line()
    for connected in (client, other):
        await connected.close()


async def test_annotations_are_told_by_name(world: World, imap: Imap) -> None:
    # RFC 5465 §5.6-7
    address = await world.account()
    events = "(PERSONAL (MailboxMetadataChange)) (MAILBOXES INBOX (ServerMetadataChange))"
    client = await watching(imap, address, events)
    other = await imap.login(address)
    await other.ok('SETMETADATA Sent (/shared/comment "x" /private/comment "y")')
    assert await client.line() == "* METADATA Sent /shared/comment /private/comment"
    await other.ok('SETMETADATA "" (/private/comment NIL)')
    assert await client.line() == '* METADATA "" /private/comment'
    for connected in (client, other):
        await connected.close()


async def test_a_mailbox_comes_and_goes_with_the_right_to_see_it(world: World, imap: Imap) -> None:
    # RFC 5465 §5.4, §5.9
    owner, reader = await world.account(), await world.account()
    client = await watching(
        imap, reader, f'(SUBTREE "Other Users/{owner}" (MessageNew MessageExpunge MailboxName))'
    )
    other = await imap.login(owner)
    await other.ok(f"SETACL Archive {reader} lr")
    assert (await client.until("* LIST (\\HasNoChildren"))[-1].endswith('/Archive"')
    await other.append("Archive", b"x")
    assert '/Archive" (UIDVALIDITY' in (await client.until("* STATUS"))[-1]
    await other.ok(f"SETACL Archive {reader} l")
    lines = await client.ok(f'NOTIFY SET (SUBTREE "Other Users/{owner}" (MessageNew MessageExpunge))')
    (denied,) = [line for line in lines if "Archive" in line]
    assert "\\NoAccess" in denied
    for connected in (client, other):
        await connected.close()


async def test_too_much_for_a_client_that_does_not_read_ends_the_telling(
    world: World, imap: Imap, monkeypatch: pytest.MonkeyPatch
) -> None:
    # RFC 5465 §5.8
    monkeypatch.setattr(notifying, "MOST_LINES", 10)
    address = await world.account()
    client = await watching(imap, address, "(PERSONAL (MailboxName))")
    (session,) = [
        session
        for session in imap.door._sessions
        if session.principal is not None and session.principal.address == address
    ]
    session.connection.pause_writing()
    other = await imap.login(address)
    for number in range(20):
        await other.ok(f"CREATE x{number}")
    async with asyncio.timeout(10):
        while session.notification is not None and session.notification._watched is not None:
            await asyncio.sleep(0.01)
    session.connection.resume_writing()
    assert (await client.line()).startswith("* OK [NOTIFICATIONOVERFLOW]")
    await client.ok("NOOP")
    for connected in (client, other):
        await connected.close()


async def test_more_names_than_can_be_watched_are_refused(client: Client) -> None:
    names = " ".join(f"n{number}" for number in range(notifying.MOST_NAMES + 1))
    answer = (await client.command(f"NOTIFY SET (MAILBOXES ({names}) (MessageNew MessageExpunge))"))[-1]
    assert answer.startswith("NO [NOTIFICATIONOVERFLOW]")


async def test_nothing_is_left_when_the_last_watcher_goes(world: World, imap: Imap) -> None:
    address = await world.account()
    first = await watching(imap, address, "(PERSONAL (MessageNew MessageExpunge))")
    second = await watching(imap, address, "(PERSONAL (MailboxName))")
    service = imap.door.watching
    account = world.fake.principals[address].account
    assert len(service._watched[account].watchers) == 2
    await first.ok("NOTIFY NONE")
    await second.ok("UNAUTHENTICATE")
    assert account not in service._watched
    assert all(
        watched.principal.account != account for them in service._by_mailbox.values() for watched in them
    )
    for connected in (first, second):
        await connected.close()


async def test_a_search_that_is_kept_up_to_date_fetches_what_is_new(world: World, imap: Imap) -> None:
    # RFC 5465 §7
    address = await world.account()
    client, other = await imap.login(address), await imap.login(address)
    await other.append("INBOX", b"Subject: an old one\r\n\r\n", "(\\Seen)")
    await client.ok("SELECT INBOX")
    wanted = "(UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])"
    lines = await client.ok(f"UID SEARCH RETURN (COUNT UPDATE {wanted}) UNSEEN")
    assert lines[-2].endswith("COUNT 0")
    client.send("i IDLE\r\n")
    await client.until("+ ")
    await other.append("INBOX", b"Subject: boss\r\n\r\nx")
    lines = await client.until("* 2 FETCH")
    assert [line for line in lines if "ADDTO (" in line and line.endswith(" 2)")]
    assert lines[-1].startswith("* 2 FETCH (UID 2 BODY[HEADER.FIELDS (SUBJECT)] {")
    # What comes to the result by its flags is no news.
    await other.ok("SELECT INBOX")
    await other.ok("STORE 1 -FLAGS.SILENT (\\Seen)")
    lines = await client.until("* ESEARCH")
    await other.append("INBOX", b"Subject: chief\r\n\r\nx")
    lines += await client.until("* 3 FETCH (UID 3 BODY")
    assert not [line for line in lines if line.startswith("* 1 FETCH") and "BODY" in line]
    for connected in (client, other):
        await connected.close()
