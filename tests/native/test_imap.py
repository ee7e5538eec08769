"""The native half of the IMAP door: commands, the mailbox index, FETCH and SEARCH."""

import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp import native
from esp.core.message import SystemFlag
from esp.storage.postgres.pool import Database
from tests.support import corpus, rows, strace

SEEN = SystemFlag.SEEN.value
PLAIN = b"From: a@example.org\r\nSubject: One\r\nDate: Mon, 7 Feb 1994 21:52:25 +0000\r\n\r\nHello.\r\n"
MULTI = (
    b"From: =?utf-8?q?J=C3=BCrgen?= <b@example.org>\r\nTo: c@example.org\r\nSubject: =?iso-8859-1?q?Gr=FC=DFe?=\r\n"
    b"Date: Tue, 8 Feb 1994 10:00:00 +0000\r\nX-Note: yes\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\nFirst part\r\n--b\r\n'
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"WmVwcGVsaW4gw7xiZXIgYWxsZW0A\r\n--b--\r\n"
)


@pytest.fixture
def mailbox(tmp_path: Path) -> rows.Mailbox:
    return rows.Mailbox(tmp_path / "mailbox")


def open_view(mailbox: rows.Mailbox, *, read_only: bool = False) -> native.View:
    return native.View(mailbox.index, read_only=read_only)


def literals(answer: bytes) -> list[bytes]:
    """Return the literals of an answer."""
    found = []
    while match := re.search(rb"\{(\d+)\}\r\n", answer):
        end = match.end() + int(match[1])
        found.append(answer[match.end() : end])
        answer = answer[end:]
    return found


def test_a_message_comes_back_octet_for_octet(mailbox: rows.Mailbox) -> None:
    messages = [message.octets for message in corpus.generated()]
    mailbox.add(*messages)
    answer = mailbox.fetch(open_view(mailbox), "1:*", "BODY.PEEK[]")
    assert literals_of(answer) == messages


def literals_of(answer: bytes) -> list[bytes]:
    """Return the only literal of each response."""
    found = []
    while answer:
        match = re.match(rb"\* \d+ FETCH \(BODY\[\] \{(\d+)\}\r\n", answer)
        assert match, answer[:80]
        end = match.end() + int(match[1])
        found.append(answer[match.end() : end])
        assert answer[end : end + 3] == b")\r\n"
        answer = answer[end + 3 :]
    return found


