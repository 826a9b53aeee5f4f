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
            Duel("trial-002", "trial-002 deranged", interval(0.2), 1e-9, True),
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
    for part in ("b [x] alone", "10.9 M", "0.600 to 0.800", "not beaten", "0.0300", "< 0.0001"):
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
    assert lines[0] == "**No champion**"  # a page shows the first lines alone
    assert "| trial-002 | 0.700 | complete | 10.9 M | back d4 |" in lines
    assert r"| b \[x\] alone | 0.600 | control | - |  |" in lines
    assert "| trial-002 | 0.700 [0.600, 0.800] | finalist |" in lines


@pytest.mark.parametrize(
    ("parameters", "text"),
    [(None, "-"), (999, "999"), (1500, "1.5 k"), (99_999, "100.0 k"), (10_900_000, "10.9 M")],
)
def test_count(parameters: int | None, text: str) -> None:
    assert count(parameters) == text


def test_p_value() -> None:
    assert (p_value(0.03), p_value(1e-9)) == ("0.0300", "< 0.0001")


def test_trials_are_ranked_by_the_objective() -> None:
    rows = [
        SearchRow("trial-000", "trial", "complete", 0.76, "there", 1, {}, objective=0.18),
        SearchRow("trial-001", "trial", "complete", 0.94, "back", 1, {}, objective=0.02),
        SearchRow("back without sharer", "control", "", 0.92, "back", None, {}, objective=0.0),
        SearchRow("a alone", "control", "", 0.5, "", None, {}),
    ]
    board = Leaderboard("s", rows, objective="gain")
    assert [row.name for row in board.ranked()] == [row.name for row in rows]
    shown = lines(board, 120)
    assert any("+0.180 0.760" in line for line in shown)
    assert any("gain: above what the pair's receiver does without a sharer" in i for i in shown)


@pytest.fixture
def heard() -> Leaderboard:
    """Of one pair; the second is right more often, and listens less."""
    trials = [
        SearchRow(
            f"trial-{i:03d}",
            "trial",
            "complete",
            matched,
            "there",
            3_000_000,
            {"projector": name},
            deranged=deranged,
            receiver=0.329,
            objective=margin,
        )
        for i, (matched, deranged, margin, name) in enumerate(
            [(0.842, 0.513, 0.309, "linear"), (0.853, 0.611, 0.242, "joint")]
        )
    ]
    return Leaderboard("tiny", trials, objective="margin")


def test_what_is_communication_stands_beside_the_accuracy(heard: Leaderboard) -> None:
    shown = lines(heard, 120)
    assert [row.name for row in heard.ranked()] == ["trial-000", "trial-001"]
    heads = next(line.split() for line in shown if "matched" in line)
    assert heads[:5] == ["margin", "matched", "deranged", "P", "G"]
    assert any("+0.309   0.842    0.513 +0.329 +0.513" in line for line in shown)
    text = " ".join(shown)
    assert text.count("with another item's") == 1
    assert "P: matched - deranged; G: matched - receiver alone" in text
    page = markdown(heard).splitlines()
    head = (
        "| on validation | margin | matched | deranged | P | G | state | parameters | settings |"
    )
    row = "| trial-001 | +0.242 | 0.853 | 0.611 | +0.242 | +0.524 | complete | 3.0 M |"
    assert page[0] == head
    assert any(line.startswith(row) for line in page)


def test_where_it_is_narrow_words_go_first_and_then_what_others_tell(heard: Leaderboard) -> None:
    rows = [
        replace(row, settings={**row.settings, "rank": i}) for i, row in enumerate(heard.search)
    ]
    for width, heads in (
        (81, "margin matched deranged P G"),
        (80, "margin M D P G"),
        (74, "margin M D P"),
        (68, "margin M D"),
    ):
        shown = lines(replace(heard, search=rows), width)
        assert " ".join(shown[1].split()).startswith(f"{heads} state size settings")
        assert max(map(len, shown)) <= width
    assert "M: matched, accuracy with the right message" in " ".join(map(str.strip, shown))


def test_pairing_gain_needs_no_column_of_its_own(heard: Leaderboard) -> None:
    shown = lines(replace(heard, objective="pairing_gain"), 120)
    assert shown[1].split()[:4] == ["matched", "deranged", "P", "G"]


