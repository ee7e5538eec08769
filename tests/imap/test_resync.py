"""Clients that come back, and sessions that hear of each other's expunges (RFC 7162 §3.2)."""

import re

import pytest

from esp.services.history import History
from tests.imap.client import Client
from tests.imap.world import Imap, World


async def filled(world: World, imap: Imap, count: int) -> tuple[str, Client]:
    """Return an account with messages in INBOX, and a session that has it selected with QRESYNC."""
    address = await world.account()
    client = await imap.login(address)
    for number in range(count):
        await client.append("INBOX", b"Subject: %d\r\n\r\n" % number)
    await client.ok("ENABLE QRESYNC")
    await client.ok("SELECT INBOX")
    return address, client


async def highest(client: Client) -> tuple[int, int]:
    """Return UIDVALIDITY and HIGHESTMODSEQ."""
    lines = await client.ok("STATUS INBOX (UIDVALIDITY HIGHESTMODSEQ)")
    found = re.search(r"UIDVALIDITY (\d+) HIGHESTMODSEQ (\d+)", "".join(lines))
    assert found is not None
    return int(found[1]), int(found[2])


async def resumed(door: Imap, address: str, parameter: str) -> list[str]:
    """Return what a new session hears of what it missed."""
    client = await door.login(address)
    await client.ok("ENABLE QRESYNC")
    lines = await client.ok(f"SELECT INBOX (QRESYNC ({parameter}))")
    await client.close()
    return [line for line in lines if "VANISHED" in line or " FETCH " in line]


async def expunge(client: Client, uids: str) -> None:
    await client.ok(f"UID STORE {uids} +FLAGS.SILENT (\\Deleted)")
    await client.ok(f"UID EXPUNGE {uids}")


async def test_who_comes_back_hears_what_changed_and_what_is_gone(world: World, imap: Imap) -> None:
    address, client = await filled(world, imap, 9)
    validity, modseq = await highest(client)
    await client.ok("UID STORE 3 +FLAGS (\\Flagged)")
    await expunge(client, "2,5:6,9")
    await client.append("INBOX", b"new")
    other = await world.open_door()
    changes = [
        "* VANISHED (EARLIER) 2,5:6,9",
        f"* 2 FETCH (UID 3 FLAGS (\\Flagged) MODSEQ ({modseq + 1}))",
    ]
    lines = await resumed(other, address, f"{validity} {modseq}")
    assert lines[:2] == changes
    assert re.fullmatch(r"\* 6 FETCH \(UID 10 FLAGS \(\) MODSEQ \(\d+\)\)", lines[2])
    # Only what it knows (§3.2.5.1), and sequence numbers that are right still (§3.2.5.2)
    assert await resumed(other, address, f"{validity} {modseq} 1:4") == ["* VANISHED (EARLIER) 2", changes[1]]
    assert await resumed(other, address, f"{validity} {modseq} 4:9") == ["* VANISHED (EARLIER) 5:6,9"]
    assert await resumed(other, address, f"{validity} {modseq} 1:9 (1,4,9 1,4,9)") == changes
    # Another UIDVALIDITY: as if nothing had been asked
    assert await resumed(other, address, f"{validity + 1} {modseq} 1:9") == []
    _, now = await highest(client)
    assert await resumed(other, address, f"{validity} {now}") == []
    await client.close()
    await world.close_door(other)


async def test_a_resume_that_is_none_is_refused(world: World, imap: Imap) -> None:
    _, client = await filled(world, imap, 1)
    validity, modseq = await highest(client)
    for parameter in (
        "0 1",
        f"{validity}",
        f"{validity} x",
        f"{validity} {modseq} 1:*",
        f"{validity} {modseq} $",
        f"{validity} {modseq} 1 (1:2 1)",
        f"{validity} {modseq} 1 (2,1 1,2)",
        f"{validity} {modseq} 1 (1 *)",
    ):
        assert (await client.command(f"SELECT INBOX (QRESYNC ({parameter}))"))[-1].startswith("BAD"), (
            parameter
        )
    # Such a command does not close what is selected.
    await client.ok("FETCH 1 FLAGS")
    await client.close()