@pytest.mark.parametrize("step", [1_024, 131_072])
@pytest.mark.parametrize("octets", [10_000, 3_000_000])
def test_a_large_message_comes_in_small_pieces(mailbox: rows.Mailbox, octets: int, step: int) -> None:
    message = PLAIN + b"0123456789abcde\n" * (octets // 16)
    mailbox.add(message, message, PLAIN)
    view = open_view(mailbox)
    assert literals_of(mailbox.fetch(view, "1:3", "BODY.PEEK[]", step=step)) == [message, message, PLAIN]
    sections = mailbox.fetch(view, "2", "(BODY.PEEK[TEXT] UID BODY.PEEK[HEADER] BODY.PEEK[1])", step=step)
    header, text = message[: message.index(b"\r\n\r\n") + 4], message[message.index(b"\r\n\r\n") + 4 :]
    assert literals(sections) == [text, header, text]
    part = mailbox.fetch(view, "1", f"BODY.PEEK[]<{octets - 10}.50>", step=step)
    assert literals(part) == [message[octets - 10 : octets + 40]]


@pytest.mark.parametrize(
    "section",
    ["HEADER", "TEXT", "1", "2", "3", "1.MIME", "HEADER.FIELDS (SUBJECT X-NOTE)", "HEADER.FIELDS.NOT (DATE)"],
)
def test_sections_are_those_of_mime(mailbox: rows.Mailbox, section: str) -> None:
    mailbox.add(MULTI)
    expected = native.body_section(MULTI, section)
    answer = mailbox.fetch(open_view(mailbox), "1", f"BODY.PEEK[{section}]")
    label = b"* 1 FETCH (BODY[" + section.encode() + b"] "
    if expected is None:
        assert answer == label + b"NIL)\r\n"
    else:
        assert answer == label + b"{%d}\r\n%b)\r\n" % (len(expected), expected)


def test_parts_are_decoded(mailbox: rows.Mailbox) -> None:
    mailbox.add(MULTI)
    answer = mailbox.fetch(open_view(mailbox), "1", "(BINARY.PEEK[2] BINARY.SIZE[2] BINARY.SIZE[9])")
    content = "Zeppelin über allem\0".encode()
    assert answer == b"* 1 FETCH (BINARY[2] ~{21}\r\n" + content + b" BINARY.SIZE[2] 21 BINARY.SIZE[9] 0)\r\n"


def test_what_the_index_knows_needs_no_file(mailbox: rows.Mailbox) -> None:
    mailbox.add(PLAIN, MULTI, flags=SEEN)
    for file in (mailbox.folder / "new").iterdir():
        file.unlink()
    view = open_view(mailbox)
    answer = mailbox.fetch(
        view, "2", "(FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY BODYSTRUCTURE)", uid=True
    )
    made = native.describe(MULTI)
    assert answer == (
        b'* 2 FETCH (UID 2 FLAGS (\\Seen) INTERNALDATE "16-Nov-2023 22:13:20 +0000" '
        b"RFC822.SIZE %d ENVELOPE %b BODY %b BODYSTRUCTURE %b)\r\n"
        % (len(MULTI), made.envelope, made.body, made.bodystructure)
    )
    assert mailbox.fetch(view, "1:2", "UID") == b"* 1 FETCH (UID 1)\r\n* 2 FETCH (UID 2)\r\n"


def test_wire_strings_are_made_from_the_file_when_the_database_has_none(mailbox: rows.Mailbox) -> None:
    mailbox.add(PLAIN)
    fetch = open_view(mailbox).fetch(
        native.SequenceSet("1"), native.FetchItems("ENVELOPE"), uid=False, contents=mailbox.contents
    )
    assert fetch.step() == [1_001]
    assert fetch.step() == b"* 1 FETCH (ENVELOPE " + native.describe(PLAIN).envelope + b")\r\n"
    assert fetch.step() is None


def test_a_file_is_found_after_it_was_renamed_and_missed_when_gone(mailbox: rows.Mailbox) -> None:
    mailbox.add(PLAIN, PLAIN, PLAIN, PLAIN)
    new, cur = mailbox.folder / "new", mailbox.folder / "cur"
    (new / "2.host").rename(cur / "2.host:2,S")
    (new / "3.host").rename(cur / "3.host:2,FRab")
    (new / "4.host").unlink()
    mailbox.change({2: SEEN})
    fetch = open_view(mailbox).fetch(
        native.SequenceSet("1:4"), native.FetchItems("BODY.PEEK[]"), uid=False, contents=mailbox.contents
    )
    assert literals_of(mailbox.drain(fetch)) == [PLAIN] * 3
    assert fetch.missing == [4]


SAYS_WHAT_IS_CACHED = {"ext4", "xfs", "btrfs"}


@pytest.fixture
def at_hand(mailbox: rows.Mailbox) -> rows.Mailbox:
    """A mailbox of which a file was read, so that it is known to be on a disk of this machine."""
    device = mailbox.folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    if not any(mount[2] == number and mount[mount.index("-") + 1] in SAYS_WHAT_IS_CACHED for mount in mounts):
        pytest.skip("this file system does not say what it has in memory")
    mailbox.add(PLAIN)
    mailbox.drain(begin(mailbox, "1"))
    mailbox.change(expunged=[1])
    return mailbox


def begin(mailbox: rows.Mailbox, numbers: str, items: str = "BODY.PEEK[]") -> native.Fetch:
    """Begin a FETCH."""
    return open_view(mailbox).fetch(
        native.SequenceSet(numbers), native.FetchItems(items), uid=False, contents=mailbox.contents
    )


@pytest.mark.parametrize(
    "items",
    [
        "BODY.PEEK[]",
        "BODY.PEEK[]<3.20>",
        "(BODY.PEEK[HEADER] FLAGS)",
        "(BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODY.PEEK[2])",
        "(BINARY.PEEK[2] BINARY.SIZE[2])",
        "(BODY.PEEK[1]<2.7> BODY.PEEK[2])",
    ],
)
def test_small_messages_are_at_hand_and_the_rest_follows(at_hand: rows.Mailbox, items: str) -> None:
    at_hand.add(*[MULTI, PLAIN] * 6)
    fetch = begin(at_hand, "1:*", items)
    first = fetch.step_cached()
    assert first.count(b" FETCH (") == 8
    assert not fetch.ended
    assert first + at_hand.drain(fetch) == at_hand.fetch(open_view(at_hand), "1:*", items)
    few = begin(at_hand, "3:4", items)
    assert few.step_cached() == at_hand.fetch(open_view(at_hand), "3:4", items)
    assert few.ended
    assert few.step() is None


def test_a_large_message_is_not_at_hand(at_hand: rows.Mailbox) -> None:
    small, large = PLAIN.ljust(65_536, b"x"), PLAIN.ljust(65_537, b"x")
    at_hand.add(PLAIN, small, PLAIN)
    fetch = begin(at_hand, "1:*")
    assert literals_of(fetch.step_cached()) == [PLAIN, small]
    assert literals_of(at_hand.drain(fetch)) == [PLAIN]
    at_hand.add(large)
    fetch = begin(at_hand, "3:4")
    assert literals_of(fetch.step_cached()) == [PLAIN]
    assert fetch.step_cached() == b""
    assert literals_of(at_hand.drain(fetch)) == [large]


def test_what_is_at_hand_is_bounded(at_hand: rows.Mailbox) -> None:
    at_hand.add(PLAIN.ljust(60_000, b"x"))
    items = f"({' '.join(f'BODY.PEEK[]<{origin}.59000>' for origin in range(40))})"
    fetch = begin(at_hand, "1", items)
    first = fetch.step_cached()
    assert len(first) < 140_000
    assert not fetch.ended
    assert first + at_hand.drain(fetch) == at_hand.fetch(open_view(at_hand), "1", items)


CACHE_MISS = """
import sys
from pathlib import Path
from tests.native.test_imap import PLAIN, begin, literals_of, rows

mailbox = rows.Mailbox(Path(sys.argv[1]))
mailbox.add(PLAIN)
mailbox.drain(begin(mailbox, "1"))
fetch = begin(mailbox, "1")
assert fetch.step_cached() == b""
assert literals_of(mailbox.drain(fetch)) == [PLAIN]
assert literals_of(begin(mailbox, "1").step_cached()) == [PLAIN]
"""


def test_what_the_page_cache_lacks_is_not_at_hand(at_hand: rows.Mailbox, tmp_path: Path) -> None:
    # A file that was really dropped may be back in time: to ask for it has the kernel read it.
    calls = tmp_path / "calls"
    options = ["-o", str(calls), "-e", "trace=preadv2", "-e", "inject=preadv2:error=EAGAIN:when=1"]
    strace.run(CACHE_MISS, at_hand.folder.with_name("other"), options=options)
    missed, found = calls.read_text().splitlines()
    assert "RWF_NOWAIT" in missed and "EAGAIN" in missed
    assert "RWF_NOWAIT" in found and "EAGAIN" not in found


def test_a_file_with_another_name_is_at_hand_if_it_is_the_flags_one(at_hand: rows.Mailbox) -> None:
    at_hand.add(PLAIN, PLAIN, PLAIN)
    new, cur = at_hand.folder / "new", at_hand.folder / "cur"
    (new / "2.host").rename(cur / "2.host:2,S")
    (new / "3.host").rename(cur / "3.host:2,FRab")
    (new / "4.host").unlink()
    at_hand.change({2: SEEN})
    fetch = begin(at_hand, "1:3")
    assert literals_of(fetch.step_cached()) == [PLAIN]
    assert fetch.missing == []
    assert literals_of(at_hand.drain(fetch)) == [PLAIN]
    assert fetch.missing == [4]


def test_wire_strings_are_asked_for_before_a_file_is_at_hand(at_hand: rows.Mailbox) -> None:
    at_hand.add(PLAIN)
    fetch = begin(at_hand, "1", "(ENVELOPE BODY.PEEK[TEXT])")
    assert fetch.step_cached() == b""
    assert fetch.step() == [1_002]
    at_hand.contents.load(at_hand.account, at_hand.describe([1_002]))
    assert fetch.step_cached().endswith(b"BODY[TEXT] {8}\r\nHello.\r\n)\r\n")
    assert fetch.ended


def test_a_fetch_asks_for_nothing_but_what_it_shows(at_hand: rows.Mailbox) -> None:
    """PITFALLS 25: not for other messages, and for none at all where the index knows it."""
    at_hand.add(PLAIN, PLAIN, PLAIN)
    asked = begin(at_hand, "2", "(ENVELOPE BODYSTRUCTURE)").step()
    assert asked == [1_003]
    known = begin(at_hand, "1:*", "(UID FLAGS INTERNALDATE RFC822.SIZE)").step()
    assert isinstance(known, bytes)
    assert known.count(b" FETCH (") == 3


def test_a_part_whose_place_was_remembered_is_read_by_who_may_wait(at_hand: rows.Mailbox) -> None:
    at_hand.add(MULTI)
    assert b"{10}\r\nFirst part)" in at_hand.fetch(open_view(at_hand), "1", "BODY.PEEK[1]<0.900>")
    items = "(BODY.PEEK[1]<0.900> BODY.PEEK[HEADER])"
    fetch = begin(at_hand, "1", items)
    assert fetch.step_cached() == b""
    answer = at_hand.drain(fetch)
    assert b"{10}\r\nFirst part BODY[HEADER]" in answer
    assert answer == at_hand.fetch(open_view(at_hand), "1", items)


def test_nothing_is_at_hand_until_the_disk_is_known(at_hand: rows.Mailbox) -> None:
    at_hand.add(PLAIN)
    assert literals_of(begin(at_hand, "1").step_cached()) == [PLAIN]
    unknown = rows.Mailbox(at_hand.folder / "other")
    unknown.add(PLAIN)
    assert begin(unknown, "1").step_cached() == b""
    assert literals_of(unknown.drain(begin(unknown, "1"))) == [PLAIN]
    assert literals_of(begin(unknown, "1").step_cached()) == [PLAIN]


def test_reading_sets_seen_and_says_so(mailbox: rows.Mailbox) -> None:
    mailbox.add(PLAIN, PLAIN)
    mailbox.change({2: SEEN})
    view = open_view(mailbox)
    fetch = view.fetch(
        native.SequenceSet("1:2"), native.FetchItems("BODY[TEXT]"), uid=False, contents=mailbox.contents
    )
    assert fetch.unseen == [1]
    mailbox.change({1: SEEN})
    assert mailbox.drain(fetch) == (
        b"* 1 FETCH (BODY[TEXT] {8}\r\nHello.\r\n FLAGS (\\Seen))\r\n* 2 FETCH (BODY[TEXT] {8}\r\nHello.\r\n)\r\n"
    )
    assert view.sync() == b""
    examined = open_view(mailbox, read_only=True)
    mailbox.change({1: 0})
    fetch = examined.fetch(
        native.SequenceSet("1"), native.FetchItems("RFC822"), uid=False, contents=mailbox.contents
    )
    assert fetch.unseen == []


def test_changed_since_leaves_the_others_out(mailbox: rows.Mailbox) -> None:
    mailbox.add(PLAIN, PLAIN)
    before = mailbox.modseq
    mailbox.change({2: SEEN})
    answer = mailbox.fetch(open_view(mailbox), "1:*", f"FLAGS (CHANGEDSINCE {before})")
    assert answer == b"* 2 FETCH (FLAGS (\\Seen) MODSEQ (%d))\r\n" % mailbox.modseq


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("ALL", [1, 2, 3]),
        ("SUBJECT grüsse", []),
        ("SUBJECT GRÜSSE", []),
        ("SUBJECT GRÜßE", [2]),
        ("FROM jürgen", [2]),
        ("NOT FROM JÜRGEN", [1, 3]),
        ("TEXT zeppelin", [2]),
        ("BODY hello", [1, 3]),
        ("BODY subject", []),
        ('HEADER X-Note ""', [2]),
        ("HEADER X-Note no", []),
        ("OR TEXT zeppelin UID 3", [2, 3]),
        ("NOT (TEXT zeppelin)", [1, 3]),
        ("SEEN TEXT hello", [3]),
        ("UNSEEN", [1, 2]),
        ("1,3 UID 2:3", [3]),
        ("KEYWORD $work", [3]),
        ("UNKEYWORD none", [1, 2, 3]),
        ("KEYWORD none", []),
        ("SENTON 7-Feb-1994", [1]),
        ("SENTSINCE 8-Feb-1994", [2]),
        ("NOT SENTBEFORE 9-Feb-1994", [3]),
        ("SENTBEFORE 9-Feb-1994 BODY hello", [1]),
        ("ON 16-Nov-2023", [2]),
        ("BEFORE 16-Nov-2023", [1]),
        ("SINCE 16-Nov-2023", [2, 3]),
        ("LARGER 200", [2]),
        ("SMALLER 200", [1, 3]),
        ("YOUNGER 86400", [3]),
        ("OLDER 86400", [1, 2]),
        ("NEW", []),
        ("OLD", [1, 2, 3]),
    ],
)
def test_a_search_finds_what_its_keys_say(
    mailbox: rows.Mailbox, program: str, found: list[int], *, indexed: bool
) -> None:
    mailbox.add(PLAIN, MULTI, b"From: x@example.org\r\n\r\nhello again\r\n")
    mailbox.change({3: SEEN | 1 << 8})
    now = (1_700_000_000 + 3 * 86_400 + 60) * 1_000_000
    view = open_view(mailbox)
    assert mailbox.search(view, program, indexed=indexed, now=now) == found
    assert mailbox.search(view, f"NOT ({program})", now=now) == sorted({1, 2, 3} - set(found))


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("TO u299@example.org", [1]),
        ("TO nobody@example.org", []),
        ('HEADER To ""', [1, 2]),
        ('HEADER Cc ""', []),
        ("SUBJECT greetings", [1]),
        ("NOT TO u299@example.org", [2]),
        ("OR TO u7@example.org TO x@example.org", [1, 2]),
        ("FUZZY TO u298", [1]),
    ],
)
def test_a_very_long_header_is_searched_like_any_other(
    mailbox: rows.Mailbox, program: str, found: list[int], *, indexed: bool
) -> None:
    many = ",\r\n ".join(f"u{n}@example.org" for n in range(600)).encode()
    mailbox.add(
        b"Subject: greetings\r\nTo: " + many + b"\r\n\r\nhello\r\n", b"To: x@example.org\r\n\r\nhello\r\n"
    )
    assert mailbox.search(open_view(mailbox), program, indexed=indexed) == found
    octets = mailbox.index.octets
    assert mailbox.find(open_view(mailbox), "ALL", "SORT (TO)", indexed=indexed).uids == [1, 2]
    assert mailbox.index.octets - octets < len(many)


