"""The figures of a run: what each is, what was wanted, and how they are shown."""

import statistics
from datetime import UTC, datetime

import msgspec


class Metric(msgspec.Struct, frozen=True):
    """What is measured."""

    scenario: str
    name: str
    unit: str
    less_is_better: bool = False
    wanted: float | None = None
    """The ratio in ESP's favour that the project asks for."""
    bound: float | None = None
    """The value of ESP itself that the project asks for."""


class Figure(msgspec.Struct):
    """The values of one metric, by server, in the order they were taken."""

    metric: Metric
    values: dict[str, list[float]] = {}

    def median(self, server: str) -> float | None:
        """Return the middle value, `None` for a server that was not measured."""
        values = self.values.get(server)
        return statistics.median(values) if values else None

    def ratio(self, ours: str, theirs: str) -> float | None:
        """Return how many times better we are; below 1 they are."""
        mine, other = self.median(ours), self.median(theirs)
        if not mine or not other:
            return None
        return other / mine if self.metric.less_is_better else mine / other

    def reached(self, ours: str, theirs: str) -> bool | None:
        """Tell whether what was asked for is reached; `None` when nothing was asked, or nothing measured."""
        metric = self.metric
        if metric.bound is not None:
            value = self.median(ours)
            if value is None:
                return None
            return value <= metric.bound if metric.less_is_better else value >= metric.bound
        ratio = self.ratio(ours, theirs)
        return None if ratio is None or metric.wanted is None else ratio >= metric.wanted


class Report(msgspec.Struct):
    """A whole run."""

    began: datetime
    cores: int
    memory: int
    system: str
    quick: bool
    servers: list[str]
    versions: dict[str, str] = {}
    figures: list[Figure] = []
    notes: list[str] = []

    def add(self, metric: Metric, server: str, value: float) -> None:
        """Add one value."""
        figure = next((each for each in self.figures if each.metric == metric), None)
        if figure is None:
            figure = Figure(metric=metric, values={})
            self.figures.append(figure)
        figure.values.setdefault(server, []).append(value)

    def json(self) -> bytes:
        """Return it for programs."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1)

    def markdown(self, ours: str, theirs: str) -> str:
        """Return it for people: a table, ratios above 1 in our favour."""
        lines = [
            f"{self.began.astimezone(UTC):%Y-%m-%d %H:%M} UTC, {'quick run' if self.quick else 'full run'}; "
            f"{self.cores} cores, {self.memory / 2**30:.0f} GiB, {self.system}; "
            + ", ".join(f"{name} {version}" for name, version in self.versions.items())
            + ".",
            "",
            f"| | {ours} | {theirs} | times better | wanted |",
            "|---|---:|---:|---:|---:|",
        ]
        scenario = ""
        for figure in self.figures:
            metric = figure.metric
            if metric.scenario != scenario:
                scenario = metric.scenario
                lines.append(f"| **{scenario}** | | | | |")
            ratio = figure.ratio(ours, theirs)
            wanted = ""
            if metric.bound is not None:
                wanted = f"{'≤' if metric.less_is_better else '≥'} {metric.bound:g} {metric.unit}"
            elif metric.wanted is not None:
                wanted = f"{metric.wanted:g} ×"
            reached = figure.reached(ours, theirs)
            mark = "" if reached is None else (" ✓" if reached else " ✗")
            lines.append(
                f"| {metric.name}, {metric.unit} | {shown(figure.median(ours))} "
                f"| {shown(figure.median(theirs))} | {shown(ratio)} | {wanted}{mark} |"
            )
        lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines).rstrip() + "\n"


def shown(value: float | None) -> str:
    """Write a figure with the digits that mean something."""
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
