from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from c2c_search.report.live import View
from c2c_search.report.live import watch
from c2c_search.report.live_lines import Lines
from c2c_search.report.live_screen import Screen
from c2c_search.report.live_words import LEGEND
from c2c_search.report.live_words import duration
from c2c_search.report.live_words import settings_line
from c2c_search.report.live_words import sparkline
from c2c_search.report.state import Score
from c2c_search.report.state import StudyState
from tests.report.conftest import Clock


EARLY = "at step 50 of 100: others had done better by then"


@pytest.fixture
def log(state: StudyState) -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def plain(state: StudyState, log: io.StringIO) -> View:
    console = Console(file=log, width=60)
    return View(state, console, Lines(state, console))


def train(view: View, clock: Clock, name: str, steps: int) -> None:
    """Train for ``steps`` steps of 2 seconds each."""
    view.begin(name, {"depth": 3}, 100)
    for step in range(0, steps + 1, 10):
        view.step(name, step, 1.0)
        clock.now += 20
    clock.now -= 20


def drawn(state: StudyState, width: int = 100, height: int = 40) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, record=True)
    console.print(Screen(state))
    return console.export_text()


def test_the_best_is_of_complete_trials_only(view: View, state: StudyState) -> None:
    for name, how, score in (
        ("trial-000", "complete", Score(0.5)),
        ("trial-001", "pruned", Score(0.9)),
        ("trial-002", "failed", None),
    ):
        view.begin(name, {}, 100)
        view.end(name, how, score)
    assert str(state.best) == "0.500 (trial-000)"
    assert "3 of 3 trials ended: 1 complete, 1 pruned, 1 failed" in drawn(state)


def test_the_best_is_the_one_of_the_highest_objective(view: View, state: StudyState) -> None:
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


def test_a_best_without_a_deranged_answer_has_its_objective_alone(
    view: View, state: StudyState
) -> None:
    state.objective = "gain"
    view.begin("trial-000", {}, 100)
    view.end("trial-000", "complete", Score(0.76, objective=0.18))
    assert str(state.best) == "0.760, gain +0.180 (trial-000)"


def test_the_screen_shows_a_training_with_p_beside_accuracy(
    view: View, state: StudyState, clock: Clock
) -> None:
    view = view.of(None, "GPU 0")
    view.phase("search")
    train(view, clock, "trial-000", 50)
    view.rung("trial-000", 50, Score(0.625, 0.5, 0.25))
    view.stage("evaluate", 10, 100, "validation")
    clock.now += 5
    text = drawn(state)
    for part in ("study tiny on GPU 0", "elapsed 01:45", "step 50/100", "depth 3", "loss 1.000"):
        assert part in text
    assert "evaluate validation 10/100 (for 00:05)" in text
    assert re.search(r"matched +deranged +P +G\n +50 +0\.625 +0\.500 +\+0\.125 +\+0\.375", text)
    assert text.count("with another item's") == 1
    assert "training left: about 12 min" in text


def test_how_trials_ended_and_why_and_how_fast(
    view: View, state: StudyState, clock: Clock
) -> None:
    for name, how, score, why in (
        ("trial-000", "pruned", Score(0.5, 0.4), EARLY),
        ("trial-001", "failed", None, "(diverged): the loss is not a number"),
    ):
        view.begin(name, {}, 100)
        clock.now += 900
        view.end(name, how, score, why)
    text = drawn(state)
    assert "4 an hour" in text
    assert f"trial-000 pruned 0.500 P +0.100 {EARLY}" in text
    assert "trial-001 failed (diverged): the loss is not a number" in text


def test_a_stage_tells_since_when_and_its_rest(
    view: View, state: StudyState, clock: Clock
) -> None:
    view.stage("prefill", 0, 100, "train")
    clock.now += 120
    assert "prefill train 0/100 (for 02:00)" in drawn(state)
    view.stage("prefill", 40, 100, "train")
    assert "prefill train 40/100 (for 02:00, left about 3 min)" in drawn(state)
    view.phase("test", 0, 8)
    assert "prefill" not in drawn(state)


