"""Messages go in and come out as they were, and stay countable."""

import asyncio
import imaplib
import os
from pathlib import Path

import pytest

from esp.storage.postgres import outbox
from tests.imap.client import Client
from tests.imap.world import Imap, World

DATE = '"17-Jul-1996 02:44:25 -0700"'


def body_of(lines: list[str]) -> bytes:
    octets = "\r\n".join(lines).encode("utf-8", "surrogateescape")
    start = octets.index(b"}\r\n") + 3
    size = int(octets[octets.rindex(b"{", 0, start) + 1 : start - 3])
    return octets[start : start + size]


@pytest.mark.parametrize("size", [1, 1000, 262_143, 262_145, 5_000_000])
async def test_what_is_appended_comes_back(size: int, client: Client) -> None:
    # PITFALLS 24: large literals were cut.
    message = b"Subject: x\r\n\r\n" + os.urandom(size).replace(b"\0", b"0").replace(b"\n", b"\r\n")
    assert "APPENDUID" in await client.append("INBOX", message, "(\\Draft)", DATE)
    await client.ok("SELECT INBOX")
    lines = await client.ok("FETCH 1 (BODY.PEEK[] INTERNALDATE FLAGS RFC822.SIZE)")
    assert body_of(lines) == message
    assert f"RFC822.SIZE {len(message)}" in lines[-2] or f"RFC822.SIZE {len(message)}" in lines[0]
    assert "17-Jul-1996 09:44:25 +0000" in "".join(lines)
    assert "\\Draft" in "".join(lines)


async def test_a_synchronising_literal_is_asked_for(client: Client) -> None:
    client.send("a APPEND INBOX {3}\r\n")
    assert (await client.line()).startswith("+")
    client.send("abc\r\n")
    assert (await client.line()).startswith("a OK [APPENDUID")


@pytest.mark.parametrize("year", ["0001", "1600", "1900", "2500", "9999"])
async def test_a_date_far_away_is_kept(year: str, client: Client) -> None:
    assert (await client.append("INBOX", b"x", date=f'"02-Jan-{year} 00:00:00 +0000"')).startswith("OK")
    await client.ok("SELECT INBOX")
    assert f"02-Jan-{year}" in (await client.ok("FETCH 1 INTERNALDATE"))[0].replace('" 2-', '"02-')


async def test_the_first_moment_of_the_calendar_is_kept(client: Client) -> None:
    # What a client written in Go sends that has set no date.
    assert (await client.append("INBOX", b"x", date='"01-Jan-0001 00:00:00 +0000"')).startswith("OK")
    await client.ok("SELECT INBOX")
    assert '" 1-Jan-0001 00:00:00 +0000"' in (await client.ok("FETCH 1 INTERNALDATE"))[0]
    assert (await client.ok("SEARCH BEFORE 1-Jan-0001"))[0] == "* SEARCH"
    assert (await client.ok("SEARCH ON 1-Jan-0001"))[0] == "* SEARCH 1"


@pytest.mark.parametrize("date", ["31-Dec-9999 23:59:59 -1200", "01-Jan-0000 00:00:00 +0000"])
async def test_a_date_beyond_all_calendars_is_refused(date: str, client: Client) -> None:
    assert (await client.append("INBOX", b"x", date=f'"{date}"')).startswith("BAD")
    await client.ok("NOOP")


async def test_an_append_broken_off_leaves_nothing(world: World, imap: Imap) -> None:
    address = await world.account()
    client = await imap.login(address)
    client.send(b"a APPEND INBOX {5000000+}\r\n" + b"x" * 1_000_000)
    await client.writer.drain()
    client.writer.transport.abort()
    again = await imap.login(address)
    assert (await again.ok("STATUS INBOX (MESSAGES)"))[0] == "* STATUS INBOX (MESSAGES 0)"
    folder = world.root / world.fake.principals[address].maildir
    assert [path for part in ("cur", "new", "tmp") for path in (folder / part).iterdir()] == []
    await again.close()


async def test_quota_is_kept_by_append_and_copy_and_given_back_by_expunge(world: World, imap: Imap) -> None:
    # PITFALLS 8
    client = await imap.login(await world.account(quota=2500))
    assert (await client.append("INBOX", b"x" * 1000)).startswith("OK")
    assert (await client.append("INBOX", b"x" * 2000)).startswith("NO [OVERQUOTA]")
    await client.ok("SELECT INBOX")
    assert (await client.ok("COPY 1 Archive"))[-1].startswith("OK [COPYUID")
    assert (await client.command("COPY 1 Archive"))[-1].startswith("NO [OVERQUOTA]")
    assert (await client.ok('GETQUOTA ""'))[0] == '* QUOTA "" (STORAGE 2 2)'
    await client.ok("MOVE 1 Trash")
    await client.ok("SELECT Trash")
    await client.ok("STORE 1 +FLAGS.SILENT \\Deleted")
    await client.ok("CLOSE")
    assert (await client.append("INBOX", b"x" * 1500)).startswith("OK")
    await client.close()