def test_a_search_leaves_out_what_is_expunged(mailbox: rows.Mailbox) -> None:
    mailbox.add(PLAIN, PLAIN, PLAIN)
    view = open_view(mailbox)
    mailbox.change(expunged=[2])
    search = view.search(native.SearchProgram("ALL"), mailbox.texts, now=0)
    assert search.step() is None
    assert (search.uids, search.numbers) == ([1, 3], [1, 3])
    assert search.response(uid=False, tag="a") == b"* SEARCH 1 3\r\n"
    assert (
        search.response(uid=True, tag="a", returns=native.ReturnOptions("MIN MAX COUNT ALL"))
        == b'* ESEARCH (TAG "a") UID MIN 1 MAX 3 ALL 1,3 COUNT 2\r\n'
    )
    assert search.response(uid=True, tag="a", returns=native.ReturnOptions("SAVE")) == b""


def test_select_tells_what_the_rfc_wants(mailbox: rows.Mailbox) -> None:
    mailbox.add(PLAIN, PLAIN, flags=SEEN)
    mailbox.add(PLAIN)
    mailbox.index.grant_recent(3, 3)
    view = native.View(mailbox.index)
    assert view.opening() == (
        b"* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Work)\r\n"
        b"* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Work \\*)] Flags that are kept\r\n"
        b"* 3 EXISTS\r\n* 1 RECENT\r\n* OK [UNSEEN 3] First unseen\r\n* OK [UIDVALIDITY 77] UIDs valid\r\n"
        b"* OK [UIDNEXT 4] Predicted next UID\r\n* OK [HIGHESTMODSEQ 4] Highest\r\n"
    )
    assert native.View(mailbox.index).recent == 0
    assert native.View(mailbox.index, read_only=True, recent_from=2).recent == 2


