"""Every built-in projector family, gate, alignment and injection passes, alone and together."""

from __future__ import annotations

from typing import ClassVar
from typing import get_args

import pytest
import torch
from pydantic import ValidationError

from c2c_search.fuser import config as c
from c2c_search.fuser.calibration_part import CalibrationPart
from c2c_search.fuser.families import PROJECTORS
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.gate_config import GateConfig
from c2c_search.fuser.gate_config import Noise
from c2c_search.fuser.granularities import GATES
from c2c_search.fuser.injections import INJECTIONS
from c2c_search.fuser.layer_alignment import LAYER_ALIGNMENTS
from c2c_search.fuser.layers import LayerChoice
from c2c_search.fuser.selection import without_shut_layers
from c2c_search.testing import GateConformance
from c2c_search.testing import InjectionConformance
from c2c_search.testing import LayerAlignmentConformance
from c2c_search.testing import ProjectorConformance
from c2c_search.testing.fusers import FuserConformance
from c2c_search.testing.fusers import only
from c2c_search.testing.pairs import MAPS
from c2c_search.testing.pairs import RECEIVER
from c2c_search.testing.pairs import SHARER
from c2c_search.testing.pairs import caches
from c2c_search.testing.pairs import calibrated
from c2c_search.testing.pairs import trained
from c2c_search.testing.pairs import updates
from c2c_search.testing.pairwise import each
from c2c_search.testing.pairwise import merged
from c2c_search.testing.pairwise import pairwise


SHUT_AT_FIRST = {"granularity": "head", "rule": "tanh"}
TRAINED_FAMILIES = ("c2c", "joint", "linear")
MADE_ALIGNMENTS = ("terminal", "proportional", "similarity", "learned")
READS_SHARER = {
    "c2c": {"projector.from_sharer.weight"},
    "joint": {"projector.latent.weight"},
    "linear": {"projector.projection.weight", "projector.compress.weight"},
    "ridge": set(),
}


class TestC2C(ProjectorConformance):
    plugin = "c2c"
    reads_sharer: ClassVar = READS_SHARER["c2c"]


class TestJoint(ProjectorConformance):
    plugin = "joint"
    reads_sharer: ClassVar = READS_SHARER["joint"]


class TestLinear(ProjectorConformance):
    plugin = "linear"
    reads_sharer: ClassVar = READS_SHARER["linear"]


class TestRidge(ProjectorConformance):
    plugin = "ridge"


class TestTokenGate(GateConformance):
    plugin = "token"


class TestHeadGate(GateConformance):
    plugin = "head"


class TestTerminal(LayerAlignmentConformance):
    plugin = "terminal"


class TestProportional(LayerAlignmentConformance):
    plugin = "proportional"


class TestSimilarity(LayerAlignmentConformance):
    plugin = "similarity"


class TestLearned(LayerAlignmentConformance):
    plugin = "learned"


class TestExplicit(LayerAlignmentConformance):
    plugin = "explicit"


class TestResidual(InjectionConformance):
    plugin = "residual"


class TestReplace(InjectionConformance):
    plugin = "replace"


class TestAppend(InjectionConformance):
    plugin = "append"


class TestSide(InjectionConformance):
    plugin = "side"


def gates() -> list[GateConfig]:
    granularities = each("granularity", ("layer", "head", "token", "value"))
    fields = [
        {},
        *merged(granularities, each("noise", get_args(Noise)), each("rule", ("hard", "soft"))),
        # Without noise, and shut at 0.
        *merged(granularities, [{"rule": "tanh", "initial_logit": 0.5}]),
        *(
            {"granularity": granularity, "input_dependent": True, "sparsity": 0.1}
            for granularity in ("layer", "head", "value")
        ),
    ]
    return [GateConfig.model_validate(one) for one in fields]


def configs() -> list[c.FuserConfig]:
    """Every two of family, gate and alignment together; and what meddles with them."""
    base = [
        c.FuserConfig(projector=projector, layer_alignment=alignment, gate=gate, width=8)
        for projector, alignment, gate in pairwise(TRAINED_FAMILIES, MADE_ALIGNMENTS, gates())
    ]
    shares = [
        c.FuserConfig(layer_share=share, width=8, layer_alignment=alignment, layers=choice)
        for share, alignment, choice in pairwise(
            (0.1, 0.5, 0.8), MADE_ALIGNMENTS, get_args(LayerChoice)
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
            ("c2c", "residual", GateConfig(), "real", 1.0, 1),
            ("c2c", "residual", GateConfig(granularity="head", rule="hard"), "real", 0.5, 3),
            ("joint", "residual", GateConfig(granularity="value"), "blank", 1.0, 3),
            ("linear", "replace", GateConfig(granularity="layer"), "mismatched", 1.0, 30),
            ("ridge", "replace", GateConfig(), "real", 0.5, 3),
            ("ridge", "append", GateConfig(), "real", 1.0, 3),
        )
    ]
    return base + shares + adapted