async def test_copies_share_their_file(world: World, imap: Imap) -> None:
    address = await world.account()
    client = await imap.login(address)
    await client.append("INBOX", b"Subject: x\r\n\r\nx", "(\\Seen \\Flagged)")
    await client.ok("SELECT INBOX")
    await client.ok("COPY 1 Archive")
    await client.ok("COPY 1 INBOX")
    home = world.root / world.fake.principals[address].maildir
    files = [path for folder in (home, home / ".Archive") for path in (folder / "cur").iterdir()]
    assert len(files) == 3
    assert len({path.stat().st_ino for path in files}) == 1
    assert all(path.name.endswith(":2,FS") for path in files)
    await client.close()


async def test_expunged_files_are_left_to_a_worker(world: World, imap: Imap) -> None:
    address = await world.account()
    client = await imap.login(address)
    await client.append("INBOX", b"x", "(\\Deleted)")
    await client.ok("SELECT INBOX")
    await client.ok("EXPUNGE")
    home = world.root / world.fake.principals[address].maildir
    (file,) = (home / "cur").iterdir()
    async with world.database.connection() as connection:
        rows = await connection.fetch("SELECT payload FROM outbox WHERE topic = 'unlink'")
    paths = {path for row in rows for path in outbox.decode(outbox.Unlink, row["payload"]).files()}
    assert str(file.relative_to(world.root)) in paths
    await client.close()


async def test_renaming_inbox_moves_its_messages(client: Client) -> None:
    await client.append("INBOX", b"x")
    await client.ok("CREATE INBOX/child")
    await client.ok("RENAME INBOX old/mail")
    assert (await client.ok("STATUS INBOX (MESSAGES)"))[0] == "* STATUS INBOX (MESSAGES 0)"
    assert (await client.ok("STATUS old/mail (MESSAGES)"))[0] == "* STATUS old/mail (MESSAGES 1)"
    assert (await client.ok('LIST "" INBOX/*'))[0].endswith("INBOX/child")


async def test_a_renamed_mailbox_keeps_its_messages_and_their_files(client: Client) -> None:
    await client.ok("CREATE one")
    await client.append("one", b"Subject: kept\r\n\r\n")
    await client.ok("RENAME one two/three")
    await client.ok("CREATE one")
    await client.append("one", b"Subject: new\r\n\r\n")
    await client.ok("SELECT two/three")
    assert body_of(await client.ok("FETCH 1 BODY.PEEK[]")) == b"Subject: kept\r\n\r\n"
    await client.ok("SELECT one")
    assert body_of(await client.ok("FETCH 1 BODY.PEEK[]")) == b"Subject: new\r\n\r\n"


async def test_uids_and_uidvalidity_are_never_given_twice(client: Client) -> None:
    # PITFALLS 27
    await client.ok("CREATE again")
    first = (await client.append("again", b"x")).split()[2:4]
    await client.ok("DELETE again")
    await client.ok("CREATE again")
    second = (await client.append("again", b"x")).split()[2:4]
    assert int(second[0]) > int(first[0])
    await client.ok("SELECT again")
    await client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    await client.ok("EXPUNGE")
    third = (await client.append("again", b"x")).split()[2:4]
    assert third[0] == second[0]
    assert int(third[1].rstrip("]")) == int(second[1].rstrip("]")) + 1


async def test_flag_searches_see_flags(client: Client) -> None:
    # PITFALLS 19
    for flags in ("(\\Seen)", "()", "(\\Deleted \\Seen)", "($Junk)"):
        await client.append("INBOX", b"x", flags)
    await client.ok("SELECT INBOX")
    for keys, result in (
        ("UNSEEN", "2 4"),
        ("SEEN", "1 3"),
        ("DELETED", "3"),
        ("UNDELETED UNSEEN", "2 4"),
        ("KEYWORD $junk", "4"),
        ("UNKEYWORD $Junk NOT DELETED", "1 2"),
        ("OR DELETED KEYWORD $Junk", "3 4"),
    ):
        assert (await client.ok(f"SEARCH {keys}"))[0] == f"* SEARCH {result}", keys
    assert next(line for line in await client.ok("EXPUNGE") if "EXPUNGE" in line) == "* 3 EXPUNGE"


@pytest.mark.parametrize("key", ["FROBNICATE", 'X-GM-RAW "x"', "SUBJECT", "UID", "LARGER x"])
async def test_a_search_key_not_understood_is_bad(key: str, client: Client) -> None:
    # PITFALLS 20
    await client.append("INBOX", b"x")
    await client.ok("SELECT INBOX")
    assert (await client.command(f"SEARCH {key}"))[-1].startswith("BAD")