def test_only_whole_streams_of_the_right_columns_are_taken(mailbox: rows.Mailbox) -> None:
    stream = rows.copy([[1, 1, 2, 0, 10, 0, 0, "1.host", None]])
    mailbox.index.feed(stream[:40])
    with pytest.raises(ValueError, match="cut"):
        mailbox.index.commit(modseq=2, uidnext=2, keywords=[])
    for octet in range(0, len(stream), 7):
        mailbox.index.feed(stream[octet : octet + 7])
    mailbox.index.commit(modseq=2, uidnext=2, keywords=[])
    assert mailbox.index.messages == 1
    for bad in (b"nonsense", rows.copy([[1, 2]]), rows.copy([[None] * 9])):
        with pytest.raises(ValueError, match="COPY"):
            mailbox.index.feed(bad)


async def test_the_columns_are_those_of_the_schema(database: Database, tmp_path: Path) -> None:
    index = native.MailboxIndex(1, 2, str(tmp_path), 77)
    contents, texts = native.ContentCache(), native.TextCache()
    at = datetime(2024, 2, 29, 12, 30, 1, 250_000, tzinfo=UTC)
    async with database.connection() as connection:
        await connection.execute(
            f"INSERT INTO message (account_id, mailbox_id, {native.ROW_COLUMNS}) "
            "VALUES (1, 2, 5, 9, 3, 8, 100, $1, $1, 'base', 'S')",
            at,
        )
        await connection.execute(
            f"INSERT INTO content (account_id, size, {native.CONTENT_COLUMNS}) VALUES (1, 100, 9, '(E)', '(S)', '(B)')",
        )
        await connection.execute(
            "INSERT INTO content_index (account_id, thread_id, preview, content_id, signature, text, head) "
            "VALUES (1, 1, '', 9, $1, $2, $3)",
            native.index_message(PLAIN).signature,
            native.index_message(PLAIN).text,
            native.index_message(PLAIN).head,
        )

        async def copied(columns: str, table: str) -> bytes:
            out = bytearray()

            async def output(octets: bytes) -> None:
                out.extend(octets)

            await connection.copy_from_query(
                f"SELECT {columns} FROM {table} WHERE account_id = $1",
                1,
                output=output,
                format="binary",
            )
            return bytes(out)

        index.feed(await copied(native.ROW_COLUMNS, "message"))
        contents.load(1, await copied(native.CONTENT_COLUMNS, "content"))
        index.load_heads(await copied(native.HEAD_COLUMNS, "content_index"))
        texts.load_signatures(1, await copied(native.SIGNATURE_COLUMNS, "content_index"))
        texts.load_texts(1, await copied(native.TEXT_COLUMNS, "content_index"))
    index.commit(modseq=3, uidnext=6, keywords=[])
    view = native.View(index)
    everything = native.FetchItems("(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY MODSEQ)")
    assert view.fetch(native.SequenceSet("1"), everything, uid=False, contents=contents).step() == (
        b'* 1 FETCH (UID 5 FLAGS (\\Seen) INTERNALDATE "29-Feb-2024 12:30:01 +0000" RFC822.SIZE 100 '
        b"ENVELOPE (E) BODYSTRUCTURE (S) BODY (B) MODSEQ (3))\r\n"
    )
    search = view.search(native.SearchProgram("SENTON 7-Feb-1994 TEXT hello"), texts, now=0)
    assert search.step() is None
    assert search.uids == [5]


