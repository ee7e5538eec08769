"""Annotations seen by two users, their limits, and values of any octets (RFC 5464)."""

import msgspec

from esp.core.annotation import LONGEST_VALUE, MOST_ENTRIES
from tests.imap.client import Client
from tests.imap.world import Imap, World


async def test_private_ones_are_each_users_own(world: World, imap: Imap) -> None:
    owner_address, other_address = await world.account(), await world.account()
    owner, other = await imap.login(owner_address), await imap.login(other_address)
    await owner.ok("CREATE Team")
    await owner.ok(f"SETACL Team {other_address} lr")
    name = f'"Other Users/{owner_address}/Team"'
    await owner.ok('SETMETADATA Team (/shared/comment "ours" /private/comment "mine")')
    await other.ok(f'SETMETADATA {name} (/private/comment "his")')
    asked = "(/shared/comment /private/comment)"
    told = '(/shared/comment "ours" /private/comment "{}")'
    assert (await owner.ok(f"GETMETADATA Team {asked}"))[0] == f"* METADATA Team {told.format('mine')}"
    assert (await other.ok(f"GETMETADATA {name} {asked}"))[0] == f"* METADATA {name} {told.format('his')}"
    # With LIST (RFC 9590); what a mailbox of somebody else is for is not told.
    lines = await other.ok(f'LIST "" {name} RETURN (METADATA (/private/comment))')
    assert lines[1] == f'* METADATA {name} (/private/comment "his")'
    refused = (await other.command(f'SETMETADATA {name} (/private/specialuse "\\\\Sent")'))[-1]
    assert refused.startswith("NO [USEATTR]")
    for connected in (owner, other):
        await connected.close()


async def test_a_long_value_and_too_many_are_refused(client: Client) -> None:
    long = b"x" * (LONGEST_VALUE + 1)
    lines = await client.command(
        f"SETMETADATA INBOX (/private/a {{{len(long)}+}}", literals=[long + b' /private/b "y")\r\n']
    )
    assert lines[-1].startswith(f"NO [METADATA MAXSIZE {LONGEST_VALUE}]")
    assert (await client.ok("GETMETADATA INBOX /private/b"))[0] == "* METADATA INBOX (/private/b NIL)"
    for first in range(0, MOST_ENTRIES, 50):
        entries = " ".join(f'/private/x/{number} "v"' for number in range(first, first + 50))
        await client.ok(f"SETMETADATA INBOX ({entries})")
    assert (await client.command('SETMETADATA INBOX (/private/more "v")'))[-1].startswith(
        "NO [METADATA TOOMANY]"
    )
    # One that is there may change, and shared ones are counted by themselves.
    await client.ok('SETMETADATA INBOX (/private/x/7 "w" /shared/more "v")')


async def test_a_value_far_too_long_is_passed_over(client: Client) -> None:
    # More than a command's literals may be together, but not more than a message may be (RFC 7888 §4).
    long = b"x" * 1_000_000
    lines = await client.command(
        f"SETMETADATA INBOX (/private/a {{{len(long)}+}}", literals=[long + b' /private/b "y")\r\n']
    )
    assert lines[-1].startswith(f"NO [METADATA MAXSIZE {LONGEST_VALUE}]")
    assert (await client.ok("GETMETADATA INBOX /private/b"))[0] == "* METADATA INBOX (/private/b NIL)"


async def test_values_are_octets(client: Client) -> None:
    value = b"\0\xff\r\n)"
    await client.ok(f"SETMETADATA INBOX (/private/a ~{{{len(value)}+}}", literals=[value + b")\r\n"])
    client.send("g GETMETADATA INBOX /private/a\r\n")
    told = b"* METADATA INBOX (/private/a ~{5}\r\n" + value + b")\r\n"
    assert await client.reader.readexactly(len(told)) == told
    assert (await client.line()).startswith("g OK")


async def test_an_administrator_sets_what_all_see_and_how_much_they_keep(world: World, imap: Imap) -> None:
    admin_address, user_address = await world.account(), await world.account()
    principals = world.fake.principals
    principals[admin_address] = msgspec.structs.replace(principals[admin_address], admin=True)
    admin, user = await imap.login(admin_address), await imap.login(user_address)
    await admin.ok('SETMETADATA "" (/shared/comment "Closed on Sunday")')
    assert (await user.ok('GETMETADATA "" /shared/comment'))[0] == (
        '* METADATA "" (/shared/comment "Closed on Sunday")'
    )
    await admin.ok('SETMETADATA "" (/shared/comment NIL)')
    # RFC 9208 §4.1.1
    assert "QUOTASET" in (await admin.ok("CAPABILITY"))[0]
    assert "QUOTASET" not in (await user.ok("CAPABILITY"))[0]
    told = (await admin.ok(f"SETQUOTA {user_address} (STORAGE 512 MESSAGE 2)"))[0]
    assert told == f'* QUOTA "{user_address}" (STORAGE 0 512 MESSAGE 0 2)'
    assert (await user.ok('GETQUOTA ""'))[0] == '* QUOTA "" (STORAGE 0 512 MESSAGE 0 2)'
    assert (await user.append("INBOX", b"x" * 2000)).startswith("OK")
    assert (await user.append("INBOX", b"x" * 2000, "(\\Deleted)")).startswith("OK")
    assert (await user.append("INBOX", b"x")).startswith("NO [OVERQUOTA]")
    assert (await user.ok("GETQUOTAROOT INBOX"))[:2] == [
        '* QUOTAROOT INBOX ""',
        '* QUOTA "" (STORAGE 4 512 MESSAGE 2 2)',
    ]
    assert (await user.ok("STATUS INBOX (DELETED DELETED-STORAGE)"))[0] == (
        "* STATUS INBOX (DELETED 1 DELETED-STORAGE 2000)"
    )
    assert (await user.command('SETQUOTA "" ()'))[-1].startswith("NO [NOPERM]")
    assert (await user.command(f"GETQUOTA {admin_address}"))[-1].startswith("NO [NONEXISTENT]")
    assert (await admin.command(f"SETQUOTA {user_address} (MAILBOX 2)"))[-1].startswith("NO")
    assert (await admin.ok(f"SETQUOTA {user_address} ()"))[0] == f'* QUOTA "{user_address}" ()'
    assert (await user.append("INBOX", b"x")).startswith("OK")
    for connected in (admin, user):
        await connected.close()
