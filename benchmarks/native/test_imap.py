"""What an IMAP session asks of the index, on mailboxes of 10,000 and 100,000 messages."""

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from tests.support.rows import Value, copy, time

from benchmarks.messages import Writer
from esp import native

_AT = time(1_700_000_000_000_000)


def _rows(count: int) -> bytes:
    rows: list[list[Value]] = [
        [uid, uid, uid, 8, 4_096, _AT, _AT, f"1763836123.M123456P1234Q{uid}.mail.example.org,S=4096", "S"]
        for uid in range(1, count + 1)
    ]
    return copy(rows)


def _index(count: int) -> native.MailboxIndex:
    index = native.MailboxIndex(1, 2, "/nonexistent", 7)
    index.feed(_rows(count))
    index.commit(modseq=count, uidnext=count + 1, keywords=["$Forwarded"])
    return index


@pytest.fixture(scope="module")
def contents() -> native.ContentCache:
    writer = Writer(1)
    rows: list[list[Value]] = []
    for uid in range(1, 10_001):
        made = native.describe(writer.message(uid, 1_024))
        rows.append([uid, made.envelope, made.bodystructure, made.body])
    cache = native.ContentCache()
    cache.load(1, copy(rows))
    return cache


def test_fill_with_100_000(benchmark: BenchmarkFixture) -> None:
    stream = _rows(100_000)

    def fill() -> int:
        index = native.MailboxIndex(1, 2, "/nonexistent", 7)
        for at in range(0, len(stream), 65_536):
            index.feed(stream[at : at + 65_536])
        index.commit(modseq=100_000, uidnext=100_001, keywords=[])
        return index.messages

    assert benchmark(fill) == 100_000


@pytest.mark.parametrize(
    "items", ["FLAGS", "(UID FLAGS)", "(ENVELOPE BODYSTRUCTURE RFC822.SIZE INTERNALDATE)"]
)
def test_fetch_10_000(benchmark: BenchmarkFixture, contents: native.ContentCache, items: str) -> None:
    view = native.View(_index(10_000))
    everything, wanted = native.SequenceSet("1:*"), native.FetchItems(items)

    def fetch() -> int:
        octets = 0
        answer = view.fetch(everything, wanted, uid=False, contents=contents)
        while (step := answer.step()) is not None:
            assert isinstance(step, bytes)
            octets += len(step)
        return octets

    assert benchmark(fetch) > 200_000


def test_fetch_bodies(benchmark: BenchmarkFixture, tmp_path: Path, contents: native.ContentCache) -> None:
    writer = Writer(1)
    (tmp_path / "new").mkdir()
    rows: list[list[Value]] = []
    for uid in range(1, 1_001):
        (tmp_path / "new" / f"{uid}.host").write_bytes(writer.message(uid, 4_096))
        rows.append([uid, uid, uid, 8, 4_096, _AT, _AT, f"{uid}.host", None])
    index = native.MailboxIndex(1, 2, str(tmp_path), 7)
    index.feed(copy(rows))
    index.commit(modseq=1_000, uidnext=1_001, keywords=[])
    view = native.View(index)

    def fetch() -> int:
        octets = 0
        answer = view.fetch(
            native.SequenceSet("1:*"), native.FetchItems("BODY.PEEK[]"), uid=False, contents=contents
        )
        while (step := answer.step()) is not None:
            assert isinstance(step, bytes)
            octets += len(step)
        return octets

    assert benchmark(fetch) > 4_000_000


@pytest.mark.parametrize("needle", ["zeppelin", "e", "never"])
def test_search_text_10_000(benchmark: BenchmarkFixture, needle: str) -> None:
    writer, texts = Writer(1), native.TextCache()
    for start in range(1, 10_001, 1_000):
        made = [native.index_message(writer.message(uid, 4_096)) for uid in range(start, start + 1_000)]
        texts.load_signatures(1, copy([[start + n, one.signature] for n, one in enumerate(made)]))
        texts.load_texts(1, copy([[start + n, one.text] for n, one in enumerate(made)]))
    view = native.View(_index(10_000))
    program = native.SearchProgram(f"TEXT {needle}")

    def search() -> int:
        answer = view.search(program, texts, now=0)
        assert answer.step() is None
        return len(answer.uids)

    benchmark(search)


def test_search_flags_100_000(benchmark: BenchmarkFixture) -> None:
    view, texts = native.View(_index(100_000)), native.TextCache(0)
    program = native.SearchProgram("UNSEEN NOT DELETED SINCE 1-Jan-2024")

    def search() -> int:
        answer = view.search(program, texts, now=0)
        assert answer.step() is None
        return len(answer.uids)

    assert benchmark(search) == 0


def test_sync_of_1_000_views_after_a_delivery(benchmark: BenchmarkFixture) -> None:
    index = _index(100_000)
    views = [native.View(index) for _ in range(1_000)]
    uid = 100_000

    def deliver() -> None:
        nonlocal uid
        uid += 1
        index.feed(copy([[uid, uid, uid, 0, 4_096, _AT, _AT, f"{uid}.host", None]]))
        index.commit(modseq=uid, uidnext=uid + 1, keywords=["$Forwarded"])

    def sync() -> int:
        return sum(len(view.sync()) for view in views)

    assert benchmark.pedantic(sync, setup=deliver, rounds=50) > 1_000  # type: ignore[no-untyped-call]


def test_sync_when_nothing_changed(benchmark: BenchmarkFixture) -> None:
    assert benchmark(native.View(_index(100_000)).sync) == b""


def test_open_a_view_of_100_000(benchmark: BenchmarkFixture) -> None:
    index = _index(100_000)
    assert b"EXISTS" in benchmark(lambda: native.View(index).opening())


def test_read_a_command(benchmark: BenchmarkFixture) -> None:
    reader = native.CommandReader()

    def read() -> object:
        reader.feed(b"a1 UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (DATE FROM SUBJECT)])\r\n")
        return reader.next()

    assert isinstance(benchmark(read), native.Command)