class TestProduct(FuserConformance):
    def configs(self):
        return configs()

    def silent_without_sharer(self, config):
        return READS_SHARER[config.projector]

    @only(lambda config: config.lora_rank > 0)
    def test_untrained_lora_adds_exactly_nothing(self, config):
        added = [
            update(torch.randn(7, inputs))
            for update, inputs in updates(Fuser(config, RECEIVER, SHARER))
        ]
        assert len(added) == RECEIVER.layers * len(MAPS)
        assert not any(one.any() for one in added)

    @only(lambda config: config.lora_rank > 0)
    def test_lora_is_beside_a_fuser_that_starts_with_the_same_numbers(self, config):
        with_lora, without = (
            calibrated(config.model_copy(update={"lora_rank": rank})).state_dict()
            for rank in (config.lora_rank, 0)
        )
        assert {name for name in with_lora if not name.startswith("lora.")} == set(without)
        for name, tensor in without.items():
            assert torch.equal(tensor, with_lora[name])


@pytest.mark.parametrize(
    ("register", "names"),
    [
        (PROJECTORS, ["c2c", "joint", "linear", "ridge"]),
        (GATES, ["none", "layer", "head", "token", "value"]),
        (LAYER_ALIGNMENTS, [*MADE_ALIGNMENTS, "explicit"]),
        (INJECTIONS, ["residual", "replace", "append", "side"]),
    ],
)
def test_every_plug_in_is_registered_with_its_reference(register, names):
    assert register.names() == names
    assert all(register[name].name == name for name in names)
    assert all(register[name].reference for name in names)


@pytest.mark.parametrize(
    ("fields", "is_itself"),
    [
        ({}, True),
        ({"projector": "joint"}, True),
        ({"projector": "linear"}, False),
        ({"projector": "ridge", "injection": "replace"}, False),
        ({"injection": "replace"}, False),
        ({"projector": "joint", "injection": "append"}, True),
        ({"projector": "linear", "injection": "append", "initialisation": "ridge"}, True),
        ({"projector": "linear", "injection": "side"}, True),
    ],
)
def test_a_twin_can_stand_where_its_fuser_does(fields, is_itself):
    config = c.FuserConfig(**fields, depth=4, width=8, intermediate=5, keys="unrotated")
    blank = config.model_copy(update={"sharer": "blank"})
    published = c.FuserConfig(depth=4, width=8, intermediate=5, sharer="blank")
    assert config.without_sharer() == (blank if is_itself else published)


def test_blank_sharer_hears_nothing():
    fuser = trained(c.FuserConfig(width=8, sharer="blank")).eval()
    receiver, sharer = caches()
    assert torch.equal(fuser(receiver, sharer), fuser(receiver, sharer * 3))


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
        ({"projector": "ridge"}, "injection replace, append or side"),
        ({"initialisation": "ridge", "injection": "replace"}, "projector joint or linear"),
        ({"rank": 3}, "rank belongs to"),
        ({"gate": {"noise": "gumbel"}}, "gate.noise needs a gate"),
        ({"gate": {"sparsity": 0.1}}, "gate.sparsity needs a gate"),
        ({"layer_alignment": "learned", "sources_per_layer": 2}, "alignment_window"),
        ({"gate": {"granularity": "head", "rule": "tanh"}}, "neither would ever learn"),
        (
            {"injection": "side", "normalisation": "rms", "gate": SHUT_AT_FIRST},
            "neither would ever learn",
        ),
        (
            {"gate": {"granularity": "head", "rule": "tanh", "noise": "gumbel"}},
            "set gate.noise to none",
        ),
        ({"bias": False}, "belongs to projector linear"),
        (
            {
                "projector": "linear",
                "injection": "append",
                "initialisation": "ridge",
                "bias": False,
            },
            "belongs to projector linear",
        ),
        ({"reads_from": "all"}, "reads_from all needs injection side"),
        ({"injection": "side", "fuse_response": True}, "no response to fuse"),
        ({"injection": "append", "layer_share": 0.5}, "layer_share to 1"),
        ({"injection": "append", "layer_count": 2}, "layer_count and a list of layers not at"),
        ({"injection": "append", "layers": "0, 1"}, "layer_count and a list of layers not at"),
        ({"ridge_weighting": "attention"}, "leave ridge_weighting out"),
        ({"layer_count": 2, "layer_share": 0.5}, "leave one of them out"),
        ({"layer_count": 2, "layers": "0, 1"}, "leave layer_count and layer_share out"),
        ({"layer_share": 0.5, "layers": [0, 1]}, "leave layer_count and layer_share out"),
        ({"layers": "0:1", "layer_alignment": "similarity"}, "leave layer_alignment out"),
        ({"layers": "0:1+2"}, "set sources_per_layer to 2"),
        ({"layers": "first"}, "must be last, spread, attention, or layers as"),
        ({"layers": 20}, "must be last, spread, attention, or layers as"),
        ({"layers": []}, "must be last, spread, attention, or layers as"),
        ({"layers": "2, 1"}, "layers must rise"),
        ({"layers": [1, 1]}, "layers must rise"),
        ({"layers": {1: [0, 0]}}, "each of a layer's sharer layers once"),
        ({"layers": "1:0, 2"}, "as many sharer layers for each layer"),
        ({"layers": "last", "layer_choice": "last"}, "Extra inputs"),
        ({"injection": "append", "fuse_response": True}, "no response to fuse"),
        ({"message": "draft"}, "message draft: what is drafted stands for no token"),
        ({"message": "both", "injection": "replace"}, "needs injection append"),
        ({"draft_tokens": 8, "injection": "append"}, "leave draft_tokens out"),
        ({"anchors": "first"}, "set injection to append or side, or leave anchors out"),
        ({"anchors": "last", "injection": "side", "sharer": "blank"}, "blank says none"),
        ({"anchor_tokens": 8, "injection": "append"}, "leave anchor_tokens out"),
        ({"refresh": 2}, "set injection to append or side, or leave refresh out"),
        (
            {"refresh": 2, "injection": "side", "source": "hidden", "message": "draft"},
            "set source to kv, message to prompt, or leave refresh out",
        ),
        ({"refresh": 2, "injection": "side", "slots": 2}, "leave slots or refresh out"),
        ({"projector": "mlp"}, "projector family. Got 'mlp'. Valid: c2c, joint, linear, ridge."),
        ({"projector": "linaer"}, "Did you mean `linear`?"),
        (
            {"layer_alignment": "best"},
            "layer alignment. Got 'best'. Valid: explicit, learned, pro",
        ),
        ({"injection": "apend"}, "injection. Got 'apend'. Did you mean `append`?"),
        ({"gate": {"granularity": "heads"}}, "Got 'heads'. Did you mean `head`?"),
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


