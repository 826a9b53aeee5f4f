from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from c2c_search.config.pipeline import CacheConfig
from c2c_search.config.pipeline import ChampionConfig
from c2c_search.config.pipeline import Pipeline
from c2c_search.config.training import GuardConfig
from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import SplitFiles
from c2c_search.errors import ConfigError
from c2c_search.space.declaration import PRESET
from c2c_search.space.declaration import Limits
from c2c_search.space.declaration import field_names
from c2c_search.space.schema import Space


Make = Callable[..., Space]


def test_a_point_becomes_a_trial(make_space: Make) -> None:
    space = make_space(fixed={"fuser.dropout": 0.25}, search={"trials": 3, "seed": 5})
    trial = space.configuration(
        {"pair": "back", "fuser.gate.granularity": "head", "training.learning_rate": 0.002}
    )
    assert str(trial.pair) == "path:b <- path:a"
    assert trial.fuser.gate.granularity == "head"
    assert trial.fuser.dropout == 0.25
    assert trial.training.learning_rate == 0.002
    assert trial.training.steps == space.pipeline.training.steps
    assert trial.data == space.pipeline.data
    assert trial.seed == 5


def test_what_caches_are_rounded_to_belongs_to_the_trial_and_the_budget_does_not(
    make_space: Make,
) -> None:
    spaces = [
        make_space(
            pipeline=Pipeline(name="test", caches=CacheConfig(**caches)),
            search={"trials": 3, "pruner": "none"},
        )
        for caches in ({}, {"budget_gb": 1.0}, {"dtype": "float32"})
    ]
    plain, bounded, exact = [space.configuration({}) for space in spaces]
    assert exact.cache_dtype == "float32"
    assert plain.hash() == bounded.hash() != exact.hash()
    hashes = [space.space_hash() for space in spaces]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_point_that_is_no_trial(make_space: Make) -> None:
    with pytest.raises(ConfigError, match=r"gate\.noise needs a gate"):
        make_space().configuration({"fuser.gate.noise": "gumbel"})


def test_every_searchable_field_is_one_of_the_trial(make_space: Make) -> None:
    trial = make_space().configuration({"training.guard.weight": 0.1})
    for name in {*field_names()} - {PRESET}:
        section: Any = trial
        for part in name.split("."):
            section = getattr(section, part)


def test_layers_are_known_by_their_former_name(make_space: Make) -> None:
    way = {"choices": ["last", "attention"]}
    rest: dict[str, Any] = {
        "pairs": {"there": {"receiver": "path:a", "sharer": "path:b"}},
        "fixed": {"fuser.layer_share": 0.5},
        "enqueue": [],
    }
    former = make_space(dimensions={"fuser.layer_choice": way}, **rest)
    found = former.configuration({"fuser.layer_choice": "attention"})
    assert (found.fuser.layers, found.fuser.layer_share) == ("attention", 0.5)
    now = make_space(dimensions={"fuser.layers": way}, **rest)
    assert now.configuration({"fuser.layers": "attention"}) == found
    with pytest.raises(ConfigError, match=r"former name of fuser\.layers"):
        make_space(dimensions={"fuser.layers": way, "fuser.layer_choice": way}, **rest)


def test_a_guard_is_made_where_one_of_its_fields_is_set(make_space: Make) -> None:
    space = make_space()
    assert space.configuration({}).training.guard is None
    found = space.configuration({"training.guard.weight": 0.5}).training.guard
    assert found == GuardConfig(weight=0.5)
    assert space.pipeline.training.guard is None


def _with_files(folder: str) -> Pipeline:
    files = SplitFiles(train=(f"{folder}/train.jsonl",))
    return Pipeline(name="test", data=DataConfig(source="jsonl", files=files))


@pytest.mark.parametrize(
    "sections",
    [
        {"search": {"trials": 99, "pruner": "none", "sampler": "random"}},
        {"enqueue": [{"fuser.depth": 2}], "limits": {"max_parameters": 10}, "study": "other"},
    ],
)
def test_a_study_goes_on_when_only_its_search_changes(
    make_space: Make, sections: dict[str, Any]
) -> None:
    assert make_space(**sections).space_hash() == make_space().space_hash()


@pytest.mark.parametrize(
    "sections",
    [
        {"fixed": {"fuser.dropout": 0.1}},
        {"search": {"trials": 20, "seed": 1}},
        {"dimensions": {"pair": {"choices": ["there", "back"]}}},
    ],
)
def test_a_study_does_not_go_on_in_another_space(
    make_space: Make, sections: dict[str, Any]
) -> None:
    assert make_space(**sections).space_hash() != make_space().space_hash()


def test_of_the_pipeline_only_what_trials_see_counts(make_space: Make) -> None:
    search = {"trials": 3, "pruner": "none"}
    first = make_space(search=search, pipeline=_with_files("here"))
    moved = _with_files("there").model_copy(update={"champion": ChampionConfig(finalists=1)})
    assert make_space(search=search, pipeline=moved).space_hash() == first.space_hash()
    other = moved.model_copy(update={"data": DataConfig()})
    assert make_space(search=search, pipeline=other).space_hash() != first.space_hash()


