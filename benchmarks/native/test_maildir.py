"""Batches of durable files, as dispatch writes them."""

import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.messages import Writer
from esp.native import DeliverItem, Store, Stored


@pytest.mark.parametrize("batch", [1, 10, 50])
@pytest.mark.parametrize("octets", [4096, 65536])
def test_deliver(benchmark: BenchmarkFixture, tmp_path: Path, octets: int, batch: int) -> None:
    store = Store(tmp_path, 16, True, "bench")
    message = Writer(1).message(1, octets)
    folders = [f"bench.test/u{number}" for number in range(batch)]
    for folder in folders:
        store.make_folder(folder)

    def items() -> tuple[tuple[list[DeliverItem]], dict[str, object]]:
        made = [
            DeliverItem(b"Received: x\r\n", message, [folder], [None], time.time_ns()) for folder in folders
        ]
        return (made,), {}

    results = benchmark.pedantic(store.deliver, setup=items, rounds=30, warmup_rounds=2)  # type: ignore[no-untyped-call]
    assert all(isinstance(result, Stored) for result in results)
