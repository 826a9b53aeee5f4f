"""Finalists: the best on validation."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_search.champion.select import Candidate
from c2c_search.champion.select import drop_of
from c2c_search.champion.select import estimates
from c2c_search.champion.select import finalists
from c2c_search.errors import ConfigError
from c2c_search.errors import DataError


_candidate = partial(Candidate, split="validation")


def _numbers(trials: list[Candidate], k: int) -> list[int]:
    return [trial.number for trial in finalists(trials, k)]


def test_the_best_come_first() -> None:
    trials = [_candidate(i, score, 10) for i, score in enumerate([0.5, 0.9, 0.7, 0.6])]
    assert _numbers(trials, 3) == [1, 2, 3]


def test_a_tie_goes_to_fewer_parameters_then_to_the_earlier_trial() -> None:
    trials = [_candidate(0, 0.9, 30), _candidate(2, 0.9, 10), _candidate(1, 0.9, 10)]
    assert _numbers(trials, 3) == [1, 2, 0]


def test_diverged_trials_are_left_out() -> None:
    trials = [_candidate(0, float("nan"), 1), _candidate(1, float("-inf"), 1)]
    assert finalists([*trials, _candidate(2, 0.1, 1)], 3) == [_candidate(2, 0.1, 1)]


def test_a_study_without_finished_trials_has_no_finalists() -> None:
    assert finalists([], 3) == []


def test_no_places_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one finalist"):
        finalists([], 0)


def test_a_trial_that_was_measured_on_test_is_refused() -> None:
    peeked = Candidate(4, 0.9, 1, split="test")
    with pytest.raises(DataError, match="by their validation score alone") as error:
        finalists([_candidate(3, 0.5, 1), peeked], 1)
    assert "trial 4 on test" in str(error.value)


@given(st.lists(st.floats(0, 1), max_size=12), st.integers(1, 5))
def test_finalists_are_ranked_distinct_and_hold_the_best(scores: list[float], k: int) -> None:
    trials = [_candidate(i, score, 1) for i, score in enumerate(scores)]
    chosen = finalists(trials, k)
    assert len(chosen) == len(set(chosen)) == min(k, len(trials))
    assert chosen == sorted(chosen, key=lambda t: (-t.objective, t.number))
    if trials:
        assert chosen[0].objective == max(t.objective for t in trials)


def _blocks(value: float, spread: float) -> tuple[float, ...]:
    """20 blocks of this mean, half of them above it and half below."""
    return tuple(value + spread * (-1) ** (block // 2) for block in range(20))


def test_an_uncertain_score_does_not_come_before_one_that_is_not() -> None:
    sure = [
        Candidate(number, value, 1, "validation", blocks=_blocks(value, 0.0))
        for number, value in enumerate((0.2, 0.3, 0.4, 0.5, 0.60))
    ]
    shaky = Candidate(9, 0.61, 1, "validation", blocks=_blocks(0.61, 0.6)[::-1])
    assert finalists([*sure, shaky], 1) == [sure[-1]]
    assert finalists([*sure[-3:-1], shaky], 1) == [shaky]  # too few to tell


def test_where_nothing_but_noise_tells_trials_apart_scores_decide() -> None:
    trials = [
        Candidate(number, 0.5 + number / 1000, 1, "validation", blocks=_varied(number))
        for number in range(6)
    ]
    known = estimates(trials)
    assert len({known[number] for number in range(6)}) == 1
    assert _numbers(trials, 3) == [5, 4, 3]


def test_the_best_rung_is_lucky_too() -> None:
    def trial(number: int, *shifts: int) -> Candidate:
        rungs = [(0.5, _varied(number + shift)) for shift in shifts]
        return Candidate(number, 0.5, 1, "validation", blocks=rungs[-1][1], rungs=(*rungs,))

    one, three = trial(0, 0), trial(0, 1, 2, 0)
    last, best = drop_of(one, [one], 0.1), drop_of(three, [three], 0.1)
    assert last is not None
    assert best is not None
    assert abs(last.value) < 0.02 < best.value
    assert drop_of(Candidate(1, 0.5, 1, "validation"), [one], 0.1) is None  # no blocks
    few = Candidate(1, 0.5, 1, "validation", blocks=(0.4, 0.5, 0.6))
    assert drop_of(few, [few], 0.1) is None


def _varied(number: int) -> tuple[float, ...]:
    """Blocks that differ by far more than the scores do."""
    return tuple(0.5 + 0.4 * ((block * (number + 3)) % 5 - 2) for block in range(20))


def test_each_pair_is_seen_by_itself_and_what_is_of_before_as_it_was_measured() -> None:
    here = [
        Candidate(number, 0.5 + number / 1000, 1, "validation", "here", _varied(number))
        for number in range(4)
    ]
    there = [Candidate(number, 0.9, 1, "validation", "there") for number in range(4, 9)]
    known = estimates([*here, *there])
    assert known.keys() == {0, 1, 2, 3}
    assert _numbers([*here, *there], 2) == [4, 5]
