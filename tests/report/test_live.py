from __future__ import annotations

import io
from collections import Counter

import pytest
from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from c2c_search.report.live import LEGEND
from c2c_search.report.live import LiveView
from c2c_search.report.live import PlainView
from c2c_search.report.live import View
from c2c_search.report.live import WorkerView
from c2c_search.report.live import duration
from c2c_search.report.live import render
from c2c_search.report.live import settings_line
from c2c_search.report.live import sparkline
from c2c_search.report.live import watch
from c2c_search.report.state import Score
from c2c_search.report.state import StudyState


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(clock: Clock) -> StudyState:
    return StudyState(name="tiny", trials=3, steps=100, twins=1, clock=clock)


def train(view: View, clock: Clock, name: str, steps: int, *, of_budget: bool = True) -> None:
    """Train for ``steps`` steps of 2 seconds each."""
    view.begin(name, {"depth": 3}, 100, of_budget=of_budget)
    for step in range(0, steps + 1, 10):
        view.step(name, step, 1.0)
        clock.now += 20
    clock.now -= 20


def shown(state: StudyState) -> str:
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(render(state))
    return console.export_text()


def test_preparing_a_pair_is_no_training_time(state: StudyState, clock: Clock) -> None:
    view = View(state, Console(file=io.StringIO()))
    view.begin("trial-000", {}, 100)
    clock.now += 600
    view.stage("prefill", 10, 10)
    view.step("trial-000", 1, 1.0)
    clock.now += 18
    view.step("trial-000", 10, 1.0)
    # 2 seconds a step: the ten minutes of prefill are not spread over the steps to come.
    assert state.seconds_left() == pytest.approx([2 * (90 + 200 + 100)] * 2, rel=0.01)


def test_time_left_counts_trials_to_come_as_those_before_and_twins_in_full(
    state: StudyState, clock: Clock
) -> None:
    view = View(state, Console(file=io.StringIO()))
    assert state.seconds_left() is None
    train(view, clock, "trial-000", 50)
    # Still 50 steps here, two trials of 100 and one twin of 100, at 2 seconds a step.
    assert state.seconds_left() == pytest.approx([2 * (50 + 200 + 100)] * 2, rel=0.01)
    view.end("trial-000", "pruned", Score(0.5))
    assert state.seconds_left() == pytest.approx([2 * (2 * 50 + 100)] * 2, rel=0.01)


def test_time_left_is_not_told_before_it_is_known(state: StudyState, clock: Clock) -> None:
    view = View(state, Console(file=io.StringIO()))
    view.begin("trial-000", {}, 100)
    for step in (1, 2, 3):  # the first steps of a process are slow
        view.step("trial-000", step, 1.0)
        clock.now += 40
    assert state.seconds_left() is None
    assert "left" not in shown(state)


def test_time_left_is_a_range_until_a_trial_has_ended(clock: Clock) -> None:
    state = StudyState(name="tiny", trials=3, steps=100, twins=1, first_rung=25, clock=clock)
    view = View(state, Console(file=io.StringIO()))
    train(view, clock, "trial-000", 50)
    # Still 50 steps here and a twin of 100; the other two trials stop at step 25, or go on.
    expected = [2 * (50 + 2 * 25 + 100), 2 * (50 + 2 * 100 + 100)]
    assert state.seconds_left() == pytest.approx(expected, rel=0.01)
    assert "left about 06:40 to 11:40" in shown(state)
    view.end("trial-000", "pruned", Score(0.5))
    assert state.seconds_left() == pytest.approx([2 * (2 * 50 + 100)] * 2, rel=0.01)


def test_a_twin_is_not_of_the_budget(state: StudyState, clock: Clock) -> None:
    view = View(state, Console(file=io.StringIO()))
    state.counts = Counter(complete=3)
    train(view, clock, "trial-000 twin", 100, of_budget=False)
    assert state.seconds_left() == (0, 0)
    view.end("trial-000 twin", "complete", Score(0.9))
    assert (state.finished, state.best) == (3, None)


