from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from c2c_search.report.live import View
from c2c_search.report.live_words import progress
from c2c_search.report.state import Score
from c2c_search.report.state import Spent
from c2c_search.report.state import StudyState
from c2c_search.report.time_left import training_left
from tests.report.conftest import Clock


def seen(state: StudyState) -> View:
    return View(state, Console(file=io.StringIO()))


def train(view: View, clock: Clock, name: str, steps: int, *, of_budget: bool = True) -> None:
    """Train for ``steps`` steps of 2 seconds each."""
    view.begin(name, {}, 100, of_budget=of_budget)
    for step in range(0, steps + 1, 10):
        view.step(name, step, 1.0)
        clock.now += 20
    clock.now -= 20


def test_before_a_trial_has_ended_its_steps_tell(
    view: View, state: StudyState, clock: Clock
) -> None:
    assert training_left(state) is None
    train(view, clock, "trial-000", 50)
    # Still 50 steps here, two trials of 100 and one twin of 100, at 2 seconds a step.
    assert training_left(state) == pytest.approx([2 * (50 + 200 + 100)] * 2)


def test_the_first_steps_of_a_process_tell_nothing(
    view: View, state: StudyState, clock: Clock
) -> None:
    view.begin("trial-000", {}, 100)
    for step in (1, 2, 3):
        view.step("trial-000", step, 1.0)
        clock.now += 40
    assert training_left(state) is None


def test_it_is_a_range_where_trials_may_be_pruned_and_narrows_as_they_end(clock: Clock) -> None:
    state = StudyState(name="tiny", trials=6, steps=100, twins=1, first_rung=25, clock=clock)
    view = seen(state)
    train(view, clock, "trial-000", 50)
    # This one may end at once; the other five stop at step 25, or go on; a twin goes to its end.
    assert training_left(state) == pytest.approx([2 * (5 * 25 + 100), 2 * (50 + 500 + 100)])
    view.end("trial-000", "pruned", Score(0.5))
    widths = []
    for number, steps in enumerate((100, 50, 50, 100), start=1):
        train(view, clock, f"trial-{number:03d}", steps)
        view.end(f"trial-{number:03d}", "complete" if steps == 100 else "pruned", Score(0.5))
        low, high = training_left(state) or (0, 0)
        trials = 5 - number
        assert low >= 2 * (25 * trials + 100)
        assert high <= 2 * (100 * trials + 100)
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)


def test_trials_without_steps_tell_by_how_long_they_took(
    view: View, state: StudyState, clock: Clock
) -> None:
    for number, seconds in enumerate((30, 40)):
        view.begin(f"trial-{number:03d}", {}, 100)
        clock.now += seconds
        view.end(f"trial-{number:03d}", "complete", Score(0.5))
    view.begin("trial-002", {}, 100)
    clock.now += 10
    # The one here, and a twin.
    assert training_left(state) == pytest.approx([20 + 30, 30 + 40], abs=10)


def test_trials_side_by_side_share_the_time(view: View, state: StudyState, clock: Clock) -> None:
    for name in ("trial-000", "trial-001"):
        view.begin(name, {}, 100)
        view.step(name, 0, 1.0)
    clock.now += 20
    for name in ("trial-000", "trial-001"):
        view.step(name, 10, 1.0)
    # Two at 2 seconds a step; each of 90 steps, one more trial and one twin.
    assert training_left(state) == pytest.approx([2 * (2 * 90 + 100 + 100) / 2] * 2)
    state.trials, state.twins = 2, 0
    view.step("trial-000", 90, 1.0)
    assert training_left(state) is not None
    low, _ = training_left(state) or (0, 0)
    assert low >= 90 * state.stepping_seconds / state.stepped  # the other one takes its time


def test_what_is_prepared_on_the_way_is_of_no_training(
    view: View, state: StudyState, clock: Clock
) -> None:
    view.begin("trial-000", {}, 100)
    clock.now += 600
    view.stage("prefill", 10, 10)
    view.step("trial-000", 1, 1.0)
    clock.now += 18
    view.step("trial-000", 10, 1.0)
    assert training_left(state) == pytest.approx([2 * (90 + 200 + 100)] * 2)


def test_what_another_worker_prepares_stops_no_clock(
    view: View, state: StudyState, clock: Clock
) -> None:
    first, second = view.of(1, "CPU"), view.of(2, "CPU")
    first.begin("trial-000", {}, 100)
    first.step("trial-000", 0, 1.0)
    clock.now = 5.0
    second.stage("prefill")
    clock.now = 20.0
    first.step("trial-000", 10, 1.0)
    assert state.stepping_seconds == 20.0


def test_validation_at_a_rung_is_of_the_steps(view: View, state: StudyState, clock: Clock) -> None:
    view.begin("trial-000", {}, 100)
    view.step("trial-000", 0, 1.0)
    clock.now += 15
    view.stage("evaluate", 5, 10)
    clock.now += 5
    view.step("trial-000", 10, 1.0)
    assert state.stepping_seconds == 20.0