def test_a_thousand_sessions_share_what_they_know(mailbox: rows.Mailbox) -> None:
    mailbox.add(*[PLAIN] * 2_000)
    views = [open_view(mailbox) for _ in range(1_000)]
    mailbox.change({5: SEEN})
    start = time.perf_counter()
    told = {view.sync() for view in views}
    assert time.perf_counter() - start < 0.2
    assert told == {b"* 5 FETCH (FLAGS (\\Seen))\r\n"}
    assert mailbox.index.views == 1_000
    views.clear()
    assert mailbox.index.views == 0


def test_the_reader_waits_for_a_decision() -> None:
    reader = native.CommandReader()
    reader.feed(b'a APPEND "Entw&APw-rfe" (\\Seen $Work) "17-Jul-1996 02:44:25 -0700" {5}\r\n')
    literal = reader.next()
    assert isinstance(literal, native.AppendLiteral)
    head = literal.head
    assert (head.mailbox, head.flags, head.keywords) == ("Entwürfe", SEEN, ("$Work",))
    assert head.internal_date == 837_596_665_000_000
    with pytest.raises(RuntimeError):
        reader.next()
    reader.accept()
    assert reader.next() is None
    reader.feed(b"hello\r\n")
    octets = reader.next()
    assert isinstance(octets, native.AppendOctets)
    assert (octets.octets, octets.last) == (b"hello", True)
    command = reader.next()
    assert isinstance(command, native.Command)
    assert isinstance(command.arguments, native.AppendArguments)
    assert (command.arguments.mailbox, command.arguments.count) == ("Entwürfe", 1)


