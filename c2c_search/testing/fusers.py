"""What every fuser must do, whatever its parts; the suites of its parts build on it."""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from typing import TypeVar

import pytest
import torch

from c2c_search.fuser import checkpoint
from c2c_search.fuser import cost
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.layers import count
from c2c_search.fuser.selection import LayerByLayer
from c2c_search.fuser.selection import without_shut_layers
from c2c_search.testing.pairs import RECEIVER
from c2c_search.testing.pairs import SHARER
from c2c_search.testing.pairs import caches
from c2c_search.testing.pairs import rotations
from c2c_search.testing.pairs import shut
from c2c_search.testing.pairs import trained
from c2c_search.testing.pairs import updates


Applies = Callable[[FuserConfig], bool]
_Test = TypeVar("_Test", bound=Callable[..., None])


def only(applies: Applies) -> Callable[[_Test], _Test]:
    """Put a test through those configurations alone that its promise is about."""

    def mark(test: _Test) -> _Test:
        test.applies = applies  # type: ignore[attr-defined]
        return test

    return mark


def of_layers(config: FuserConfig) -> list[int]:
    """Receiver layers, of the made-up pair, that a fuser gives anything for."""
    return (
        Fuser(config, RECEIVER, SHARER).layers if config.adds_memory else [*range(RECEIVER.layers)]
    )


@cache
def _configs(suite: type[FuserConformance]) -> list[FuserConfig]:
    """Made once, not for each of a suite's tests."""
    return suite().configs()


