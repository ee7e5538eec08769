"""STORE, COPY, MOVE and EXPUNGE where something stands in the way (RFC 3501 §6.4, RFC 2180, RFC 4315, RFC 6851)."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from esp.core.message import MAX_KEYWORDS
from tests.imap.client import Client
from tests.imap.world import Imap, World


@pytest_asyncio.fixture(loop_scope="session")
async def two(world: World, imap: Imap) -> AsyncIterator[tuple[Client, Client]]:
    """Two sessions of one account; INBOX has five messages, and both have selected it."""
    address = await world.account()
    clients = (await imap.login(address), await imap.login(address))
    for number in range(5):
        await clients[0].append("INBOX", b"Subject: %d\r\n\r\n" % number)
    for client in clients:
        await client.ok("SELECT INBOX")
    yield clients
    for client in clients:
        await client.close()


async def subjects(client: Client, mailbox: str) -> list[str]:
    """Of all messages of a mailbox, which is selected then."""
    await client.ok(f"SELECT {mailbox}")
    lines = await client.ok("UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    return [line.split("Subject: ")[1].split("\r")[0] for line in lines if "Subject: " in line]


async def remove(client: Client, uids: str) -> None:
    await client.ok(f"UID STORE {uids} +FLAGS.SILENT (\\Deleted)")
    await client.ok(f"UID EXPUNGE {uids}")


async def test_a_copy_by_number_of_a_message_that_is_gone_copies_nothing(two: tuple[Client, Client]) -> None:
    here, there = two
    await remove(there, "2")
    assert (await here.command("COPY 1:3 Archive"))[-1].startswith("NO [EXPUNGEISSUED]")
    assert "(MESSAGES 0)" in "".join(await here.ok("STATUS Archive (MESSAGES)"))


async def test_a_copy_by_uid_passes_over_what_is_gone(two: tuple[Client, Client]) -> None:
    here, there = two
    await remove(there, "2")
    assert " 1,3 1:2] " in (await here.ok("UID COPY 1:3 Archive"))[-1]
    assert await subjects(here, "Archive") == ["0", "2"]


async def test_a_move_takes_what_is_there(two: tuple[Client, Client]) -> None:
    here, there = two
    await remove(there, "2,4")
    lines = await here.ok("UID MOVE 1:4,99 Archive")
    assert any(line.startswith("* OK [COPYUID ") and " 1,3 1:2] " in line for line in lines)
    assert (
        sorted(line for line in lines if line.endswith("EXPUNGE"))
        == sorted(["* 4 EXPUNGE", "* 3 EXPUNGE", "* 2 EXPUNGE", "* 1 EXPUNGE"])
        or sum(line.endswith("EXPUNGE") for line in lines) == 4
    )
    assert (await here.ok("UID MOVE 2 Archive"))[-1] == "OK UID MOVE completed"
    assert await subjects(here, "Archive") == ["0", "2"]
    assert await subjects(here, "INBOX") == ["4"]


async def test_a_store_on_what_is_gone_says_so_and_changes_the_rest(two: tuple[Client, Client]) -> None:
    here, there = two
    await remove(there, "2")
    lines = await here.command("STORE 1:3 +FLAGS (\\Flagged)")
    assert lines[-1].startswith("NO [EXPUNGEISSUED]")
    assert not any("EXPUNGE" in line for line in lines[:-1])  # RFC 3501 §7.4.1
    lines = await here.command("STORE 1:3 +FLAGS.SILENT (\\Flagged)")
    assert lines == ["OK STORE completed"]  # RFC 2180 §4.2.1
    await here.ok("NOOP")
    assert (await here.ok("SEARCH FLAGGED"))[0] == "* SEARCH 1 2"
    assert (await here.ok("UID STORE 2 +FLAGS (\\Seen)"))[-1] == "OK UID STORE completed"


async def test_a_copy_into_the_same_mailbox_doubles(two: tuple[Client, Client]) -> None:
    here, _ = two
    lines = await here.ok("COPY 5,1:2 INBOX")
    assert " 1:2,5 6:8] " in lines[-1]
    assert "* 8 EXISTS" in lines
    lines = await here.ok("UID MOVE 1 INBOX")
    assert any(" 1 9] " in line for line in lines)
    assert await subjects(here, "INBOX") == ["1", "2", "3", "4", "0", "1", "4", "0"]


async def test_a_mailbox_that_is_not_there_may_be_made(two: tuple[Client, Client]) -> None:
    here, _ = two
    for command in ("COPY 1 none", "UID COPY 99 none", "MOVE 1 none", "UID MOVE 1 none"):
        assert (await here.command(command))[-1] == "NO [TRYCREATE] Mailbox does not exist"
    assert "* 5 EXISTS" in await here.ok("SELECT INBOX")


async def test_what_was_opened_with_examine_stays_as_it_is(two: tuple[Client, Client]) -> None:
    here, there = two
    await there.ok("STORE 1 +FLAGS (\\Deleted)")
    await here.ok("EXAMINE INBOX")
    for command in (
        "STORE 1 +FLAGS (\\Seen)",
        "UID STORE 1 -FLAGS (\\Deleted)",
        "EXPUNGE",
        "UID EXPUNGE 1",
        "MOVE 1 Trash",
    ):
        assert (await here.command(command))[-1].startswith("NO [CANNOT]")
    await here.ok("FETCH 1 BODY[]")
    await here.ok("COPY 1 Archive")
    await here.ok("CLOSE")
    await there.ok("NOOP")
    lines = await there.ok("FETCH 1 FLAGS")
    assert "\\Seen" not in lines[0]
    assert "\\Deleted" in lines[0]
    assert len(await subjects(there, "INBOX")) == 5


async def test_only_what_is_deleted_now_is_expunged(two: tuple[Client, Client]) -> None:
    here, there = two
    await here.ok("STORE 1:3 +FLAGS.SILENT (\\Deleted)")
    await there.ok("UID STORE 2 -FLAGS.SILENT (\\Deleted)")
    lines = await here.ok("UID EXPUNGE 2:5")
    assert [line for line in lines if line.endswith("EXPUNGE")] == ["* 3 EXPUNGE"]
    lines = await here.ok("EXPUNGE")
    assert [line for line in lines if line.endswith("EXPUNGE")] == ["* 1 EXPUNGE"]
    assert await subjects(here, "INBOX") == ["1", "3", "4"]


async def test_keywords_have_an_end_which_is_told(two: tuple[Client, Client]) -> None:
    here, _ = two
    words = [f"k{number}" for number in range(MAX_KEYWORDS)]
    assert "\\*" in "".join(line for line in await here.ok("SELECT INBOX") if "PERMANENTFLAGS" in line)
    await here.ok(f"STORE 1 +FLAGS.SILENT ({' '.join(words)})")
    assert "\\*" not in "".join(line for line in await here.ok("SELECT INBOX") if "PERMANENTFLAGS" in line)
    assert (await here.command("STORE 1 +FLAGS (onemore)"))[-1].startswith("NO [LIMIT]")
    assert (await here.command("STORE 1 -FLAGS (onemore)"))[-1].startswith("OK")
    assert (await here.append("INBOX", b"x", "(onemore)")).startswith("NO [LIMIT]")
    await here.ok("COPY 1 Archive")
    await here.ok("CREATE full")
    await here.append("full", b"x", "(other)")
    assert (await here.command("COPY 1 full"))[-1].startswith("NO [LIMIT]")
    assert "(MESSAGES 1)" in "".join(await here.ok("STATUS full (MESSAGES)"))


async def test_a_copy_without_room_copies_nothing(world: World, imap: Imap) -> None:
    address = await world.account(messages=3)
    client = await imap.login(address)
    for _ in range(2):
        await client.append("INBOX", b"x")
    await client.ok("SELECT INBOX")
    assert (await client.command("COPY 1:2 Archive"))[-1].startswith("NO [OVERQUOTA]")
    assert "(MESSAGES 0)" in "".join(await client.ok("STATUS Archive (MESSAGES)"))
    await client.ok("MOVE 1:2 Archive")
    await client.close()


@pytest.mark.parametrize(
    ("flags", "left"),
    [
        ("(\\Seen \\Recent)", {"\\Seen"}),
        ("()", set()),
        ("\\Flagged kw", {"\\Flagged", "kw"}),
        ("(kw KW)", {"kw"}),
    ],
)
async def test_a_store_replaces_all_but_recent(
    flags: str, left: set[str], two: tuple[Client, Client]
) -> None:
    here, _ = two
    await here.ok("STORE 2 +FLAGS (\\Draft)")
    line = (await here.ok(f"STORE 2 FLAGS {flags}"))[-2]
    told = set(line.split("FLAGS (")[1].split(")")[0].split()) - {"\\Recent"}
    assert told == left


async def test_unseen_stays_counted_whatever_changes(two: tuple[Client, Client]) -> None:
    here, _ = two

    async def unseen() -> str:
        return "".join(await here.ok("STATUS INBOX (UNSEEN)")).split("UNSEEN ")[1].split(")")[0]

    for command, left in (
        ("STORE 1:3 +FLAGS (\\Seen \\Flagged)", "2"),
        ("STORE 2:4 +FLAGS (\\Flagged kw)", "2"),
        ("STORE 1:* -FLAGS (\\Flagged)", "2"),
        ("STORE 2,5 FLAGS (\\Seen)", "1"),
        ("STORE 1,3 FLAGS (kw)", "3"),
        ("STORE 1:* +FLAGS.SILENT (\\Seen)", "0"),
        ("STORE 2:3 -FLAGS.SILENT (\\Seen)", "2"),
    ):
        await here.ok(command)
        assert await unseen() == left, command
