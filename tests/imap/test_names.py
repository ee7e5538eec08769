"""Names at their edges (RFC 3501 §5.1, §6.3.3-9), and many of them."""

import time

from esp.imap.listing import list_lines
from esp.native import Command, CommandReader, ListArguments
from esp.services.mailboxes import Listed
from tests.imap.client import Client


async def test_inbox_is_one_mailbox_in_any_case(client: Client) -> None:
    await client.ok("CREATE inbox/child")
    assert (await client.ok('LIST "" "inb*"'))[:-1] == [
        '* LIST (\\HasChildren) "/" INBOX',
        '* LIST (\\HasNoChildren) "/" INBOX/child',
    ]
    assert (await client.command("CREATE Inbox/child"))[-1].startswith("NO [ALREADYEXISTS]")
    await client.ok("SELECT iNbOx/child")
    assert (await client.command("CREATE INBOX/CHILD"))[-1].startswith("OK")


async def test_renaming_inbox_moves_its_messages_and_leaves_its_children(client: Client) -> None:
    await client.append("INBOX", b"x", "(\\Flagged)")
    await client.ok("CREATE INBOX/child")
    await client.ok('SETMETADATA INBOX (/private/comment "kept")')
    await client.ok("RENAME inbox old-mail")
    assert "MESSAGES 0" in (await client.ok("STATUS INBOX (MESSAGES)"))[0]
    assert "MESSAGES 1" in (await client.ok("STATUS old-mail (MESSAGES)"))[0]
    await client.ok("SELECT INBOX/child")
    # RFC 5464 §4.1: both have the annotations.
    for name in ("INBOX", "old-mail"):
        assert '"kept"' in (await client.ok(f"GETMETADATA {name} /private/comment"))[0]


async def test_a_mailbox_becomes_nothing_impossible(client: Client) -> None:
    await client.ok("CREATE a/b/c")
    await client.ok("CREATE a")
    await client.ok("CREATE x")
    for old, new in (("a", "a/b/c/d"), ("a", "a"), ("a", "x"), ("a", "INBOX"), ("a", "inbox"), ("a", '""')):
        assert (await client.command(f"RENAME {old} {new}"))[-1].startswith("NO"), (old, new)
    await client.ok("RENAME a y/z")
    assert (await client.ok('LIST "" y*'))[:-1] == [
        '* LIST (\\Noselect \\HasChildren) "/" y',
        '* LIST (\\HasChildren) "/" y/z',
        '* LIST (\\Noselect \\HasChildren) "/" y/z/b',
        '* LIST (\\HasNoChildren) "/" y/z/b/c',
    ]


async def test_a_deleted_mailbox_with_children_stays_as_a_name(client: Client) -> None:
    await client.ok("CREATE p/q")
    await client.ok("CREATE p")
    await client.append("p", b"x")
    await client.ok("DELETE p")
    assert (await client.ok('LIST "" p'))[0] == '* LIST (\\Noselect \\HasChildren) "/" p'
    assert (await client.command("SELECT p"))[-1].startswith("NO")
    assert (await client.command("DELETE p"))[-1].startswith("NO [HASCHILDREN]")
    await client.ok("CREATE p")
    assert "MESSAGES 0" in (await client.ok("STATUS p (MESSAGES)"))[0]
    await client.ok("DELETE p")
    await client.ok("DELETE p/q")
    assert len(await client.ok('LIST "" p*')) == 1


async def test_names_that_cannot_be(client: Client) -> None:
    for name in ('""', "/a", "a//b", '"a%b"', '"a*b"', "a/../b", "a/./b", '"tab\there"', "x" * 1001):
        assert (await client.command(f"CREATE {name}"))[-1].startswith(("NO [CANNOT]", "BAD")), name
    assert (await client.command("CREATE " + "/".join("d" * 51)))[-1].startswith("NO [CANNOT]")
    await client.ok("CREATE trailing/")
    await client.ok("STATUS trailing (MESSAGES)")


async def test_a_second_spelling_in_utf_7_is_no_name(client: Client) -> None:
    for name in ("&AGE-", "&U,BTFw-&ZeVnLIqe-", "x&AGEAYg-y"):
        assert (await client.command(f"CREATE {name}"))[-1].startswith("BAD"), name
    # What was never meant to be UTF-7 is taken as it stands; clients send it.
    await client.ok('CREATE "AT&T"')
    assert (await client.ok('LIST "" AT*'))[0] == '* LIST (\\HasNoChildren) "/" AT&-T'


def _list(text: str) -> ListArguments:
    reader = CommandReader()
    reader.feed(f"a LIST {text}\r\n".encode())
    command = reader.next()
    assert isinstance(command, Command)
    assert isinstance(command.arguments, ListArguments)
    return command.arguments


def test_many_names_are_matched_in_bounded_time() -> None:
    names = [f"level{n // 1000}/below{n % 1000}/{'ab' * 20}{n}" for n in range(100_000)]
    listed = [Listed(name, None, subscribed=True, has_children=True) for name in names]

    def seconds(pattern: str) -> tuple[float, int]:
        began = time.process_time()
        lines = list(list_lines(_list(pattern), listed, lsub=False, utf8=False, imap4rev2=False))
        return time.process_time() - began, len(lines)

    # A pattern that tries to match in every way there is, and finds nothing.
    took, found = seconds('"" "*a*a*a*a*a*a*%a%a%a%b%c"')
    assert found == 0
    assert took < 5.0
    took, found = seconds('"" "level1/%/*7"')
    assert found == 100
    assert took < 2.0
    # Thousands of plain names cost no more than one.
    many = " ".join(f"level1/below{n}/nothing" for n in range(2000))
    took, found = seconds(f'"" ({many})')
    assert found == 0
    assert took < 2.0
