"""APPEND and REPLACE beyond their dialogues: large messages, room, what fails half-way (RFC 3502, 3516, 4469, 8508)."""

import asyncio
import base64
import os
from pathlib import Path

import pytest

from esp.core.errors import InvalidError
from esp.imap.urls import MessageUrl, message_url
from tests.imap.client import Client
from tests.imap.test_messages import body_of
from tests.imap.world import Imap, World

MESSAGE = b"Subject: x\r\n\r\nx\r\n"


def files(world: World, address: str) -> list[Path]:
    """All message files of an account."""
    home = world.root / "example.test" / address.partition("@")[0]
    return [path for part in ("new", "cur") for path in home.rglob(f"{part}/*") if path.is_file()]


def multiappend(mailbox: str, messages: list[bytes]) -> tuple[bytes, list[bytes]]:
    """The command's first line, and what follows it."""
    sizes = [b"{%d+}" % len(message) for message in messages]
    literals = [message + b" " + size + b"\r\n" for message, size in zip(messages, sizes[1:], strict=False)]
    return f"APPEND {mailbox} ".encode() + sizes[0], [*literals, messages[-1] + b"\r\n"]


async def test_bare_lf_becomes_crlf_and_all_sizes_agree(client: Client) -> None:
    lines = (b"Subject: x\n\nfirst\nsecond\r\n\rthird\n").replace(b"x", b"x" * 3)
    await client.append("INBOX", lines)
    await client.ok("SELECT INBOX")
    fetched = await client.ok("FETCH 1 (RFC822.SIZE BODY.PEEK[])")
    kept = b"Subject: xxx\r\n\r\nfirst\r\nsecond\r\n\rthird\r\n"
    assert body_of(fetched) == kept
    assert f"RFC822.SIZE {len(kept)} " in fetched[0]
    assert f"SIZE {len(kept)})" in (await client.ok("STATUS INBOX (SIZE)"))[0]


async def test_a_large_message_with_bare_lf_is_mended_on_its_way_to_the_disk(client: Client) -> None:
    lines = b"Subject: x\n\n" + b"0123456789\n" * 100_000
    await client.append("INBOX", lines)
    await client.ok("SELECT INBOX")
    assert body_of(await client.ok("FETCH 1 BODY.PEEK[]")) == lines.replace(b"\n", b"\r\n")


async def test_a_large_literal8_comes_back_octet_for_octet(client: Client) -> None:
    content = os.urandom(1_000_000)
    message = (
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        + content
        + b"\r\n--b--\r\n"
    )
    lines = await client.command(b"APPEND INBOX ~{%d+}" % len(message), literals=[message + b"\r\n"])
    assert lines[-1].startswith("OK [APPENDUID")
    await client.ok("SELECT INBOX")
    assert f"BINARY.SIZE[1] {len(content)})" in (await client.ok("FETCH 1 BINARY.SIZE[1]"))[0]
    assert body_of(await client.ok("FETCH 1 BINARY.PEEK[1]<500000.1000>")) == content[500_000:501_000]
    encoded = body_of(await client.ok("FETCH 1 BODY.PEEK[1]"))
    assert b"\0" not in encoded
    assert base64.b64decode(encoded) == content


async def test_a_nul_that_nothing_can_encode_is_refused_and_the_session_goes_on(client: Client) -> None:
    message = b"Subject: a\0b\r\n\r\nx"
    lines = await client.command(b"APPEND INBOX ~{%d+}" % len(message), literals=[message + b"\r\n"])
    assert lines[-1].startswith("NO [UNKNOWN-CTE]")
    assert (await client.append("INBOX", MESSAGE)).startswith("OK")


async def test_a_catenated_message_is_streamed(client: Client) -> None:
    part = os.urandom(750_000)
    encoded = base64.encodebytes(part).replace(b"\n", b"\r\n")
    await client.append("Drafts", b"Subject: x\r\n\r\n" + encoded)
    urls = b" ".join([b'URL "/Drafts/;UID=1/;SECTION=TEXT"'] * 3)
    await client.ok(b"APPEND INBOX CATENATE (TEXT {14+}", literals=[b"Subject: y\r\n\r\n " + urls + b")\r\n"])
    await client.ok("SELECT INBOX")
    assert body_of(await client.ok("FETCH 1 BODY.PEEK[]")) == b"Subject: y\r\n\r\n" + encoded * 3