def test_what_stands_beside_has_gates_for_its_values_alone():
    for injection in ("append", "side"):
        gate = GateConfig(granularity="head", rule="tanh")
        fuser = Fuser(c.FuserConfig(width=8, injection=injection, gate=gate), RECEIVER, SHARER)
        assert fuser.gate.logit.shape == (RECEIVER.layers, 1, RECEIVER.heads)
        assert fuser.open_share()["eval_keys"] == 1


@pytest.mark.parametrize("granularity", ["layer", "head", "value", "token"])
def test_an_untrained_tanh_gate_is_shut_exactly_and_learns(granularity):
    gate = GateConfig(granularity=granularity, rule="tanh")
    config = c.FuserConfig(
        projector="linear", bias=False, initialisation="random", injection="side", gate=gate
    )
    fuser = Fuser(config, RECEIVER, SHARER).train()
    memory = fuser(*caches())
    assert memory[0].any()
    assert not memory[1].any()
    memory.sum().backward()
    parameter = fuser.gate.logit if fuser.gate.logit is not None else fuser.gate.from_input.bias
    assert parameter.grad.any()


def test_a_tanh_gate_may_turn_the_sign():
    gate = GateConfig(granularity="value", rule="tanh", initial_logit=-0.5)
    config = c.FuserConfig(projector="linear", injection="append", gate=gate)
    fuser = trained(config.model_copy(update={"gate": GateConfig()})).eval()
    turned = Fuser(config, RECEIVER, SHARER).eval()
    turned.load_state_dict(fuser.state_dict(), strict=False)
    keys, values = fuser(*caches())
    others = turned(*caches())
    assert torch.equal(others[0], keys)
    torch.testing.assert_close(others[1], -torch.tanh(torch.tensor(0.5)) * values)


def test_a_map_without_bias_says_nothing_of_nothing():
    fields = {"projector": "linear", "initialisation": "random", "normalisation": "none"}
    config = c.FuserConfig(**fields, bias=False, injection="side")
    fuser = Fuser(config, RECEIVER, SHARER)
    receiver, sharer = caches()
    assert not fuser(receiver, 0 * sharer).any()
    assert config.without_sharer().bias  # or there would be nothing to learn


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
    fuser = Fuser(c.FuserConfig(layers="attention", layer_share=0.5), RECEIVER, SHARER)
    with pytest.raises(ValueError, match="scores of all layers"):
        fuser.calibrate(lambda: [CalibrationPart(*caches())])


def test_noise_is_drawn_for_every_token_and_head():
    gate = GateConfig(granularity="layer", noise="gumbel", rule="hard")
    fuser = Fuser(c.FuserConfig(width=8, gate=gate), RECEIVER, SHARER).train()
    opened, _ = fuser.gate(torch.zeros(8, 5, 8))
    assert opened.shape == (8, 5, RECEIVER.heads)
    assert len(opened.unique()) == opened.numel()


def test_sparsity_closes_gates():
    gate = GateConfig(granularity="layer", noise="logistic", rule="hard", sparsity=1.0)
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
    gate = GateConfig(granularity="layer", noise=noise, rule="hard")
    fuser = Fuser(c.FuserConfig(width=8, gate=gate), RECEIVER, SHARER)
    assert fuser.open_share()["train"] == pytest.approx(share, abs=1e-3)
    assert fuser.open_share()["eval"] == 0
