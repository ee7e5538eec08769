"""Orders and threads: against plain Python, over any messages, and as long as a mailbox may be."""

import itertools
import re
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp import native
from tests.support import rows

ALGORITHMS = ("REFERENCES", "REFS", "ORDEREDSUBJECT")


def message(*fields: str) -> bytes:
    return "".join(f"{field}\r\n" for field in (*fields, "", "x")).encode()


@pytest.fixture
def mailbox(tmp_path: Path) -> rows.Mailbox:
    return rows.Mailbox(tmp_path / "mailbox")


def answer(mailbox: rows.Mailbox, order: str, program: str = "ALL", *, indexed: bool = True) -> str:
    """Return what follows the name in the untagged response."""
    found = mailbox.find(native.View(mailbox.index), program, order, indexed=indexed)
    return found.response(uid=False, tag="a").decode().strip().partition(" ")[2].partition(" ")[2]


def parents(threads: str) -> dict[int, int | None]:
    """Return the parent of each message in a `thread-list` (RFC 5256 §5), failing on anything that is none."""
    found: dict[int, int | None] = {}
    stack: list[int | None] = []
    above: int | None = None
    at = 0
    for token in re.finditer(r"\((?P<open>)|\)(?P<close>)|(\d+)| ", threads):
        assert token.start() == at
        at = token.end()
        if token["open"] is not None:
            stack.append(above)
        elif token["close"] is not None:
            above = stack.pop()
        elif token[3]:
            assert int(token[3]) not in found
            found[int(token[3])] = above
            above = int(token[3])
    assert at == len(threads)
    assert not stack
    return found


@pytest.mark.parametrize(
    ("program", "order"),
    [
        ('SUBJECT "wanted"', None),
        ('TEXT "needle" SUBJECT "wanted"', None),
        ('BODY "needle" NOT FROM "zz"', None),
        ('FUZZY BODY "needle" SUBJECT "wanted"', None),
        ('SUBJECT "wanted"', "SORT (SUBJECT)"),
        ("ALL", "THREAD REFERENCES"),
    ],
)
@pytest.mark.parametrize("indexed", [True, False])
def test_what_is_expunged_meanwhile_takes_nothing_else_from_a_search(
    mailbox: rows.Mailbox, program: str, order: str | None, indexed: bool
) -> None:
    """At each step many others are expunged, so many that the index forgets what it knew of them."""
    kept = 40
    mailbox.add(*[message(f"Subject: wanted {n}", "", "needle") for n in range(kept)])
    gone = 1024 + 4 * kept
    wanted = set(range(1, kept + 1))
    step = 1
    while step:
        first = mailbox.uidnext
        mailbox.add(*[message(f"Subject: wanted {n}", "", "needle") for n in range(gone)])
        view = native.View(mailbox.index)
        found = SearchSteps(mailbox, view, program, order, indexed=indexed)
        others = range(first, mailbox.uidnext)
        steps = found.run(partial(mailbox.change, expunged=others), before=step)
        assert set(found.search.uids) >= wanted, f"before step {step} of {steps}"
        mailbox.change(expunged=others)
        view.sync(expunges=True)
        step = step + 1 if step < steps else 0


