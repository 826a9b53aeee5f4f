from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from c2c_search.config.pipeline import Pipeline
from c2c_search.config.training import GuardConfig
from c2c_search.config.training import TrainingConfig
from c2c_search.data.schema import DataConfig
from c2c_search.errors import ConfigError
from c2c_search.space.schema import Space


Make = Callable[..., Space]
GATE = "fuser.gate.granularity"
NOISE = "fuser.gate.noise"


def _refused(make_space: Make, **sections: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        make_space(**sections)
    return str(caught.value)


def _choices(*values: Any, **more: Any) -> dict[str, Any]:
    return {"choices": list(values), **more}


def test_a_valid_space_passes(make_space: Make) -> None:
    assert make_space().study == "test"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fuser.dept", "Did you mean `fuser.depth`?"),
        ("fuser", "must be `pair` or a field"),
        ("fuser.gate", "must be `pair` or a field"),
        ("fuser.sharer", "every finalist's no-sharer twin is trained anyway"),
        ("training.steps", "equal rungs"),
        ("training.rungs", "equal rungs"),
        ("data.groups.test", "judged on the same questions"),
        ("evaluation.method", "judged in the same way"),
        ("seed", "set search.seed"),
        ("pair.sharer", "name the pairs under `pairs`"),
    ],
)
@pytest.mark.parametrize("section", ["dimensions", "fixed"])
def test_names_that_are_not_searched(
    make_space: Make, section: str, name: str, expected: str
) -> None:
    dimensions = {"pair": _choices("there", "back")}
    if section == "fixed":
        message = _refused(make_space, dimensions=dimensions, fixed={name: 1})
    else:
        message = _refused(make_space, dimensions={**dimensions, name: _choices(1)})
    assert expected in message
    assert f"{section}.{name}" in message


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("fuser.depth", _choices(1, 9), "choices[1]: Must be less than or equal to 8. Got 9."),
        ("fuser.depth", _choices(1, "2"), "choices[1]: Must be a valid integer. Got '2'."),
        ("fuser.depth", _choices(1.5), "Must be a valid integer"),
        ("fuser.depth", {"int": [0, 4]}, "int[0]: Must be greater than or equal to 1. Got 0."),
        ("fuser.depth", {"float": [1.5, 4.5]}, "float[0]: Must be a valid integer"),
        (GATE, _choices("laier"), "choices[0]: "),
        (GATE, _choices("laier"), "Got 'laier'. Did you mean `layer`?"),
        ("fuser.normalisation", _choices("rm"), "Must be 'none', 'rms' or 'calibrated'. Got 'rm'"),
        ("fuser.normalisation", _choices("rm"), "Did you mean `rms`?"),
        ("fuser.dynamic_weight", _choices("yes"), "Must be a valid boolean"),
        ("training.learning_rate", {"float": [0, 1]}, "float[0]: Must be greater than 0."),
        ("training.zero_stage", _choices(0, 3), "wrong gradients"),
        ("pair", _choices("there", "bak"), "must stand under `pairs`. Got 'bak'. Did you mean"),
    ],
)
def test_values_that_the_field_cannot_have(
    make_space: Make, name: str, values: dict[str, Any], expected: str
) -> None:
    message = _refused(make_space, dimensions={"pair": _choices("there", "back"), name: values})
    assert expected in message


