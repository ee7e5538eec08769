"""Both servers get the same, plausible mail."""

from email import message_from_bytes, policy

import pytest
from benchmarks.messages import BODY_NEEDLE, SUBJECT_NEEDLE, Writer, users


@pytest.mark.parametrize("octets", [4096, 65536, 1048576])
def test_a_message_has_about_the_size_asked_for_and_no_defect(octets: int) -> None:
    message = Writer(1).message(3, octets)
    parsed = message_from_bytes(message, policy=policy.default)
    assert len(message) == pytest.approx(octets, rel=0.02)
    assert not [part.defects for part in parsed.walk() if part.defects]


def test_the_same_seed_writes_the_same_mail() -> None:
    assert list(Writer(3).mailbox(20)) == list(Writer(3).mailbox(20))


def test_one_message_in_a_hundred_holds_each_needle() -> None:
    messages = list(Writer(3).mailbox(200))
    assert sum(SUBJECT_NEEDLE.encode() in message for message in messages) == 2
    assert sum(BODY_NEEDLE.encode() in message for message in messages) == 2


def test_a_hundred_users_each_once() -> None:
    assert len(set(users())) == 100