async def test_a_message_too_large_in_all_its_parts_is_too_big(world: World) -> None:
    door = await world.open_door(max_literal=1000)
    try:
        client = await door.login(await world.account())
        await client.append("INBOX", b"Subject: x\r\n\r\n" + b"x" * 600)
        urls = " ".join(['URL "/INBOX/;UID=1"'] * 2)
        lines = await client.command(f"APPEND INBOX CATENATE ({urls})")
        assert lines[-1].startswith("NO [TOOBIG]")
        text = b"x" * 600
        literals = [text + b' URL "/INBOX/;UID=1")\r\n']
        lines = await client.command(b"APPEND INBOX CATENATE (TEXT {600+}", literals=literals)
        assert lines[-1].startswith("NO [TOOBIG]")
        assert "(MESSAGES 1 APPENDLIMIT 1000)" in (await client.ok("STATUS INBOX (MESSAGES APPENDLIMIT)"))[0]
        await client.close()
    finally:
        await world.close_door(door)


async def test_several_messages_without_room_for_all_leave_nothing(world: World, imap: Imap) -> None:
    address = await world.account(quota=100)
    client = await imap.login(address)
    command, literals = multiappend("INBOX", [MESSAGE, b"y" * 90])
    assert (await client.command(command, literals=literals))[-1].startswith("NO [OVERQUOTA]")
    # Bare LF makes more of it than was announced, which the transaction sees.
    command, literals = multiappend("INBOX", [MESSAGE, b"\n" * 60])
    assert (await client.command(command, literals=literals))[-1].startswith("NO [OVERQUOTA]")
    assert "(MESSAGES 0 UIDNEXT 1)" in (await client.ok("STATUS INBOX (MESSAGES UIDNEXT)"))[0]
    assert files(world, address) == []
    command, literals = multiappend("INBOX", [MESSAGE, MESSAGE])
    assert (await client.command(command, literals=literals))[-1].startswith("OK [APPENDUID")
    await client.close()


async def test_a_replacement_has_the_room_of_what_it_replaces(world: World, imap: Imap) -> None:
    address = await world.account(quota=100, messages=1)
    client = await imap.login(address)
    await client.append("Drafts", b"x" * 80)
    await client.ok("SELECT Drafts")
    lines = await client.ok("REPLACE 1 Drafts {90+}", literals=[b"y" * 90 + b"\r\n"])
    assert lines[0].startswith("* OK [APPENDUID")
    lines = await client.command("REPLACE 1 Drafts {101+}", literals=[b"z" * 101 + b"\r\n"])
    assert lines[-1].startswith("NO [OVERQUOTA]")
    assert body_of(await client.ok("FETCH 1 BODY.PEEK[]")) == b"y" * 90
    await client.close()


async def test_a_replaced_message_is_told_to_others_and_its_file_goes(world: World, imap: Imap) -> None:
    address = await world.account()
    client, other = await imap.login(address), await imap.login(address)
    for session in (client, other):
        await session.ok("SELECT Drafts")
    await client.append("Drafts", MESSAGE, "($Old)")
    await other.ok("NOOP")
    await client.ok(f"UID REPLACE 1 Drafts ($New) {{{len(MESSAGE)}+}}", literals=[MESSAGE + b"\r\n"])
    told = await other.ok("NOOP")
    assert "* 1 EXPUNGE" in told
    assert "* 1 EXISTS" in told
    assert "$New" in (await other.ok("FETCH 1 FLAGS"))[0]
    waiting = await world.database_value("SELECT count(*) FROM outbox WHERE topic = 'unlink' AND payload::text ~ $1",
                                         address.partition("@")[0])  # fmt: skip
    assert waiting == 1
    for session in (client, other):
        await session.close()


async def test_of_two_that_replace_the_same_message_one_is_refused(world: World, imap: Imap) -> None:
    address = await world.account()
    clients = [await imap.login(address) for _ in range(2)]
    await clients[0].append("Drafts", MESSAGE)
    for client in clients:
        await client.ok("SELECT Drafts")
        client.send(f"r UID REPLACE 1 Drafts {{{len(MESSAGE)}}}\r\n")
        assert (await client.line()).startswith("+")
    for client in clients:
        client.send(MESSAGE + b"\r\n")
    answers = [(await client.until("r "))[-1] for client in clients]
    assert sorted(answer.split()[1] for answer in answers) == ["NO", "OK"]
    assert "* STATUS Drafts (MESSAGES 1)" in await clients[0].ok("STATUS Drafts (MESSAGES)")
    assert len(files(world, address)) == 2  # the old one is left to a worker
    for client in clients:
        await client.close()


@pytest.mark.parametrize("command", ["APPEND gone", "UID REPLACE 1 gone"])
async def test_a_mailbox_deleted_while_the_message_comes_may_be_made_again(
    command: str, world: World, imap: Imap
) -> None:
    address = await world.account()
    client, other = await imap.login(address), await imap.login(address)
    await client.ok("CREATE gone")
    await client.append("INBOX", MESSAGE)
    await client.ok("SELECT INBOX")
    client.send(f"a {command} {{{len(MESSAGE)}}}\r\n")
    assert (await client.line()).startswith("+")
    await other.ok("DELETE gone")
    client.send(MESSAGE + b"\r\n")
    assert (await client.until("a "))[-1].startswith("a NO [TRYCREATE]")
    assert "(MESSAGES 1)" in (await client.ok("STATUS INBOX (MESSAGES)"))[0]
    assert len(files(world, address)) == 1
    for session in (client, other):
        await session.close()


