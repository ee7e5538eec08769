"""Threads as RFC 8621 §3 draws them."""

from hypothesis import given
from hypothesis import strategies as st

from esp.core.mailbox import ContentId
from esp.core.thread import Threaded, assign, reference_hashes


def message(content: int, subject: str, *identifiers: str) -> Threaded:
    return Threaded(ContentId(content), reference_hashes(identifiers, subject))


def test_a_reply_joins_what_it_answers() -> None:
    threads = assign(
        [message(1, "Hello", "a"), message(2, "hello", "b", "a"), message(3, "Hel lo", "c", "b")], {}
    )
    assert threads == {1: 1, 2: 1, 3: 1}


def test_another_subject_is_another_thread() -> None:
    assert assign([message(1, "Hello", "a"), message(2, "Goodbye", "b", "a")], {}) == {1: 1, 2: 2}


def test_answers_to_a_message_never_seen_belong_together() -> None:
    assert assign([message(1, "Hi", "a", "x"), message(2, "Hi", "b", "x")], {}) == {1: 1, 2: 1}


def test_a_message_between_two_threads_joins_the_older_and_moves_nobody() -> None:
    known: dict[int, int] = {}
    assert assign([message(1, "Hi", "a"), message(2, "Hi", "b")], known) == {1: 1, 2: 2}
    assert assign([message(3, "Hi", "c", "a", "b")], known) == {3: 1}
    assert assign([message(4, "Hi", "d", "b")], known) == {4: 2}


def test_messages_that_name_nothing_are_alone() -> None:
    assert assign([message(1, "Hi"), message(2, "Hi", "")], {}) == {1: 1, 2: 2}


@given(
    links=st.lists(st.tuples(st.sets(st.sampled_from("abcdef")), st.sampled_from(["x", "y"])), max_size=12),
    cut=st.integers(0, 12),
)
def test_it_makes_no_difference_in_how_many_batches_messages_come(
    links: list[tuple[set[str], str]], cut: int
) -> None:
    messages = [message(n + 1, subject, *ids) for n, (ids, subject) in enumerate(links)]
    together = assign(messages, {})
    known: dict[int, int] = {}
    assert assign(messages[:cut], known) | assign(messages[cut:], known) == together
    # Done again it comes out the same.
    assert assign(messages, known) == together
