from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from c2c_search.space.dimensions import Dimension
from c2c_search.space.flat import at
from c2c_search.space.flat import flattened
from c2c_search.space.flat import population
from c2c_search.space.flat import share
from c2c_search.space.sampling import make_sampler
from c2c_search.space.sampling import suggest
from c2c_search.space.schema import Space
from c2c_search.space.shown import made
from c2c_search.space.shown import suggested


Make = Callable[..., Space]
GATE, NOISE = "fuser.gate.granularity", "fuser.gate.noise"
RATE = "training.learning_rate"


def _run(space: Space, trials: int, worth: Callable[[dict[str, Any]], float]) -> optuna.Study:
    study = optuna.create_study(sampler=make_sampler(space), direction="maximize")
    for _ in range(trials):
        trial = study.ask()
        suggest(space, trial)
        study.tell(trial, worth(trial.params))
    return study


@given(st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_a_value_stands_in_its_own_part_of_a_range(low: int, width: int, log: bool) -> None:
    dimension = Dimension.model_validate({"int": [low, low + width], "log": log})
    for value in range(low, low + width + 1):
        assert at(dimension, share(dimension, value)) == value


@pytest.mark.parametrize("log", [False, True])
def test_shares_of_a_range_of_floats(log: bool) -> None:
    dimension = Dimension.model_validate({"float": [1.0, 100.0], "log": log})
    assert at(dimension, 0.5) == pytest.approx(10.0 if log else 50.5)
    assert at(dimension, share(dimension, 7.0)) == pytest.approx(7.0)


def test_what_does_not_apply_stands_in_its_middle_and_ranks_are_scored(make_space: Make) -> None:
    space = make_space(search={"trials": 20})
    known: dict[str, Any] = {}
    trials = [
        made(0, TrialState.COMPLETE, 0.1, {GATE: "none"}, known),
        made(1, TrialState.PRUNED, None, {GATE: "head"}, known, intermediate_values={10: 0.9}),
        made(2, TrialState.COMPLETE, 0.3, {GATE: "layer", NOISE: "gumbel"}, known),
        made(3, TrialState.RUNNING, None, {GATE: "layer"}, known),
        made(4, TrialState.PRUNED, None, {GATE: "head"}, known, intermediate_values={30: 0.2}),
    ]
    shown = flattened(space, trials, "generation")
    assert [each.state.name for each in shown] == ["COMPLETE"] * 3 + ["RUNNING", "COMPLETE"]
    assert all(each.params.keys() == space.dimensions.keys() for each in shown)
    assert shown[0].params[NOISE] == "none"  # its first choice
    assert shown[2].params[NOISE] == "gumbel"
    assert shown[0].params["fuser.width"] == at(space.dimensions["fuser.width"], 0.5)
    # A later rung counts more than a better answer at an earlier one.
    order = sorted((0, 1, 2, 4), key=lambda number: shown[number].value)
    assert order == [1, 4, 0, 2]
    assert sum(shown[number].value for number in order) == pytest.approx(0.0)
    assert [shown[number].system_attrs["generation"] for number in (0, 1, 2, 4)] == [0, 0, 0, 0]


@pytest.mark.parametrize(("trials", "size"), [(10, 4), (100, 20), (4000, 50)])
def test_a_generation_is_a_fifth_of_the_budget(make_space: Make, trials: int, size: int) -> None:
    assert population(make_space(search={"trials": trials})) == size
    assert (
        population(make_space(search={"trials": trials, "population": 7, "sampler": "nsga2"})) == 7
    )


@pytest.mark.parametrize("sampler", ["nsga2", "nsga3", "tpe_hierarchical"])
def test_it_learns(make_space: Make, sampler: str) -> None:
    dimensions = {
        "pair": {"choices": ["there", "back"]},
        GATE: {"choices": ["none", "layer"]},
        "fuser.width": {"int": [1, 1000]},
        RATE: {"float": [1e-4, 1e-2], "when": {GATE: "layer"}},
    }
    space = make_space(dimensions=dimensions, search={"trials": 32, "sampler": sampler})

    def worth(params: dict[str, Any]) -> float:
        return -abs(params["fuser.width"] - 900) / 1000 - 2 * (params[GATE] == "none")

    study = _run(space, 32, worth)
    values = [trial.value for trial in study.trials]
    assert np.mean(values[24:]) > np.mean(values[:8]) + 0.3


class _Cma:
    """Stands in for cmaes.CMA, with the same calls: a Gaussian round the best so far."""

    told: list[list[tuple[list[float], float]]] = []  # noqa: RUF012

    def __init__(self, mean: Any, sigma: float, bounds: Any, **others: Any) -> None:
        assert np.shape(bounds) == (len(mean), 2)
        assert others.keys() == {"seed", "n_max_resampling", "population_size"}
        self.mean, self.sigma = mean, sigma
        self.population_size = others["population_size"] or 6
        self._rng = np.random.RandomState(others["seed"])
        _Cma.told = []

    def tell(self, solutions: list[tuple[Any, float]]) -> None:
        assert len(solutions) == self.population_size
        _Cma.told.append([(list(place), loss) for place, loss in solutions])
        self.mean = min(solutions, key=lambda one: one[1])[0]

    def ask(self) -> Any:
        return np.clip(self._rng.normal(self.mean, self.sigma), 0, 1)


def test_cmaes_is_told_whole_generations_in_the_order_of_suggestions(
    make_space: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cmaes", SimpleNamespace(CMA=_Cma, __spec__=object()))
    space = make_space(search={"trials": 11, "sampler": "cmaes", "population": 4})
    study = _run(space, 11, lambda params: -params["fuser.width"])
    assert [len(each) for each in _Cma.told] == [4, 4]  # before the last suggestion, of 10
    width = space.dimensions["fuser.width"]
    ranges = sorted(name for name, each in space.dimensions.items() if each.choices is None)
    told = [one for each in _Cma.told for one in each]
    for trial, (place, _) in zip(study.trials, told, strict=False):
        assert place[ranges.index("fuser.width")] == share(width, trial.params["fuser.width"])
    first = _Cma.told[0]
    best = min(range(4), key=lambda number: study.trials[number].params["fuser.width"])
    assert min(range(4), key=lambda number: first[number][1]) == best


def test_without_its_package_cmaes_says_what_to_install(
    make_space: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("c2c_search.space.search_rules.find_spec", lambda name: None)
    with pytest.raises(Exception, match=r"pip install 'c2c-search\[search\]'"):
        make_space(search={"trials": 11, "sampler": "cmaes"})


def test_others_are_seen_in_the_order_of_their_suggestion() -> None:
    study = optuna.create_study()
    for number in range(3):
        study.add_trial(optuna.trial.create_trial(value=float(number)))
    study.add_trial(optuna.trial.create_trial(value=9.0, user_attrs={"retry_of": 1}))
    study.ask()
    assert [each.value for each in suggested(study, but=4)] == [0.0, 1.0, 9.0, 2.0]
