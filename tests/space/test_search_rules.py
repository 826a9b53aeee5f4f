from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from c2c_search.config.pipeline import Pipeline
from c2c_search.config.training import TrainingConfig
from c2c_search.errors import ConfigError
from c2c_search.space.pruners import PRUNERS
from c2c_search.space.samplers import SAMPLERS
from c2c_search.space.schema import Space
from c2c_search.space.search_rules import BUILT_IN
from c2c_search.space.search_rules import OPTIONS


Make = Callable[..., Space]


def test_every_built_in_name_has_its_options_checked() -> None:
    assert {name for name in SAMPLERS.names() if SAMPLERS.module(name).startswith("c2c_search.")}
    for kind, register in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
        assert set(BUILT_IN[kind]) <= set(register.names())
        assert all(name in BUILT_IN[kind] for each in OPTIONS[kind].values() for name in each)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (
            {"percentile": 50.0},
            "search.percentile: This is an option of another pruner than halving",
        ),
        (
            {"pruner": "median", "wilcoxon_p": 0.1},
            "Drop it, or set pruner: wilcoxon",
        ),
        ({"grid_points": 4}, "Drop it, or set sampler: grid"),
        ({"sampler": "random", "constant_liar": True}, "another sampler than random"),
        ({"sampler": "grid"}, "Set search.grid_points, or give choices"),
        ({"sampler": "gp", "trials": 501}, "gp takes no more than 500 trials"),
        (
            {"objective": "gain", "objectives": ["gain", "parameters"]},
            "one objective, or several objectives, not both",
        ),
        ({"objectives": ["parameters", "margin"]}, "Begin with one of accuracy, gain"),
        ({"objectives": ["margin", "margin"]}, "Each objective is named once"),
        (
            {"objectives": ["margin", "gain"], "sampler": "gp"},
            "it models one number of each trial",
        ),
        ({"objectives": ["margin", "gain"], "pruner": "median"}, "Set pruner: halving or none"),
        ({"bounds": {"parameters": 9}}, "Set limits.max_parameters"),
        ({"choose": {"best": "margin"}}, "and there is only one"),
        (
            {"objectives": ["margin", "gain"], "choose": {"best": "latency_ms"}},
            "Take one of margin, gain, or add it",
        ),
        (
            {"objectives": ["margin", "gain"], "choose": {"best": "gain", "within": 0.1}},
            "Add then:, e.g. then: parameters",
        ),
        (
            {"bounds": {"accuracy": 85}},
            "accuracy is between 0 and 1. Got 85.0. Write 85 % as 0.85",
        ),
        ({"bounds": {"margin": -2}}, "margin is between -1 and 1"),
        ({"bounds": {"latency_ms": 0}}, "No fuser's latency_ms is as low as that"),
        (
            {
                "objectives": ["margin", "gain"],
                "choose": {"best": "margin", "within": 2, "then": "gain"},
            },
            "Write 2 points as 0.02",
        ),
        ({"pruner": "patient", "patient_rungs": 1}, "judges a trial from its rung 3 on"),
    ],
)
def test_what_does_not_belong_is_refused_with_the_way_out(
    make_space: Make, search: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_space(search={"trials": 20, **search})


def test_a_grid_smaller_than_the_budget_is_refused(make_space: Make) -> None:
    dimensions = {"pair": {"choices": ["there", "back"]}, "fuser.depth": {"int": [1, 3]}}
    with pytest.raises(ConfigError, match="The grid has 6 points"):
        make_space(dimensions=dimensions, search={"trials": 7, "sampler": "grid"})


@pytest.mark.parametrize(
    "search", [{"pruner": "median", "reduction_factor": 5}, {"sampler": "qmc"}]
)
def test_a_reduction_factor_may_stand_beside_any_pruner(
    make_space: Make, search: dict[str, Any]
) -> None:
    assert make_space(search={"trials": 20, **search})


def test_patience_with_rungs_enough(make_space: Make) -> None:
    training = TrainingConfig(steps=90, rungs=(0.25, 0.5, 0.75, 1.0))
    pipeline = Pipeline(name="test", training=training)
    search = {"trials": 20, "pruner": "patient", "patient_rungs": 1}
    assert make_space(pipeline=pipeline, search=search)
