"""A training's checkpoint is data of its own, and nothing else is gone on from."""

from __future__ import annotations

import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save_file

from c2c_search.config.training import TrainingConfig
from c2c_search.errors import IntegrityError
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.shapes import CacheShape
from c2c_search.training.checkpoint import Position
from c2c_search.training.engine import TrainingEngine


SHAPE = CacheShape(layers=2, heads=1, head_dim=4)


@pytest.fixture
def engine():
    torch.manual_seed(0)
    fuser = Fuser(FuserConfig(width=4), SHAPE, SHAPE)
    with TrainingEngine(fuser, TrainingConfig()) as engine:
        cache = torch.randn(2, 2, 3, 4)
        engine.backward_and_step(engine(cache, cache).square().mean())
        yield engine


@pytest.fixture
def folder(engine, tmp_path):
    engine.save(tmp_path, "a trial", Position(step=1, seconds={"train": 1.5}, rungs=["{}"]))
    return tmp_path


def test_what_was_written_is_read(engine, folder):
    before = {name: tensor.clone() for name, tensor in engine.module.state_dict().items()}
    with torch.no_grad():
        for parameter in engine.module.parameters():
            parameter.add_(1)
    position = engine.resume(folder, "a trial")
    assert position == Position(step=1, seconds={"train": 1.5}, rungs=["{}"])
    assert all(torch.equal(before[n], t) for n, t in engine.module.state_dict().items())


class Marker:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_of_deepspeed_is_refused_and_never_unpickled(engine, tmp_path):
    folder = tmp_path / "checkpoints" / "step-2"
    folder.mkdir(parents=True)
    (tmp_path / "checkpoints" / "latest.json").write_text('{"tag": "step-2"}')
    for name in ("mp_rank_00_model_states.pt", "state.json", "state.safetensors"):
        (folder / name).write_bytes(pickle.dumps(Marker(tmp_path / "PWNED")))
        with pytest.raises(IntegrityError, match=r"Remove .*checkpoints to train from the first"):
            engine.resume(tmp_path / "checkpoints", "a trial")
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize(
    "tag", ["../elsewhere", "/etc", "step-1/..", "step-1\n", "step-", "", 3, None]
)
def test_a_tag_does_not_leave_the_folder(engine, folder, tag):
    (folder / "latest.json").write_text(json.dumps({"tag": tag}))
    with pytest.raises(IntegrityError, match=r"latest\.json must be of a checkpoint .*tag"):
        engine.resume(folder, "a trial")


def test_another_trainings_checkpoint_is_refused(engine, folder):
    with pytest.raises(IntegrityError, match="is of 'a trial' and not of 'another'"):
        engine.resume(folder, "another")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"position": {"step": -1}}, "position.step"),
        ({"position": {"step": True}}, "position.step"),
        ({"position": {"step": 1, "seconds": {"train": "long"}}}, "position.seconds.train"),
        ({"more": 1}, "more"),
        ({"engine": None}, "engine"),
    ],
)
def test_a_state_that_is_none_is_named(engine, folder, change, reason):
    path = folder / "step-1" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(IntegrityError, match=rf"state\.json must .*{reason}"):
        engine.resume(folder, "a trial")


def test_rates_are_as_many_as_the_optimizers_groups(engine, folder):
    path = folder / "step-1" / "state.json"
    state = json.loads(path.read_text())
    state["engine"]["learning_rates"].append(0.5)
    path.write_text(json.dumps(state))
    with pytest.raises(IntegrityError, match="learning rates"):
        engine.resume(folder, "a trial")


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(engine, folder, size):
    path = folder / "step-1" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(IntegrityError, match=r"state\.safetensors must be"):
        engine.resume(folder, "a trial")


@pytest.mark.parametrize(
    ("name", "tensor", "reason"),
    [
        ("module.sources", None, "lacks module.sources"),
        ("module.more", torch.zeros(1), "has besides module.more"),
        ("optimizer.0.exp_avg", torch.zeros(1), r"optimizer\.0\.exp_avg is .*\(1,\) and not"),
        ("optimizer.99.exp_avg", torch.zeros(1), "has besides optimizer.99.exp_avg"),
        ("optimizer.0.step", torch.tensor(1), "int64.* and not torch.float32"),
        ("random.torch", torch.zeros(3, dtype=torch.uint8), "random.torch is"),
    ],
)
def test_tensors_are_those_of_the_training(engine, folder, name, tensor, reason):
    path = folder / "step-1" / "state.safetensors"
    tensors = load_file(path)
    tensors.pop(name, None)
    if tensor is not None:
        tensors[name] = tensor
    save_file(tensors, path)
    with pytest.raises(IntegrityError, match=reason):
        engine.resume(folder, "a trial")
