from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
import pytest

from c2c_search.space.dimensions import Dimension
from c2c_search.space.grid_size import grid_size
from c2c_search.space.grid_size import grid_values
from c2c_search.space.sampling import make_sampler
from c2c_search.space.sampling import suggest
from c2c_search.space.schema import Space


Make = Callable[..., Space]
GATE = "fuser.gate.granularity"


def _params(space: Space) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=make_sampler(space), direction="maximize")
    for _ in range(space.search.trials):
        trial = study.ask()
        suggest(space, trial)
        study.tell(trial, 0.0)
    return [trial.params for trial in study.trials]


def test_a_grid_tries_every_point_once(make_space: Make) -> None:
    dimensions = {
        "pair": {"choices": ["there", "back"]},
        "fuser.depth": {"int": [1, 3]},
        GATE: {"choices": ["none", "layer"]},
        "fuser.gate.noise": {"choices": ["none", "gumbel"], "when": {GATE: "layer"}},
    }
    space = make_space(dimensions=dimensions, search={"trials": 18, "sampler": "grid"})
    assert grid_size(space.dimensions, None) == 18
    tried = [tuple(sorted(params.items())) for params in _params(space)]
    assert len(set(tried)) == 18


@pytest.mark.parametrize(
    ("dimension", "values"),
    [
        ({"float": [0.0, 1.0]}, [0.0, 0.5, 1.0]),
        ({"float": [1e-4, 1e-2], "log": True}, [1e-4, 1e-3, 1e-2]),
        ({"int": [1, 9]}, [1, 5, 9]),
        ({"int": [2, 10], "step": 4}, [2, 6, 10]),
        ({"int": [1, 2]}, [1, 2]),
        ({"choices": ["a", "b", "c", "d"]}, ["a", "b", "c", "d"]),
    ],
)
def test_how_a_grid_divides_a_dimension(dimension: dict[str, Any], values: list[Any]) -> None:
    divided = grid_values({"one": Dimension.model_validate(dimension)}, 3)["one"]
    assert list(divided) == pytest.approx(values) if "float" in dimension else values


def test_a_grid_of_floats_has_no_size_before_it_is_divided() -> None:
    rate = {"rate": Dimension.model_validate({"float": [0.0, 1.0]})}
    assert grid_size(rate, None) is None
    assert grid_size(rate, 7) == 7


def test_quasi_random_points_cover_every_part_of_a_range(make_space: Make) -> None:
    dimensions = {
        "pair": {"choices": ["there", "back"]},
        "training.learning_rate": {"float": [1e-4, 1e-2], "log": True},
        "fuser.depth": {"int": [1, 8]},
    }
    space = make_space(dimensions=dimensions, search={"trials": 16, "sampler": "qmc"})
    found = _params(space)
    # Of 16 points of a Sobol' sequence, 2 have each eighth, and 8 each half.
    assert sorted(each["fuser.depth"] for each in found) == sorted([*range(1, 9)] * 2)
    assert sum(each["pair"] == "there" for each in found) == 8
    assert sum(each["training.learning_rate"] < 1e-3 for each in found) == 8