async def test_text_is_found_before_any_worker_has_indexed_it(client: Client) -> None:
    # PITFALLS 26: substrings, and mail delivered a moment ago
    await client.append("INBOX", b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nMehrwertsteuer\r\n")
    await client.append("INBOX", b"Subject: other\r\n\r\nnothing\r\n")
    await client.ok("SELECT INBOX")
    for keys in ('BODY "wertst"', 'TEXT "MEHRWERT"', 'SUBJECT "other"', 'NOT TEXT "wert"'):
        expected = "2" if keys.startswith(("SUBJECT", "NOT")) else "1"
        assert (await client.ok(f"SEARCH {keys}"))[0] == f"* SEARCH {expected}", keys
    lines = await client.ok("SEARCH CHARSET UTF-8 SUBJECT {6+}", literals=["grüß".encode(), b"\r\n"])
    assert lines[0] == "* SEARCH 1"


async def test_saved_results_can_be_used(client: Client) -> None:
    for flags in ("(\\Seen)", "()", "()"):
        await client.append("INBOX", b"x", flags)
    await client.ok("SELECT INBOX")
    assert len(await client.ok("SEARCH RETURN (SAVE) UNSEEN")) == 1
    assert [line.split()[1] for line in (await client.ok("FETCH $ UID"))[:-1]] == ["2", "3"]
    assert (await client.ok("SEARCH RETURN (MIN MAX COUNT) $"))[0].endswith("MIN 2 MAX 3 COUNT 2")


async def test_conditional_store_refuses_what_changed(world: World, imap: Imap) -> None:
    address = await world.account()
    first, second = await imap.login(address), await imap.login(address)
    for client in (first, second):
        await client.append("INBOX", b"x")
    await first.ok("SELECT INBOX (CONDSTORE)")
    await second.ok("SELECT INBOX")
    modseq = int((await first.ok("FETCH 1 (MODSEQ)"))[0].split("MODSEQ (")[1].split(")")[0])
    await second.ok("STORE 1 +FLAGS (\\Flagged)")
    lines = await first.command(f"STORE 1:2 (UNCHANGEDSINCE {modseq + 1}) +FLAGS (\\Seen)")
    assert lines[-1].startswith("OK [MODIFIED 1]"), lines
    assert any("* 2 FETCH" in line and "\\Seen" in line and "MODSEQ" in line for line in lines)
    for client in (first, second):
        await client.close()


async def test_fetching_a_body_sets_seen_durably(world: World, imap: Imap) -> None:
    address = await world.account()
    client = await imap.login(address)
    await client.append("INBOX", b"Subject: x\r\n\r\nbody")
    await client.ok("SELECT INBOX")
    lines = await client.ok("FETCH 1 BODY[TEXT]")
    assert "\\Seen" in "".join(lines)
    assert (await client.ok("STATUS INBOX (UNSEEN)"))[0] == "* STATUS INBOX (UNSEEN 0)"
    await client.close()


async def test_examine_changes_nothing(world: World, imap: Imap) -> None:
    client = await imap.login(await world.account())
    await client.append("INBOX", b"Subject: x\r\n\r\nbody", "(\\Deleted)")
    await client.ok("EXAMINE INBOX")
    await client.ok("FETCH 1 BODY[]")
    assert (await client.command("EXPUNGE"))[-1].startswith("NO")
    await client.ok("CLOSE")
    assert (await client.ok("STATUS INBOX (MESSAGES UNSEEN RECENT)"))[0] == (
        "* STATUS INBOX (MESSAGES 1 UNSEEN 1 RECENT 1)"
    )
    await client.close()


async def test_a_full_disk_is_temporary(world: World, imap: Imap) -> None:
    client = await imap.login(await world.account())
    link = imap.door.messages._maildirs.link

    async def full(*_: object) -> list[bool]:
        raise OSError(28, "No space left on device")

    await client.append("INBOX", b"x")
    await client.ok("SELECT INBOX")
    imap.door.messages._maildirs.link = full  # type: ignore[method-assign]
    try:
        assert (await client.command("COPY 1 Archive"))[-1].startswith("NO [UNAVAILABLE]")
    finally:
        imap.door.messages._maildirs.link = link  # type: ignore[method-assign]
    assert (await client.ok("COPY 1 Archive"))[-1].startswith("OK [COPYUID")
    await client.close()


async def test_pythons_own_client_gets_along(world: World, imap: Imap, tmp_path: Path) -> None:
    address = await world.account()

    def talk() -> None:
        with imaplib.IMAP4("127.0.0.1", imap.port, timeout=20) as client:
            client.login(address, "secret")
            assert client.create("Lists")[0] == "OK"
            assert client.append("Lists", "(\\Flagged)", None, b"Subject: hi\r\n\r\nthere\r\n")[0] == "OK"  # type: ignore[arg-type]
            assert client.select("Lists")[1] == [b"1"]
            assert client.search(None, "FLAGGED")[1] == [b"1"]
            assert client.fetch("1", "(RFC822)")[1][0][1] == b"Subject: hi\r\n\r\nthere\r\n"  # type: ignore[index]
            assert client.uid("STORE", "1", "+FLAGS", "(\\Deleted)")[0] == "OK"
            assert client.expunge()[1] == [b"1"]
            assert client.close()[0] == "OK"
            assert client.delete("Lists")[0] == "OK"

    await asyncio.to_thread(talk)
