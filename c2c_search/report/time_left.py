"""How long a study's trainings will still take, from those that ended and those that go on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from c2c_search.report.state import Current
from c2c_search.report.state import StudyState


KNOWN_STEPS = 5  # steps and seconds of training from which the time left is told
KNOWN_SECONDS = 10.0
_FEW = 3  # ended trials, below which their spread says nothing


class SecondsLeft(NamedTuple):
    """How long something still takes: the least and the most."""

    low: float
    high: float

    def times(self, least: int, most: int) -> SecondsLeft:
        """So often, at least and at most."""
        return SecondsLeft(least * self.low, most * self.high)


def training_left(state: StudyState) -> SecondsLeft | None:
    """Seconds of training still to do: trials, and the controls of finalists.

    A training takes as long as those that ended here; before any has, as its steps so far say. It
    is pruned at the first occasion, or never: the range narrows as trials end. What is to come is
    spread over as many trainings side by side as there were until now. Never negative, and never
    more than the longest training so far, or a whole one at its present pace, for each to come.

    Returns:
        None until enough was measured: the first steps of a process are slow, and few.
    """
    spans = [_here(state, current) for current in state.currents.values()]
    least, most = _to_come(state)
    trial, control = _trial(state, most), _control(state)
    controls = max(0, state.twins - sum(not one.of_budget for one in state.currents.values()))
    if most:
        spans.append(None if trial is None else _of_trials(state, trial, least, most))
    if controls:
        spans.append(None if control is None else control.times(controls, controls))
    known = [span for span in spans if span is not None]
    if len(known) < len(spans):
        return None
    # Those that go on now end when each has ended, however many others there are.
    longest = SecondsLeft(
        max((span.low for span in known[: len(state.currents)]), default=0.0),
        max((span.high for span in known[: len(state.currents)]), default=0.0),
    )
    beside = state.side_by_side
    return SecondsLeft(
        max(longest.low, sum(span.low for span in known) / beside),
        max(longest.high, sum(span.high for span in known) / beside),
    )


def _pace(state: StudyState) -> float | None:
    """Seconds that a step takes; None until that is known."""
    if state.stepped < KNOWN_STEPS or state.stepping_seconds < KNOWN_SECONDS:
        return None
    return state.stepping_seconds / state.stepped


def _took(state: StudyState, *, whole: bool = False) -> list[float]:
    """Seconds of the trainings that ended here, where those say what one takes."""
    return [
        one.seconds
        for one in state.endings
        if not one.resumed and (one.how == "complete" if whole else one.of_budget)
    ]


def _here(state: StudyState, current: Current) -> SecondsLeft | None:
    """What a training that goes on still takes."""
    pace = _pace(state)
    if current.first is not None and pace is not None:
        high = pace * max(0, current.steps - current.step)
        if not current.of_budget or state.first_rung is None:
            return SecondsLeft(high, high)
        return SecondsLeft(min(high, pace * max(0, state.first_rung - current.step)), high)
    took = _took(state)
    if not took:
        return None
    rest = [max(0.0, seconds - current.seconds) for seconds in took]
    return SecondsLeft(min(rest), max(rest))


def _trial(state: StudyState, most: int) -> SecondsLeft | None:
    """What a trial to come takes."""
    took, pace = _took(state), _pace(state)
    known = list(took)
    if pace is not None and len(took) < _FEW:
        known += [pace * (state.first_rung or state.steps), pace * state.steps]
    if not known:
        return None
    if len(took) < _FEW:
        return SecondsLeft(min(known), max(known))
    return _mean(took, most)


def _mean(took: Sequence[float], count: int) -> SecondsLeft:
    """The mean of so many to come, as well as those before tell it; none is beyond all of them."""
    mean, spread = statistics.fmean(took), statistics.stdev(took)
    off = spread * math.sqrt(1 / max(1, count) + 1 / len(took))
    return SecondsLeft(max(min(took), mean - off), min(max(took), mean + off))


def _control(state: StudyState) -> SecondsLeft | None:
    """What a control of a finalist takes: it is trained to its end."""
    took, pace = _took(state, whole=True), _pace(state)
    if took:
        return SecondsLeft(min(took), max(took))
    if pace is not None:
        return SecondsLeft(pace * state.steps, pace * state.steps)
    return SecondsLeft(max(begun), max(begun)) if (begun := _took(state)) else None


def _to_come(state: StudyState) -> tuple[int, int]:
    """How many trials will begin, at least and at most."""
    if not state.searching:
        return 0, 0
    now = [current for current in state.currents.values() if current.of_budget]
    most = least = max(0, state.trials - state.finished - len(now))
    if state.patience is not None:
        least = min(least, max(0, state.patience - state.idle - len(now)))
    for name in ("tokens", "flops"):
        if name in state.budgets and (allowed := state.budgets[name].trials_left) is not None:
            least, most = min(least, max(0, allowed[0] - len(now))), min(most, allowed[1])
    if state.steps_of_search is not None:
        left = max(0, state.steps_of_search - state.stepped)
        most = min(most, math.ceil(left / (state.first_rung or state.steps)))
        least = min(least, left // state.steps)
    return least, most


def _of_trials(state: StudyState, trial: SecondsLeft, least: int, most: int) -> SecondsLeft:
    """What all trials to come take, side by side or not, and within the study's limit of time."""
    span = trial.times(least, most)
    if state.seconds_of_search is None:
        return span
    # Those that run when the limit is reached run to their end.
    left = max(0.0, state.seconds_of_search - state.searched_seconds) * state.side_by_side
    return SecondsLeft(min(span.low, left), min(span.high, left + trial.high * state.side_by_side))