def test_a_resumed_trial_is_not_thought_to_be_fast(
    view: View, state: StudyState, clock: Clock
) -> None:
    view.begin("trial-000", {}, 100)
    view.step("trial-000", 90, 1.0)
    assert training_left(state) is None
    clock.now += 20
    view.step("trial-000", 100, 1.0)
    view.end("trial-000", "complete", Score(0.5))
    assert training_left(state) == pytest.approx([2 * (200 + 100)] * 2)


def test_when_the_search_is_over_only_controls_are_left(
    view: View, state: StudyState, clock: Clock
) -> None:
    train(view, clock, "trial-000", 100)
    view.end("trial-000", "complete", Score(0.5))
    view.controls(2)  # the budget of time was spent before that of trials
    train(view, clock, "trial-000 twin", 50, of_budget=False)
    assert training_left(state) == pytest.approx([2 * (50 + 100)] * 2)
    view.end("trial-000 twin", "complete", Score(0.9))
    view.controls(0)
    assert training_left(state) == (0, 0)
    assert (state.finished, state.best and state.best.name) == (1, "trial-000")


def test_a_limit_of_the_search_s_time_is_a_limit_of_the_estimate(clock: Clock) -> None:
    state = StudyState(
        name="tiny", trials=10_000, steps=100, twins=0, seconds_of_search=3600, clock=clock
    )
    view = seen(state)
    train(view, clock, "trial-000", 50)
    low, high = training_left(state) or (0, 0)
    assert low <= high <= 3600 + 2 * 100


def test_a_limit_of_steps_and_patience_count(clock: Clock) -> None:
    state = StudyState(
        name="tiny", trials=10_000, steps=100, twins=0, steps_of_search=250, clock=clock
    )
    train(seen(state), clock, "trial-000", 50)
    # This one ends, and two more of the 200 steps that are left.
    assert training_left(state) == pytest.approx([2 * (50 + 200)] * 2)
    state.steps_of_search, state.patience, state.idle = None, 2, 1
    low, _ = training_left(state) or (0, 0)
    assert low == pytest.approx(2 * 50)
    seen(state).recount(state.counts, idle=0)  # one gained by another objective than the first
    low, _ = training_left(state) or (0, 0)
    assert low == pytest.approx(2 * (50 + 100))


def test_a_limit_of_tokens_counts_by_what_trials_took(clock: Clock) -> None:
    state = StudyState(name="tiny", trials=10_000, steps=100, twins=0, clock=clock)
    view = seen(state)
    train(view, clock, "trial-000", 50)
    spent = Spent(spent=100, limit=350, least=50, most=100)
    assert spent.trials_left == (3, 5)
    view.recount(state.counts, 0, {"tokens": spent})
    # This one ends, and two to five more begin.
    assert training_left(state) == pytest.approx([2 * (50 + 2 * 100), 2 * (50 + 5 * 100)])
    assert "tokens 100 of 350" in progress(state)
    view.recount(state.counts, 0, {"flops": replace(spent, spent=2.5e15, limit=1e16)})
    assert "FLOP 2.5e+15 of 1e+16" in progress(state)


_EVENT = st.tuples(
    st.sampled_from(["begin", "step", "step", "rung", "complete", "pruned", "failed", "prefill"]),
    st.integers(0, 3),
    st.floats(0, 500),
)


@given(st.lists(_EVENT, max_size=60), st.integers(0, 4), st.booleans())
def test_whatever_happens_it_is_neither_negative_nor_absurd(
    events: list[tuple[str, int, float]], twins: int, pruned: bool
) -> None:
    clock = Clock()
    rung = 25 if pruned else None
    state = StudyState(name="tiny", trials=4, steps=100, twins=twins, first_rung=rung, clock=clock)
    view, longest, begun = seen(state), 0.0, Counter[int]()
    for what, worker, seconds in events:
        clock.now += seconds
        told, name = view.of(worker, "CPU"), f"trial-{worker}-{begun[worker]}"
        current = state.currents.get(name)
        if what == "prefill":
            told.stage("prefill", 1, 10)
        elif current is None:
            if what == "begin":
                told.begin(name, {}, 100)
        elif what == "step":
            told.step(name, min(100, current.step + 10), 1.0)
        elif what == "rung":
            told.rung(name, current.step, Score(0.5, 0.4))
        elif what != "begin":
            told.end(name, what, None if what == "failed" else Score(0.5))
            begun[worker] += 1
        longest = max([longest, *(one.seconds for one in state.endings)])
        if (span := training_left(state)) is not None:
            assert 0 <= span.low <= span.high
            pace = state.stepping_seconds / max(1, state.stepped)
            each = max(longest, 100 * pace)
            assert span.high <= (4 + twins + len(state.currents)) * each * (1 + 1e-9)
