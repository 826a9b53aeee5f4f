"""Stages as a list and as a line, and what they ask of a training and of the data."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from c2c_search.config.pipeline import Pipeline
from c2c_search.config.stages import StageConfig
from c2c_search.config.stages import files_of
from c2c_search.config.stages import stage_at
from c2c_search.config.stages import written
from c2c_search.config.training import TrainingConfig
from c2c_search.config.trial import TrialConfig
from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import SplitFiles
from c2c_search.fuser.config import FuserConfig


LINE = 'reconstruction 200 learning_rate=0.001 -> task 100 files=["a b.jsonl"] replay=0.2'

_RATES = st.none() | st.floats(1e-9, 1e3)
_STAGES = st.lists(
    st.builds(
        StageConfig,
        kind=st.sampled_from(["reconstruction", "answer", "task"]),
        steps=st.integers(1, 10**9),
        learning_rate=_RATES,
        gate_learning_rate_multiplier=_RATES,
        files=st.none() | st.lists(st.text(min_size=1), min_size=1).map(tuple),
        replay=st.floats(0, 1, exclude_max=True),
    ),
    min_size=1,
)


@given(_STAGES)
def test_a_line_says_all_of_it(stages: list[StageConfig]) -> None:
    all_of_it = (stages[0].model_copy(update={"replay": 0.0}), *stages[1:])
    assert TrainingConfig.model_validate({"stages": written(all_of_it)}).stages == all_of_it


def test_a_line_and_a_list_are_one() -> None:
    training = TrainingConfig.model_validate({"stages": LINE}, strict=True)
    assert training.steps == 300
    assert training.stages == (
        StageConfig(kind="reconstruction", steps=200, learning_rate=1e-3),
        StageConfig(kind="task", steps=100, files=("a b.jsonl",), replay=0.2),
    )
    assert written(training.stages) == LINE
    assert TrainingConfig.model_validate_json(training.model_dump_json(), strict=True) == training
    arrow = TrainingConfig.model_validate({"stages": LINE.replace("->", "→")})
    assert arrow == training


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ("answer", "not read: 'answer'"),
        ("answer 10 ->", "not read: ''"),
        ("answer 10 ; task 10", "not read: ' ; task 10'"),
        ("answer 10 replay=", "not read: ''"),
        ("answer 10 tokens=30", "this stage is answer"),
        ("answer 10 replay=0.2", "none before it to repeat"),
        ("anser 10", "'reconstruction', 'answer' or 'task'"),
        ("answer 0", "greater than or equal to 1"),
        ("answer 1 -> task 1 replay=1.0", "less than 1"),
        ("answer \uff14", "not read: 'answer \uff14'"),
        ("task 4 replay=0.1 replay=0.2", "replay of 'task 4' is set again; drop replay="),
        ('task 4 kind="answer"', "kind of 'task 4' is set again; drop kind="),
        ("task 4 steps=2", "steps of 'task 4' is set again; drop steps="),
        (None, "a list of such as {kind: answer, steps: 200}, or one line"),
        (4, "a list of such as {kind: answer, steps: 200}, or one line"),
        ({"answer": 2}, "a list of such as {kind: answer, steps: 200}, or one line"),
        (["answer 2", "task 2"], "a list of such as {kind: answer, steps: 200}, or one line"),
    ],
)
def test_what_is_no_list_of_stages(stages: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TrainingConfig.model_validate({"stages": stages})


def test_steps_are_those_of_all_stages() -> None:
    with pytest.raises(ValidationError, match="steps must be those of all stages, 30, and not 40"):
        TrainingConfig(stages="answer 10 -> task 20", steps=40)
    assert TrainingConfig(stages="answer 10 -> task 20", rungs=(0.5, 1.0)).rung_steps == (15, 30)


def test_a_guard_needs_answers() -> None:
    with pytest.raises(ValidationError, match="all stages are reconstruction"):
        TrainingConfig(stages="reconstruction 10", guard={})


def test_a_training_without_stages_is_written_as_before_there_were_any() -> None:
    assert TrainingConfig().steps == 200
    assert {"stages", "receiver_sees"}.isdisjoint(TrainingConfig().model_dump())
    assert TrainingConfig(steps=7).course == (StageConfig(kind="answer", steps=7),)


def test_the_stage_of_a_step() -> None:
    stages = TrainingConfig(stages="answer 2 -> task 3").stages
    found = [stage_at(stages, step) for step in range(6)]
    assert found == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (1, 3)]


def test_files_are_named_by_the_end_of_their_path() -> None:
    files = SplitFiles(train=("/x/a/one.jsonl", "/x/b/one.jsonl"), reconstruction=("/x/t.jsonl",))
    data = DataConfig(source="jsonl", files=files)

    def found(**fields: Any) -> tuple[str, ...]:
        return files_of(StageConfig(steps=1, **fields), data)

    assert found(kind="answer", files=["../b/one.jsonl"]) == ("/x/b/one.jsonl",)
    assert found(kind="task") == files.train
    assert found(kind="reconstruction", files="t.jsonl") == ("/x/t.jsonl",)
    for name, said in (("one.jsonl", "several"), ("two.jsonl", "none")):
        with pytest.raises(ValueError, match=f"{name}' is {said} of them"):
            found(kind="answer", files=[name])
    with pytest.raises(ValidationError, match=r"one of data\.files\.train"):
        Pipeline(name="p", data=data, training={"stages": 'task 5 files="t.jsonl"'})


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"stages": "reconstruction 5 -> answer 5"}, "stages reconstruction needs"),
        ({"receiver_sees": "half"}, "receiver_sees half needs"),
        ({"receiver_sees": "never"}, "receiver_sees never needs"),
    ],
)
def test_only_added_entries_can_be_all_that_is_read(training: dict[str, Any], said: str) -> None:
    def trial(injection: str) -> TrialConfig:
        return TrialConfig(
            pair={"receiver": "path:a", "sharer": "path:b"},
            fuser=FuserConfig(injection=injection),
            training=training,
            data={},
            evaluation={},
            seed=0,
        )

    assert trial("append").training.steps in (10, 200)
    with pytest.raises(ValidationError, match=said):
        trial("residual")
