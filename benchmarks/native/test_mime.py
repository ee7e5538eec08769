"""What delivery and indexing ask about a message."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.messages import BODY_NEEDLE, Writer
from esp import native

SIZES = {"4 KiB": 4096, "64 KiB": 65536, "1 MiB": 1048576}


@pytest.fixture(params=SIZES)
def message(request: pytest.FixtureRequest) -> bytes:
    return Writer(1).message(1, SIZES[request.param])


def test_describe(benchmark: BenchmarkFixture, message: bytes) -> None:
    assert benchmark(native.describe, message).size == len(message)


def test_index_message(benchmark: BenchmarkFixture, message: bytes) -> None:
    assert benchmark(native.index_message, message).text


def test_body_section(benchmark: BenchmarkFixture, message: bytes) -> None:
    assert benchmark(native.body_section, message, "HEADER")


def test_search_of_a_thousand_texts(benchmark: BenchmarkFixture) -> None:
    texts = [native.index_message(message).text for message in Writer(3).mailbox(1000)]
    assert sum(benchmark(native.search_batch, texts, BODY_NEEDLE)) == 10


def test_a_thousand_signatures(benchmark: BenchmarkFixture) -> None:
    signatures = [native.index_message(message).signature for message in Writer(3).mailbox(1000)]
    assert sum(benchmark(native.may_contain_batch, signatures, BODY_NEEDLE)) >= 10
