from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from c2c_search.pipeline.schema import Pipeline
from c2c_search.pipeline.schema import TrainingConfig
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