def lines(board: Leaderboard, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(render(board))
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.fixture
def wide() -> Leaderboard:
    """Twelve trials of two pairs and eight dimensions, and models with long names."""
    rows = [
        SearchRow(
            f"trial-{i:03d}",
            "trial",
            ("complete", "pruned", "failed")[i % 3],
            None if i % 3 == 2 else 0.5 + i / 50,
            ("there", "back")[i % 2],
            None if i % 3 == 2 else 10_900_000,
            {
                "projector": ("linear", "c2c", "joint")[i % 3],
                "injection": ("replace", "residual", "append")[i % 3],
                "keys": ("rotated", "unrotated")[i % 2],
                "layer alignment": ("terminal", "proportional")[i % 2],
                "rank": (None, 32, 64)[i % 3],
                "learning rate": 0.00123 * (i + 1),
                "bias": i % 2 == 0,
                "depth": 3,
            },
            deranged=None if i % 3 == 2 else 0.4,
            receiver=0.3,
            objective=None if i % 3 == 2 else i / 100,
        )
        for i in range(12)
    ]
    long = "Qwen/Qwen3-0.6B-Instruct-2507@main"
    rows.append(SearchRow(f"{long} alone", "control", "", 0.41, "", None, {}))
    return Leaderboard(
        "tiny",
        rows,
        objective="margin",
        test=[MeasuredRow(f"{long} alone", "deranged", interval(0.4))],
        duels=[
            Duel("trial-001", f"{long} alone", interval(0.1), 1e-9, False),
            Duel("trial-001", "trial-001 twin", interval(0.1), 1e-9, True),
            Duel("trial-003", "trial-003 twin", interval(0.1), 1e-9, True),
        ],
    )


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_row_is_a_line_and_numbers_are_whole(wide: Leaderboard, width: int) -> None:
    shown = lines(wide, width)
    assert max(map(len, shown)) <= width
    for row in wide.search:
        (line,) = (line for line in shown[: shown.index("")] if line.startswith(row.name[:12]))
        if row.kind == "trial":
            assert line.startswith(f"{row.name} ")
        if row.accuracy is not None:
            assert f" {row.accuracy:.3f} " in line
        if row.objective is not None:
            assert f" {row.objective:+.3f} " in line
            assert " 0.400 " in line
        if row.parameters is not None:
            assert " 10.9 M " in line
    for part in ("0.300 to 0.500", "+0.000 to +0.200", "< 0.0001", "not beaten", "deranged"):
        assert any(part in line for line in shown)


def test_settings_that_all_share_are_left_out_and_the_others_short(wide: Leaderboard) -> None:
    shown = lines(wide, 200)
    (line,) = (line for line in shown if line.startswith("trial-001 "))
    assert line.endswith("c2c/residual/unrot/propo r32 lr2.5e-3 b=no")
    assert (
        "settings: projector/injection/keys/layer alignment, r rank, lr learning rate, b bias"
        in shown
    )
    (narrow,) = (line for line in lines(wide, 80) if line.startswith("trial-001 "))
    assert "c2c/res/un/pr r32 lr2.5" in narrow


def test_a_finalists_own_controls_stand_below_its_name(wide: Leaderboard) -> None:
    shown = lines(wide, 80)
    assert [line.split("  ")[0] for line in shown if line in ("trial-001", "trial-003")] == [
        "trial-001",
        "trial-003",
    ]
    assert sum(line.startswith("  twin ") for line in shown) == 2


def test_settings_have_their_room_before_the_gain_that_others_tell() -> None:
    settings = [
        {"injection": "side", "layers": "spread", "rank": None, "rate": 0.002, "layer count": 10},
        {"injection": "append", "layers": "last", "rank": 32, "rate": 0.0037, "layer count": 28},
    ]
    rows = [
        SearchRow(f"trial-{n:03d}", "trial", "pruned", 0.9, "p", 10**6, each, 0.3, 0.2, 0.1)
        for n, each in enumerate(settings)
    ]
    shown = lines(Leaderboard("s", rows, objective="margin"), 80)
    assert any(line.rstrip().endswith("lc28") for line in shown)
    assert any("P: matched - deranged" in line for line in shown)
    assert any(" P state " in line for line in shown)
    assert any(" G state " in line for line in lines(Leaderboard("s", rows), 120))
