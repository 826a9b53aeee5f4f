"""A task of the harness on a local file, and a model alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from c2c_search.inference.model import C2CModel


ITEMS = [
    {"question": "What is wet?", "choices": ["water", "sand", "a stone"], "answer": 0},
    {"question": "Which is hot?", "choices": ["ice", "fire", "snow", "rain"], "answer": 1},
    {"question": "Name a colour.", "choices": ["dog", "blue"], "answer": 1},
    {"question": "Is 3 > 2? ", "choices": ["yes", "no"], "answer": 0},
]


def choices_task(name: str, data: Path, cache: Path) -> dict[str, Any]:
    """A multiple-choice task in our plain template, on a JSONL file of questions and choices."""
    return {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(cache)},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
        "target_delimiter": " ",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A multiple-choice task in our plain template, on a local file."""
    data = tmp_path / "items.jsonl"
    data.write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    file = tmp_path / "tiny.yaml"
    config = choices_task("tiny", data, tmp_path / "datasets")
    file.write_text(json.dumps(config))  # JSON is YAML
    return file


@pytest.fixture
def alone(make_pair: Any) -> C2CModel:
    """The receiver of a tiny pair, alone."""
    pair = make_pair()
    return C2CModel(pair.receiver, pair.sharer, None, cache_dtype=torch.float32)
