"""What the latency report says: spreads, ratios, and how they were measured."""

from __future__ import annotations

import pytest

from c2c_search.evaluation.latency.report import LatencyReport
from c2c_search.evaluation.latency.report import Spread
from c2c_search.evaluation.latency.report import Timing
from c2c_search.evaluation.latency.report import ratio
from c2c_search.evaluation.latency.report import size


def test_json_round_trip_keeps_everything(report: LatencyReport) -> None:
    assert LatencyReport.model_validate_json(report.model_dump_json()) == report


def test_markdown_says_what_was_measured_and_how(report: LatencyReport) -> None:
    text = report.markdown()
    assert "| c2c / receiver | " in text
    assert "2 questions asked 2 times each" in text
    assert "answers of exactly 3 tokens" in text
    assert max(line.count("|") for line in text.splitlines()) == 8  # seven columns


def _timings(system: str, seconds: list[list[float]]) -> list[Timing]:
    return [
        Timing(
            system=system, question=q, repeat=r, first_token=time, answer=2 * time, parts={}
        )
        for q, repeats in enumerate(seconds)
        for r, time in enumerate(repeats)
    ]  # fmt: skip


def test_a_ratio_is_taken_answer_by_answer() -> None:
    # 2/1, 6/2, 20/10 and 40/10: 2, 3, 2, 4 have the median 2.5; medians of times: 13 / 6.
    timings = _timings("c2c", [[2, 6], [20, 40]]) + _timings("receiver", [[1, 2], [10, 10]])
    found = ratio(timings, "c2c", "receiver", "first_token").ratio
    assert found.value == 2.5
    assert 2 <= found.low <= 2.5 <= found.high <= 4


def test_a_ratio_that_never_varies_has_no_spread() -> None:
    timings = _timings("c2c", [[2, 4], [6, 8]]) + _timings("receiver", [[1, 2], [3, 4]])
    found = ratio(timings, "c2c", "receiver", "answer").ratio
    assert (found.low, found.value, found.high) == (2, 2, 2)


def test_a_spread_is_median_and_quartiles() -> None:
    assert Spread.of([1, 2, 3, 4, 5]) == Spread(median=3, low=2, high=4)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123456, "123 kB"), (5.4e9, "5.4 GB")],
)
def test_bytes_are_written_in_a_fitting_unit(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("prefills", "sentence"),
    [
        (
            {"run at the same time, on 1 and 1 CPU threads": 5},
            "The two prefills of C2C run at the same time, on 1 and 1 CPU threads; the prompt's",
        ),
        (
            {"run at the same time, on 1 and 1 CPU threads": 3, "run one after the other": 2},
            "run at the same time, on 1 and 1 CPU threads (3 questions) or run one after the other"
            " (2 questions); the prompt's",
        ),
        ({}, "A model alone reads its prompt in one pass. Peak memory"),
    ],
)
def test_markdown_says_how_the_prefills_were_run(
    report: LatencyReport, prefills: dict[str, int], sentence: str
) -> None:
    assert sentence in report.model_copy(update={"prefills": prefills}).markdown()
