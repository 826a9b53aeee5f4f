"""A tiny trial, trained and lying where a study leaves it, and tasks for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from c2c_search.config.pipeline import EvaluationConfig
from c2c_search.config.pipeline import Pipeline
from c2c_search.config.training import TrainingConfig
from c2c_search.config.trial import TrialConfig
from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import SplitFiles
from c2c_search.evaluator import controls
from c2c_search.fuser.config import FuserConfig
from c2c_search.host.json_store import JsonStore
from c2c_search.training.service import WorkerService
from tests.worker_here import WorkerHere


WORDS = ["red", "green", "blue", "grey", "pink", "teal", "gold", "plum"]
STUDY = "tiny"


def rows(name: str, numbers: range) -> list[dict[str, object]]:
    return [
        {
            "id": f"{name}-{n}",
            "question": f"{name} {n}: which colour?",
            "choices": WORDS[n % 5 : n % 5 + 4],
            "answer": n % 4,
            "group": f"group-{n % 2}",
        }
        for n in numbers
    ]


def write_rows(path: Path, content: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


@pytest.fixture(scope="session")
def trial(tiny_pair, tmp_path_factory) -> TrialConfig:
    folder = tmp_path_factory.mktemp("exam-data")
    files = {
        split: (str(write_rows(folder / f"{split}.jsonl", rows(split, numbers))),)
        for split, numbers in {
            "train": range(12),
            "validation": range(6),
            "test": range(10),
        }.items()
    }
    return TrialConfig(
        pair=tiny_pair,
        fuser=FuserConfig(width=8),
        training=TrainingConfig(steps=4, batch_size=4, learning_rate=1e-2, rungs=(1.0,)),
        data=DataConfig(source="jsonl", files=SplitFiles(**files)),
        evaluation=EvaluationConfig(batch_size=4, length_normalised=False),
        seed=3,
    )


@pytest.fixture
def trained_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Controls are trained in this process; tests/test_end_to_end.py has theirs in workers."""
    monkeypatch.setattr(controls, "Worker", WorkerHere)


@pytest.fixture(scope="session")
def trained_root(trial, tmp_path_factory) -> Path:
    """A folder of stores with the trial in it, as a study leaves it."""
    root = tmp_path_factory.mktemp("exam-root")
    folder = root / "trials" / STUDY / trial.hash()
    pipeline = Pipeline(
        name=STUDY, data=trial.data, training=trial.training, evaluation=trial.evaluation
    )
    service = WorkerService(pipeline, cache_dir=root / "cache", emit=lambda event: None)
    trained = service.train(trial, folder, lambda: True)
    kept = trained.model_copy(update={"best_dir": "best"})
    JsonStore(folder.parent / "results").save(f"trained/{trial.hash()}", kept)
    (folder / "trial.yaml").write_text(f"# trial-007\n{trial.to_yaml()}")
    return root
