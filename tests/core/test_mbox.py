"""mbox: whatever a file holds, what is written is read back."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from esp.core.line_ends import ToWire, to_wire
from esp.core.mbox import (
    Meta,
    Quoting,
    from_date,
    from_line,
    header_end,
    meta_fields,
    quoted,
    unquoted,
    without_meta,
)
from esp.core.message import SystemFlag

PIECES = st.sampled_from(
    [b"From ", b">", b"\n", b"\r\n", b"\r", b"a", b" ", b"Status: R\n", b"X-Keywords: b\n"]
)
octets = st.lists(PIECES | st.binary(max_size=3), max_size=30).map(b"".join)
zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(octets=octets)
def test_quoting_hides_every_from_line_and_is_taken_off(octets: bytes) -> None:
    hidden = quoted(octets)
    assert not hidden.startswith(b"From ")
    assert b"\nFrom " not in hidden
    assert unquoted(hidden, Quoting.RD) == octets


@given(when=st.datetimes(timezones=zones))
def test_the_date_of_any_from_line_can_be_written_again(when: datetime) -> None:
    sign = "-" if (offset := when.utcoffset() or timedelta()) < timedelta() else "+"
    hours, minutes = divmod(abs(offset) // timedelta(minutes=1), 60)
    line = f"From a Mon Jan {when.day:2} {when:%H:%M:%S} {when.year:04} {sign}{hours:02}{minutes:02}\n"
    read = from_date(line.encode())
    assert read is not None
    assert from_date(from_line(read)) == read.astimezone(UTC)


@given(
    line=st.lists(st.sampled_from([b"From ", b"Mon", b",", b" ", b"Jan", b"1", b"10:00", b"2020", b"+9999"]))
)
def test_a_line_is_a_date_or_none(line: list[bytes]) -> None:
    read = from_date(b" ".join(line))
    assert read is None or read.tzinfo is not None


@given(
    flags=st.sets(st.sampled_from(list(SystemFlag))).map(sum),
    keywords=st.lists(st.from_regex(r"[$A-Za-z]{1,9}", fullmatch=True), unique=True, max_size=5),
    header=octets,
)
def test_flags_are_read_as_they_were_written(flags: int, keywords: list[str], header: bytes) -> None:
    left, meta = without_meta(meta_fields(flags, tuple(keywords)) + b"Subject: a\n")
    assert left == b"Subject: a\n"
    assert meta == Meta(flags, tuple(keywords))
    left, _ = without_meta(header)
    assert len(left) <= len(header)
    assert header_end(header) <= len(header)


@given(octets=octets, size=st.integers(1, 20))
def test_line_ends_are_the_same_in_any_division(octets: bytes, size: int) -> None:
    # The first piece holds the first line.
    first = octets.find(b"\n") + 1
    rest = [octets[at : at + size] for at in range(first, len(octets), size)]
    made = ToWire()
    assert b"".join(map(made.feed, [octets[:first], *rest])) == to_wire(octets)
