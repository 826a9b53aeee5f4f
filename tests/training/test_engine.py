"""The engine around a fuser, against a plain torch loop."""

from __future__ import annotations

import copy

import pytest
import torch

from c2c_search.config.pipeline import TrainingConfig
from c2c_search.fuser.config import CacheShape
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
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
        assert engine.resume(tmp_path) is None


def test_one_checkpoint_is_kept(tmp_path):
    with TrainingEngine(Fuser(FuserConfig(width=4), SHAPE, SHAPE), TrainingConfig()) as engine:
        engine.save(tmp_path, 1, {"step": 1})
        engine.save(tmp_path, 2, {"step": 2})
        assert sorted(path.name for path in tmp_path.iterdir()) == ["latest.json", "step-2"]
        assert engine.resume(tmp_path)["step"] == 2
