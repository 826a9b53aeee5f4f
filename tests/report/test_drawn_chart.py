"""Charts as matplotlib draws them, without a browser."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from c2c_search.report.drawn_chart import svg
from c2c_search.report.page import Chart
from c2c_search.report.page import Series


def written(x: Sequence[float], y: Sequence[float], *, log_x: bool = False) -> list[str]:
    """What is written in a chart of some points, ticks of x first, then those of y."""
    drawn = svg(Chart("", "", "", "", [Series("", x, y)], log_x=log_x))
    return re.findall(r"<text [^>]*>([^<]*)</text>", drawn)


@pytest.mark.parametrize(
    ("x", "ticks"),
    [
        ([0, 1, 2], ["0", "1", "2"]),  # trials, layers
        ([0, 240_000], ["0", "50,000", "100,000", "150,000", "200,000", "250,000"]),  # steps
        ([0.0, 0.0005, 0.001], ["0.0000", "0.0002", "0.0004", "0.0006", "0.0008", "0.0010"]),
    ],
)
def test_ticks_are_few_and_whole_where_values_are(x: list[float], ticks: list[str]) -> None:
    assert written(x, [0.5] * len(x))[: len(ticks)] == ticks


def test_close_values_are_told_in_full() -> None:
    told = written([0, 1], [0.1001, 0.10012])
    assert not any("e" in one for one in told)
    assert len({*told}) == len(told)


@pytest.mark.parametrize(
    ("x", "ticks"),
    [
        ([1e6, 1.2e6, 3.1e6], ["1 M", "2 M"]),
        ([1e4, 3.1e8], ["10 k", "100 k", "1 M", "10 M", "100 M"]),
    ],
)
def test_sizes_are_told_as_one_says_them(x: list[float], ticks: list[str]) -> None:
    assert written(x, [0.1, 0.2, 0.3][: len(x)], log_x=True)[: len(ticks)] == ticks
