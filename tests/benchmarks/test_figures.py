"""Ratios say who is better, whichever way the figure counts."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from benchmarks.figures import Figure, Metric, Report, shown
from benchmarks.profile import top


def test_a_higher_rate_and_a_lower_cost_are_both_ratios_above_one() -> None:
    rate = Figure(metric=Metric("s", "rate", "1/s"), values={"a": [90, 100, 400], "b": [50]})
    cost = Figure(metric=Metric("s", "cost", "ms", less_is_better=True), values={"a": [2], "b": [4]})
    assert rate.ratio("a", "b") == pytest.approx(2)
    assert cost.ratio("a", "b") == pytest.approx(2)


def test_what_was_wanted_is_a_ratio_or_a_bound() -> None:
    ratio = Figure(metric=Metric("s", "rate", "1/s", wanted=8), values={"a": [70], "b": [10]})
    bound = Figure(metric=Metric("s", "p50", "ms", less_is_better=True, bound=20), values={"a": [19]})
    assert ratio.reached("a", "b") is False
    assert bound.reached("a", "b") is True


def test_one_side_alone_has_no_ratio() -> None:
    figure = Figure(metric=Metric("s", "rate", "1/s", wanted=8), values={"b": [10]})
    assert figure.ratio("a", "b") is None
    assert figure.reached("a", "b") is None


def test_the_table_has_a_line_for_each_figure() -> None:
    report = Report(
        began=datetime(2026, 1, 1, tzinfo=UTC),
        cores=2,
        memory=2**34,
        system="Linux",
        quick=True,
        servers=["a", "b"],
    )
    metric = Metric("Mail", "visible", "messages/s", wanted=8)
    for server, value in (("a", 2000), ("b", 200), ("a", 2200)):
        report.add(metric, server, value)
    assert "| visible, messages/s | 2,100 | 200 | 10.5 | 8 × ✓ |" in report.markdown("a", "b").splitlines()


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (1234.5, "1,234"), (12.34, "12.3"), (0.123, "0.12")]
)
def test_figures_are_shown_with_the_digits_that_mean_something(value: float | None, text: str) -> None:
    assert shown(value) == text


def test_the_top_of_collapsed_stacks(tmp_path: Path) -> None:
    stacks = tmp_path / "x.stacks"
    stacks.write_text("main;read 1\nmain;parse 2\nmain;parse;copy 1\n")
    own, whole = top(stacks)
    assert own[0] == ("parse", 0.5)
    assert whole[:2] == [("main", 1.0), ("parse", 0.75)]