def test_fixed_values_are_checked_and_not_searched_too(make_space: Make) -> None:
    message = _refused(make_space, fixed={"fuser.depth": 2, "fuser.dropout": 1.5})
    assert "fixed.fuser.depth: A name is searched or fixed, not both" in message
    assert "fixed.fuser.dropout: Must be less than 1. Got 1.5." in message


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"fuser.gate.granlarity": "layer"}, "Did you mean `fuser.gate.granularity`?"),
        ({GATE: ["layer", "value"]}, "Got 'value'. Possible: none, layer."),
        ({"training.learning_rate": 0.1}, "not to a range of floats"),
        ({NOISE: "none"}, "must not go round in a circle"),
    ],
)
def test_conditions_that_cannot_hold(
    make_space: Make, when: dict[str, Any], expected: str
) -> None:
    dimensions = {
        "pair": _choices("there", "back"),
        GATE: _choices("none", "layer"),
        NOISE: _choices("none", "gumbel", when=when),
        "training.learning_rate": {"float": [0.1, 1.0]},
    }
    assert expected in _refused(make_space, dimensions=dimensions)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"fuser.dept": 1}, "enqueue[0].fuser.dept: Only a dimension"),
        ({"fuser.dropout": 0.1}, "Only a dimension of this space"),
        ({"fuser.depth": 5}, "Must be a possible value of fuser.depth. Got 5. Possible: 1 to 4."),
        ({"fuser.depth": True}, "Must be a possible value"),
        ({NOISE: "gumbel"}, "applies only when fuser.gate.granularity is layer or head"),
        ({GATE: "none", NOISE: "gumbel"}, "set that here too"),
    ],
)
def test_enqueued_settings_that_optuna_would_take_as_they_are(
    make_space: Make, params: dict[str, Any], expected: str
) -> None:
    assert expected in _refused(make_space, enqueue=[params])


def test_enqueued_settings_may_leave_dimensions_out(make_space: Make) -> None:
    make_space(enqueue=[{"fuser.depth": 2}, {GATE: "layer", NOISE: "gumbel"}])


def test_no_more_settings_than_trials(make_space: Make) -> None:
    message = _refused(make_space, search={"trials": 1}, enqueue=[{}, {}])
    assert "than there are trials (1). Got 2." in message


def test_combinations_that_a_missing_condition_allows(make_space: Make) -> None:
    dimensions = {
        "pair": _choices("there", "back"),
        GATE: _choices("none", "layer"),
        NOISE: _choices("none", "gumbel"),
    }
    message = _refused(make_space, dimensions=dimensions)
    assert "dimensions.fuser.gate.noise: A combination that the space allows" in message
    assert "{'fuser.gate.granularity': 'none', 'fuser.gate.noise': 'gumbel'}" in message
    assert message.count("combination") == 1


def test_combinations_with_fixed_values(make_space: Make) -> None:
    dimensions = {"pair": _choices("there", "back"), GATE: _choices("none", "layer")}
    message = _refused(make_space, dimensions=dimensions, fixed={NOISE: "gumbel"})
    assert "'fuser.gate.noise': 'gumbel'" in message
    dimensions.pop(GATE)
    message = _refused(make_space, dimensions=dimensions, fixed={NOISE: "gumbel"})
    assert "space fixed: A combination" in message


def test_combinations_behind_a_condition_on_integers(make_space: Make) -> None:
    # Depth 2 is neither end of its range, and the only one that lets noise in without a gate.
    dimensions = {
        "pair": _choices("there", "back"),
        "fuser.depth": {"int": [1, 3]},
        NOISE: _choices("gumbel", when={"fuser.depth": 2}),
    }
    assert "'fuser.gate.noise': 'gumbel'" in _refused(make_space, dimensions=dimensions)


def test_pairs(make_space: Make) -> None:
    depth = {"fuser.depth": _choices(1, 2)}
    there, back = ({"receiver": f"path:{a}", "sharer": f"path:{b}"} for a, b in ("ab", "ba"))
    make_space(dimensions=depth, pairs={"there": there})
    make_space(dimensions=depth, pairs={"there": there}, fixed={"pair": "there"})
    both = {"there": there, "back": back}
    assert "one must be fixed" in _refused(make_space, dimensions=depth, pairs=both)
    unused = _refused(make_space, dimensions=depth, pairs=both, fixed={"pair": "back"})
    assert "pairs.there: A pair must be among the choices" in unused
    same = _refused(
        make_space,
        dimensions={"pair": _choices("there", "again")},
        pairs={"there": there, "again": there},
    )
    assert "pairs.again: Pairs must differ, but there is the same." in same