def test_a_resumed_trial_is_not_thought_to_be_fast(state: StudyState, clock: Clock) -> None:
    view = View(state, Console(file=io.StringIO()))
    view.begin("trial-000", {}, 100)
    view.step("trial-000", 90, 1.0)
    assert state.seconds_left() is None
    clock.now += 20
    view.step("trial-000", 100, 1.0)
    assert state.seconds_left() == pytest.approx([2 * (200 + 100)] * 2, rel=0.01)


def test_the_best_is_of_complete_trials_only(state: StudyState) -> None:
    view = View(state, Console(file=io.StringIO()))
    for name, how, score in (
        ("trial-000", "complete", Score(0.5)),
        ("trial-001", "pruned", Score(0.9)),
        ("trial-002", "failed", None),
    ):
        view.begin(name, {}, 100)
        view.end(name, how, score)
    assert str(state.best) == "0.500 (trial-000)"
    assert "3 of 3 trials: 1 complete, 1 pruned, 1 failed; best 0.500" in shown(state)


def test_the_best_is_the_one_of_the_highest_objective(state: StudyState) -> None:
    view = View(state, Console(file=io.StringIO()))
    state.objective = "margin"
    for name, score in (
        ("trial-000", Score(0.842, 0.513, 0.329, 0.309)),
        ("trial-001", Score(0.853, 0.611, 0.329, 0.242)),
    ):
        view.begin(name, {}, 100)
        view.end(name, "complete", score)
    assert str(state.best) == (
        "0.842 matched, 0.513 deranged, P +0.329, G +0.513, margin +0.309 (trial-000)"
    )


def test_a_best_without_a_deranged_answer_has_its_objective_alone(state: StudyState) -> None:
    view = View(state, Console(file=io.StringIO()))
    state.objective = "gain"
    view.begin("trial-000", {}, 100)
    view.end("trial-000", "complete", Score(0.76, objective=0.18))
    assert str(state.best) == "0.760, gain +0.180 (trial-000)"


def test_what_matched_and_deranged_are_is_said_once(state: StudyState, clock: Clock) -> None:
    score, output = Score(0.625, 0.5, 0.25, 0.125), io.StringIO()
    with watch(state, Console(file=output, width=200)) as view:
        train(view, clock, "trial-000", 10)
        view.rung("trial-000", 5, score)
        view.rung("trial-000", 10, score)
        lines = output.getvalue().splitlines()
        live = shown(state).splitlines()
    said = "0.625 matched, 0.500 deranged, P +0.125, G +0.375 at step"
    assert [line for line in lines if "with another item's" in line] == [LEGEND]
    assert lines[-2:] == [f"trial-000: {said} 5", f"trial-000: {said} 10"]
    assert sum(said in line for line in live) == 2
    assert sum("with another item's" in line for line in live) == 1


def test_the_live_view_shows_the_trial_in_training(state: StudyState, clock: Clock) -> None:
    view = LiveView(state, Console(file=io.StringIO()))
    view.stage("search", 0, 3)
    train(view, clock, "trial-000", 50)
    view.rung("trial-000", 50, Score(0.625))
    text = shown(state)
    for part in ("study tiny", "trial-000", "step 50/100", "depth 3", "0.625 at step 50", "loss"):
        assert part in text


def test_trials_side_by_side_share_the_time(state: StudyState, clock: Clock) -> None:
    view = LiveView(state, Console(file=io.StringIO()))
    for name in ("trial-000", "trial-001"):
        view.begin(name, {}, 100)
        view.step(name, 0, 1.0)
    clock.now += 20
    for name in ("trial-000", "trial-001"):
        view.step(name, 10, 1.0)
    # A second a step, of 90 steps each, one more trial and one twin.
    assert state.seconds_left() == pytest.approx([2 * 90 + 100 + 100] * 2)
    assert "trial-000 " in shown(state)
    assert "trial-001 " in shown(state)
    view.end("trial-000", "pruned", Score(0.5))
    assert list(state.currents) == ["trial-001"]
    assert "trial-000" not in shown(state)