def test_octets_behind_starttls_are_not_read() -> None:
    reader = native.CommandReader()
    reader.feed(b"a STARTTLS\r\nb LOGIN joe secret\r\n")
    command = reader.next()
    assert isinstance(command, native.Command)
    assert command.name == "STARTTLS"
    assert reader.discard() == len(b"b LOGIN joe secret\r\n")
    assert reader.next() is None


def test_time_is_linear_in_what_is_sent() -> None:
    def seconds(octets: bytes, pieces: int) -> float:
        reader = native.CommandReader(max_line=1 << 21, max_literal=1 << 21)
        start = time.perf_counter()
        step = len(octets) // pieces
        for at in range(0, len(octets), step):
            reader.feed(octets[at : at + step])
            while reader.next() is not None:
                pass
        return time.perf_counter() - start

    assert seconds(b"a SEARCH " + b"OR SEEN " * 100_000 + b"ALL\r\n", 1_000) < 1
    assert seconds(b"a SEARCH " + b"(" * 1_000_000 + b"\r\n", 1_000) < 1
    assert seconds(b"a FETCH " + b"1," * 500_000 + b"1 FLAGS\r\n", 1_000) < 1
    assert seconds(b"a LOGIN {1000000+}\r\n" + b"x" * 1_000_000 + b" y\r\n", 100_000) < 1
    assert seconds(b"a NOOP\r\n" * 50_000, 10) < 1


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_names_survive_the_wire(name: str) -> None:
    assert native.mailbox_from_utf7(native.mailbox_to_utf7(name)) == name


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_a_name_is_read_as_it_was_written(name: str) -> None:
    reader = native.CommandReader()
    reader.feed(b"a DELETE " + native.encode_mailbox(name).replace(b"}\r\n", b"+}\r\n") + b"\r\n")
    command = reader.next()
    assert isinstance(command, native.Command)
    assert isinstance(command.arguments, native.MailboxArguments)
    assert command.arguments.mailbox == ("INBOX" if name.upper() == "INBOX" else name)


