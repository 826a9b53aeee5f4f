"""Conformance suite: every projector family, gate and alignment must pass all of it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import get_args

import pytest
import torch
from pydantic import ValidationError

from c2c_search.fuser import checkpoint
from c2c_search.fuser import config as c
from c2c_search.fuser import cost
from c2c_search.fuser.fuser import CalibrationPart
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.gates import Gate
from c2c_search.fuser.layer_alignment import LAYER_ALIGNMENTS
from c2c_search.fuser.layer_alignment import REFERENCES as ALIGNMENT_REFERENCES
from c2c_search.fuser.lora import Update
from c2c_search.fuser.projectors import PROJECTORS
from c2c_search.fuser.projectors import REFERENCES as PROJECTOR_REFERENCES
from c2c_search.fuser.rotations import Rotations
from c2c_search.fuser.selection import LayerByLayer
from c2c_search.fuser.selection import without_shut_layers


MAPS = tuple(
    c.AttentionMap(role=role, inputs=inputs, outputs=outputs)
    for role, inputs, outputs in (("output", 18, 10), ("query", 10, 18), ("value", 10, 12))
)
RECEIVER = c.CacheShape(layers=4, heads=2, head_dim=6, projections=MAPS)
SHARER = c.CacheShape(layers=3, heads=1, head_dim=10)
MADE_ALIGNMENTS = tuple(name for name in get_args(c.Alignment) if name != "explicit")
TRAINED_FAMILIES = tuple(name for name in get_args(c.ProjectorFamily) if name != "ridge")


def gates() -> list[c.GateConfig]:
    found = [c.GateConfig()]
    for granularity, noise, rule in product(
        ("layer", "head", "token", "value"), get_args(c.Noise), get_args(c.Rule)
    ):
        found.append(c.GateConfig(granularity=granularity, noise=noise, rule=rule))
    for granularity in ("layer", "head", "value"):
        found.append(c.GateConfig(granularity=granularity, input_dependent=True, sparsity=0.1))
    return found


def configs() -> list[c.FuserConfig]:
    """Every combination that validates of family, gate and alignment; every other axis once."""
    base = [
        c.FuserConfig(projector=projector, layer_alignment=alignment, gate=gate, width=8)
        for projector, alignment, gate in product(TRAINED_FAMILIES, MADE_ALIGNMENTS, gates())
    ]
    fitted = [
        c.FuserConfig(
            projector=projector,
            initialisation="zero" if projector == "ridge" else "ridge",
            rank=rank,
            injection=injection,
            layer_alignment=alignment,
            width=8,
        )
        for (projector, rank), injection, alignment in product(
            (("ridge", None), ("linear", None), ("linear", 4), ("joint", 30), ("joint", 5)),
            ("replace", "append"),
            ("terminal", "similarity"),
        )
    ]
    shapes = [
        c.FuserConfig(projector=projector, depth=depth, width=5, intermediate=7)
        for projector, depth in product(("c2c", "joint"), range(1, 9))
    ]
    shapes += [
        c.FuserConfig(layer_share=share, width=8, layer_alignment=alignment, layer_choice=choice)
        for share, alignment, choice in product(
            (0.1, 0.5, 0.8), MADE_ALIGNMENTS, get_args(c.LayerChoice)
        )
    ]
    sources = [
        c.FuserConfig(
            projector=projector,
            sources_per_layer=count,
            source_combination=combination,
            layer_alignment=alignment,
            width=8,
        )
        for projector, count, combination, alignment in product(
            TRAINED_FAMILIES,
            (2, 4),
            get_args(c.Combination),
            ("terminal", "proportional", "similarity"),
        )
    ]
    injections = [
        c.FuserConfig(projector=projector, injection=injection, keys=keys, width=8)
        for projector, injection, keys in product(
            TRAINED_FAMILIES, get_args(c.Injection), get_args(c.Keys)
        )
    ]
    others = [
        c.FuserConfig(
            projector=projector, normalisation=normalisation, dynamic_weight=weight, sharer=sharer
        )
        for projector, normalisation, weight, sharer in product(
            TRAINED_FAMILIES, get_args(c.Normalisation), (True, False), get_args(c.SharerMode)
        )
    ]
    others += [
        c.FuserConfig(
            projector=projector,
            width=8,
            weight_granularity=granularity,
            activation=activation,
            input_activation=activation != "relu",
            initialisation="random",
            dropout=0.1,
        )
        for projector, granularity, activation in product(
            TRAINED_FAMILIES, get_args(c.WeightGranularity), get_args(c.Activation)
        )
    ]
    adapted = [
        c.FuserConfig(
            projector=projector,
            injection=injection,
            gate=gate,
            sharer=sharer,
            width=8,
            layer_share=share,
            fuse_response=share < 1,
            lora_rank=rank,
        )
        for projector, injection, gate, sharer, share, rank in (
            ("c2c", "residual", c.GateConfig(), "real", 1.0, 1),
            ("c2c", "residual", c.GateConfig(granularity="head", rule="hard"), "real", 0.5, 3),
            ("joint", "residual", c.GateConfig(granularity="value"), "blank", 1.0, 3),
            ("linear", "replace", c.GateConfig(granularity="layer"), "mismatched", 1.0, 30),
            ("ridge", "replace", c.GateConfig(), "real", 0.5, 3),
            ("ridge", "append", c.GateConfig(), "real", 1.0, 3),
        )
    ]
    return base + fitted + shapes + sources + injections + others + adapted


class Turned:
    """Stands in for RoPE: turns the numbers of a key round by its token's place, in pairs."""

    def __init__(self, positions: torch.Tensor, layers: int = 1) -> None:
        self.positions, self.layers = positions, layers

    def _turn(self, keys: torch.Tensor, sign: int) -> torch.Tensor:
        angle = (sign * self.positions[:, None]).to(keys.dtype)
        first, second = keys.chunk(2, dim=-1)
        cos, sin = torch.cos(angle), torch.sin(angle)
        return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)

    def apply(self, keys: torch.Tensor) -> torch.Tensor:
        return self._turn(keys, 1)

    def undo(self, keys: torch.Tensor) -> torch.Tensor:
        return self._turn(keys, -1)

    def select(self, layers: torch.Tensor) -> Turned:
        return self

    def take(self, tokens: torch.Tensor) -> Turned:
        return Turned(self.positions[tokens], self.layers)

    def to(self, device: torch.device) -> Turned:
        return self