def test_without_a_terminal_there_are_lines(state: StudyState, clock: Clock) -> None:
    output = io.StringIO()
    with watch(state, Console(file=output, width=100)) as view:
        assert isinstance(view, PlainView)
        view.stage("prefill", 1, 100, "train [path:a]")
        view.stage("prefill", 2, 100, "train [path:a]")
        clock.now += 20
        view.stage("prefill", 100, 100, "train [path:a]")
        train(view, clock, "trial-000", 20)
        view.rung("trial-000", 20, Score(0.5))
        view.end("trial-000", "complete", Score(0.5))
    assert output.getvalue().splitlines() == [
        "prefill train [path:a] 1/100",
        "prefill train [path:a] 100/100",
        "trial-000: depth 3",
        "trial-000: step 10/100, loss 1.000, left about 13:00",
        "trial-000: step 20/100, loss 1.000, left about 12:40",
        "trial-000: 0.500 at step 20",
        "trial-000: complete 0.500, best so far 0.500 (trial-000)",
    ]


def test_on_a_terminal_it_is_live(state: StudyState) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with watch(state, console) as view:
        assert isinstance(view, LiveView)


@given(st.lists(st.floats(), max_size=60))
@example([1.7976931348623157e308, -9.9792015476736e291])
def test_a_sparkline_draws_anything(values: list[float]) -> None:
    drawn = sparkline(values)
    finite = any(abs(value) != float("inf") and value == value for value in values)
    assert len(drawn) == (len(values) if finite else 0)


def test_a_sparkline_rises() -> None:
    assert sparkline([0.0, 1.0, 2.0, 7.0, float("nan")]) == "▁▂▃██"


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "--:--"), (0, "00:00"), (61, "01:01"), (3723.4, "1:02:03")]
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_settings_line() -> None:
    assert settings_line({"depth": 3, "rate": 0.00123456}) == "depth 3, rate 0.00123"
    assert settings_line({"rank": None}) == "rank null"


def test_several_workers_are_told_apart(state: StudyState, clock: Clock) -> None:
    view = LiveView(state, Console(file=io.StringIO()))
    first, second, third = (WorkerView(view, number) for number in (1, 2, 3))
    second.begin("trial-001", {"depth": 3}, 100)
    first.begin("trial-000", {"depth": 2}, 100)
    third.stage("prefill", 3, 8, "train, tiny")
    first.step("trial-000", 10, 1.0)
    drawn = shown(state)
    places = [drawn.index(text) for text in ("trial-000 (worker 1)", "trial-001 (worker 2)")]
    assert places == sorted(places)
    assert "worker 3: prefill train, tiny 3/8" in drawn
    third.begin("trial-002", {"depth": 1}, 100)
    assert "prefill" not in shown(state)
    first.end("trial-000", "complete", Score(0.5))
    assert "1 of 3 trials: 1 complete" in shown(state)


def test_lines_of_several_workers_are_told_apart(state: StudyState, clock: Clock) -> None:
    output = io.StringIO()
    view = PlainView(state, Console(file=output, width=200))
    first, second = (WorkerView(view, number) for number in (1, 2))
    for _ in range(2):  # within the time in which nothing is said twice
        first.stage("load", 0, 2, "tiny")
        second.stage("load", 0, 2, "tiny")
    second.begin("trial-000", {"depth": 2}, 100)
    second.rung("trial-000", 50, Score(0.5))
    assert output.getvalue().splitlines() == [
        "worker 1: load tiny 0/2",
        "worker 2: load tiny 0/2",
        "trial-000 (worker 2): depth 2",
        "trial-000: 0.500 at step 50",
    ]


def test_what_a_worker_prepares_stops_no_clock(state: StudyState, clock: Clock) -> None:
    view = View(state, Console(file=io.StringIO()))
    WorkerView(view, 1).begin("trial-000", {}, 100)
    clock.now = 5.0
    WorkerView(view, 2).stage("prefill")
    clock.now = 20.0
    WorkerView(view, 1).step("trial-000", 10, 1.0)
    assert state.training_seconds == 20.0
