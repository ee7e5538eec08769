"""FUZZY in 10,000 texts of 4 KiB that are kept in memory."""

from collections import Counter

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from tests.support.rows import Value, copy, time

from benchmarks.messages import Writer
from esp import native

_COUNT = 10_000
_AT = time(1_700_000_000_000_000)
_SAMPLE = 200


@pytest.fixture(scope="module")
def texts() -> native.TextCache:
    """What workers would have made of the messages."""
    writer, texts = Writer(1), native.TextCache()
    for start in range(1, _COUNT + 1, 1_000):
        made = [native.index_message(writer.message(uid, 4_096)) for uid in range(start, start + 1_000)]
        texts.load_signatures(1, copy([[start + n, one.signature] for n, one in enumerate(made)]))
        texts.load_texts(1, copy([[start + n, one.text] for n, one in enumerate(made)]))
    return texts


@pytest.fixture(scope="module")
def words() -> list[str]:
    """Words of six letters and more, the frequent ones first."""
    writer = Writer(1)
    sample = b" ".join(writer.message(uid, 4_096).partition(b"\r\n\r\n")[2] for uid in range(1, _SAMPLE + 1))
    counts = Counter(word for word in sample.decode().lower().replace(".", "").split() if len(word) >= 6)
    return [word for word, _ in counts.most_common()]


def _view() -> native.View:
    index = native.MailboxIndex(1, 2, "/nonexistent", 7)
    rows: list[list[Value]] = [
        [uid, uid, uid, 0, 4_096, _AT, _AT, f"{uid}.host", None] for uid in range(1, _COUNT + 1)
    ]
    index.feed(copy(rows))
    index.commit(modseq=_COUNT, uidnext=_COUNT + 1, keywords=[])
    return native.View(index)


KINDS = ("frequent", "frequent inflected", "rare", "inflected", "two words", "mistyped", "nowhere", "letter")


@pytest.mark.parametrize("kind", KINDS)
def test_search_fuzzy_text_10_000(
    benchmark: BenchmarkFixture, texts: native.TextCache, words: list[str], kind: str
) -> None:
    frequent, rare = words[0], words[-1]
    wanted = {
        "frequent": frequent,
        "frequent inflected": f"{frequent}s",
        "rare": rare,
        "inflected": f"{rare}s",
        "two words": f"{words[3]} {rare}",
        "mistyped": f"{rare[:-2]}x{rare[-1]}",
        "nowhere": "zyxwvutsr",
        "letter": "e",
    }[kind]
    view, program = _view(), native.SearchProgram(f'FUZZY TEXT "{wanted}"')

    def search() -> int:
        answer = view.search(program, texts, now=0, order=native.SearchOrder("SORT (RELEVANCY)"))
        assert answer.step() is None
        return len(answer.uids)

    assert (benchmark(search) > 0) is (kind != "nowhere")
