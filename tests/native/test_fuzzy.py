"""FUZZY (RFC 6203): the same answers whether or not a worker has indexed the messages, ranks that mean something."""

import re
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp import native
from tests.support import rows

WORDS = ("bill", "bills", "billing", "Häuser", "Haus", "the", "hello", "world", "xbillx", "日本語", "naïve")


def message(subject: str, body: str) -> bytes:
    return f"Subject: {subject}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}\r\n".encode()


@pytest.fixture
def mailbox(tmp_path: Path) -> rows.Mailbox:
    return rows.Mailbox(tmp_path / "mailbox")


def ranked(mailbox: rows.Mailbox, program: str, *, indexed: bool = True) -> dict[int, int]:
    """Return the scores of what is found, the best first."""
    found = mailbox.find(native.View(mailbox.index), program, "SORT (RELEVANCY)", indexed=indexed)
    response = found.response(uid=True, tag="a", returns=native.ReturnOptions("RELEVANCY PARTIAL 1:1000"))
    match = re.search(rb"RELEVANCY \(([\d ]*)\)\r\n$", response)
    assert match is not None
    return dict(zip(found.uids, map(int, match[1].split()), strict=True))


@given(
    messages=st.lists(
        st.tuples(
            st.lists(st.sampled_from(WORDS), max_size=4),
            st.lists(st.sampled_from(WORDS), max_size=6),
        ),
        max_size=8,
    ),
    words=st.lists(st.sampled_from((*WORDS, "bil", "hullo", "wor")), min_size=1, max_size=3),
    place=st.sampled_from(("TEXT", "BODY", "SUBJECT", "HEADER Subject", "HEADER Content-Type")),
)
def test_any_messages_are_ranked(
    messages: list[tuple[list[str], list[str]]], words: list[str], place: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        indexed, unread = rows.Mailbox(Path(folder, "indexed")), rows.Mailbox(Path(folder, "unread"))
        for subject, body in messages:
            for mailbox in (indexed, unread):
                mailbox.add(message(" ".join(subject), " ".join(body)))
        wanted = " ".join(words)
        program = f'FUZZY {place} "{wanted}"'
        scores = ranked(indexed, program)
        assert ranked(unread, program, indexed=False).keys() == scores.keys()
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
        assert all(1 <= score <= 100 for score in scores.values())
        assert not scores or max(scores.values()) == 100
        # What is found without FUZZY is found with it.
        assert set(indexed.search(native.View(indexed.index), f'{place} "{wanted}"')) <= scores.keys()
        negated = indexed.search(native.View(indexed.index), f"NOT {program}")
        assert sorted([*scores, *negated]) == list(range(1, len(messages) + 1))


def test_scores_hardly_depend_on_what_is_indexed(mailbox: rows.Mailbox, tmp_path: Path) -> None:
    unread = rows.Mailbox(tmp_path / "unread")
    for each in (mailbox, unread):
        each.add(
            message("x", "common rare"),
            message("common rare", "x"),
            message("x", "rare common"),
            *[message("x", "common words")] * 20,
        )
    scores = ranked(mailbox, 'FUZZY TEXT "common rare"')
    assert list(scores) == [2, 1, 3]
    assert ranked(unread, 'FUZZY TEXT "common rare"', indexed=False) == scores


def test_a_mistake_is_forgiven_only_where_nothing_is_found(mailbox: rows.Mailbox) -> None:
    mailbox.add(message("house", "x"), message("hovse", "x"), message("houses", "horse"))
    assert ranked(mailbox, "FUZZY SUBJECT house").keys() == {1, 3}
    assert ranked(mailbox, "FUZZY SUBJECT housf").keys() == {1}
    assert ranked(mailbox, "FUZZY TEXT housf").keys() == {1}
    # Other keys do not make a word one that is not there.
    assert ranked(mailbox, "FUZZY SUBJECT hovse UID 1") == {}
    # Nor does a second word that is looked for apart.
    assert ranked(mailbox, "OR FUZZY SUBJECT hovse FUZZY SUBJECT housf").keys() == {1, 2}


def test_every_alternative_counts(mailbox: rows.Mailbox) -> None:
    mailbox.add(message("apple", "pear"), message("apple", "x"), message("x", "pear"), message("x", "x"))
    both = ranked(mailbox, "OR FUZZY SUBJECT apple FUZZY BODY pear")
    assert both.keys() == {1, 2, 3}
    assert both[1] == 100
    assert max(both[2], both[3]) < 100
    # What other keys find has the least of scores.
    assert ranked(mailbox, "OR ALL FUZZY BODY pear") == {1: 100, 3: 100, 2: 1, 4: 1}
    assert ranked(mailbox, "FUZZY ALL") == dict.fromkeys((1, 2, 3, 4), 100)
    # What must not be there makes nothing more relevant.
    assert ranked(mailbox, "NOT FUZZY BODY pear") == {2: 100, 4: 100}


def test_a_search_that_is_done_again_counts_anew(mailbox: rows.Mailbox) -> None:
    mailbox.add(
        message("x", "common rare"),
        message("x", "common rare rare rare rare rare rare"),
        message("x", "common common common common common common rare"),
        *[message("x", "common words")] * 9,
        *[message("x", "rare words")] * 3,
    )
    alone = ranked(mailbox, 'FUZZY BODY "common rare"')
    assert len(set(alone.values())) == 3
    assert ranked(mailbox, 'OR FUZZY BODY "common rare" FUZZY BODY nowhere') == alone


def test_places_that_change_are_told(mailbox: rows.Mailbox) -> None:
    mailbox.add(
        message("x", "apple apple apple apple banana"),
        message("x", "apple banana banana banana banana"),
        *[message("x", "banana")] * 3,
    )
    view = native.View(mailbox.index)
    program, order = 'FUZZY BODY "banana apple"', "SORT (RELEVANCY)"
    found = mailbox.find(view, program, order)
    assert found.uids == [1, 2]
    context = native.Context(found, uid=True, tag="c")
    mailbox.add(*[message("x", "apple")] * 9)
    view.sync()
    found = mailbox.find(view, program, order)
    assert found.uids == [2, 1]
    assert context.update(found) == b'* ESEARCH (TAG "c") UID REMOVEFROM (1 1) ADDTO (2 1)\r\n'
    assert context.update(found) == b""


def test_a_text_of_letters_alone_is_searched_in_linear_time(mailbox: rows.Mailbox) -> None:
    mailbox.add(message("x", "\r\n".join(["aab" * 300] * 1_000)), message("x", "é" * 400_000))
    view = native.View(mailbox.index)
    mailbox.search(view, "TEXT loaded")
    began = time.perf_counter()
    for word in ("aabb", "baab", "bbab", "éééa", "eeea"):
        mailbox.search(view, f"FUZZY TEXT {word}")
    # About a twentieth of that; work for each pair of letters would take minutes.
    assert time.perf_counter() - began < 5
