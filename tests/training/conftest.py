"""A tiny pair on disk, a tiny data set, and a pipeline over them."""

from __future__ import annotations

import json

import pytest

from c2c_search.config.pipeline import EvaluationConfig
from c2c_search.config.pipeline import Pipeline
from c2c_search.config.training import TrainingConfig
from c2c_search.config.trial import TrialConfig
from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import SplitFiles
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.gate_config import GateConfig
from c2c_search.training.service import WorkerService


WORDS = ["red", "green", "blue", "grey", "pink", "teal", "gold", "plum"]


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory) -> Pipeline:
    folder = tmp_path_factory.mktemp("data")
    for split, numbers in {"train": range(12), "validation": range(6), "test": range(6)}.items():
        rows = []
        for number in numbers:
            start = number % 5
            rows.append(
                {
                    "id": f"{split}-{number}",
                    "question": f"{split} {number}: which colour?",
                    "choices": WORDS[start : start + 4],
                    "answer": number % 4,
                }
            )
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(text)
    files = {split: (str(folder / f"{split}.jsonl"),) for split in ("train", "validation", "test")}
    return Pipeline(
        name="tiny",
        data=DataConfig(source="jsonl", files=SplitFiles(**files)),
        training=TrainingConfig(
            steps=6, batch_size=4, learning_rate=1e-2, log_every=2, rungs=(0.5, 1.0)
        ),
        evaluation=EvaluationConfig(batch_size=4),
    )


@pytest.fixture
def trial(tiny_pair, pipeline) -> TrialConfig:
    gate = GateConfig(granularity="head", noise="logistic", temperature_end=0.1)
    return TrialConfig(
        pair=tiny_pair,
        fuser=FuserConfig(width=8, gate=gate, dropout=0.1, layer_alignment="learned"),
        training=pipeline.training,
        data=pipeline.data,
        evaluation=pipeline.evaluation,
        seed=3,
    )


@pytest.fixture
def service(pipeline, tmp_path) -> WorkerService:
    """A service that writes its events down, in ``service.events``."""
    events = []
    service = WorkerService(pipeline, cache_dir=tmp_path / "cache", emit=events.append)
    service.events = events
    return service
