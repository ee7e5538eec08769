"""Responses of other IMAP servers: any octets are values or refused, in time that goes with their number."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp.remote.imap_values import Text, Value, parse

PIECES = [
    b"(",
    b")",
    b" ",
    b'"',
    b"\\",
    b"[",
    b"]",
    b"a",
    b"NIL",
    b"* ",
    b"OK ",
    b"\n",
    b"BODY[HEADER.FIELDS (To)]",
]
lines = st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=40).map(b"".join)
words = st.from_regex(rb"[A-Za-z0-9.\\$]{1,9}", fullmatch=True)
values = st.recursive(words | st.binary(max_size=9).map(Text), lambda inner: st.lists(inner, max_size=4))


def written(value: Value) -> bytes:
    if isinstance(value, list):
        return b"(%b)" % b" ".join(map(written, value))
    assert isinstance(value, bytes)
    if isinstance(value, Text):
        return b'"%b"' % value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return value


@given(line=lines)
def test_a_line_is_values_or_refused(line: bytes) -> None:
    try:
        found = parse([line])
    except ValueError:
        return
    assert len(found) <= len(line)


@given(inner=st.lists(values, max_size=5))
def test_values_are_read_as_they_were_written(inner: list[Value]) -> None:
    assert parse([b" ".join(map(written, inner))]) == inner


@pytest.mark.parametrize("piece", [b"[", b"[a", b'\\"', b'"\\"', b'"', b"]["])
def test_no_line_takes_long(piece: bytes) -> None:
    began = time.process_time()
    parse([piece * 100_000])
    # Once it was two minutes for less than half of it.
    assert time.process_time() - began < 10
