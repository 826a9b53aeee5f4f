from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from c2c_search.config.pipeline import Pipeline
from c2c_search.config.training import TrainingConfig
from c2c_search.space.schema import Space


PAIRS = {
    "there": {"receiver": "path:a", "sharer": "path:b"},
    "back": {"receiver": "path:b", "sharer": "path:a"},
}
GATED = {"fuser.gate.granularity": ["layer", "head"]}
DIMENSIONS = {
    "pair": {"choices": ["there", "back"]},
    "fuser.depth": {"int": [1, 4]},
    "fuser.width": {"int": [16, 256], "log": True},
    # Before the dimension that it depends on: the order in the file must not matter.
    "fuser.gate.noise": {"choices": ["none", "gumbel"], "when": GATED},
    "fuser.gate.temperature_end": {
        "float": [0.001, 1.0],
        "log": True,
        "when": {"fuser.gate.noise": "gumbel"},
    },
    "fuser.gate.granularity": {"choices": ["none", "layer", "head"]},
    "training.learning_rate": {"float": [1e-4, 1e-2], "log": True},
}


PIPELINE = """\
name: tiny-task
training: {steps: 4, log_every: 1, rungs: [0.5, 1.0]}
champion: {finalists: 2, level: 0.05, resamples: 400}
"""

SPACE = """\
study: tiny
pipeline: pipeline.yaml
pairs:
  there: {receiver: "path:a", sharer: "path:b"}
  back: {receiver: "path:b", sharer: "path:a"}
search: {trials: 5, sampler: auto, pruner: halving, reduction_factor: 2, seed: 0}
dimensions:
  pair: {choices: [there, back]}
  fuser.depth: {int: [1, 8]}
  training.learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
enqueue:
  - {pair: there, fuser.depth: 4, training.learning_rate: 1.0e-3}
  - {pair: back, fuser.depth: 4, training.learning_rate: 1.0e-3}
"""


def write_space(folder: Path) -> Path:
    """Write a space and its pipeline."""
    (folder / "pipeline.yaml").write_text(PIPELINE)
    path = folder / "space.yaml"
    path.write_text(SPACE)
    return path


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    return write_space(tmp_path)


@pytest.fixture
def make_space() -> Callable[..., Space]:
    """A function that builds a space; its arguments replace sections of a valid one."""

    def make(**sections: Any) -> Space:
        content = {
            "study": "test",
            "pipeline": Pipeline(
                name="test", training=TrainingConfig(steps=90, rungs=(1 / 9, 1 / 3, 1.0))
            ),
            "pairs": PAIRS,
            "search": {"trials": 20},
            "dimensions": DIMENSIONS,
        }
        return Space.model_validate({**content, **sections})

    return make