def test_limits() -> None:
    assert Limits().allow(10**12)
    assert Limits(max_parameters=10).allow(10)
    assert not Limits(max_parameters=10).allow(11)
    assert Limits(max_bytes=40).allow(10)
    assert not Limits(max_bytes=43).allow(11)
    assert Limits().allow_memory(10**15)
    assert Limits(max_memory_gb=2.5).allow_memory(2_500_000_000)
    assert not Limits(max_memory_gb=2.5).allow_memory(2_500_000_001)


@pytest.mark.parametrize(
    "name", ["../elsewhere", "/tmp/a", ".", "..", "a/b", "a b", "", "a\n", "\x1b[2J", "a" * 101]
)
def test_names_that_become_files_keep_to_a_pattern(make_space: Make, name: str) -> None:
    here = {"receiver": "path:a", "sharer": "path:b"}
    with pytest.raises(ValidationError, match="pairs"):
        make_space(pairs={name: here})
    with pytest.raises(ValidationError, match="study"):
        make_space(study=name)


def test_names_of_pairs_differ_on_every_file_system(make_space: Make) -> None:
    here = {"receiver": "path:a", "sharer": "path:b"}
    with pytest.raises(ValidationError, match="by more than capital letters"):
        make_space(pairs={"Small": here, "small": here}, fixed={"pair": "small"})


# From a file


def test_every_wrong_source_is_told(space_file: Path) -> None:
    text = space_file.read_text().replace('"path:a"', '"pypi:nothing"', 1)
    space_file.write_text(text.replace('sharer: "path:a"', 'sharer: "elsewhere:x"'))
    with pytest.raises(ConfigError, match="2 problems") as error:
        Space.load(space_file)
    assert "pairs.there.receiver" in str(error.value)
    assert "pairs.back.sharer" in str(error.value)


def test_the_budget_can_be_overruled(space_file: Path) -> None:
    assert Space.load(space_file).search.trials == 5
    assert Space.load(space_file, 9).search.trials == 9


def test_what_may_change_is_not_part_of_the_identity(space_file: Path) -> None:
    before = Space.load(space_file)
    text = space_file.read_text().replace("trials: 5", "trials: 6")
    space_file.write_text(text.replace("pruner: halving", "pruner: none"))
    after = Space.load(space_file)
    assert after.identity() == before.identity()
    assert after.space_hash() == before.space_hash()


@pytest.mark.parametrize(
    ("old", "new"),
    [("int: [1, 8]", "int: [1, 4]"), ("seed: 0", "seed: 1"), ("path:b", "path:c")],
)
def test_identity_and_hash_change_together(space_file: Path, old: str, new: str) -> None:
    before = Space.load(space_file)
    space_file.write_text(space_file.read_text().replace(old, new))
    after = Space.load(space_file)
    assert after.identity() != before.identity()
    assert after.space_hash() != before.space_hash()


@pytest.mark.parametrize(
    ("objective", "said"),
    [("margin", True), ("pairing_gain", True), ("accuracy", True), ("gain", False)],
)
def test_an_objective_is_said_unless_several_pairs_always_had_it(
    space_file: Path, objective: str, said: bool
) -> None:
    default = Space.load(space_file)
    assert default.identity()["objective"] == "margin"
    text = space_file.read_text()
    space_file.write_text(text.replace("trials: 5", f"trials: 5, objective: {objective}"))
    space = Space.load(space_file)
    assert space.identity().get("objective") == (objective if said else None)
    assert (space.space_hash() == default.space_hash()) is (objective == "margin")


def test_one_pair_always_had_the_accuracy(make_space: Make) -> None:
    pairs = {"there": {"receiver": "path:a", "sharer": "path:b"}}
    search = {"trials": 20, "objective": "accuracy"}
    fixed = {"pair": "there"}
    dimensions = {"fuser.depth": {"int": [1, 4]}}
    one = make_space(pairs=pairs, search=search, fixed=fixed, dimensions=dimensions)
    assert "objective" not in one.identity()
    gain = {"trials": 20, "objective": "gain"}
    other = make_space(pairs=pairs, search=gain, fixed=fixed, dimensions=dimensions)
    assert other.identity()["objective"] == "gain"


def test_an_unknown_objective_is_refused(make_space: Make) -> None:
    with pytest.raises(ValidationError, match="objective"):
        make_space(search={"trials": 20, "objective": "luck"})


def test_a_preset_is_a_dimension_that_others_change(make_space: Make) -> None:
    space = make_space(
        dimensions={
            "pair": {"choices": ["there", "back"]},
            "fuser.preset": {"choices": [None, "c2c-small"]},
            "fuser.depth": {"int": [1, 2], "when": {"fuser.preset": [None]}},
        }
    )
    named = space.configuration({"fuser.preset": "c2c-small"})
    assert (named.fuser.width, named.fuser.depth) == (64, 3)
    assert space.configuration({"fuser.preset": None, "fuser.depth": 1}).fuser.depth == 1
    with pytest.raises(ConfigError, match="A preset must be one of c2c"):
        make_space(dimensions={"fuser.preset": {"choices": ["c2c-tiny"]}})
