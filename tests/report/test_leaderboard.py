from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from c2c_search.evaluation.statistics import Interval
from c2c_search.report.leaderboard import Duel
from c2c_search.report.leaderboard import Leaderboard
from c2c_search.report.leaderboard import MeasuredRow
from c2c_search.report.leaderboard import SearchRow
from c2c_search.report.leaderboard import count
from c2c_search.report.leaderboard import markdown
from c2c_search.report.leaderboard import p_value
from c2c_search.report.leaderboard import render


def interval(value: float) -> Interval:
    return Interval(value=value, low=value - 0.1, high=value + 0.1, level=0.05)


@pytest.fixture
def board() -> Leaderboard:
    return Leaderboard(
        study="tiny",
        search=[
            SearchRow("trial-000", "trial", "pruned", 0.5, "there", 1000, {"depth": 3}),
            SearchRow("trial-001", "trial", "failed", None, "there", None, {"depth": 8}),
            SearchRow("b [x] alone", "control", "", 0.6, "", None, {}),
            SearchRow("trial-002", "trial", "complete", 0.7, "back", 10_900_000, {"depth": 4}),
        ],
        test=[
            MeasuredRow("b [x] alone", "control", interval(0.6)),
            MeasuredRow("trial-002", "finalist", interval(0.7)),
        ],
        duels=[
            Duel("trial-002", "b [x] alone", interval(0.1), 0.03, False),
            Duel("trial-002", "mismatched sharer", interval(0.2), 1e-9, None),
        ],
        verdict="trial-002: It is not proven better than b [x] alone.",
        places={"every run": "c2c-search ui"},
    )


def shown(board: Leaderboard) -> str:
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(render(board))
    return console.export_text()


def test_controls_stand_among_the_trials_best_first(board: Leaderboard) -> None:
    names = [row.name for row in board.ranked()]
    assert names == ["trial-002", "b [x] alone", "trial-000", "trial-001"]


def test_the_page_says_all_of_it(board: Leaderboard) -> None:
    text = shown(board)
    for part in ("b [x] alone", "10.9 M", "0.600 to 0.800", "not beaten", "reported", "0.0300"):
        assert part in text
    assert "no champion" in text
    assert "c2c-search ui" in text


def test_a_champion_is_named(board: Leaderboard) -> None:
    assert "champion: trial-002" in shown(replace(board, champion="trial-002"))


def test_a_study_without_finalists_has_a_page_too(board: Leaderboard) -> None:
    empty = Leaderboard(study="tiny", search=board.search)
    assert "trial-000" in shown(empty)
    assert "on test" not in markdown(empty)


def test_markdown(board: Leaderboard) -> None:
    lines = markdown(board).splitlines()
    assert "| trial-002 | 0.700 | complete | 10.9 M |" in lines
    assert "| b [x] alone | 0.600 | control | - |" in lines
    assert "| trial-002 | 0.700 [0.600, 0.800] | finalist |" in lines


@pytest.mark.parametrize(
    ("parameters", "text"),
    [(None, "-"), (999, "999"), (1500, "1.5 k"), (99_999, "100.0 k"), (10_900_000, "10.9 M")],
)
def test_count(parameters: int | None, text: str) -> None:
    assert count(parameters) == text


def test_p_value() -> None:
    assert (p_value(0.03), p_value(1e-9)) == ("0.0300", "< 0.0001")


def test_between_pairs_trials_are_ranked_by_gain() -> None:
    rows = [
        SearchRow("trial-000", "trial", "complete", 0.76, "there", 1, {}, gain=0.18),
        SearchRow("trial-001", "trial", "complete", 0.94, "back", 1, {}, gain=0.02),
        SearchRow("back without sharer", "control", "", 0.92, "back", None, {}, gain=0.0),
        SearchRow("a alone", "control", "", 0.5, "", None, {}),
    ]
    board = Leaderboard("s", rows)
    assert [row.name for row in board.ranked()] == [row.name for row in rows]
    console = Console(file=io.StringIO(), width=120)
    console.print(render(board))
    assert "+0.180" in console.file.getvalue()