def test_sources_of_models_are_read(make_space: Make) -> None:
    pairs = {"there": {"receiver": "pypi:smollm2-135m-instrct", "sharer": "gemma"}}
    message = _refused(make_space, dimensions={"fuser.depth": _choices(1)}, pairs=pairs)
    assert "pairs.there.receiver" in message
    assert "Did you mean 'pypi:smollm2-135m-instruct'?" in message
    assert "pairs.there.sharer" in message


def test_a_pruner_needs_rungs(make_space: Make) -> None:
    one_rung = Pipeline(name="test")
    assert "pruner: none" in _refused(make_space, pipeline=one_rung)
    make_space(pipeline=one_rung, search={"trials": 3, "pruner": "none"})


def test_a_space_needs_a_dimension(make_space: Make) -> None:
    message = _refused(make_space, dimensions={}, fixed={"pair": "there"})
    assert "needs at least one dimension" in message


def test_a_map_that_only_an_import_has_is_not_searched(make_space: Make) -> None:
    alignments = _choices("terminal", "explicit")
    message = _refused(make_space, dimensions={"fuser.layer_alignment": alignments})
    assert "choose terminal, proportional, similarity or learned" in message
    assert "'explicit'" in message


def test_families_and_their_fields_are_ruled_out_with_when(make_space: Make) -> None:
    dimensions = {
        "pair": _choices("there", "back"),
        "fuser.projector": _choices("c2c", "joint"),
        "fuser.rank": _choices(8, 16),
    }
    message = _refused(make_space, dimensions=dimensions)
    assert "Rank belongs to projector joint or linear" in message
    dimensions["fuser.rank"] = _choices(8, 16, when={"fuser.projector": "joint"})
    make_space(dimensions=dimensions)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("training.guard", None, "must be `pair` or a field"),
        ("training.guard.weights", 0.1, "Did you mean `training.guard.weight`?"),
        ("training.guard.weight", -0.1, "greater than or equal to 0"),
        ("training.guard.every", 0, "greater than or equal to 1"),
        ("training.guard.tolerance", "much", "must be a valid number"),
    ],
)
def test_a_field_of_what_may_be_null(
    make_space: Make, name: str, value: Any, expected: str
) -> None:
    message = _refused(make_space, fixed={name: value})
    assert expected.casefold() in message.casefold()
    assert f"fixed.{name}" in message


def test_a_guard_may_be_searched_in_a_range(make_space: Make) -> None:
    dimensions = {
        "pair": _choices("there", "back"),
        "training.guard.weight": {"float": [0.01, 1.0], "log": True},
        "training.guard.every": _choices(1, 4),
    }
    assert make_space(dimensions=dimensions).dimensions["training.guard.weight"].log


def test_rows_to_guard_need_a_guard(make_space: Make) -> None:
    data = DataConfig(files={"guard": ("guard.jsonl",)})
    training = TrainingConfig(steps=90, rungs=(0.5, 1.0))
    pipeline = Pipeline(name="test", data=data, training=training)
    message = _refused(make_space, pipeline=pipeline)
    assert "pipeline: Rows to guard (data.files.guard) need a training.guard" in message
    assert "guard.jsonl" in message
    make_space(pipeline=pipeline, fixed={"training.guard.weight": 0.1})
    guarded = training.model_copy(update={"guard": GuardConfig()})
    make_space(pipeline=pipeline.model_copy(update={"training": guarded}))


def test_a_guard_needs_another_row_in_the_batch(make_space: Make) -> None:
    message = _refused(
        make_space,
        dimensions={"pair": _choices("there", "back"), "training.batch_size": _choices(1, 8)},
        fixed={"training.guard.weight": 0.1},
    )
    assert "batch_size must be at least 2" in message
