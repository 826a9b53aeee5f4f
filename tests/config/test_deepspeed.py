"""What DeepSpeed's own settings may say beside a training's."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from c2c_search.config.deepspeed import passed_on
from c2c_search.config.pipeline import load_pipeline
from c2c_search.config.training import TrainingConfig
from c2c_search.errors import ConfigError


def training(**fields):
    return TrainingConfig(batch_size=4, gradient_accumulation=2, **fields)


def test_every_conflict_is_told_with_its_way_out():
    settings = {
        "train_micro_batch_size_per_gpu": 8,
        "train_batch_size": 8,
        "optimizer": {"type": "Adam"},
        "zero_optimization": {"stage": 3, "offload_optimizer": {"device": "cpu"}},
        "bf16": {"enabled": True},
    }
    with pytest.raises(ValidationError) as raised:
        training(deepspeed=settings)
    told = str(raised.value)
    for words in (
        "train_micro_batch_size_per_gpu 8 contradicts the training's 4; leave it out, and set "
        "training's batch_size",
        "optimizer is not passed on: AdamW is made from learning_rate",
        "zero_optimization.stage must be 0, 1 or 2: DeepSpeed's stage 3 computes wrong gradients",
        "zero_optimization.offload_optimizer is not passed on",
        "bf16 is not passed on: a fuser's weights stay in float32",
        "set torch_autocast: {enabled: true, dtype: bfloat16}",
    ):
        assert words in told
    assert "train_batch_size 8" not in told  # 4 examples, 2 passes


def test_what_is_not_ours_is_passed_on():
    settings = {
        "train_batch_size": "auto",
        "gradient_clipping": 1.0,
        "fp16": {"enabled": False},
        "torch_autocast": {"enabled": True, "dtype": "bfloat16"},
        "zero_optimization": {"stage": "auto", "reduce_bucket_size": 1000},
    }
    assert passed_on(training(zero_stage=2, deepspeed=settings)) == {
        "fp16": {"enabled": False},
        "torch_autocast": {"enabled": True, "dtype": "bfloat16"},
        "zero_optimization": {"stage": 2, "reduce_bucket_size": 1000},
    }


def test_settings_in_a_file(tmp_path):
    (tmp_path / "ds.json").write_text(json.dumps({"prescale_gradients": True}))
    (tmp_path / "pipeline.yaml").write_text("name: p\ntraining:\n  deepspeed: ds.json\n")
    pipeline = load_pipeline(tmp_path / "pipeline.yaml")
    assert pipeline.training.deepspeed == {"prescale_gradients": True}


@pytest.mark.parametrize("content", [None, "{", "[1]"])
def test_a_file_that_is_none(tmp_path, content):
    if content is not None:
        (tmp_path / "ds.json").write_text(content)
    (tmp_path / "pipeline.yaml").write_text("name: p\ntraining:\n  deepspeed: ds.json\n")
    with pytest.raises(ConfigError, match=r"pipeline.yaml:3:3 training.deepspeed: .*settings"):
        load_pipeline(tmp_path / "pipeline.yaml")


def test_trainings_of_before_are_the_same():
    written = TrainingConfig().model_dump()
    assert not written.keys() & {"devices_per_trial", "deepspeed", "checkpoint_seconds"}