async def test_what_is_forgotten_is_told_by_what_is_there(world: World, imap: Imap) -> None:
    address, client = await filled(world, imap, 8)
    validity, modseq = await highest(client)
    await expunge(client, "2,5:6,8")
    behind = await world.open_door()
    watcher = await behind.login(address)
    await watcher.ok("ENABLE QRESYNC")
    await watcher.ok("SELECT INBOX")
    await expunge(client, "3")
    assert await History(world.database, 0.0, 0.0).forget() >= 2
    parameter = f"{validity} {modseq}"
    lines = await resumed(behind, address, parameter)
    assert lines[0] == "* VANISHED (EARLIER) 2:3,5:6,8"
    # The first pair that differs ends what is known to be whole (§3.2.5.2): below it nothing was ever there.
    await expunge(client, "7")
    assert (await resumed(behind, address, f"{parameter} 1:8 (1,2,4 1,4,7)"))[0] == "* VANISHED (EARLIER) 5:8"
    assert await resumed(behind, address, f"{parameter} 4") == []
    fetched = await client.ok(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {modseq} VANISHED)")
    assert fetched[0] == "* VANISHED (EARLIER) 2:3,5:8"
    # A process whose index is older than that is right as well.
    assert "* VANISHED 3,7" in await watcher.ok("NOOP")
    assert (await watcher.ok("UID SEARCH ALL"))[0] == "* SEARCH 1 4"
    for connected in (client, watcher):
        await connected.close()
    await world.close_door(behind)


async def test_an_index_older_than_what_is_remembered_is_filled_anew(
    world: World, imap: Imap, tmp_path: object
) -> None:
    address, client = await filled(world, imap, 6)
    deaf = await world.open_door(valkey=f"unix://{tmp_path}/nothing.sock")
    watcher = await deaf.login(address)
    await watcher.ok("SELECT INBOX")
    await expunge(client, "1,4")
    await client.ok("UID STORE 3 +FLAGS.SILENT (\\Answered)")
    await client.append("INBOX", b"new")
    await History(world.database, 0.0, 0.0).forget()
    lines = await watcher.ok("NOOP")
    assert [line for line in lines if "EXPUNGE" in line] == ["* 4 EXPUNGE", "* 1 EXPUNGE"]
    assert "* 5 EXISTS" in lines
    assert (await watcher.ok("UID SEARCH ANSWERED"))[0] == "* SEARCH 3"
    for connected in (client, watcher):
        await connected.close()
    await world.close_door(deaf)


async def test_uid_fetch_tells_what_vanished_before_what_changed(world: World, imap: Imap) -> None:
    address, client = await filled(world, imap, 6)
    _, modseq = await highest(client)
    other = await imap.login(address)
    await other.ok("SELECT INBOX")
    await expunge(client, "1")
    await client.ok("UID STORE 4 +FLAGS.SILENT (\\Seen)")
    await other.ok("NOOP")
    await other.ok("STORE 2,5 +FLAGS.SILENT (\\Deleted)")
    await other.ok("EXPUNGE")
    lines = await client.ok(f"UID FETCH 1:* (UID) (CHANGEDSINCE {modseq} VANISHED)")
    assert lines[0] == "* VANISHED 3,6"  # which this session still counted
    assert lines[1:3] == ["* 3 RECENT", "* VANISHED (EARLIER) 1,3,6"]
    assert re.match(r"\* 2 FETCH \(UID 4 MODSEQ \(\d+\)\)", lines[3])
    for command in (
        f"FETCH 1 (UID) (CHANGEDSINCE {modseq} VANISHED)",
        "UID FETCH 1 (UID) (VANISHED)",
        f"UID FETCH 1 (UID) (CHANGEDSINCE {modseq} VANISHED CHANGEDSINCE 1)",
    ):
        assert (await client.command(command))[-1].startswith("BAD"), command
    for connected in (client, other):
        await connected.close()


async def test_each_session_hears_of_an_expunge_in_its_own_words(world: World, imap: Imap) -> None:
    address, client = await filled(world, imap, 5)
    second = await world.open_door()
    plain, idle = await second.login(address), await second.login(address)
    await plain.ok("SELECT INBOX")
    await idle.ok("ENABLE QRESYNC")
    await idle.ok("SELECT INBOX")
    idle.send("i IDLE\r\n")
    await idle.until("+")
    await expunge(client, "2,4")

    async def vanished() -> str:
        while "VANISHED" not in (line := await idle.line()):
            pass
        return line

    assert await vanished() == "* VANISHED 2,4"
    # Numbers hold until EXPUNGE may be told.
    assert (await plain.ok("FETCH 5 (UID)"))[0] == "* 5 FETCH (UID 5)"
    lines = await plain.ok("NOOP")
    assert [line for line in lines if "EXPUNGE" in line or "VANISHED" in line] == [
        "* 4 EXPUNGE",
        "* 2 EXPUNGE",
    ]
    await plain.ok("MOVE 1 Trash")
    assert await vanished() == "* VANISHED 1"
    assert "* VANISHED 1" in await client.ok("NOOP")
    for connected in (client, plain, idle):
        await connected.close()
    await world.close_door(second)