def test_a_phase_is_told_once_however_often_it_is_entered(
    view: View, clock: Clock, state: StudyState
) -> None:
    heard: list[tuple[str, int, float]] = []
    told = replace(view, told=lambda doing: heard.append((doing.stage, doing.done, doing.since)))
    begun = clock.now
    for done in (0, 0, 1):
        told.phase("test", done, 2)
        clock.now += 10
    told.phase("close")
    told.phase("close")
    assert heard == [("test", 0, begun), ("test", 1, begun), ("close", 0, begun + 30)]


def test_several_workers_are_told_apart_with_their_devices(view: View, state: StudyState) -> None:
    first, second, third = (view.of(n, f"GPU {n - 1}") for n in (1, 2, 3))
    second.begin("trial-001", {"depth": 3}, 100)
    first.begin("trial-000", {"depth": 2}, 100)
    third.stage("prefill", 3, 8, "train, tiny")
    first.step("trial-000", 10, 1.0)
    text = drawn(state)
    assert re.search(r"trial-000.*worker 1 on GPU 0(.|\n)*trial-001.*worker 2 on GPU 1", text)
    assert "worker 3 on GPU 2: prefill train, tiny 3/8" in text
    third.begin("trial-002", {"depth": 1}, 100)
    assert re.search(r"1 GPU 0 trial-000(.|\n)*2 GPU 1 trial-001(.|\n)*3 GPU 2", drawn(state))
    assert "prefill" not in drawn(state)
    first.end("trial-000", "complete", Score(0.5))
    assert "1 of 3 trials ended: 1 complete" in drawn(state)
    second.stage("load", 0, 2)
    second.end("trial-001", "complete", Score(0.5))
    second.stage("load", 0, 2)
    second.rest()
    assert "load" not in drawn(state)


@pytest.mark.parametrize("workers", [1, 16])
@pytest.mark.parametrize(("width", "height"), [(60, 24), (80, 24), (200, 50)])
def test_it_fits(
    view: View, state: StudyState, clock: Clock, workers: int, width: int, height: int
) -> None:
    state.objective = "margin"
    settings = {"projector": "linear", "layer alignment": "spread", "learning rate": 0.0012}
    score = Score(0.625, 0.5, 0.25, 0.1)
    for number in range(4):
        view.begin(f"trial-{number:03d}", settings, 600)
        clock.now += 60
        how = "failed" if number % 2 else "pruned"
        view.end(f"trial-{number:03d}", how, None if number % 2 else score, "a reason " * 40)
    view.phase("search")
    for worker in range(workers):
        told = view.of(worker + 1 if workers > 1 else None, f"GPU {worker}")
        name = f"trial-{10 + worker:03d}"
        told.begin(name, settings, 600)
        for step in range(0, 401, 10):
            clock.now += 1
            told.step(name, step, 1 / (1 + step))
            if step % 50 == 0:
                told.rung(name, step, score)
    lines = drawn(state, width, height).rstrip().splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert "P +0.125" in "\n".join(lines) or workers == 1


def test_without_a_terminal_there_are_lines_of_any_length(
    plain: View, log: io.StringIO, clock: Clock
) -> None:
    plain.stage("prefill", 1, 100, "train [path:a]")
    plain.stage("prefill", 2, 100, "train [path:a]")
    clock.now += 20
    plain.stage("prefill", 100, 100, "train [path:a]")
    train(plain, clock, "trial-000", 20)
    plain.rung("trial-000", 20, Score(0.5))
    plain.end("trial-000", "pruned", Score(0.5), "at step 20 of 100: others had done better")
    plain.begin("trial-001", {}, 100)
    plain.end("trial-001", "complete", Score(0.75))
    assert log.getvalue().splitlines() == [
        "[00:00] prefill train [path:a] 1/100 (for 00:00)",
        "[00:20] prefill train [path:a] 100/100 (for 00:20)",
        "[00:20] trial-000: depth 3",
        "[00:40] trial-000: step 10/100, loss 1.000; training left: about 13 min",
        "[01:00] trial-000: step 20/100, loss 1.000; training left: about 13 min",
        "[01:00] trial-000: 0.500 at step 20",
        "[01:00] trial-000: pruned at step 20 of 100: others had done better, 0.500",
        "[01:00] trial-001: ",
        "[01:00] trial-001: complete, 0.750; best so far 0.750 (trial-001)",
    ]