class SearchSteps:
    """A SEARCH, SORT or THREAD that is taken step by step."""

    def __init__(
        self, mailbox: rows.Mailbox, view: native.View, program: str, order: str | None, *, indexed: bool
    ) -> None:
        self._mailbox, self._indexed = mailbox, indexed
        self.search = view.search(
            native.SearchProgram(program),
            mailbox.texts,
            now=0,
            order=None if order is None else native.SearchOrder(order),
        )

    def run(self, act: Callable[[], None], *, before: int) -> int:
        """Go to the end; act after what a step needs was brought, before the next. Return how many there were."""
        for steps in itertools.count(1):
            need = self.search.step()
            if need is None:
                return steps
            if self._indexed:
                self._mailbox.bring(need)
            if steps == before:
                act()
        raise AssertionError


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(0, 6),
            st.lists(st.integers(0, 9), max_size=5),
            st.sampled_from(("", "a", "Re: a", "b", "Fwd: b", "[x] A (fwd)")),
            st.none() | st.integers(1, 28),
        ),
        max_size=14,
    )
)
def test_any_messages_make_trees(
    algorithm: str, messages: list[tuple[int | None, list[int], str, int | None]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        mailbox = rows.Mailbox(Path(folder))
        for own, references, subject, day in messages:
            fields = [f"Subject: {subject}", "References: " + " ".join(f"<{one}@x>" for one in references)]
            fields += [] if own is None else [f"Message-ID: <{own}@x>"]
            fields += [] if day is None else [f"Date: {day} Feb 1994 08:00:00 +0000"]
            mailbox.add(message(*fields))
        threads = answer(mailbox, f"THREAD {algorithm}")
        # Each message once, and `parents` cannot make a circle.
        assert sorted(parents(threads)) == list(range(1, len(messages) + 1))
        assert answer(mailbox, f"THREAD {algorithm}", indexed=False) == threads


def test_messages_that_answer_each_other_are_no_circle(mailbox: rows.Mailbox) -> None:
    mailbox.add(
        message("Message-ID: <1@x>", "References: <3@x>"),
        message("Message-ID: <2@x>", "References: <1@x>"),
        message("Message-ID: <3@x>", "References: <2@x>"),
        message("Message-ID: <4@x>", "References: <4@x>"),
    )
    # 3 names 2 as its parent, but stands above it already by then.
    assert parents(answer(mailbox, "THREAD REFS")) == {3: None, 1: 3, 2: 1, 4: None}


def test_the_word_of_a_message_about_its_parent_counts_more(mailbox: rows.Mailbox) -> None:
    mailbox.add(
        message("Message-ID: <3@x>", "References: <1@x> <2@x>"),
        message("Message-ID: <2@x>", "References: <0@x>"),
        message("Message-ID: <0@x>"),
        message("Message-ID: <1@x>"),
    )
    assert parents(answer(mailbox, "THREAD REFS")) == {3: None, 2: 3, 1: 2, 4: None}


def test_the_second_message_of_an_identifier_has_none(mailbox: rows.Mailbox) -> None:
    mailbox.add(
        message("Message-ID: <1@x>", "Subject: a"),
        message("Message-ID: <1@x>", "Subject: b"),
        message("Message-ID: <2@x>", "In-Reply-To: <1@x>", "Subject: Re: a"),
    )
    assert parents(answer(mailbox, "THREAD REFERENCES")) == {1: None, 3: 1, 2: None}


@pytest.mark.parametrize(
    ("subjects", "threads"),
    [
        (("a", "Re: a"), "(1 2)"),
        (("Re: a", "a"), "(2 1)"),
        (("a", "A"), "((1)(2))"),
        (("Re: a", "Re: a", "a"), "(3 (1)(2))"),
        (("a", "a", "Re: a"), "((1)(2)(3))"),
        (("", ""), "(1)(2)"),
    ],
)
def test_threads_of_one_subject_become_one(
    mailbox: rows.Mailbox, subjects: tuple[str, ...], threads: str
) -> None:
    mailbox.add(*[message(f"Subject: {subject}") for subject in subjects])
    assert answer(mailbox, "THREAD REFERENCES") == threads


def test_a_dummy_takes_in_the_others_of_its_subject(mailbox: rows.Mailbox) -> None:
    mailbox.add(
        message("Subject: a", "Message-ID: <5@x>"),
        *[message("Subject: Re: a", f"Message-ID: <{n}@x>", "References: <gone@x>") for n in (1, 2)],
        *[message("Subject: Re: a", f"Message-ID: <{n}@x>", "References: <lost@x>") for n in (3, 4)],
    )
    assert answer(mailbox, "THREAD REFERENCES") == "((1)(2)(3)(4)(5))"
    assert answer(mailbox, "THREAD REFS") == "(1)((2)(3))((4)(5))"


@pytest.mark.parametrize("backwards", [False, True])
def test_a_thread_may_be_as_deep_as_the_mailbox(mailbox: rows.Mailbox, *, backwards: bool) -> None:
    count = 20_000
    made = [message(f"Message-ID: <{n}@x>", f"References: <{n - 1}@x>") for n in range(count)]
    mailbox.add(*(reversed(made) if backwards else made))
    mailbox.find(native.View(mailbox.index), "ALL", "SORT (DATE)")  # heads are loaded
    began = time.perf_counter()
    threads = answer(mailbox, "THREAD REFERENCES")
    assert time.perf_counter() - began < 1
    numbers = range(count, 0, -1) if backwards else range(1, count + 1)
    assert threads == "(" + " ".join(map(str, numbers)) + ")"


MESSAGE = st.tuples(
    st.sampled_from(("", "b", "Re: b", "ä", "Ä", "Z", "a longer one, 8 octets alike", "a longer one")),
    st.sampled_from(("", "zed@x", "Ann <zed@x>", "ann@y, zed@x", "G: ann@y;")),
    st.none() | st.integers(1, 28),
    st.integers(0, 3),
)


@given(
    st.lists(MESSAGE, min_size=1, max_size=12),
    st.lists(
        st.tuples(
            st.sampled_from(("ARRIVAL", "DATE", "SIZE", "SUBJECT", "FROM", "DISPLAYFROM")), st.booleans()
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_an_order_is_that_of_its_keys(
    messages: list[tuple[str, str, int | None, int]], keys: list[tuple[str, bool]]
) -> None:
    names = {"zed@x": ("ZED", "ZED@X"), "Ann <zed@x>": ("ZED", "ANN"), "ann@y, zed@x": ("ANN", "ANN@Y"),
             "G: ann@y;": ("G", "G"), "": ("", "")}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        mailbox = rows.Mailbox(Path(folder))
        values = []
        for number, (subject, sender, day, length) in enumerate(messages, 1):
            fields = [f"Subject: {subject}", f"From: {sender}", "X: " + "x" * length]
            fields += [] if day is None else [f"Date: {day} Feb 1994 08:00:00 +0000"]
            made = message(*fields)
            mailbox.add(made)
            arrival = 1_700_000_000 + number * 86_400
            values.append(
                {
                    "ARRIVAL": arrival,
                    "DATE": arrival if day is None else 760_000_000 + day * 86_400,
                    "SIZE": len(made),
                    "SUBJECT": title(subject.removeprefix("Re: ")),
                    "FROM": names[sender][0],
                    "DISPLAYFROM": names[sender][1],
                }
            )
        expected = list(range(1, len(messages) + 1))
        for key, reverse in reversed(keys):
            # `reverse` of Python's sort keeps equals in their order, as RFC 5256 §3 wants.
            expected.sort(key=lambda n, key=key: values[n - 1][key], reverse=reverse)  # type: ignore[misc]
        text = " ".join(f"REVERSE {key}" if reverse else key for key, reverse in keys)
        assert answer(mailbox, f"SORT ({text})") == " ".join(map(str, expected))
        assert answer(mailbox, f"SORT ({text})", indexed=False) == " ".join(map(str, expected))


def title(text: str) -> bytes:
    """Return the collation key of a text in which every character has a capital of one character."""
    return unicodedata.normalize("NFKD", text.upper()).encode()


def letters() -> Iterator[str]:
    """Yield characters whose capital is no special case."""
    for code in range(0x80, 0x3000):
        char = chr(code)
        if len(char.upper()) == 1 and char.title() == char.upper() and unicodedata.category(char)[0] == "L":
            yield char


def test_the_collation_is_that_of_unicode() -> None:
    # RFC 5051 §2 decomposes what titlecase made, without putting marks in order; single letters have few.
    differ = [char for char in letters() if native.collation_key(char) != title(char)]
    assert differ == []


def test_sent_days_are_those_that_were_written(mailbox: rows.Mailbox) -> None:
    # RFC 3501 §6.4.4: disregarding time and timezone.
    mailbox.add(message("Date: Sat, 1 Feb 2020 23:30:00 -0500"), message("Date: 2 Feb 2020 00:30:00 +0900"))
    view = native.View(mailbox.index)
    assert mailbox.search(view, "SENTON 1-Feb-2020") == [1]
    assert mailbox.search(view, "SENTBEFORE 2-Feb-2020") == [1]
    assert mailbox.search(view, "SENTSINCE 2-Feb-2020", indexed=False) == [2]


def apply(result: list[int], response: bytes) -> None:
    """Change a result as ESEARCH responses tell a client to (RFC 5267 §4.3.3, §4.3.4)."""
    for line in response.decode().splitlines():
        assert line.startswith('* ESEARCH (TAG "a") UID ')
        for name, pairs in re.findall(r"(REMOVEFROM|ADDTO) \(([^)]*)\)", line):
            words = pairs.split(" ")
            for place, text in zip(map(int, words[::2]), words[1::2], strict=True):
                uids = [
                    uid
                    for part in text.split(",")
                    for uid in range(int(part.split(":")[0]), int(part.split(":")[-1]) + 1)
                ]
                if name == "ADDTO":
                    result[place - 1 if place else len(result) : place - 1 if place else len(result)] = uids
                    if not place:
                        result.sort()
                elif place:
                    assert result[place - 1 : place - 1 + len(uids)] == uids
                    del result[place - 1 : place - 1 + len(uids)]
                else:
                    assert set(uids) <= set(result)
                    result[:] = [uid for uid in result if uid not in uids]


@pytest.mark.parametrize("order", [None, "SORT (SUBJECT)", "SORT (REVERSE SUBJECT)"])
@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from(("flag", "expunge", "deliver")), st.integers(1, 12)),
            min_size=1,
            max_size=4,
        ),
        max_size=6,
    )
)
def test_a_client_that_follows_a_context_knows_its_result(
    order: str | None, rounds: list[list[tuple[str, int]]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        mailbox = rows.Mailbox(Path(folder))
        mailbox.add(*[message(f"Subject: {subject}") for subject in "dbac"])
        gone: set[int] = set()
        view = native.View(mailbox.index)
        found = mailbox.find(view, "UNSEEN", order)
        context = native.Context(found, uid=True, tag="a")
        known = found.uids
        for changes in rounds:
            for kind, uid in changes:
                if kind == "deliver":
                    mailbox.add(message(f"Subject: {uid}"))
                elif uid < mailbox.uidnext and uid not in gone:
                    if kind == "flag":
                        mailbox.change({uid: mailbox.flags[uid] ^ 8})
                    else:
                        gone.add(uid)
                        mailbox.change(expunged=[uid])
            apply(known, context.without_expunged())
            assert not gone & set(known)
            view.sync()
            found = mailbox.find(view, "UNSEEN", order)
            apply(known, context.update(found))
            assert known == found.uids