class FuserConformance(ABC):
    """Put every test that takes a ``config`` through every configuration of the suite."""

    @abstractmethod
    def configs(self) -> list[FuserConfig]:
        """The configurations that are tried."""

    def silent_without_sharer(self, config: FuserConfig) -> set[str] | None:
        """Parameters that a blank sharer leaves without a gradient; None where nobody knows."""
        return None

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Called by pytest."""
        if "config" not in metafunc.fixturenames:
            return
        applies: Applies = getattr(metafunc.function, "applies", lambda config: True)
        chosen = [config for config in _configs(type(self)) if applies(config)]
        names = [config.model_dump_json(exclude_defaults=True) for config in chosen]
        metafunc.parametrize("config", chosen, ids=names)

    def test_shape_and_dtype(self, config: FuserConfig) -> None:
        for dtype in (torch.float32, torch.bfloat16):
            receiver, sharer = (cache.to(dtype) for cache in caches(config=config))
            fused = trained(config)(receiver, sharer, rotations(config, 7))
            entries = config.slots or receiver.shape[2]
            assert fused.shape == (2, len(of_layers(config)), entries, receiver.shape[3])
            assert fused.dtype == dtype
            assert torch.isfinite(fused).all()

    def test_computes_in_bfloat16(self, config: FuserConfig) -> None:
        fuser = trained(config).eval()
        receiver, sharer = caches(config=config)
        exact = fuser(receiver, sharer, rotations(config, 7))
        rough = fuser.bfloat16()(receiver, sharer, rotations(config, 7))
        assert rough.dtype == torch.float32
        cosine = torch.cosine_similarity(exact.flatten(), rough.flatten(), dim=0)
        assert cosine > 0.95 or config.gate.rule == "hard"

    def test_gradients_reach_every_trainable_parameter(self, config: FuserConfig) -> None:
        fuser = trained(config).train()
        if not fuser.trainable:
            assert config.family.closed_form
            assert not config.lora_rank
            return
        loss = fuser(*caches(config=config), rotations(config, 7)).square().sum()
        for update, inputs in updates(fuser):
            loss = loss + update(torch.randn(7, inputs)).square().sum()
        (loss if fuser.penalty() is None else loss + fuser.penalty()).backward()
        trainable = {name for name, each in fuser.named_parameters() if each.requires_grad}
        silent = {
            name
            for name, parameter in fuser.named_parameters()
            if name in trainable and (parameter.grad is None or not parameter.grad.any())
        }
        if config.sharer != "blank":
            assert not silent
            return
        # A blank sharer is zeros: what reads it has nothing to learn, and it exists so that the
        # twin is the same architecture.
        known = self.silent_without_sharer(config)
        assert silent < trainable
        assert known is None or silent <= known | {"source_logits"}

    @only(lambda config: config.initialisation == "zero" and config.injected.projects == "change")
    def test_untrained_fuser_changes_nothing(self, config: FuserConfig) -> None:
        fuser = Fuser(config, RECEIVER, SHARER).eval()
        receiver, sharer = caches(config=config)
        assert torch.equal(fuser(receiver, sharer, rotations(config, 7)), receiver)

    @only(lambda config: config.gate.granularity != "none")
    def test_shut_gate_leaves_the_receivers_cache_bit_for_bit(self, config: FuserConfig) -> None:
        # The receiver that answers from it is the receiver alone, unless a LoRA adapts it: that
        # is not behind the gate.
        fuser = trained(config).eval()
        assert fuser.gate is not None
        shut(fuser, range(fuser.gate.groups))
        receiver, sharer = caches(config=config)
        fused = fuser(receiver, sharer)
        if config.stands_beside:  # it is read, and there is nothing to find
            assert not fused[1].any()
        else:
            assert torch.equal(fused, receiver)
        assert fuser.open_share()["eval"] == 0

    def test_tokens_do_not_see_each_other(self, config: FuserConfig) -> None:
        # Packed prompts share the token dimension: what stands beside a token must not matter,
        # so that a batch is its singles and padding, which is never packed, changes nothing.
        fuser = trained(config).eval()
        receiver, sharer = caches(9, config=config)
        whole = fuser(receiver, sharer, rotations(config, 9, lengths=[4, 5]), [4, 5])
        parts = [
            fuser(receiver[:, :, part], sharer[:, :, part], rotations(config, count, part.start))
            for part, count in ((slice(0, 4), 4), (slice(4, 9), 5))
        ]
        torch.testing.assert_close(whole, torch.cat(parts, dim=2), atol=1e-4, rtol=1e-5)

    @only(lambda config: not config.stands_beside)
    def test_layer_by_layer_is_all_layers_at_once(self, config: FuserConfig) -> None:
        fuser = trained(config).eval()
        receiver, sharer = caches(config=config)
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
    def test_layers_that_never_open_are_left_out(self, config: FuserConfig) -> None:
        fuser = trained(config).eval()
        count = len(fuser.layers)
        # Values, and keys if they have a gate, of the first layer; and the keys alone of the last.
        shut(fuser, [0] if config.stands_beside else [0, count, count - 1])
        receiver, sharer = caches(config=config)
        smaller = without_shut_layers(fuser)
        kept = [fuser.layers.index(layer) for layer in smaller.layers]
        whole = fuser(receiver, sharer)
        expected = whole[:, kept] if config.adds_memory else whole
        torch.testing.assert_close(smaller(receiver, sharer), expected)
        assert fuser.gate is not None
        if fuser.gate.from_input is not None or config.adds_entries:
            assert smaller is fuser  # another input may open it; entries are seen however shut
        else:
            assert smaller.layers[0] > fuser.layers[0] or count == 1
            assert len(smaller.state_dict()) == len(fuser.state_dict())

    def test_save_and_load(self, config: FuserConfig, tmp_path: Path) -> None:
        fuser = trained(config).eval()
        checkpoint.save(fuser, tmp_path)
        again = checkpoint.load(tmp_path)
        assert again.config == config
        assert again.layers == fuser.layers
        assert torch.equal(again.sources, fuser.sources)
        turned = rotations(config, 7)
        assert torch.equal(
            again(*caches(config=config), turned), fuser(*caches(config=config), turned)
        )
        for (one, inputs), (other, _) in zip(updates(fuser), updates(again), strict=True):
            features = torch.randn(7, inputs)
            assert torch.equal(one(features), other(features))

    def test_cost_is_the_true_count(self, config: FuserConfig) -> None:
        fuser = Fuser(config, RECEIVER, SHARER)
        parameters = sum(parameter.numel() for parameter in fuser.parameters())
        assert cost.parameters(config, RECEIVER, SHARER) == parameters
        size = sum(tensor.nbytes for tensor in fuser.state_dict().values())
        assert cost.tensor_bytes(fuser) == size
        learned = sum(p.numel() for p in fuser.parameters() if p.requires_grad)
        assert cost.state_bytes(fuser) == size + 12 * learned

    def test_parameter_groups_hold_every_parameter_once(self, config: FuserConfig) -> None:
        fuser = Fuser(config, RECEIVER, SHARER)
        grouped = [p for group in fuser.parameter_groups(1e-3, 0.1) for p in group["params"]]
        trainable = [p for p in fuser.parameters() if p.requires_grad]
        assert {id(p) for p in grouped} == {id(p) for p in trainable}
        assert len(grouped) == len(trainable)

    @only(lambda config: not config.stands_beside)
    def test_layers_that_are_not_fused_stay_as_they_are(self, config: FuserConfig) -> None:
        fuser = trained(config).eval()
        receiver, sharer = caches(config=config)
        fused = fuser(receiver, sharer, rotations(config, 7))
        changed = (fused != receiver).flatten(2).any(dim=2)
        assert fuser.layers == sorted(set(fuser.layers))
        assert len(fuser.layers) == count(config, RECEIVER.layers)
        if config.layers == "attention" and config.layer_share == 0.5:
            assert fuser.layers == [1, 3]  # the two best scores
        others = [layer for layer in range(RECEIVER.layers) if layer not in fuser.layers]
        assert not changed[:, others].any()
        if config.gate.rule == "soft":
            assert changed[:, fuser.layers].all()

    def test_config_survives_json(self, config: FuserConfig) -> None:
        assert FuserConfig.model_validate_json(config.model_dump_json()) == config

    def test_the_twin_hears_nothing_and_can_still_adapt_the_receiver(
        self, config: FuserConfig
    ) -> None:
        twin = config.without_sharer()
        fuser = trained(twin).eval()
        receiver, sharer = caches(config=twin)
        turned = rotations(twin, 7)
        assert twin.lora_rank == config.lora_rank
        fused = fuser(receiver, sharer, turned)
        assert torch.equal(fused, fuser(receiver, sharer + 1, turned))
        if twin.stands_beside:  # a learned prefix or memory, whoever reads it
            assert twin.gate.rule == "hard" or fused[1].any()
            return
        # What it says depends on what the receiver itself has read.
        other = receiver.flip(2)
        changed = fuser(other, sharer, turned) - other
        assert twin.gate.rule == "hard" or not torch.allclose(changed, fused - receiver, atol=1e-4)

    def test_tokens_that_are_fused_some_at_a_time_are_fused_the_same(
        self, config: FuserConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lengths = [2, 4, 1]
        turned = rotations(config, 7, lengths=lengths)
        fuser, inputs = trained(config).eval(), (*caches(config=config), turned, lengths)
        with torch.no_grad():
            whole, share = fuser(*inputs), fuser.open_share()
            monkeypatch.setattr("c2c_search.fuser.fuser._TOKENS_AT_ONCE", 3)
            torch.testing.assert_close(fuser(*inputs), whole)
            assert fuser.open_share() == pytest.approx(share)

    def test_activations_that_are_computed_again_change_nothing(self, config: FuserConfig) -> None:
        found: list[tuple[Any, ...]] = []
        for recomputes in (False, True):
            fuser = trained(config).train()
            fuser.recomputes = recomputes
            torch.manual_seed(1)  # for the noise of gates and dropout
            fused = fuser(*caches(config=config), rotations(config, 7))
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