@pytest.mark.parametrize("enabled", ["QRESYNC", "CONDSTORE"])
async def test_no_mod_sequence_overtakes_an_expunge_that_is_held_back(
    enabled: str, world: World, imap: Imap
) -> None:
    # Else who loses the connection then, and resumes from what it heard, never hears of the expunge. That is so with
    # CONDSTORE alone as well: who comes back may have learnt QRESYNC.
    address, other = await filled(world, imap, 4)
    client = await imap.login(address)
    await client.ok(f"ENABLE {enabled}")
    await client.ok("SELECT INBOX")
    await other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    await other.ok("EXPUNGE")
    await other.ok("STORE 1 +FLAGS.SILENT (\\Flagged)")
    lines = await client.ok("SEARCH ALL")
    assert lines[:-1] == ["* SEARCH 2 3 4"]
    lines = await client.ok("STORE 3 +FLAGS (\\Seen)")  # which it asked for
    assert len(lines) == 3 and re.match(r"\* 3 FETCH \((UID 3 )?FLAGS \(\\Seen", lines[0])
    # RFC 7162 §5: else the client would take the one it has just seen.
    assert lines[1].startswith("* OK [HIGHESTMODSEQ 5]")
    lines = await client.ok("NOOP")
    assert lines[0] == ("* VANISHED 1" if enabled == "QRESYNC" else "* 1 EXPUNGE")
    flagged = [line for line in lines[1:-1] if "FETCH" in line]
    assert len(flagged) == 1 and re.match(r"\* 1 FETCH \((UID 2 )?FLAGS \(\\Flagged", flagged[0])
    for connected in (client, other):
        await connected.close()


async def test_who_turns_condstore_on_while_an_expunge_is_held_back_is_not_told_beyond_it(
    world: World, imap: Imap
) -> None:
    address, other = await filled(world, imap, 3)
    client = await imap.login(address)
    await client.ok("SELECT INBOX")
    await other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    await other.ok("EXPUNGE")
    await other.ok("STORE 1 +FLAGS.SILENT (\\Flagged)")
    lines = await client.ok("STORE 3 +FLAGS (\\Seen)")
    assert "* 2 FETCH (FLAGS (\\Flagged" in "\n".join(lines)  # flags are told as they come
    lines = await client.ok("FETCH 3 (MODSEQ)")
    said = [line for line in lines if "HIGHESTMODSEQ" in line]
    assert len(said) == 2 and all("HIGHESTMODSEQ 4]" in line for line in said)
    lines = await client.ok("NOOP")
    assert lines[0] == "* 1 EXPUNGE"
    for connected in (client, other):
        await connected.close()


async def test_a_search_says_that_it_leaves_out_what_another_session_expunged(
    world: World, imap: Imap
) -> None:
    """RFC 5530 §3: EXPUNGEISSUED, until the client knows."""
    address, client = await filled(world, imap, 3)
    other = await imap.login(address)
    await other.ok("SELECT INBOX")
    await other.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")
    await other.ok("EXPUNGE")
    for command, found in (("SEARCH ALL", "* SEARCH 1 3"), ("SORT (ARRIVAL) UTF-8 ALL", "* SORT 1 3")):
        told = await client.ok(command)
        assert told[0] == found
        assert told[-1] == f"OK [EXPUNGEISSUED] {command.split()[0]} completed"
    await client.ok("NOOP")
    assert await client.ok("SEARCH ALL") == ["* SEARCH 1 2", "OK SEARCH completed"]
    for connected in (client, other):
        await connected.close()


async def test_a_search_by_numbers_is_not_told_of_expunges(world: World, imap: Imap) -> None:
    """RFC 7162 §3.2.10.2: not even with UID before it, as long as its criteria have message numbers."""
    address, client = await filled(world, imap, 3)
    other = await imap.login(address)
    await other.ok("SELECT INBOX")
    await other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    await other.ok("EXPUNGE")
    assert await client.ok("UID SEARCH 1:2") == ["* SEARCH 2", "OK [EXPUNGEISSUED] UID SEARCH completed"]
    assert "* VANISHED 1" in await client.ok("UID SEARCH ALL")
    for connected in (client, other):
        await connected.close()


