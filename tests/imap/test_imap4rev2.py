"""What RFC 9051 wants that no dialogue can show: things that happen in the middle of others."""

from tests.imap.client import Client
from tests.imap.world import Imap, World


async def test_a_mailbox_deleted_while_a_message_comes_may_be_made_again(world: World, imap: Imap) -> None:
    # RFC 9051 §6.3.12
    address = await world.account()
    client, other = await imap.login(address), await imap.login(address)
    await client.ok("CREATE doomed")
    client.send("a APPEND doomed {6}\r\n")
    assert (await client.line()).startswith("+ ")
    await other.ok("DELETE doomed")
    client.send("abcdef\r\n")
    assert (await client.line()).startswith("a NO [TRYCREATE]")
    await client.ok("CREATE doomed")
    assert (await client.append("doomed", b"abcdef")).startswith("OK")
    for connected in (client, other):
        await connected.close()


async def test_a_message_whose_file_is_lost_is_no_expunged_one(world: World, client: Client) -> None:
    await client.append("INBOX", b"Subject: x\r\n\r\nx")
    await client.ok("SELECT INBOX")
    (path,) = [
        path
        for path in world.root.rglob("*")
        if path.is_file()
        and path.parent.name in {"cur", "new"}
        and path.read_bytes() == b"Subject: x\r\n\r\nx"
    ]
    path.unlink()
    assert (await client.command("FETCH 1 BODY.PEEK[]"))[-1].startswith("NO [CORRUPTION]")
    await client.ok("FETCH 1 FLAGS")


async def test_enabling_with_a_mailbox_selected_changes_what_is_told_of_it(client: Client) -> None:
    # RFC 9051 §6.3.1: the server need not check that none is
    await client.append("INBOX", b"x")
    await client.ok("SELECT INBOX")
    assert "\\Recent" in (await client.ok("FETCH 1 FLAGS"))[0]
    await client.ok("ENABLE IMAP4rev2")
    assert "\\Recent" not in (await client.ok("FETCH 1 FLAGS"))[0]
    await client.append("INBOX", b"x")
    assert not [line for line in await client.ok("NOOP") if "RECENT" in line]