def test_strings_and_sets_have_their_wire_form() -> None:
    assert native.encode_string(None) == b"NIL"
    assert native.encode_string('a"b') == b'"a\\"b"'
    assert native.encode_string("ü") == b"{2}\r\n\xc3\xbc"
    assert native.encode_set([3, 4, 5, 9, 1]) == "3:5,9,1"
    assert str(native.SequenceSet("1:*,4")) == "1:*,4"
    patterns = native.ListPatterns(["inbox/%", "Sent"])
    assert [patterns.matches(name) for name in ("INBOX/a", "Sent", "a/b")] == [True, True, False]
    assert patterns.wild == 1


def test_all_of_a_large_mailbox_can_go_at_once(mailbox: rows.Mailbox) -> None:
    mailbox.add(*[PLAIN] * 20)
    rest = [*range(21, 5_001)]
    mailbox.octets.update(dict.fromkeys(rest, PLAIN))
    mailbox.uidnext = 5_001
    name = "n" * 40
    mailbox.index.feed(
        rows.copy([[uid, 1_000 + uid, 3, 0, len(PLAIN), 0, 0, f"{uid}.{name}", None] for uid in rest])
    )
    mailbox.change()
    view = open_view(mailbox)
    mailbox.change(expunged=rest)
    assert view.sync(expunges=True).count(b" EXPUNGE\r\n") == len(rest)
    mailbox.change(dict.fromkeys(range(1, 21), SEEN))
    assert len(literals(mailbox.fetch(view, "1:*", "BODY.PEEK[]"))) == 20