async def test_replace_says_how_far_the_mailbox_is(world: World, imap: Imap) -> None:
    """RFC 8508 §4.5: as UID EXPUNGE does (RFC 7162 §3.2.9)."""
    _, client = await filled(world, imap, 2)
    _, modseq = await highest(client)
    told = await client.ok("UID REPLACE 1 INBOX {14+}\r\nSubject: new\r\n")
    assert told[-1] == f"OK [HIGHESTMODSEQ {modseq + 2}] UID REPLACE completed"
    await client.close()


async def test_close_does_not_say_how_far_the_mailbox_is(world: World, imap: Imap) -> None:
    """RFC 7162 §3.2.8: a client that took it would never hear of what it was not told."""
    _, client = await filled(world, imap, 3)
    await client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    assert (await client.ok("CLOSE"))[-1] == "OK CLOSE completed"
    await client.close()


async def test_what_has_no_no_does_not_fail_when_the_mailbox_is_gone(world: World, imap: Imap) -> None:
    """RFC 3501 §6.1.2, §6.4.1, §6.4.2: NOOP, CHECK and CLOSE are answered OK or BAD."""
    address = await world.account()
    owner = await imap.login(address)
    for command in ("NOOP", "CHECK", "CLOSE"):
        await owner.ok("CREATE Gone")
        client = await imap.login(address)
        await client.ok("SELECT Gone")
        await owner.ok("DELETE Gone")
        assert (await client.ok(command))[-1] == f"OK {command} completed"
        await client.close()
    await owner.close()


async def test_the_mod_sequence_told_on_enabling_is_one_the_session_has_reached(
    world: World, imap: Imap
) -> None:
    address = await world.account()
    client, other = await imap.login(address), await imap.login(address)
    for _ in range(2):
        await other.append("INBOX", b"x")
    await client.ok("SELECT INBOX")
    await other.ok("SELECT INBOX")
    _, modseq = await highest(other)
    await other.ok("STORE 2 +FLAGS.SILENT (\\Flagged)")
    lines = await client.ok("FETCH 1 (MODSEQ)")
    assert lines[0] == f"* OK [HIGHESTMODSEQ {modseq}] CONDSTORE enabled"
    for connected in (client, other):
        await connected.close()


@pytest.mark.parametrize("remembered", [True, False, None], ids=["remembered", "forgotten", "unwritten"])
async def test_a_process_that_was_behind_has_the_flags(
    world: World, imap: Imap, tmp_path: object, remembered: bool | None
) -> None:
    """Whether `changed` tells them, has forgotten them, or is not written by all processes yet (migration 0011)."""
    address, client = await filled(world, imap, 6)
    if remembered is None:
        await world.database_value("UPDATE mailbox SET changed_horizon = NULL RETURNING id")
    deaf = await world.open_door(valkey=f"unix://{tmp_path}/nothing.sock")
    watcher = await deaf.login(address)
    await watcher.ok("ENABLE CONDSTORE")
    await watcher.ok("SELECT INBOX")
    await client.ok("UID STORE 1:3,5 +FLAGS.SILENT (\\Answered $Later)")
    await client.ok("UID STORE 2:4 FLAGS.SILENT (\\Flagged)")
    await client.ok("UID STORE 5 -FLAGS.SILENT ($Later)")
    await expunge(client, "6")
    await client.append("INBOX", b"new", "(\\Draft)")
    if remembered is False:
        await History(world.database, 0.0, 0.0).forget()
    await watcher.ok("NOOP")
    everything = "UID FETCH 1:* (FLAGS MODSEQ)"
    there = [re.sub(r" ?\\Recent", "", line) for line in await client.ok(everything)]
    assert [re.sub(r" ?\\Recent", "", line) for line in await watcher.ok(everything)] == there
    assert (await watcher.ok("UID SEARCH ANSWERED"))[0] == "* SEARCH 1 5"
    assert (await watcher.ok("UID SEARCH KEYWORD $Later"))[0] == "* SEARCH 1"
    for connected in (client, watcher):
        await connected.close()
    await world.close_door(deaf)
