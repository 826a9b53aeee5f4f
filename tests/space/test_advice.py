from __future__ import annotations

from typing import Any

import optuna
import pytest
import yaml

from c2c_search.space.advice import borders
from c2c_search.space.advice import difference
from c2c_search.space.advice import unimportant
from c2c_search.space.dimensions import Dimension
from c2c_search.space.importance import Weighed
from c2c_search.space.shown import distributions


GATE, NOISE = "fuser.gate.granularity", "fuser.gate.noise"
MATTERS, IDLE = Weighed(0.5, 0.3, 0.6), Weighed(0.01, 0.0, 0.03)


def _dimensions(**kinds: Any) -> dict[str, Dimension]:
    return {name: Dimension.model_validate(kind) for name, kind in kinds.items()}


def _trials(dimensions: dict[str, Dimension], *params: dict[str, Any]) -> list[Any]:
    """The first is the best."""
    known = distributions(dimensions)
    return [
        optuna.trial.create_trial(
            params=each, distributions={name: known[name] for name in each}, value=-float(number)
        )
        for number, each in enumerate(params)
    ]


@pytest.mark.parametrize(
    ("name", "kind", "value", "wider"),
    [
        ("fuser.width", {"int": [16, 256], "log": True}, 250, [16, 1024]),
        ("fuser.width", {"int": [16, 256], "log": True}, 17, [4, 256]),
        ("fuser.width", {"int": [16, 64], "step": 16}, 64, [16, 96]),
        ("fuser.depth", {"int": [1, 4]}, 1, None),  # the field begins there
        ("fuser.dropout", {"float": [0.0, 0.4]}, 0.39, [0.0, 0.6]),
        ("fuser.dropout", {"float": [0.0, 0.4]}, 0.2, "inside"),
        ("training.learning_rate", {"float": [1e-4, 1e-2], "log": True}, 9e-3, [1e-4, 0.1]),
    ],
)
def test_a_range_at_whose_end_the_best_lie(
    name: str, kind: dict[str, Any], value: Any, wider: Any
) -> None:
    dimensions = _dimensions(**{name: kind})
    trials = _trials(dimensions, *[{name: value}] * 5)
    found = borders(dimensions, trials, [{name: MATTERS}])
    if wider == "inside":
        assert found == []
        return
    assert [each.name for each in found] == [name]
    if wider is None:
        assert found[0].wider is None
        return
    assert found[0].wider is not None
    assert list(found[0].wider.extremes) == pytest.approx(wider)


def test_where_the_best_lie_of_what_does_not_matter_says_nothing() -> None:
    dimensions = _dimensions(**{"fuser.dropout": {"float": [0.0, 0.4]}})
    trials = _trials(dimensions, *[{"fuser.dropout": 0.0}] * 5)
    assert borders(dimensions, trials, [{"fuser.dropout": IDLE}, {}]) == []


def _frozen() -> tuple[dict[str, Dimension], list[Any], list[dict[str, Weighed]]]:
    dimensions = _dimensions(
        **{
            "fuser.dropout": {"float": [0.0, 0.4]},
            GATE: {"choices": ["none", "layer"]},
            NOISE: {"choices": ["none", "gumbel"], "when": {GATE: "layer"}},
            "fuser.depth": {"int": [1, 4]},
        }
    )
    best = {"fuser.dropout": 0.123456, GATE: "layer", NOISE: "gumbel", "fuser.depth": 2}
    trials = _trials(dimensions, *[best] * 50)
    return dimensions, trials, [dict.fromkeys(dimensions, IDLE), {"fuser.depth": MATTERS}]


def test_what_is_surely_unimportant_is_frozen_at_the_best() -> None:
    dimensions, trials, importances = _frozen()
    frozen = unimportant(dimensions, trials, importances)
    # Not the gate, on which another is conditional, nor what matters by one of the two.
    assert frozen == {"fuser.dropout": 0.1235, NOISE: "gumbel"}
    assert unimportant(dimensions, trials[:49], importances) == {}  # indicative


def test_the_diff_is_yaml_on_either_side() -> None:
    dimensions, trials, importances = _frozen()
    text = difference(dimensions, [], unimportant(dimensions, trials, importances))
    before, after = (
        yaml.safe_load("\n".join(line[1:] for line in text.splitlines() if line[0] in (sign, " ")))
        for sign in "-+"
    )
    assert after["fixed"] == {"fuser.dropout": 0.1235}
    assert before["dimensions"]["fuser.dropout"] == {"float": [0.0, 0.4]}
    assert after["dimensions"] == {NOISE: {"choices": ["gumbel"], "when": {GATE: ["layer"]}}}
    assert difference(dimensions, [], {}) == ""