def rotations(config: c.FuserConfig, tokens: int, first: int = 0) -> Rotations | None:
    if config.keys == "rotated":
        return None
    place = torch.arange(first, first + tokens)
    return Rotations(Turned(place), Turned(place))


def caches(
    tokens: int = 7, *, seed: int = 0, linear: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random caches; ``linear`` ones are such that the sharer's tells the receiver's."""
    generator = torch.Generator().manual_seed(seed)
    sharer = 5 + 3 * torch.randn(2, SHARER.layers, tokens, SHARER.size, generator=generator)
    if linear:
        # Layer by layer from its terminal counterpart, so that the rank is the sharer's.
        maps = torch.randn(2, RECEIVER.layers, SHARER.size, RECEIVER.size, generator=generator)
        receiver = sharer[:, [0, 0, 1, 2]] @ maps + 1
    else:
        receiver = torch.randn(2, RECEIVER.layers, tokens, RECEIVER.size, generator=generator)
    return receiver, sharer


def calibrated(config: c.FuserConfig) -> Fuser:
    torch.manual_seed(0)
    fuser = Fuser(config, RECEIVER, SHARER)
    scores = torch.tensor([0.1, 0.9, 0.3, 0.8])
    part = CalibrationPart(*caches(50, seed=1), rotations(config, 50))
    fuser.calibrate(lambda: [part], layer_scores=scores)
    return fuser


def trained(config: c.FuserConfig) -> Fuser:
    """A fuser whose output map is not at its zero start any more."""
    fuser = calibrated(config)
    with torch.no_grad():
        for parameter in fuser.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return fuser


def only(applies: Callable[[c.FuserConfig], bool]) -> pytest.MarkDecorator:
    """The configurations that a promise is about."""
    chosen = [config for config in configs() if applies(config)]
    return pytest.mark.parametrize("config", chosen, ids=lambda config: config.model_dump_json())


@pytest.fixture(params=configs(), ids=lambda config: config.model_dump_json())
def config(request) -> c.FuserConfig:
    return request.param


def test_shape_and_dtype(config):
    for dtype in (torch.float32, torch.bfloat16):
        receiver, sharer = (cache.to(dtype) for cache in caches())
        fused = trained(config)(receiver, sharer, rotations(config, 7))
        assert fused.shape == receiver.shape
        assert fused.dtype == dtype
        assert torch.isfinite(fused).all()


def test_computes_in_bfloat16(config):
    fuser = trained(config).eval()
    receiver, sharer = caches()
    exact = fuser(receiver, sharer, rotations(config, 7))
    rough = fuser.bfloat16()(receiver, sharer, rotations(config, 7))
    assert rough.dtype == torch.float32
    cosine = torch.cosine_similarity(exact.flatten(), rough.flatten(), dim=0)
    assert cosine > 0.95 or config.gate.rule == "hard"


def test_gradients_reach_every_trainable_parameter(config):
    fuser = trained(config).train()
    if not fuser.trainable:
        assert config.projector == "ridge"
        assert not config.lora_rank
        return
    loss = fuser(*caches(), rotations(config, 7)).square().sum()
    for update, inputs in updates(fuser):
        loss = loss + update(torch.randn(7, inputs)).square().sum()
    (loss if fuser.penalty() is None else loss + fuser.penalty()).backward()
    silent = {
        name
        for name, parameter in fuser.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    }
    # A blank sharer is zeros: what reads it has nothing to learn, and it exists so that the twin
    # is the same architecture.
    reads_zeros = {
        "c2c": {"projector.from_sharer.weight"},
        "joint": {"projector.latent.weight"},
        "linear": {"projector.projection.weight", "projector.compress.weight"},
    }
    blank = reads_zeros[config.projector] | {"source_logits"} if config.sharer == "blank" else {}
    assert silent <= set(blank)


def updates(fuser: Fuser) -> list[tuple[Update, int]]:
    """Every update of a LoRA, with the size of what it reads; none without one."""
    if fuser.lora is None:
        return []
    sizes = {each.role: each.inputs for each in MAPS}
    return [(update, sizes[role]) for role, own in fuser.lora.updates().items() for update in own]


@only(lambda config: config.lora_rank > 0)
def test_untrained_lora_adds_exactly_nothing(config):
    added = [
        update(torch.randn(7, inputs))
        for update, inputs in updates(Fuser(config, RECEIVER, SHARER))
    ]
    assert len(added) == RECEIVER.layers * len(MAPS)
    assert not any(one.any() for one in added)


@only(lambda config: config.lora_rank > 0)
def test_lora_is_beside_a_fuser_that_starts_with_the_same_numbers(config):
    with_lora, without = (
        calibrated(config.model_copy(update={"lora_rank": rank})).state_dict()
        for rank in (config.lora_rank, 0)
    )
    assert {name for name in with_lora if not name.startswith("lora.")} == set(without)
    for name, tensor in without.items():
        assert torch.equal(tensor, with_lora[name])


@only(lambda config: config.initialisation == "zero" and config.injection == "residual")
def test_untrained_fuser_changes_nothing(config):
    fuser = Fuser(config, RECEIVER, SHARER).eval()
    receiver, sharer = caches()
    assert torch.equal(fuser(receiver, sharer, rotations(config, 7)), receiver)


@only(lambda config: config.gate.granularity != "none")
def test_shut_gate_leaves_the_receivers_cache_bit_for_bit(config):
    # The receiver that answers from it is the receiver alone, unless a LoRA adapts it: that is
    # not behind the gate.
    fuser = trained(config).eval()
    shut(fuser, range(2 * len(fuser.layers)))
    receiver, sharer = caches()
    assert torch.equal(fuser(receiver, sharer), receiver)
    assert fuser.open_share()["eval"] == 0


def shut(fuser: Fuser, groups) -> None:
    """Shut the gates of some groups; sigmoid underflows to exactly 0."""
    gate = fuser.gate
    with torch.no_grad():
        for group in groups:
            if gate.from_input is None:
                gate.logit[group] = -1e4
            else:
                gate.from_input.weight[group] = 0
                gate.from_input.bias[group] = -1e4


def test_tokens_do_not_see_each_other(config):
    # Packed prompts share the token dimension: what stands beside a token must not matter, so
    # that a batch is its singles and padding, which is never packed, changes nothing.
    fuser = trained(config).eval()
    receiver, sharer = caches(9)
    whole = fuser(receiver, sharer, rotations(config, 9))
    parts = [
        fuser(receiver[:, :, part], sharer[:, :, part], rotations(config, count, part.start))
        for part, count in ((slice(0, 4), 4), (slice(4, 9), 5))
    ]
    torch.testing.assert_close(whole, torch.cat(parts, dim=2), atol=1e-4, rtol=1e-5)


@only(lambda config: config.injection != "append")
def test_layer_by_layer_is_all_layers_at_once(config):
    fuser = trained(config).eval()
    receiver, sharer = caches()
    turned = rotations(config, 7)
    one_by_one = LayerByLayer(fuser)
    fused = torch.cat(
        [
            one_by_one(layer, receiver[:, layer : layer + 1], sharer, turned)
            for layer in range(RECEIVER.layers)
        ],
        dim=1,
    )
    torch.testing.assert_close(fused, fuser(receiver, sharer, turned), atol=1e-5, rtol=1e-5)


@only(lambda config: config.gate.granularity != "none")
def test_layers_that_never_open_are_left_out(config):
    fuser = trained(config).eval()
    count = len(fuser.layers)
    # Keys and values of the first layer, and the keys alone of the last.
    shut(fuser, (0, count, count - 1))
    receiver, sharer = caches()
    smaller = without_shut_layers(fuser)
    torch.testing.assert_close(smaller(receiver, sharer), fuser(receiver, sharer))
    if fuser.gate.from_input is not None:
        assert smaller is fuser  # another input may open it
    else:
        assert smaller.layers[0] > fuser.layers[0] or count == 1
        assert len(smaller.state_dict()) == len(fuser.state_dict())


def test_save_and_load(config, tmp_path):
    fuser = trained(config).eval()
    checkpoint.save(fuser, tmp_path)
    again = checkpoint.load(tmp_path)
    assert again.config == config
    assert again.layers == fuser.layers
    assert torch.equal(again.sources, fuser.sources)
    turned = rotations(config, 7)
    assert torch.equal(again(*caches(), turned), fuser(*caches(), turned))
    for (one, inputs), (other, _) in zip(updates(fuser), updates(again), strict=True):
        features = torch.randn(7, inputs)
        assert torch.equal(one(features), other(features))


def test_cost_is_the_true_count(config):
    fuser = Fuser(config, RECEIVER, SHARER)
    parameters = sum(parameter.numel() for parameter in fuser.parameters())
    tensors = fuser.state_dict().values()
    assert cost.parameters(config, RECEIVER, SHARER) == parameters
    assert cost.stored_bytes(config, RECEIVER, SHARER) == sum(t.nbytes for t in tensors)
    in_lora = 0 if fuser.lora is None else sum(p.numel() for p in fuser.lora.parameters())
    fusing = cost.flops_per_token(config, RECEIVER, SHARER)
    assert 0 < fusing <= 4 * (parameters - in_lora)
    reading = cost.flops_per_response_token(config, RECEIVER, SHARER)
    assert reading == 2 * in_lora + (fusing if config.fuse_response else 0)
    trained = sum(p.numel() for p in fuser.parameters() if p.requires_grad)
    assert cost.state_bytes(fuser) == sum(t.nbytes for t in tensors) + 12 * trained


def test_parameter_groups_hold_every_parameter_once(config):
    fuser = Fuser(config, RECEIVER, SHARER)
    grouped = [p for group in fuser.parameter_groups(1e-3, 0.1) for p in group["params"]]
    trainable = [p for p in fuser.parameters() if p.requires_grad]
    assert {id(p) for p in grouped} == {id(p) for p in trainable}
    assert len(grouped) == len(trainable)


@only(lambda config: config.injection != "append")
def test_layers_that_are_not_fused_stay_as_they_are(config):
    fuser = trained(config).eval()
    receiver, sharer = caches()
    changed = (fuser(receiver, sharer, rotations(config, 7)) != receiver).flatten(2).any(dim=2)
    assert len(fuser.layers) == (round(config.layer_share * RECEIVER.layers) or 1)
    if config.layer_choice == "attention" and config.layer_share == 0.5:
        assert fuser.layers == [1, 3]  # the two best scores
    others = [layer for layer in range(RECEIVER.layers) if layer not in fuser.layers]
    assert not changed[:, others].any()
    if config.gate.rule == "soft":
        assert changed[:, fuser.layers].all()


def test_config_survives_json(config):
    assert c.FuserConfig.model_validate_json(config.model_dump_json()) == config


def test_the_twin_hears_nothing_and_can_still_adapt_the_receiver(config):
    twin = config.without_sharer()
    fuser = trained(twin).eval()
    receiver, sharer = caches()
    turned = rotations(twin, 7)
    assert twin.lora_rank == config.lora_rank
    fused = fuser(receiver, sharer, turned)
    assert torch.equal(fused, fuser(receiver, sharer + 1, turned))
    # What it says depends on what the receiver itself has read.
    other = receiver.flip(2)
    changed = fuser(other, sharer, turned) - other
    assert twin.gate.rule == "hard" or not torch.allclose(changed, fused - receiver, atol=1e-4)


def test_every_plug_in_is_registered_with_its_reference():
    assert set(PROJECTORS) == set(PROJECTOR_REFERENCES) == set(get_args(c.ProjectorFamily))
    assert set(LAYER_ALIGNMENTS) == set(ALIGNMENT_REFERENCES) == set(get_args(c.Alignment))


def test_blank_sharer_hears_nothing():
    fuser = trained(c.FuserConfig(width=8, sharer="blank")).eval()
    receiver, sharer = caches()
    assert torch.equal(fuser(receiver, sharer), fuser(receiver, sharer * 3))


@pytest.mark.parametrize("injection", ["replace", "append"])
@pytest.mark.parametrize(("projector", "rank"), [("ridge", None), ("linear", None), ("joint", 20)])
def test_ridge_finds_the_map_that_a_pair_was_made_from(projector, rank, injection):
    config = c.FuserConfig(
        projector=projector,
        initialisation="zero" if projector == "ridge" else "ridge",
        rank=rank,
        injection=injection,
        dynamic_weight=False,
        ridge_penalty=1e-6,
        width=8,
    )
    receiver, sharer = caches(400, seed=3, linear=True)
    fuser = Fuser(config, RECEIVER, SHARER).eval()
    fuser.calibrate(lambda: [CalibrationPart(receiver, sharer)])
    told = fuser(torch.zeros_like(receiver), sharer)
    torch.testing.assert_close(told, receiver, atol=0.05, rtol=1e-3)


def test_lower_rank_keeps_the_main_directions():
    receiver, sharer = caches(400, seed=3, linear=True)
    errors = []
    for rank in (2, 5, 10):
        config = c.FuserConfig(
            projector="linear",
            initialisation="ridge",
            rank=rank,
            injection="append",
            ridge_penalty=1e-6,
        )
        fuser = Fuser(config, RECEIVER, SHARER).eval()
        fuser.calibrate(lambda: [CalibrationPart(receiver, sharer)])
        errors.append((fuser(receiver, sharer) - receiver).square().mean().item())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-3


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"projector": "ridge"}, "injection replace or append"),
        ({"initialisation": "ridge", "injection": "replace"}, "projector joint or linear"),
        ({"rank": 3}, "rank belongs to"),
        ({"gate": {"noise": "gumbel"}}, "gate.noise needs a gate"),
        ({"gate": {"sparsity": 0.1}}, "gate.sparsity needs a gate"),
        ({"layer_alignment": "learned", "sources_per_layer": 2}, "alignment_window"),
        ({"injection": "append", "gate": {"granularity": "layer"}}, "no gate to shut"),
        ({"injection": "append", "layer_share": 0.5}, "layer_share to 1"),
        ({"injection": "append", "fuse_response": True}, "no response to fuse"),
        ({"projector": "mlp"}, "'c2c', 'joint', 'linear' or 'ridge'"),
        ({"layer_alignment": "best"}, "'terminal', 'proportional', 'similarity', 'learned'"),
    ],
)
def test_what_does_not_fit_together_is_refused_with_the_way_out(wrong, rule):
    with pytest.raises(ValidationError) as error:
        c.FuserConfig.model_validate(wrong)
    assert rule in str(error.value)


def test_several_misfits_are_told_at_once():
    with pytest.raises(ValidationError) as error:
        c.FuserConfig(rank=3, injection="append", layer_share=0.5, fuse_response=True)
    for part in ("rank belongs", "layer_share to 1", "no response to fuse"):
        assert part in str(error.value)


def test_an_explicit_map_must_be_given():
    config = c.FuserConfig(layer_alignment="explicit", width=8)
    with pytest.raises(ValueError, match="must be given"):
        Fuser(config, RECEIVER, SHARER)
    fuser = Fuser(config, RECEIVER, SHARER, layers=[0, 3], sources=[[2], [0]])
    assert fuser(*caches()).shape == caches()[0].shape


def test_lora_is_trained_at_a_rate_of_its_own():
    config = c.FuserConfig(width=8, lora_rank=1, lora_learning_rate_multiplier=0.5)
    fuser = Fuser(config, RECEIVER, SHARER)
    *_, group = fuser.parameter_groups(0.1, 0.01)
    assert {id(one) for one in group["params"]} == {id(one) for one in fuser.lora.parameters()}
    assert (group["lr"], group["weight_decay"]) == (0.05, 0.01)
    twin = c.FuserConfig(projector="linear", **config.model_dump(exclude={"projector"}))
    assert twin.without_sharer().lora_learning_rate_multiplier == 0.5


def test_lora_needs_the_sizes_of_the_receivers_maps():
    with pytest.raises(ValueError, match="adaptable_shape"):
        Fuser(c.FuserConfig(lora_rank=2), RECEIVER.without_projections(), SHARER)


def test_layers_by_attention_need_their_scores():
    fuser = Fuser(c.FuserConfig(layer_choice="attention", layer_share=0.5), RECEIVER, SHARER)
    with pytest.raises(ValueError, match="scores of all layers"):
        fuser.calibrate(lambda: [CalibrationPart(*caches())])


def test_noise_is_drawn_for_every_token_and_head():
    gate = c.GateConfig(granularity="layer", noise="gumbel", rule="hard")
    fuser = Fuser(c.FuserConfig(width=8, gate=gate), RECEIVER, SHARER).train()
    opened, _ = fuser.gate(torch.zeros(8, 5, 8))
    assert opened.shape == (8, 5, RECEIVER.heads)
    assert len(opened.unique()) == opened.numel()


def test_sparsity_closes_gates():
    gate = c.GateConfig(granularity="layer", noise="logistic", rule="hard", sparsity=1.0)
    fuser = Fuser(c.FuserConfig(width=8, gate=gate), RECEIVER, SHARER).train()
    optimizer = torch.optim.SGD(fuser.parameters(), lr=10.0)
    for _ in range(20):
        fuser(*caches())
        optimizer.zero_grad()
        fuser.penalty().backward()
        optimizer.step()
    assert fuser.open_share()["train"] < 0.2
    assert fuser.open_share()["eval"] == 0
    assert len(without_shut_layers(fuser.eval()).layers) == 1


def test_tokens_that_are_fused_some_at_a_time_are_fused_the_same(config, monkeypatch):
    fuser, inputs = trained(config).eval(), (*caches(), rotations(config, 7))
    with torch.no_grad():
        whole, share = fuser(*inputs), fuser.open_share()
        monkeypatch.setattr("c2c_search.fuser.fuser._TOKENS_AT_ONCE", 3)
        torch.testing.assert_close(fuser(*inputs), whole)
        assert fuser.open_share() == pytest.approx(share)


def test_activations_that_are_computed_again_change_nothing(config):
    found = []
    for recomputes in (False, True):
        fuser = trained(config).train()
        fuser.recomputes = recomputes
        torch.manual_seed(1)  # for the noise of gates and dropout
        fused = fuser(*caches(), rotations(config, 7))
        if not fused.requires_grad:  # a fitted map
            return
        penalty = fuser.penalty()
        loss = fused.square().mean()
        (loss if penalty is None else loss + penalty).backward()
        gradients = {name: p.grad for name, p in fuser.named_parameters()}
        found.append((fused, gradients, fuser.open_share(), torch.rand(1)))
    (fused, gradients, share, drawn), others = found
    assert torch.equal(others[0], fused)
    for name, gradient in gradients.items():
        assert (gradient is None) == (others[1][name] is None)
        assert gradient is None or torch.equal(others[1][name], gradient), name
    assert others[2:] == (share, drawn)


@pytest.mark.parametrize("projector", TRAINED_FAMILIES)
def test_activations_that_are_computed_again_are_not_kept(projector):
    kept = []
    for recomputes in (False, True):
        fuser = trained(c.FuserConfig(projector=projector, width=8)).train()
        fuser.recomputes = recomputes
        read = caches(30)
        known = {t.untyped_storage()._cdata for t in (*fuser.state_dict().values(), *read)}
        storages = {}

        def keep(tensor, storages=storages):
            storage = tensor.untyped_storage()
            storages[storage._cdata] = storage
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            fuser(*read)
        kept.append(sum(s.nbytes() for key, s in storages.items() if key not in known))
    assert kept[1] < kept[0] / 10


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
