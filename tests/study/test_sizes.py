from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from c2c_search.config.trial import TrialConfig
from c2c_search.fuser.cost import parameters
from c2c_search.fuser.shapes import CacheShape
from c2c_search.space.schema import Space
from c2c_search.study import sizes
from c2c_search.study.sizes import make_fits
from c2c_search.study.sizes import shape_of
from c2c_search.study.sizes import shapes
from c2c_search.training.memory.trial_memory import TrialMemory


def test_a_space_without_limits_needs_no_sizes(space_file: Path) -> None:
    assert make_fits(Space.load(space_file)) is None


def test_a_candidate_beyond_the_limits_does_not_fit(space_file: Path) -> None:
    shape = CacheShape(layers=2, heads=1, head_dim=4)
    trial = Space.load(space_file).configuration({"pair": "there", "fuser.depth": 3})
    limit = parameters(trial.fuser, shape, shape)
    space_file.write_text(space_file.read_text() + f"limits: {{max_parameters: {limit}}}\n")
    fits = make_fits(Space.load(space_file), lambda source: shape)
    assert fits is not None
    assert fits(trial)
    deeper = trial.fuser.model_copy(update={"depth": 4})
    assert not fits(trial.model_copy(update={"fuser": deeper}))


def test_a_candidate_beyond_the_memory_limit_does_not_fit(
    space_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = CacheShape(layers=2, heads=1, head_dim=4)
    space_file.write_text(space_file.read_text() + "limits: {max_memory_gb: 2}\n")
    space = Space.load(space_file)
    trial = space.configuration({"pair": "there", "fuser.depth": 3})
    deeper = trial.model_copy(update={"fuser": trial.fuser.model_copy(update={"depth": 4})})

    def memory_of_trials(space: Space) -> Callable[[TrialConfig], TrialMemory]:
        return lambda trial: TrialMemory(10**9, 0, 10**9 * (trial.fuser.depth > 3), 10**8)

    monkeypatch.setattr("c2c_search.study.memory.memory_of_trials", memory_of_trials)
    fits = make_fits(space, lambda source: shape)
    assert fits is not None
    assert fits(trial)
    assert not fits(deeper)


def test_the_maps_of_receivers_are_looked_at_where_a_lora_is_searched(
    space_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []
    monkeypatch.setattr(sizes, "shape_of", lambda source, adapted: asked.append((source, adapted)))
    plain = Space.load(space_file)
    pair = plain.pairs["there"]
    rank = plain.dimensions["fuser.depth"].model_copy(update={"choices": (0, 4)})
    searched = {**plain.dimensions, "fuser.lora_rank": rank}
    for changes in ({}, {"dimensions": searched}, {"fixed": {"fuser.lora_rank": 4}}):
        one_way = {"pairs": {"there": pair}, **changes}
        shape = shapes(plain.model_copy(update=one_way))
        shape(pair.receiver)
        shape(pair.sharer)
    receivers = [adapted for source, adapted in asked if source == pair.receiver]
    assert receivers == [False, True, True]
    assert not any(adapted for source, adapted in asked if source == pair.sharer)


def test_a_configuration_on_disk_tells_the_maps(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig

    config = LlamaConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
    config.save_pretrained(tmp_path)
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    shape = shape_of(f"path:{tmp_path}", adapted=True)
    found = {each.role: (each.inputs, each.outputs) for each in shape.projections}
    assert found == {"query": (16, 16), "value": (16, 8), "output": (16, 16)}
    assert shape.without_projections() == shape_of(f"path:{tmp_path}")
