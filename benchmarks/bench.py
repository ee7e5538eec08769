"""What every scenario is given: the servers, the report, and how long it may take."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks.figures import Report
from benchmarks.server import Server


class Bench(msgspec.Struct):
    """A run in progress."""

    servers: Sequence[Server]
    report: Report
    folder: Path
    """Of this run; on the file system that both servers use."""
    quick: bool

    @property
    def pairs(self) -> int:
        """How often each server has its turn."""
        return 1 if self.quick else 3

    @property
    def seconds(self) -> float:
        """How long one turn should take about."""
        return 2.5 if self.quick else 6.0

    def turns(self, pairs: int | None = None) -> Iterator[Server]:
        """Give the servers by turns, who begins changing each time."""
        for number in range(pairs or self.pairs):
            yield from self.servers if number % 2 == 0 else reversed(self.servers)
