"""Dispatch from octets to rows, with a real PostgreSQL: `pytest benchmarks/test_delivery_bench.py`.

A round is 200 messages from so many deliverers, each waiting for its answer before the next. `extra_info` has messages
a second and processor time for each message, of our process and of PostgreSQL's.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture
from tests.services.conftest import Box, Publications, add_box
from tests.support import stores

from benchmarks.messages import Writer
from esp.config import sections
from esp.native import Store
from esp.services.dispatch import Dispatch, Incoming
from esp.storage.postgres.pool import Database

MESSAGES = 200
ROUNDS = 10


class House(NamedTuple):
    """What a delivery needs."""

    runner: asyncio.Runner
    dispatch: Dispatch
    boxes: list[Box]
    postgres: int


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    folder = Path(tempfile.mkdtemp(prefix="esp-"))
    (folder / "mail").mkdir()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        running = stores.running(stores.postgres(folder))
        process = runner.run(running.__aenter__())
        runner.run(stores.make_template(folder))
        database = runner.run(Database.open(sections.Database(dsn=stores.dsn(folder, stores.TEMPLATE))))
        boxes = [runner.run(add_box(database)) for _ in range(100)]
        store = Store(folder / "mail", 16, True, "mx.example.test")
        dispatch = Dispatch(store, database, Publications())
        yield House(runner, dispatch, boxes, process.pid)
        runner.run(dispatch.close())
        runner.run(database.close())
        runner.run(running.__aexit__(None, None, None))
    shutil.rmtree(folder)


def _ticks(pid: int) -> int:
    """Processor time of a process and its children that live, in hundredths of a second."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid or int(path.parent.name) == pid:
            ticks += int(fields[11]) + int(fields[12])
    return ticks


@pytest.mark.parametrize("octets", [4096, 65536])
@pytest.mark.parametrize("deliverers", [1, 10, 50])
def test_dispatch(benchmark: BenchmarkFixture, house: House, deliverers: int, octets: int) -> None:
    bodies = [Writer(1).message(number, octets) for number in range(MESSAGES)]

    async def deliver(first: int) -> None:
        for number in range(first, MESSAGES, deliverers):
            box = house.boxes[number % len(house.boxes)]
            await house.dispatch.deliver(
                Incoming(b"Received: from a by b\r\n", bodies[number], (box.target(),))
            )

    async def everything() -> None:
        await asyncio.gather(*(deliver(first) for first in range(deliverers)))

    house.runner.run(everything())
    process, postgres = time.process_time(), _ticks(house.postgres)
    benchmark.pedantic(lambda: house.runner.run(everything()), rounds=ROUNDS)
    count = MESSAGES * ROUNDS
    benchmark.extra_info.update(
        messages_per_second=round(MESSAGES / benchmark.stats.stats.median),
        process_us=round((time.process_time() - process) / count * 1e6),
        postgres_us=round((_ticks(house.postgres) - postgres) / 100 / count * 1e6),
    )


def test_one_message_to_100_recipients(benchmark: BenchmarkFixture, house: House) -> None:
    body = Writer(1).message(1, 4096)
    incoming = Incoming(b"Received: from a by b\r\n", body, tuple(box.target() for box in house.boxes))

    benchmark.pedantic(lambda: house.runner.run(house.dispatch.deliver(incoming)), rounds=20)
