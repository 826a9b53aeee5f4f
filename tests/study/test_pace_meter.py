"""A machine is measured by a study's own worker, and left as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from c2c_search.prompt_cache.entries import FOLDER
from c2c_search.space.schema import Space
from c2c_search.study import pace_meter
from c2c_search.study.pace_meter import measure_pace
from c2c_search.study.pace_meter import shortened
from c2c_search.study.prompt_lists import PromptLists
from c2c_search.system_names import TWIN


def test_all_that_there_is_time_for_is_measured_and_nothing_is_left_behind(
    planned_space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(pace_meter, "_TRAINING_SECONDS", 0.0)
    told: list[str] = []
    cache = tmp_path / "cache"
    pace = measure_pace(
        planned_space,
        PromptLists(planned_space),
        lambda trial: trial.fuser.width,
        cache_dir=cache,
        tell=told.append,
    )
    assert [*(tmp_path / "tmp").iterdir()] == []
    assert not [*(cache / FOLDER).glob("*/*.bin")]
    there, back = planned_space.pairs.values()
    assert pace.tokens.keys() == {there.receiver, there.sharer}
    assert all(seconds > 0 for seconds in pace.tokens.values())
    # Of each pair its first fuser, and the smallest and the largest where that is another one.
    assert {cost.parameters for _, cost in pace.trainings[there]} == {8, 16}
    assert {cost.parameters for _, cost in pace.trainings[back]} == {8, 16}
    for cost in (*(cost for _, cost in pace.trainings[there]), pace.controls[there][TWIN]):
        assert cost.step > 0
        assert cost.judged > 0
    assert pace.answers[there].keys() == {"receiver", "sharer", "c2c", TWIN, "text_relay"}
    assert pace.start > 0
    assert pace.spread[0] < 1 < pace.spread[1]
    assert told[0] == "pair there"


def test_a_trial_is_shortened_stage_by_stage(planned_space: Space) -> None:
    trial = planned_space.configuration(
        {"pair": "there", "fuser.width": 8, "fuser.token_alignment": "span"}
    )
    assert shortened(trial, 7).training.rung_steps == (7,)
    stages = {"stages": "reconstruction 100 -> answer 300", "gradient_accumulation": 8}
    training = type(trial.training).model_validate(stages)
    short = shortened(trial.model_copy(update={"training": training}), 10).training
    assert [stage.steps for stage in short.stages] == [5, 5]
    assert (short.steps, short.log_every, short.gradient_accumulation) == (10, 1, 2)
