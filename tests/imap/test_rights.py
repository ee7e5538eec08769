"""Mailboxes of others: who sees them, and that every command asks for its rights (RFC 4314 §4)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from esp.native import Store
from esp.services.upkeep import Upkeep
from tests.imap.client import Client
from tests.imap.world import Imap, World

ALL = "lrswipkxtea"
MESSAGE = b"Subject: shared\r\nMessage-ID: <1@example.test>\r\n\r\nfor all of us\r\n"


class Two(NamedTuple):
    """An owner and somebody else, each with a session, and the name of the mailbox that they may share."""

    owner: Client
    other: Client
    owner_address: str
    other_address: str
    name: str
    """As the other one knows it."""

    async def grant(self, rights: str, mailbox: str = "Team") -> None:
        await self.owner.ok(f"SETACL {mailbox} {self.other_address} {rights or chr(34) * 2}")


@pytest_asyncio.fixture(loop_scope="session")
async def two(world: World, imap: Imap) -> AsyncIterator[Two]:
    owner_address, other_address = await world.account(), await world.account()
    owner, other = await imap.login(owner_address), await imap.login(other_address)
    await owner.ok("CREATE Team")
    await owner.append("Team", MESSAGE)
    yield Two(owner, other, owner_address, other_address, f'"Other Users/{owner_address}/Team"')
    for connected in (owner, other):
        await connected.close()


async def test_list_shows_what_may_be_looked_up(two: Two) -> None:
    assert not [line for line in await two.other.ok('LIST "" *') if "Other Users" in line]
    await two.grant("r")
    assert not [line for line in await two.other.ok('LIST "" *') if "Other Users" in line]
    await two.grant("lr")
    shown = [line for line in await two.other.ok('LIST "" "Other Users*"') if line.startswith("*")]
    assert shown == [
        '* LIST (\\Noselect \\HasChildren) "/" "Other Users"',
        f'* LIST (\\Noselect \\HasChildren) "/" "Other Users/{two.owner_address}"',
        f'* LIST (\\HasNoChildren) "/" {two.name}',
    ]
    # Without `r` it can be seen and not be selected.
    await two.grant("l")
    assert (await two.other.ok(f'LIST "" {two.name} RETURN (STATUS (MESSAGES) MYRIGHTS)'))[:-1] == [
        f'* LIST (\\Noselect \\HasNoChildren) "/" {two.name}',
        f"* MYRIGHTS {two.name} l",
    ]
    assert (await two.other.ok('LIST "" "Other Users/%"'))[:-1] == [
        f'* LIST (\\Noselect \\HasChildren) "/" "Other Users/{two.owner_address}"'
    ]


async def test_namespaces_of_others_are_told(two: Two) -> None:
    told = (await two.other.ok("NAMESPACE"))[0]
    assert told == '* NAMESPACE (("" "/")) (("Other Users/" "/")) (("Shared Folders/" "/"))'
    assert (await two.other.command('CREATE "Other Users"'))[-1].startswith("NO")
    assert (await two.other.command('CREATE "Other Users/nobody@example.test/x"'))[-1].startswith(
        "NO [NOPERM]"
    )


COMMANDS = [
    ("SELECT {name}", "r"),
    ("EXAMINE {name}", "r"),
    ("STATUS {name} (MESSAGES)", "r"),
    ("GETQUOTAROOT {name}", "r"),
    ("SETACL {name} anyone l", "a"),
    ("DELETEACL {name} anyone", "a"),
    ("GETACL {name}", "a"),
    ("LISTRIGHTS {name} anyone", "a"),
    ("CREATE {below}", "k"),
    ("DELETE {name}", "x"),
    ("RENAME {name} {renamed}", "x"),
    ("GETMETADATA {name} /shared/comment", "r"),
    ('SETMETADATA {name} (/private/comment "x")', "r"),
    ('SETMETADATA {name} (/shared/comment "x")', "w"),
]


@pytest.mark.parametrize(("command", "needed"), COMMANDS, ids=[command for command, _ in COMMANDS])
async def test_a_command_needs_its_right(two: Two, command: str, needed: str) -> None:
    # RENAME's new name is beside the old one, below a mailbox where something may be made.
    await two.owner.ok("CREATE Team2")
    await two.owner.ok("CREATE Team/inner")
    await two.grant("lk", "Team2")
    words = {
        "name": two.name,
        "below": two.name[:-1] + '/new"',
        "renamed": two.name[:-1] + '2/renamed"',
    }
    asked = command.format(**words)
    metadata = "METADATA" in command
    await two.grant("l" if metadata else "".join(right for right in ALL if right not in needed))
    assert (await two.other.command(asked))[-1].startswith("NO [NOPERM]"), asked
    # Who may not look it up is told what is told of a mailbox that is not there.
    await two.grant("")
    missing = {key: word.replace("Team", "Nothing", 1) for key, word in words.items()}
    missing["renamed"] = words["renamed"]
    hidden = (await two.other.command(asked))[-1]
    assert hidden == (await two.other.command(command.format(**missing)))[-1], asked
    assert "NONEXISTENT" in hidden or command.startswith("CREATE")
    await two.grant("l" + needed)
    await two.other.ok(asked)


async def test_my_rights_are_told_to_whoever_has_one(two: Two) -> None:
    for rights, told in (("l", "l"), ("p", None), ("s", None), ("i", "i"), ("lrswipkxtea", "lrswipkxteacd")):
        await two.grant(rights)
        lines = await two.other.command(f"MYRIGHTS {two.name}")
        if told is None:
            assert lines == ["NO [NONEXISTENT] Mailbox does not exist"]
        else:
            assert lines[0] == f"* MYRIGHTS {two.name} {told}"


async def test_append_copy_and_their_flags(two: Two) -> None:
    await two.grant("lrs")
    assert (await two.other.append(two.name, MESSAGE)).startswith("NO [NOPERM]")
    await two.grant("s")
    assert (await two.other.append(two.name, MESSAGE)).startswith("NO [TRYCREATE]")
    await two.other.append("INBOX", MESSAGE, "(\\Seen \\Deleted \\Flagged kept)")
    await two.other.ok("SELECT INBOX")
    for rights, flags in (
        ("lri", ""),
        ("lris", "\\Seen"),
        ("lrit", "\\Deleted"),
        ("lriw", "\\Flagged kept"),
        ("lriwst", "\\Flagged \\Deleted \\Seen kept"),
    ):
        await two.grant(rights)
        await two.other.ok(f"COPY 1 {two.name}")
        assert (await two.other.append(two.name, MESSAGE, "(\\Seen \\Deleted \\Flagged kept)")).startswith(
            "OK"
        )
        await two.owner.ok("SELECT Team")
        fetched = (await two.owner.ok("FETCH *,2:* FLAGS"))[:-1]
        last = [
            " ".join(flag for flag in line.partition("(FLAGS (")[2].rstrip(")").split() if flag != "\\Recent")
            for line in fetched[-2:]
        ]
        assert last == [flags, flags], rights


async def test_nothing_is_disclosed_of_a_mailbox_that_may_not_be_selected(two: Two) -> None:
    """RFC 9051 §6.3.12, §6.4.7: no APPENDUID and no COPYUID."""
    await two.grant("li")
    await two.other.append("INBOX", MESSAGE)
    await two.other.ok("SELECT INBOX")
    assert await two.other.append(two.name, MESSAGE) == "OK APPEND completed"
    assert await two.other.ok(f"COPY 1 {two.name}") == ["OK COPY completed"]
    assert await two.other.ok(f"UID MOVE 1 {two.name}") == [
        "* OK Moved",
        "* 1 EXPUNGE",
        "* 0 RECENT",
        "OK UID MOVE completed",
    ]
    await two.grant("lri")
    assert "[APPENDUID " in await two.other.append(two.name, MESSAGE)


async def test_store_changes_what_it_may(two: Two) -> None:
    await two.grant("lrs")
    opening = await two.other.ok(f"SELECT {two.name}")
    assert "* OK [PERMANENTFLAGS (\\Seen)] Flags that are kept" in opening
    assert opening[-1].startswith("OK [READ-WRITE]")
    assert (await two.other.command("STORE 1 +FLAGS (\\Flagged)"))[-1].startswith("NO [NOPERM]")
    assert "(\\Seen \\Recent)" in (await two.other.ok("STORE 1 +FLAGS (\\Flagged \\Seen new)"))[0]
    await two.owner.ok("SELECT Team")
    await two.owner.ok("STORE 1 +FLAGS (\\Answered mine)")
    assert "(\\Answered \\Recent mine)" in (await two.other.ok("STORE 1 FLAGS ()"))[-2]
    await two.other.ok("STORE 1 FLAGS (\\Seen)")
    for refused in ("\\Flagged", "\\Deleted new"):
        assert (await two.other.command(f"STORE 1 FLAGS ({refused})"))[-1].startswith("NO [NOPERM]")
    # Nothing of the refused ones was done: what they would have replaced is there.
    assert "(\\Answered \\Seen \\Recent mine)" in (await two.other.ok("FETCH 1 FLAGS"))[0]
    assert (await two.other.command("EXPUNGE"))[-1].startswith("NO [NOPERM]")
    assert (await two.other.command("MOVE 1 INBOX"))[-1].startswith("NO [NOPERM]")


async def test_reading_sets_seen_only_where_that_may_be(two: Two) -> None:
    await two.grant("lri")
    await two.other.ok(f"SELECT {two.name}")
    assert "UNSEEN 1" in (await two.other.ok(f"STATUS {two.name} (UNSEEN)"))[0]
    lines = await two.other.ok("FETCH 1 (FLAGS BODY[TEXT])")
    assert "\\Seen" not in lines[0]
    assert "UNSEEN 1" in (await two.other.ok(f"STATUS {two.name} (UNSEEN)"))[0]
    await two.grant("lrs")
    assert "\\Seen" in "".join(await two.other.ok("FETCH 1 (FLAGS BODY[TEXT])"))


async def test_close_expunges_only_with_the_right_to(two: Two) -> None:
    await two.grant("lrt")
    await two.other.ok(f"SELECT {two.name}")
    await two.other.ok("STORE 1 +FLAGS.SILENT \\Deleted")
    await two.other.ok("CLOSE")
    assert "MESSAGES 1" in (await two.owner.ok("STATUS Team (MESSAGES)"))[0]
    await two.grant("lrte")
    await two.other.ok(f"SELECT {two.name}")
    await two.other.ok("CLOSE")
    assert "MESSAGES 0" in (await two.owner.ok("STATUS Team (MESSAGES)"))[0]


async def test_without_a_right_to_change_it_is_read_only(two: Two) -> None:
    await two.grant("lrpkxa")
    assert (await two.other.ok(f"SELECT {two.name}"))[-1].startswith("OK [READ-ONLY]")
    assert (await two.other.command("STORE 1 +FLAGS (\\Seen)"))[-1].startswith("NO")


async def test_messages_come_and_go_between_accounts(world: World, two: Two) -> None:
    await two.grant("lrswite")
    await two.other.append("INBOX", b"Subject: mine\r\n\r\nof my own\r\n", "(\\Flagged todo)")
    await two.other.ok("SELECT INBOX")
    assert "COPYUID" in (await two.other.ok(f"COPY 1 {two.name}"))[-1]
    assert "* OK [COPYUID" in (await two.other.ok(f"MOVE 1 {two.name}"))[0]
    assert "MESSAGES 0" in (await two.other.ok("STATUS INBOX (MESSAGES)"))[0]
    await two.owner.ok("SELECT Team")
    fetched = await two.owner.ok("FETCH 2:3 (FLAGS ENVELOPE BODY[TEXT])")
    text = "".join(fetched)
    assert text.count('"mine"') == text.count("of my own") == text.count("todo") == 2
    await two.other.ok(f"SELECT {two.name}")
    await two.other.ok("MOVE 1 INBOX")
    await two.other.ok("SELECT INBOX")
    assert "for all of us" in "".join(await two.other.ok("FETCH 1 (ENVELOPE BODY[TEXT])"))
    assert (await two.other.ok("SEARCH TEXT shared"))[0] == "* SEARCH 1"
    # What is said about the octets is the account's that has them, and nothing is left behind.
    async with world.database.connection() as connection:
        await connection.execute("UPDATE outbox SET not_before = now() WHERE topic = 'unlink'")
    await Upkeep(world.database, Store(str(world.root), 1, False, "test"), world.root).unlink_files()
    async with world.database.connection() as connection:
        strays = await connection.fetchval(
            """
            SELECT count(*) FROM content AS c WHERE NOT EXISTS (
                SELECT FROM message AS m WHERE m.account_id = c.account_id AND m.content_id = c.id)
            """
        )
        missing = await connection.fetchval(
            """
            SELECT count(*) FROM message AS m WHERE NOT EXISTS (
                SELECT FROM content AS c WHERE m.account_id = c.account_id AND m.content_id = c.id)
            """
        )
    assert (strays, missing) == (0, 0)


async def test_the_owner_is_charged(world: World, imap: Imap) -> None:
    owner_address, other_address = await world.account(quota=4096), await world.account(quota=10)
    owner, other = await imap.login(owner_address), await imap.login(other_address)
    await owner.ok("CREATE Team")
    await owner.ok(f"SETACL Team {other_address} lrswi")
    name = f'"Other Users/{owner_address}/Team"'
    assert (await other.append(name, b"x" * 3000)).startswith("OK")
    assert (await other.append(name, b"x" * 3000)).startswith("NO [OVERQUOTA]")
    await other.ok(f"SELECT {name}")
    assert (await other.command(f"COPY 1 {name}"))[-1].startswith("NO [OVERQUOTA]")
    assert (await other.command("COPY 1 INBOX"))[-1].startswith("NO [OVERQUOTA]")
    assert (await other.ok(f"GETQUOTAROOT {name}"))[:-1] == [
        f'* QUOTAROOT {name} "{owner_address}"',
        f'* QUOTA "{owner_address}" (STORAGE 3 4)',
    ]
    assert (await other.ok(f"GETQUOTA {owner_address}"))[0] == f'* QUOTA "{owner_address}" (STORAGE 3 4)'
    await owner.ok(f"DELETEACL Team {other_address}")
    assert (await other.command(f"GETQUOTA {owner_address}"))[-1].startswith("NO [NONEXISTENT]")
    for connected in (owner, other):
        await connected.close()


async def test_another_process_tells_the_sharer(world: World, imap: Imap, two: Two) -> None:
    await two.grant("lrs")
    door = await world.open_door()
    sharer = await door.login(two.other_address)
    await sharer.ok(f"SELECT {two.name}")
    sharer.send("i IDLE\r\n")
    await sharer.until("+ ")
    async with asyncio.timeout(10):
        await door.notifier.until_connected()
    await two.owner.append("Team", MESSAGE)
    assert await sharer.line() == "* 2 EXISTS"
    assert await sharer.line() == "* 2 RECENT"
    # More rights are told, none left ends it (RFC 4314 §5.1.1).
    await two.grant("lrsw")
    assert (await sharer.line()).startswith("* FLAGS (")
    assert "[PERMANENTFLAGS (\\Answered \\Flagged \\Seen \\Draft \\*)]" in await sharer.line()
    await two.grant("l")
    assert (await sharer.line()).startswith("* BYE")
    await sharer.close()
    await world.close_door(door)


async def test_rights_that_were_taken_hold_at_the_next_command(two: Two) -> None:
    await two.grant("lrswte")
    await two.other.ok(f"SELECT {two.name}")
    await two.owner.ok(f"SETACL Team -{two.other_address} w")
    lines = await two.other.command("STORE 1 +FLAGS (\\Flagged)")
    assert lines[-1].startswith("NO [NOPERM]")
    assert "* OK [PERMANENTFLAGS (\\Deleted \\Seen)] Flags that are kept" in lines
    await two.grant("l")
    two.other.send("f FETCH 1 FLAGS\r\n")
    assert (await two.other.line()).startswith("* BYE")


async def test_they_hold_in_a_process_that_has_not_heard_of_it_yet(
    world: World, two: Two, tmp_path: Path
) -> None:
    deaf = await world.open_door(valkey=f"unix://{tmp_path}/nothing.sock", poll_interval=3600)
    await two.grant("lrsw")
    reading, waiting = await deaf.login(two.other_address), await deaf.login(two.other_address)
    for client in (reading, waiting):
        await client.ok(f"SELECT {two.name}")
    await two.grant("lr")
    assert (await reading.command("STORE 1 +FLAGS (\\Flagged)"))[-1].startswith("NO [NOPERM]")
    await two.owner.append("Team", MESSAGE)
    await two.grant("")
    # Nor is anything told that is not asked for.
    for client, command in ((reading, "FETCH 1 BODY.PEEK[]"), (waiting, "NOOP")):
        client.send(f"w {command}\r\n")
        assert (await client.line()).startswith("* BYE")
        await client.close()
    await world.close_door(deaf)


async def test_anyone_is_everybody_in_the_domain(world: World, imap: Imap, two: Two) -> None:
    await two.owner.ok("SETACL Team anyone lr")
    await two.other.ok(f"EXAMINE {two.name}")
    async with world.database.transaction() as tx:
        domain = await tx.fetchval("INSERT INTO domain (name) VALUES ('elsewhere.test') RETURNING id")
        await tx.execute(
            "UPDATE account SET domain_id = $1 WHERE local_part = $2",
            domain,
            two.other_address.partition("@")[0],
        )
    assert (await two.other.command(f"EXAMINE {two.name}"))[-1].startswith("NO [NONEXISTENT]")
    assert not [line for line in await two.other.ok('LIST "" *') if "Other Users" in line]
    await two.owner.ok("DELETEACL Team anyone")


async def test_a_shared_account_has_a_namespace_of_its_own(world: World, imap: Imap, two: Two) -> None:
    async with world.database.transaction() as tx:
        await tx.execute(
            "UPDATE account SET shared = true WHERE local_part = $1", two.owner_address.partition("@")[0]
        )
    await two.grant("lrk")
    name = f'"Shared Folders/{two.owner_address}/Team"'
    assert (await two.other.ok('LIST "" "Shared Folders/*"'))[-2] == f'* LIST (\\HasNoChildren) "/" {name}'
    await two.other.ok(f"EXAMINE {name}")
    assert (await two.other.command(f"EXAMINE {two.name}"))[-1].startswith("NO [NONEXISTENT]")
    await two.other.ok(f"CREATE {name[:-1]}/below{name[-1]}")
    assert "MYRIGHTS" in (await two.other.ok(f"MYRIGHTS {name[:-1]}/below{name[-1]}"))[0]
    await two.other.ok(f"SUBSCRIBE {name}")
    assert any(name in line for line in await two.other.ok('LSUB "" *'))


async def test_a_mailbox_stays_in_its_account(two: Two) -> None:
    await two.grant(ALL)
    assert (await two.other.command(f"RENAME {two.name} Mine"))[-1].startswith("NO [CANNOT]")
    assert (await two.other.command(f"RENAME Archive {two.name[:-1]}/mine{two.name[-1]}"))[-1].startswith(
        "NO [CANNOT]"
    )
    await two.grant(ALL, "INBOX")
    inbox = two.name.replace("Team", "INBOX")
    assert (await two.other.command(f"DELETE {inbox}"))[-1].startswith("NO [CANNOT]")
    assert (await two.other.command(f"RENAME {inbox} {two.name[:-1]}/in{two.name[-1]}"))[-1].startswith(
        "NO [CANNOT]"
    )


async def test_the_owner_deletes_a_shared_mailbox(two: Two) -> None:
    await two.grant("lrs")
    await two.other.ok(f"SELECT {two.name}")
    two.other.send("i IDLE\r\n")
    await two.other.until("+ ")
    await two.owner.ok("DELETE Team")
    assert (await two.other.line()).startswith("* BYE")
    await two.owner.ok("CREATE Team")
    # RFC 4314 §4: its list went with it.
    assert (await two.owner.ok("GETACL Team"))[0] == f"* ACL Team {two.owner_address} lrswipkxteacd"
