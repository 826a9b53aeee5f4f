"""The engine around a fuser, against a plain torch loop."""

from __future__ import annotations

import copy

import pytest
import torch

from c2c_search.config.training import TrainingConfig
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.shapes import CacheShape
from c2c_search.training.checkpoint import Position
from c2c_search.training.engine import TrainingEngine
from c2c_search.training.engine import schedule


SHAPE = CacheShape(layers=2, heads=1, head_dim=4)


def batches(count: int):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 2, 2, 5, 4, generator=generator) for _ in range(count)]


def loss_of(fused, target):
    return (fused - target.flip(2)).square().mean()


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_equals_a_plain_loop(stage):
    config = TrainingConfig(steps=6, learning_rate=1e-2, zero_stage=stage, weight_decay=0.1)
    torch.manual_seed(0)
    fuser = Fuser(FuserConfig(width=8), SHAPE, SHAPE).train()
    plain = copy.deepcopy(fuser)
    optimizer = torch.optim.AdamW(plain.parameter_groups(1e-2, 0.1), fused=True)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule(config))
    with TrainingEngine(fuser, config) as engine:
        for receiver, sharer in batches(6):
            loss = loss_of(engine(receiver, sharer), receiver)
            engine.backward_and_step(loss)
            expected = loss_of(plain(receiver, sharer), receiver)
            expected.backward()
            torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
            optimizer.step()
            rate.step()
            optimizer.zero_grad()
            assert float(loss) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("name", ["linear", "cosine", "constant"])
def test_schedule(name):
    share = schedule(TrainingConfig(steps=100, warmup=0.1, schedule=name))
    assert share(0) == pytest.approx(0.1)
    assert share(9) == share(10) == 1.0
    assert share(100) == pytest.approx(1.0 if name == "constant" else 0.0)
    assert all(0 <= share(step) <= 1 for step in range(120))


def test_resume_without_a_checkpoint(tmp_path):
    with TrainingEngine(Fuser(FuserConfig(width=4), SHAPE, SHAPE), TrainingConfig()) as engine:
        assert engine.resume(tmp_path, "trial") is None


def test_one_checkpoint_is_kept(tmp_path):
    with TrainingEngine(Fuser(FuserConfig(width=4), SHAPE, SHAPE), TrainingConfig()) as engine:
        engine.save(tmp_path, "trial", Position(step=1))
        engine.save(tmp_path, "trial", Position(step=2))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["latest.json", "step-2"]
        assert engine.resume(tmp_path, "trial").step == 2


def test_a_checkpoint_is_data(tmp_path):
    with TrainingEngine(Fuser(FuserConfig(width=4), SHAPE, SHAPE), TrainingConfig()) as engine:
        engine.save(tmp_path, "trial", Position(step=1))
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"latest.json", "state.json", "state.safetensors"}


def steps_of(engine, some):
    losses = []
    for receiver, sharer in some:
        loss = loss_of(engine(receiver, sharer), receiver)
        engine.backward_and_step(loss)
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_going_on_gives_the_same_numbers(tmp_path, stage, accumulation):
    config = TrainingConfig(
        steps=6,
        learning_rate=1e-2,
        zero_stage=stage,
        weight_decay=0.1,
        gradient_accumulation=accumulation,
    )
    found = []
    for parts in ([slice(0, 8)], [slice(0, 4), slice(4, 8)]):
        losses, rates = [], []
        for part in parts:
            torch.manual_seed(0)
            fuser = Fuser(FuserConfig(width=8, dropout=0.5), SHAPE, SHAPE).train()
            with TrainingEngine(fuser, config) as engine:
                engine.resume(tmp_path, "trial")
                losses += steps_of(engine, batches(8)[part])
                rates.append(engine.learning_rate)
                if len(parts) > 1:
                    engine.save(tmp_path, "trial", Position(step=part.stop))
        found.append((losses, rates[-1], fuser.state_dict(), torch.rand(3)))
    assert found[0][:2] == found[1][:2]
    assert all(torch.equal(found[0][2][name], found[1][2][name]) for name in found[0][2])
    assert torch.equal(found[0][3], found[1][3])
