from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic import ValidationError

from c2c_search.config.pipeline import CacheConfig
from c2c_search.config.pipeline import ChampionConfig
from c2c_search.config.pipeline import EvaluationConfig
from c2c_search.config.pipeline import Pipeline
from c2c_search.config.pipeline import load_pipeline
from c2c_search.config.pipeline import read_pipeline
from c2c_search.config.training import GuardConfig
from c2c_search.config.training import TrainingConfig
from c2c_search.errors import ConfigError


@pytest.mark.parametrize(
    "model", [Pipeline, TrainingConfig, GuardConfig, EvaluationConfig, ChampionConfig]
)
def test_every_field_says_what_it_is(model: type[BaseModel]) -> None:
    assert all(field.description for field in model.model_fields.values())


def test_rungs_fall_on_steps() -> None:
    assert TrainingConfig(steps=200, rungs=(0.25, 0.5, 1.0)).rung_steps == (50, 100, 200)
    assert TrainingConfig(steps=200, rungs=(1 / 3, 1.0)).rung_steps == (67, 200)


@pytest.mark.parametrize(
    "rungs", [(0.5,), (0.5, 0.5, 1.0), (0.7, 0.3, 1.0), (0.0, 1.0), (1.0, 2.0)]
)
def test_rungs_rise_to_one(rungs: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match=r"rise from above 0 to 1\.0"):
        TrainingConfig(rungs=rungs)


def test_rungs_need_steps_of_their_own() -> None:
    with pytest.raises(ValidationError, match="take more steps or fewer rungs"):
        TrainingConfig(steps=2, rungs=(0.9, 1.0))
    with pytest.raises(ValidationError, match="take more steps or fewer rungs"):
        TrainingConfig(steps=2, rungs=(0.1, 1.0))


def test_stage_3_is_refused_with_the_reason() -> None:
    with pytest.raises(ValidationError, match="wrong gradients when a step leaves a parameter"):
        TrainingConfig.model_validate({"zero_stage": 3})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("inf")),
        ("warmup", 1.0),
        ("label_smoothing", 1.0),
        ("gradient_clipping", -1.0),
        ("schedule", "cosin"),
    ],
)
def test_training_values_out_of_range(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        TrainingConfig.model_validate({field: value})


def test_resamples_reach_the_tails() -> None:
    ChampionConfig(level=0.01, resamples=1200, finalists=3)
    with pytest.raises(ValidationError, match=r"at least 1200 at level 0\.01 shared by 3"):
        ChampionConfig(level=0.01, resamples=1199, finalists=3)


def test_registered_name_has_no_slash_or_colon() -> None:
    for name in ("a/b", "a:b", "", " "):
        with pytest.raises(ValidationError):
            ChampionConfig(registered_name=name)


def test_the_budget_of_the_caches_in_bytes() -> None:
    assert CacheConfig().budget is None
    assert CacheConfig(budget_gb=1.5).budget == 1_500_000_000
    for field, value in (("budget_gb", 0), ("dtype", "int8")):
        with pytest.raises(ValidationError, match=field):
            CacheConfig.model_validate({field: value})


# From a file


def _write(folder: Path, text: str) -> Path:
    path = folder / "p.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_name_is_all_a_pipeline_needs(tmp_path: Path) -> None:
    assert load_pipeline(_write(tmp_path, "name: x")).training.steps > 0


def test_data_files_are_relative_to_the_pipeline(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").touch()
    text = "name: x\ndata: {source: jsonl, files: {train: ./train.jsonl}}"
    files = load_pipeline(_write(tmp_path, text)).data.files
    assert files.train == (str(tmp_path / "train.jsonl"),)


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    text = """\
name: x
data:
  source: jsonl
  files:
    train: no.jsonl
training:
  steps: many
  zero_stage: 3
champion: {level: 2}
"""
    pipeline, problems = read_pipeline(_write(tmp_path, text))
    assert pipeline is None
    assert [str(problem).split(": ")[0].split("/")[-1] for problem in problems] == [
        "p.yaml:5:5 data.files.train",
        "p.yaml:7:3 training.steps",
        "p.yaml:8:3 training.zero_stage",
        "p.yaml:9:12 champion.level",
    ]


def test_a_quiz_group_that_is_not_there(tmp_path: Path) -> None:
    text = "name: x\ndata:\n  groups:\n    train: [country/zh]\n    test: [country/zz, contry/*]\n"
    with pytest.raises(ConfigError) as caught:
        load_pipeline(_write(tmp_path, text))
    assert "p.yaml:5:5 data.groups.test: A pattern must match a group" in str(caught.value)
    assert "Got 'country/zz'. Did you mean `country/" in str(caught.value)
    assert "Got 'contry/*'." in str(caught.value)


def test_a_pipeline_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_pipeline(tmp_path / "no.yaml")


def test_a_pipeline_is_checked_without_torch() -> None:
    code = (
        "import sys\n"
        "from c2c_search.config.pipeline import ChampionConfig\n"
        "ChampionConfig(controls=('routing', 'text_relay', 'ridge', 'lora', 'random'))\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert found.stdout.strip() == "set()"


def test_a_control_must_be_one_of_the_register() -> None:
    with pytest.raises(ValidationError, match="Did you mean `lora`"):
        ChampionConfig(controls=("lorra",))
    with pytest.raises(ValidationError, match="each control once"):
        ChampionConfig(controls=("lora", "lora"))


def test_without_a_guard_a_training_is_written_as_before_there_was_one() -> None:
    assert "guard" not in TrainingConfig().model_dump()
    guarded = TrainingConfig(guard=GuardConfig(every=2))
    assert guarded.model_dump()["guard"] == {"weight": 0.1, "tolerance": 0.1, "every": 2}
    assert TrainingConfig.model_validate(guarded.model_dump()) == guarded


def test_a_guard_needs_another_row_in_the_batch() -> None:
    with pytest.raises(ValidationError, match="batch_size must be at least 2; raise it"):
        TrainingConfig(batch_size=1, guard=GuardConfig())


def test_files_to_guard_go_with_any_source(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text("name: quiz\ndata: {files: {guard: everyday.jsonl}}\n")
    _, problems = read_pipeline(path)
    assert [str(problem) for problem in problems] == [
        f"{path}:2:16 data.files.guard: A data file must exist; its path is relative to the "
        "pipeline file. Got 'everyday.jsonl'."
    ]
    (tmp_path / "everyday.jsonl").write_text("")
    pipeline, problems = read_pipeline(path)
    assert not problems
    assert pipeline is not None
    assert pipeline.data.files.guard == (str((tmp_path / "everyday.jsonl").resolve()),)
