"""The memory of a space's trials is told from configurations, with all models that stay loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from c2c_search.models.loading import load
from c2c_search.space.schema import Space
from c2c_search.study.memory import lengths_of_pairs
from c2c_search.study.memory import memory_of_trials
from c2c_search.training.memory.prediction import model_bytes


CPU = torch.device("cpu")


@pytest.fixture
def space(tiny_pair, tmp_path) -> Space:
    """Both ways of a pair, on questions of which one is long; so is one response."""
    rows = [
        {
            "id": str(number),
            "question": f"{number} and what?",
            "choices": list("abcd"),
            "answer": 1,
        }
        for number in range(40)
    ]
    rows[3]["question"] = "Which " + "long " * 60
    rows[8]["choices"] = ["a", "very " * 30, "c", "d"]
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    there = tiny_pair.model_dump()
    return Space(
        study="tiny",
        pairs={"there": there, "back": dict(zip(there, reversed(there.values()), strict=True))},
        search={"trials": 2, "pruner": "none"},
        dimensions={
            "pair": {"choices": ["there", "back"]},
            "fuser.width": {"choices": [8, 64]},
            "training.batch_size": {"choices": [2, 8]},
        },
        pipeline={
            "name": "tiny",
            "data": {"source": "jsonl", "files": {"train": [str(file)]}},
            "training": {"steps": 20},
        },
    )


def test_lengths_are_told_before_anything_is_loaded(space, tiny_pair):
    assert lengths_of_pairs(space) == []
    folder = Path(tiny_pair.receiver.removeprefix("path:"))
    config = json.loads((folder / "config.json").read_text())
    short = {**config, "max_position_embeddings": 64}
    (folder / "config.json").write_text(json.dumps(short))
    try:
        told = lengths_of_pairs(space)
    finally:
        (folder / "config.json").write_text(json.dumps(config))
    assert any("examples have more tokens than the 64 that the receiver" in text for text in told)
    assert any("examples have more tokens than the 64 that the sharer" in text for text in told)


def test_trials_take_what_their_models_batch_and_fuser_take(space, tiny_pair, monkeypatch):
    monkeypatch.setenv("C2C_SEARCH_DTYPE", "float32")
    memory = memory_of_trials(space, CPU)

    def of(**changes):
        point = {"pair": "there", "fuser.width": 8, "training.batch_size": 2}
        return memory(space.configuration({**point, **changes}))

    small, back = of(), of(pair="back")
    loaded = [load(source).model for _, source in tiny_pair]
    assert small.models == back.models == sum(map(model_bytes, loaded))
    wide, many = of(**{"fuser.width": 64}), of(**{"training.batch_size": 8})
    assert (wide.models, wide.caches) == (small.models, small.caches)
    assert wide.fuser > small.fuser
    assert wide.activations > small.activations
    assert many.fuser == small.fuser
    assert many.caches > small.caches
    assert many.activations > small.activations

    three = space.search.model_copy(update={"trials_per_device": 3})
    together = memory_of_trials(space.model_copy(update={"search": three}), CPU)
    point = {"pair": "there", "fuser.width": 8, "training.batch_size": 2}
    assert together(space.configuration(point)) == small.in_lockstep(3)


def test_models_count_in_the_dtype_that_they_compute_in(space, monkeypatch):
    point = {"pair": "there", "fuser.width": 8, "training.batch_size": 2}
    needed = {}
    for dtype in ("float32", "bfloat16"):
        monkeypatch.setenv("C2C_SEARCH_DTYPE", dtype)
        needed[dtype] = memory_of_trials(space, CPU)(space.configuration(point)).models
    assert needed["bfloat16"] == pytest.approx(needed["float32"] / 2, rel=0.01)
