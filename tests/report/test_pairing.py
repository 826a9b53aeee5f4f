"""The table that says whether the message matters."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from c2c_search.evaluation.pairing import LEGEND
from c2c_search.evaluation.pairing import Pairing
from c2c_search.evaluation.statistics import Interval
from c2c_search.report.pairing import markdown
from c2c_search.report.pairing import table


def interval(value: float, around: float = 0.05) -> Interval:
    return Interval(value=value, low=value - around, high=value + around, level=0.05)


@pytest.fixture
def found() -> Pairing:
    return Pairing(
        matched=interval(0.82),
        deranged=interval(0.611),
        receiver=interval(0.329),
        derangements=(0.6, 0.61, 0.623),
        gain=interval(0.491),
        pairing_gain=interval(0.209),
        share=interval(0.43, 0.1),
    )


def test_a_line_fits_into_eighty_columns(found: Pairing) -> None:
    unshared = found.model_copy(update={"share": None, "no_share": "nothing"})
    console = Console(file=io.StringIO(), width=80, record=True)
    console.print(table({"trial-000": found, "trial-001": unshared}))
    text = console.export_text()
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("trial-")}
    assert lines["trial-000"].split(maxsplit=4)[:4] == ["trial-000", "82.0", "61.1", "32.9"]
    for part in ("+49.1 [+44, +54]", "+20.9 [+16, +26]", "0.43 [0.33, 0.53]"):
        assert part in lines["trial-000"]
    assert lines["trial-001"].rstrip().endswith("-")
    assert "[95 %]" in text
    assert " ".join(text.split()).endswith(LEGEND)


def test_markdown_has_every_interval_and_each_derangement(found: Pairing) -> None:
    assert list(markdown({"C2C": found})) == [
        "| | A_M | A_D | A_R | G | P | P/G |",
        "|---|---|---|---|---|---|---|",
        "| C2C | 82.0 % [77.0, 87.0] | 61.1 % [56.1, 66.1] (mean of 60.0, 61.0, 62.3) "
        "| 32.9 % [27.9, 37.9] | +49.1 [+44.1, +54.1] | +20.9 [+15.9, +25.9] "
        "| 0.43 [0.33, 0.53] |",
        "",
        LEGEND,
    ]


def test_the_sentence_says_what_each_letter_is(found: Pairing) -> None:
    sentence = found.sentence()
    assert "A_M = 82.0 % [77.0, 87.0] rightly" in sentence
    assert "G = A_M - A_R = +49.1 [+44.1, +54.1] points" in sentence
    assert sentence.endswith("is communication: P/G = 0.43 [0.33, 0.53].")


def test_numbers_are_what_a_run_logs(found: Pairing) -> None:
    assert found.numbers() == {
        "matched": 0.82,
        "deranged": 0.611,
        "system_gain": 0.491,
        "pairing_gain": 0.209,
        "pairing_share": 0.43,
    }
    without = found.model_copy(update={"share": None})
    assert "pairing_share" not in without.numbers()