def test_lines_of_several_workers_are_told_apart(plain: View, log: io.StringIO) -> None:
    first, second = (plain.of(number, "CPU") for number in (1, 2))
    for _ in range(2):  # within the time in which nothing is said twice
        first.stage("load", 0, 2, "tiny")
        second.stage("load", 0, 2, "tiny")
    second.begin("trial-000", {"depth": 2}, 100)
    for step in (50, 100):
        second.rung("trial-000", step, Score(0.5, 0.4))
    assert log.getvalue().splitlines() == [
        "[00:00] worker 1: load tiny 0/2 (for 00:00)",
        "[00:00] worker 2: load tiny 0/2 (for 00:00)",
        "[00:00] trial-000 (worker 2, CPU): depth 2",
        f"[00:00] {LEGEND}",
        "[00:00] trial-000: 0.500 matched, 0.400 deranged, P +0.100 at step 50",
        "[00:00] trial-000: 0.500 matched, 0.400 deranged, P +0.100 at step 100",
    ]


def test_a_long_study_writes_no_longer_log(plain: View, log: io.StringIO, clock: Clock) -> None:
    plain.begin("trial-000", {}, 100_000)
    for step in range(0, 43_200, 10):
        clock.now = step
        plain.step("trial-000", step, 1.0)
    assert 100 < len(log.getvalue().splitlines()) < 400  # twelve hours; one every 15 s were 2,880


def test_a_silence_is_broken(
    plain: View, state: StudyState, log: io.StringIO, clock: Clock
) -> None:
    assert plain.lines is not None
    plain.phase("prepare")
    plain.stage("load", 0, 2, "tiny")
    before = log.getvalue()
    clock.now = 50.0
    plain.lines.again()
    assert log.getvalue() == before
    clock.now = 70.0
    plain.lines.again()
    said = "[01:10] still at prepare (for 01:10); load tiny 0/2 (for 01:10)"
    assert log.getvalue().splitlines()[-1] == said
    plain.lines.again()
    assert log.getvalue().splitlines().count(said) == 1


def test_a_log_has_no_control_codes(state: StudyState, clock: Clock) -> None:
    output = io.StringIO()
    with watch(state, Console(file=output)) as view:
        train(view, clock, "trial-000", 50)
        view.end("trial-000", "failed", why="(unknown): \x1b[31mred")
    assert "\x1b[" not in output.getvalue().replace("\x1b[31mred", "")
    assert "trial-000: failed (unknown)" in output.getvalue()


def test_on_a_terminal_it_is_drawn_and_failures_stay(state: StudyState) -> None:
    output = io.StringIO()
    with watch(state, Console(file=output, force_terminal=True, width=100)) as view:
        assert view.lines is None
        view.begin("trial-000", {}, 100)
        view.end("trial-000", "failed", why="(diverged): nan")
    assert "trial-000: failed (diverged): nan" in output.getvalue()


@given(st.lists(st.floats(), max_size=60))
@example([1.7976931348623157e308, -9.9792015476736e291])
def test_a_sparkline_draws_anything(values: list[float]) -> None:
    drawn = sparkline(values)
    finite = any(abs(value) != float("inf") and value == value for value in values)
    assert len(drawn) == (len(values) if finite else 0)


def test_a_sparkline_rises() -> None:
    assert sparkline([0.0, 1.0, 2.0, 7.0, float("nan")]) == "▁▂▃██"


@pytest.mark.parametrize(("seconds", "text"), [(0, "00:00"), (61, "01:01"), (3723.4, "1:02:03")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_settings_line() -> None:
    assert settings_line({"depth": 3, "rate": 0.00123456}) == "depth 3, rate 0.00123"
    assert settings_line({"rank": None}) == "rank null"