async def test_many_messages_at_once_are_bounded(world: World, imap: Imap) -> None:
    client = await imap.login(await world.account())
    command, literals = multiappend("INBOX", [b"m"] * 501)
    assert (await client.command(command, literals=literals))[-1].startswith("NO [MESSAGELIMIT 500]")
    command, literals = multiappend("INBOX", [b"m"] * 500)
    assert "1:500]" in (await client.command(command, literals=literals))[-1]
    await client.close()


async def test_a_file_renamed_since_is_found_by_a_url(world: World, imap: Imap) -> None:
    address = await world.account()
    client = await imap.login(address)
    await client.append("INBOX", MESSAGE)
    (path,) = files(world, address)
    await asyncio.to_thread(path.rename, path.parent.parent / "cur" / f"{path.name}:2,FS")
    assert (await client.command('APPEND INBOX CATENATE (URL "/INBOX/;UID=1")'))[-1].startswith("OK")
    await client.close()


async def test_a_file_renamed_between_two_fetches_is_found(world: World, imap: Imap) -> None:
    address = await world.account()
    client = await imap.login(address)
    for number in range(3):
        await client.append("INBOX", b"Subject: %d\r\n\r\n" % number)
    await client.ok("SELECT INBOX")
    for letters in ("S", "FS", "RS"):
        for path in files(world, address):
            renamed = path.parent.parent / "cur" / f"{path.name.partition(':')[0]}:2,{letters}"
            await asyncio.to_thread(path.rename, renamed)
        lines = await client.ok("FETCH 1:* BODY.PEEK[]")
        assert [line.split("Subject: ")[1][0] for line in lines[:-1]] == ["0", "1", "2"]
    await client.close()


async def test_a_large_part_comes_the_same_in_pieces(client: Client) -> None:
    content = os.urandom(600_000)
    encoded = base64.encodebytes(content).replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    head = (
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n"
    )
    kind = b"Content-Transfer-Encoding: base64\r\n\r\n"
    await client.append("INBOX", head + kind + encoded + b"\r\n--b--\r\n")
    await client.ok("SELECT INBOX")
    for item, whole in (("BODY", encoded), ("BINARY", content)):
        pieces = [
            body_of(await client.ok(f"FETCH 1 {item}.PEEK[2]<{start}.65536>"))
            for start in range(0, len(whole), 65_536)
        ]
        assert b"".join(pieces) == whole
        assert body_of(await client.ok(f"FETCH 1 {item}.PEEK[1]<1.3>")) == b"ell"
        assert body_of(await client.ok(f"FETCH 1 {item}.PEEK[2]<{len(whole)}.1>")) == b""
    assert body_of(await client.ok("FETCH 1 BODY.PEEK[2.MIME]<0.7>")) == b"Content"


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("/INBOX/;UID=20", MessageUrl("INBOX", None, 20, "", None)),  # type: ignore[arg-type]
        ("/a/b;UIDVALIDITY=7/;UID=2/;SECTION=1.2.MIME",
         MessageUrl("a/b", 7, 2, "1.2.MIME", None)),  # type: ignore[arg-type]
        ("/a%3Bb/;uid=1/;section=HEADER.FIELDS%20(TO)/;partial=5.10",
         MessageUrl("a;b", None, 1, "HEADER.FIELDS (TO)", (5, 10))),  # type: ignore[arg-type]
        (";UID=3", MessageUrl(None, None, 3, "", None)),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_a_url_names_a_message(url: str, named: MessageUrl) -> None:
    assert message_url(url) == named


@pytest.mark.parametrize(
    "url",
    ["", "/INBOX", "/INBOX/;UID=0", "/INBOX/;UID=1/;PARTIAL=1.0", "/INBOX/;UID=1;URLAUTH=anonymous", "//host/a/;UID=1",
     "imap://host/INBOX/;UID=1", "/%ff/;UID=1", "/INBOX;UIDVALIDITY=x/;UID=1", "/INBOX/;UID=1/;SECTION="],
)  # fmt: skip
def test_what_names_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidError):
        message_url(url)


async def test_a_mailbox_is_not_remembered_for_whoever_logs_in_next(world: World, client: Client) -> None:
    await client.append("INBOX", MESSAGE)
    await client.ok("UNAUTHENTICATE")
    address = await world.account()
    await client.ok(f"LOGIN {address} secret")
    await client.append("INBOX", MESSAGE)
    assert len(files(world, address)) == 1
