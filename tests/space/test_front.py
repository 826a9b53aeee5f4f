"""Pareto fronts, their hypervolume, and trials that are told to samplers with several numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from c2c_search.space.front import pareto_front
from c2c_search.space.objectives import Choose
from c2c_search.space.objectives import violations
from c2c_search.space.pareto import front
from c2c_search.space.pareto import hypervolume
from c2c_search.space.pareto import ranks
from c2c_search.space.pruners import rung_measures
from c2c_search.space.samplers import SAMPLERS
from c2c_search.space.sampling import make_pruner
from c2c_search.space.sampling import make_sampler
from c2c_search.space.sampling import suggest
from c2c_search.space.schema import Space
from c2c_search.space.shown import MEASURES
from c2c_search.space.shown import OnShown


TRIALS = {
    "a": {"margin": 0.5, "parameters": 4000.0},
    "b": {"margin": 0.3, "parameters": 1000.0},
    "c": {"margin": 0.2, "parameters": 2000.0},  # b is smaller and better
    "d": {"margin": 0.6, "parameters": 9000.0},
}


def test_ranks_peel_one_front_after_another() -> None:
    assert ranks([(1, 1), (2, 0), (0, 0), (2, 0), (0, 0.5)]) == [0, 0, 2, 0, 1]
    assert ranks([]) == []


@pytest.mark.parametrize(
    ("points", "volume"),
    [
        ([(1.0, 1.0)], 1.0),
        ([(1.0, 0.5), (0.5, 1.0)], 0.75),
        ([(1.0, 0.5), (0.5, 1.0), (0.4, 0.4), (-1.0, 3.0)], 0.75),
        ([(1.0, 1.0, 0.5), (0.5, 0.5, 1.0)], 0.5 + 0.125),
        ([], 0.0),
    ],
)
def test_the_hypervolume_is_the_volume_that_is_dominated(points: Any, volume: float) -> None:
    assert hypervolume(points) == pytest.approx(volume)


def test_the_front_is_what_no_other_dominates() -> None:
    points = [(-1, 0.1), (-2, 0.3), (-2, 0.2), (-3, 0.3), (-4, 0.4), (-5, 0.0)]
    assert front(points) == [4, 1, 0]
    assert front([]) == []


def test_the_front_is_told_with_its_hypervolume_and_what_is_beyond_bounds() -> None:
    found = pareto_front(("margin", "parameters"), {}, TRIALS)
    assert found.trials == ("d", "a", "b")
    # A tenth of the range beyond the worst: 0.16 and 9,800.
    assert found.reference == pytest.approx({"margin": 0.16, "parameters": 9800.0})
    sides = 0.44, 8800.0
    slices = [(0.44, 800), (0.34, 5000), (0.14, 3000)]
    whole = sum(width * height for width, height in slices)
    assert found.hypervolume == pytest.approx(whole / (sides[0] * sides[1]))
    bound = pareto_front(("margin", "parameters"), {"margin": 0.4}, TRIALS)
    assert (bound.trials, bound.beyond) == (("d", "a"), ("b", "c"))
    assert bound.reference["margin"] == 0.4
    assert "Beyond bounds: b, c." in str(bound)
    assert "No trial is on" in str(pareto_front(("margin", "parameters"), {"margin": 1}, TRIALS))


def test_a_bound_is_missed_by_its_share_and_by_one_where_nothing_is_known() -> None:
    bounds: Any = {"latency_ms": 50.0, "margin": 0.1, "gain": 0.0}
    found = violations(bounds, {"latency_ms": 60.0, "margin": 0.15, "gain": -0.2})
    assert found == pytest.approx({"latency_ms": 0.2, "margin": -0.5, "gain": 0.2})
    assert violations({"latency_ms": 50.0}, {}) == {"latency_ms": 1.0}


def test_the_rule_says_itself_in_words() -> None:
    assert str(Choose(best="margin", within=0.02, then="parameters")) == (
        "smallest parameters within 0.02 of the best margin"
    )
    percent = Choose(best="parameters", within_percent=10, then="margin")
    assert str(percent) == "best margin within 10 % of the smallest parameters"
    assert percent.tolerance(-2000.0) == 200


SAMPLERS_OF_SEVERAL = (
    "auto",
    "tpe",
    "tpe_multivariate",
    "tpe_hierarchical",
    "nsga2",
    "nsga3",
    "random",
    "grid",
    "qmc",
)


@pytest.mark.parametrize("sampler", SAMPLERS_OF_SEVERAL)
def test_a_sampler_of_several_objectives_suggests_the_same_again(
    make_space: Callable[..., Space], sampler: str
) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options = {"grid": {"grid_points": 3}, "tpe": {"startup_trials": 4}}.get(sampler, {})
    space = make_space(
        search={
            "trials": 14,
            "sampler": sampler,
            "objectives": ["margin", "parameters"],
            "bounds": {"latency_ms": 50.0},
            **options,
        }
    )
    suggested = []
    for _ in range(2):
        study = optuna.create_study(
            sampler=make_sampler(space), directions=["maximize", "minimize"]
        )
        for number in range(14):
            trial = study.ask()
            fuser = suggest(space, trial).fuser
            if number % 5 == 4:
                trial.storage.set_trial_intermediate_value(trial._trial_id, 10, 0.1)
                study.tell(trial, state=TrialState.PRUNED)
                continue
            trial.set_user_attr(MEASURES, {"latency_ms": 10.0 * fuser.depth})
            study.tell(trial, [-abs(fuser.width - 64) / 100, 1000 * fuser.depth])
        suggested.append([trial.params for trial in study.trials])
    assert suggested[0] == suggested[1]
    assert len({str(params) for params in suggested[0]}) == 14


def test_a_sampler_is_shown_bounds_as_constraints(make_space: Callable[..., Space]) -> None:
    space = make_space(search={"trials": 9, "sampler": "tpe", "bounds": {"latency_ms": 50.0}})
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    trial.set_user_attr(MEASURES, {"latency_ms": 75.0})
    trial.set_constraint("latency_ms", -1.0)  # of bounds that were wider
    study.tell(trial, 0.5)
    sampler = SAMPLERS["tpe"].make(space, 0)
    assert isinstance(sampler, OnShown)
    asked = study.get_trials()[0]
    asked.number = 1
    (shown,) = sampler._study(study, asked).trials
    assert shown.constraints == {"latency_ms": 0.5}


def test_a_trial_stops_where_enough_stand_on_better_fronts(
    make_space: Callable[..., Space],
) -> None:
    search = {"trials": 9, "objectives": ["margin", "parameters"], "reduction_factor": 2}
    study = optuna.create_study(directions=["maximize", "minimize"])
    pruner = make_pruner(make_space(search=search))
    stopped = []
    for margin, parameters in [(0.5, 4.0), (0.4, 5.0), (0.4, 3.0), (0.3, 9.0), (0.1, 1.0)]:
        trial = study.ask()
        known = {"margin": margin, "parameters": parameters, "gain": 0.0}
        trial.set_user_attr(rung_measures(10), known)
        trial.storage.set_trial_intermediate_value(trial._trial_id, 10, margin)
        stopped.append(pruner.prune(study, trial.storage.get_trial(trial._trial_id)))
    assert stopped == [False, True, False, True, False]
