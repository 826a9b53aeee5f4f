"""Conformance suite: every projector family, gate and layer alignment must pass all of it."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest
import torch

from c2c_search.fuser import checkpoint
from c2c_search.fuser import config as c
from c2c_search.fuser import cost
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.gates import Gate
from c2c_search.fuser.layer_alignment import LAYER_ALIGNMENTS
from c2c_search.fuser.layer_alignment import REFERENCES as ALIGNMENT_REFERENCES
from c2c_search.fuser.projectors import PROJECTORS
from c2c_search.fuser.projectors import REFERENCES as PROJECTOR_REFERENCES


RECEIVER = c.CacheShape(layers=4, heads=2, head_dim=6)
SHARER = c.CacheShape(layers=3, heads=1, head_dim=10)


def gates() -> list[c.GateConfig]:
    found = [c.GateConfig()]
    for granularity, noise, rule in product(
        ("layer", "head", "token", "value"), get_args(c.Noise), get_args(c.Rule)
    ):
        found.append(c.GateConfig(granularity=granularity, noise=noise, rule=rule))
    found.append(c.GateConfig(granularity="head", input_dependent=True))
    return found


def configs() -> list[c.FuserConfig]:
    base = [
        c.FuserConfig(projector=projector, layer_alignment=alignment, gate=gate, width=8)
        for projector, alignment, gate in product(
            get_args(c.ProjectorFamily), get_args(c.Alignment), gates()
        )
    ]
    shapes = [c.FuserConfig(depth=depth, width=5, intermediate=7) for depth in range(1, 9)]
    shapes += [
        c.FuserConfig(layer_share=share, width=8, layer_alignment=alignment)
        for share, alignment in product((0.1, 0.5, 0.8), get_args(c.Alignment))
    ]
    others = [
        c.FuserConfig(width=8, normalisation=normalisation, dynamic_weight=weight, sharer=sharer)
        for normalisation, weight, sharer in product(
            get_args(c.Normalisation), (True, False), get_args(c.SharerMode)
        )
    ]
    return base + shapes + others


def caches(tokens: int = 7, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    receiver = torch.randn(2, RECEIVER.layers, tokens, RECEIVER.size, generator=generator)
    sharer = 5 + 3 * torch.randn(2, SHARER.layers, tokens, SHARER.size, generator=generator)
    return receiver, sharer


def trained(config: c.FuserConfig) -> Fuser:
    """A fuser whose output map is not at its zero start any more."""
    torch.manual_seed(0)
    fuser = Fuser(config, RECEIVER, SHARER)
    fuser.calibrate(*caches(50, seed=1))
    with torch.no_grad():
        for parameter in fuser.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return fuser


@pytest.fixture(params=configs(), ids=lambda config: config.model_dump_json())
def config(request) -> c.FuserConfig:
    return request.param


def test_shape_and_dtype(config):
    receiver, sharer = caches()
    for dtype in (torch.float32, torch.bfloat16):
        fused = trained(config)(receiver.to(dtype), sharer.to(dtype))
        assert fused.shape == receiver.shape
        assert fused.dtype == dtype
        assert torch.isfinite(fused).all()


def test_gradients_reach_every_parameter(config):
    fuser = trained(config).train()
    fuser(*caches()).square().sum().backward()
    silent = {
        name
        for name, parameter in fuser.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    }
    # A blank sharer is zeros: what reads it has nothing to learn, and it exists so that the twin
    # is the same architecture.
    blank = (
        {"projector.from_sharer.weight", "source_logits"} if config.sharer == "blank" else set()
    )
    assert silent <= blank


def test_untrained_fuser_changes_nothing(config):
    fuser = Fuser(config, RECEIVER, SHARER).eval()
    receiver, sharer = caches()
    assert torch.equal(fuser(receiver, sharer), receiver)


def test_shut_gate_is_the_receiver_alone_bit_for_bit(config):
    if config.gate.granularity == "none":
        pytest.skip("no gate to shut")
    fuser = trained(config).eval()
    gate = fuser.gate
    with torch.no_grad():
        shut = -1e4  # sigmoid underflows to exactly 0
        if gate.from_input is None:
            gate.logit.fill_(shut)
        else:
            gate.from_input.weight.zero_()
            gate.from_input.bias.fill_(shut)
    receiver, sharer = caches()
    assert torch.equal(fuser(receiver, sharer), receiver)
    assert fuser.open_share()["eval"] == 0


def test_tokens_do_not_see_each_other(config):
    # Packed prompts share the token dimension: what stands beside a token must not matter.
    fuser = trained(config).eval()
    receiver, sharer = caches(9)
    whole = fuser(receiver, sharer)
    parts = [fuser(receiver[:, :, part], sharer[:, :, part]) for part in (slice(4), slice(4, 9))]
    torch.testing.assert_close(whole, torch.cat(parts, dim=2), atol=1e-5, rtol=1e-5)


def test_save_and_load(config, tmp_path):
    fuser = trained(config).eval()
    checkpoint.save(fuser, tmp_path)
    again = checkpoint.load(tmp_path)
    assert again.config == config
    assert torch.equal(again.sources, fuser.sources)
    assert torch.equal(again(*caches()), fuser(*caches()))


def test_cost_is_the_true_count(config):
    fuser = Fuser(config, RECEIVER, SHARER)
    parameters = sum(parameter.numel() for parameter in fuser.parameters())
    tensors = fuser.state_dict().values()
    assert cost.parameters(config, RECEIVER, SHARER) == parameters
    assert cost.stored_bytes(config, RECEIVER, SHARER) == sum(t.nbytes for t in tensors)
    assert cost.flops_per_token(config, RECEIVER, SHARER) < 2 * parameters


def test_parameter_groups_hold_every_parameter_once(config):
    fuser = Fuser(config, RECEIVER, SHARER)
    grouped = [p for group in fuser.parameter_groups(1e-3, 0.1) for p in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in fuser.parameters()}
    assert len(grouped) == len(list(fuser.parameters()))


def test_layers_before_the_share_stay_as_they_are(config):
    fuser = trained(config).eval()
    receiver, sharer = caches()
    changed = (fuser(receiver, sharer) != receiver).flatten(2).any(dim=2)
    fused = round(config.layer_share * RECEIVER.layers) or 1
    assert not changed[:, : RECEIVER.layers - fused].any()
    if config.gate.rule == "soft":
        assert changed[:, RECEIVER.layers - fused :].all()


def test_config_survives_json(config):
    assert c.FuserConfig.model_validate_json(config.model_dump_json()) == config


def test_every_plug_in_is_registered_with_its_reference():
    assert set(PROJECTORS) == set(PROJECTOR_REFERENCES) == set(get_args(c.ProjectorFamily))
    assert set(LAYER_ALIGNMENTS) == set(ALIGNMENT_REFERENCES) == set(get_args(c.Alignment))


def test_blank_sharer_hears_nothing():
    fuser = trained(c.FuserConfig(width=8, sharer="blank")).eval()
    receiver, sharer = caches()
    assert torch.equal(fuser(receiver, sharer), fuser(receiver, sharer * 3))


@pytest.mark.parametrize(("noise", "share"), [("gumbel", 0.632), ("logistic", 0.5), ("none", 0.5)])
def test_open_share_at_logit_zero(noise, share):
    # The published rule: 63 % open in training, shut in evaluation.
    gate = c.GateConfig(granularity="layer", noise=noise, rule="hard")
    fuser = Fuser(c.FuserConfig(width=8, gate=gate), RECEIVER, SHARER)
    assert fuser.open_share()["train"] == pytest.approx(share, abs=1e-3)
    assert fuser.open_share()["eval"] == 0


def test_temperature_anneals_over_the_budget():
    gate = c.GateConfig(
        granularity="layer", noise="logistic", temperature_start=1.0, temperature_end=0.01
    )
    fuser = Fuser(c.FuserConfig(width=8, gate=gate), RECEIVER, SHARER)
    assert isinstance(fuser.gate, Gate)
    seen = []
    for progress in (0.0, 0.5, 1.0):
        fuser.anneal(progress)
        seen.append(float(fuser.gate.temperature))
    assert seen == pytest.approx([1.0, 0.1, 0.01])
