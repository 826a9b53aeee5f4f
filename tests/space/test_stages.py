"""Stages as a dimension: lists are choices, and what cannot be trained so is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from c2c_search.config.pipeline import Pipeline
from c2c_search.config.training import TrainingConfig
from c2c_search.data.schema import DataConfig
from c2c_search.errors import ConfigError
from c2c_search.report.shorthand import Shorthand
from c2c_search.space.dimensions import Dimension
from c2c_search.space.loading import read_space
from c2c_search.space.plan import plan
from c2c_search.space.sampling import make_sampler
from c2c_search.space.sampling import suggest
from c2c_search.space.schema import Space
from tests.space.conftest import SPACE
from tests.space.conftest import write_space


Make = Callable[..., Space]
LINE = "reconstruction 30 -> task 60 replay=0.2"
LIST = [
    {"kind": "reconstruction", "steps": 30},
    {"kind": "task", "steps": 60, "replay": 0.2},
]
INJECTED = {"fuser.injection": "append", "fuser.projector": "linear", "pair": "there"}
THERE = {"there": {"receiver": "path:a", "sharer": "path:b"}}


def _of(*stages: Any) -> dict[str, Any]:
    dimensions = {"training.stages": {"choices": list(stages)}}
    return {"dimensions": dimensions, "fixed": {**INJECTED}, "pairs": THERE}


def _refused(make_space: Make, **sections: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        make_space(**sections)
    return str(caught.value)


def test_a_list_is_the_line_that_says_it() -> None:
    dimension = Dimension.model_validate({"choices": [LIST, "answer 90"]})
    assert dimension.choices == (LINE, "answer 90")
    with pytest.raises(ValueError, match="a list of mappings must be one of stages"):
        Dimension.model_validate({"choices": [[{"kind": "anser", "steps": 3}]]})


def test_stages_are_searched_as_whole_lists(make_space: Make) -> None:
    space = make_space(**_of(LIST, "answer 90"))
    study = optuna.create_study(sampler=make_sampler(space))
    found = set()
    for _ in range(8):
        trial = study.ask()
        config = suggest(space, trial)
        found.add(trial.params["training.stages"])
        assert config.training.steps == 90
        assert config.training.rung_steps == (10, 30, 90)
        assert len(config.training.stages) in (1, 2)
        study.tell(trial, 0.5)
    assert found == {LINE, "answer 90"}


def test_a_table_tells_them_apart() -> None:
    lines = [LINE, "reconstruction 60 -> task 30", "answer 90"]
    short = Shorthand({"stages": lines})
    assert len({short.line({"stages": line}) for line in lines}) == 3


def test_every_trial_has_the_pipelines_steps(make_space: Make) -> None:
    said = _refused(make_space, **_of(LIST, "answer 80"))
    assert "teps must be those of all stages, 80, and not 90" in said


def test_stages_may_be_fixed_and_are_planned(make_space: Make) -> None:
    fixed = {"training.stages": LIST, "fuser.injection": "append", "fuser.projector": "linear"}
    dimensions = {"pair": {"choices": ["there", "back"]}}
    assert plan(make_space(dimensions=dimensions, fixed=fixed)).stages == LINE
    assert plan(make_space()).stages == ""


@pytest.mark.parametrize("sees", ["half", "never"])
def test_what_the_receiver_sees_is_searched(make_space: Make, sees: str) -> None:
    sections = _of("answer 90")
    sections["dimensions"]["training.receiver_sees"] = {"choices": ["always", sees]}
    make_space(**sections)
    sections["fixed"]["fuser.injection"] = "replace"
    assert f"receiver_sees {sees} needs a fuser.injection that adds entries" in _refused(
        make_space, **sections
    )


def test_anchors_that_say_what_is_reconstructed_are_ruled_out(make_space: Make) -> None:
    sections = _of(LIST, "answer 90")
    sections["dimensions"]["fuser.anchors"] = {"choices": ["none", "first"]}
    assert "the words that a reconstruction stage has it write" in _refused(make_space, **sections)
    sections["dimensions"]["fuser.anchors"]["when"] = {"training.stages": ["answer 90"]}
    make_space(**sections)


def test_reconstruction_needs_added_entries_in_every_trial(make_space: Make) -> None:
    sections = _of(LIST, "answer 90")
    del sections["fixed"]["fuser.injection"]
    sections["dimensions"]["fuser.injection"] = {"choices": ["append", "replace"]}
    said = _refused(make_space, **sections)
    assert "stages reconstruction needs a fuser.injection that adds entries" in said
    # Ruled out as the message says.
    sections["dimensions"]["fuser.injection"] = {"choices": ["append"]}
    make_space(**sections)


def test_a_stages_file_is_one_of_the_data(make_space: Make) -> None:
    line = 'answer 90 files=["other.jsonl"]'
    said = _refused(make_space, **_of(line))
    assert "must each be one of data.files.train (none)" in said
    assert "as tells it from others. Got {'training.stages': 'answer 90 files=" in said
    sections = _of()
    sections["dimensions"] = {"training.learning_rate": {"choices": [0.1, 0.2]}}
    sections["fixed"]["training.stages"] = line
    assert "as tells it from others. Got {'training.stages': 'answer 90 files=" in _refused(
        make_space, **sections
    )


def test_a_rule_that_begins_with_a_field_shows_its_value(make_space: Make) -> None:
    sections = _of("answer 90")
    sections["fixed"].update({"fuser.injection": "side", "fuser.layers": "0, 1"})
    sections["fixed"]["fuser.layer_count"] = 2
    said = _refused(make_space, **sections)
    assert "Layers 0, 1 says how many" in said
    assert "Got {'fuser.layers': '0, 1', 'fuser.layer_count': 2}" in said


def test_texts_that_nothing_reads_are_told(make_space: Make, tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text(json.dumps({"text": "a"}))
    pipeline = Pipeline(
        name="p",
        data=DataConfig(files={"reconstruction": (str(path),)}),
        training=TrainingConfig(steps=90, rungs=(1 / 9, 1 / 3, 1.0)),
    )
    assert "need a reconstruction stage" in _refused(make_space, pipeline=pipeline)
    make_space(pipeline=pipeline, **_of(LIST))


def test_a_file_says_them_as_a_list(tmp_path: Path) -> None:
    path = write_space(tmp_path)
    listed = "[[{kind: answer, steps: 1}, {kind: task, steps: 3}], answer 4]"
    line = f"dimensions:\n  training.stages: {{choices: {listed}}}\n"
    path.write_text(SPACE.replace("dimensions:\n", line))
    space, _, problems = read_space(path)
    assert space is not None
    assert space.dimensions["training.stages"].choices == ("answer 1 -> task 3", "answer 4")
    assert not [problem for problem in problems if "stages" in str(problem)]
