"""Conformance suite of gates."""

from __future__ import annotations

from typing import Any
from typing import ClassVar
from typing import get_args

import pytest
import torch

from c2c_search.fuser import config as c
from c2c_search.fuser.gate_config import GateConfig
from c2c_search.fuser.gate_config import Noise
from c2c_search.fuser.gates import Gate
from c2c_search.fuser.granularities import GATES
from c2c_search.testing.fusers import FuserConformance
from c2c_search.testing.pairs import caches
from c2c_search.testing.pairs import trained
from c2c_search.testing.pairs import valid
from c2c_search.testing.pairwise import each
from c2c_search.testing.pairwise import merged


class GateConformance(FuserConformance):
    """What a gate must do with every noise and rule, in front of built-in projectors."""

    plugin: ClassVar[str]
    """Its name, as in ``fuser.gate.granularity``."""

    def configs(self) -> list[c.FuserConfig]:
        fusers: list[dict[str, Any]] = [
            {"projector": "c2c"},
            {"projector": "joint", "injection": "replace"},
            {"projector": "linear", "layer_share": 0.5},
            {"projector": "linear", "injection": "append"},
            {"projector": "joint", "injection": "side", "layer_share": 0.5},
        ]
        start = [{"granularity": self.plugin, "sparsity": 0.1}]
        dependent = each("input_dependent", (False, True))
        gates = [
            *merged(
                start, each("noise", get_args(Noise)), each("rule", ("hard", "soft")), dependent
            ),
            # Without noise, and shut at 0.
            *merged(start, [{"rule": "tanh", "initial_logit": 0.5}], dependent),
        ]
        return valid(merged([{"width": 8}], fusers, each("gate", gates)))

    def test_it_says_where_it_comes_from(self) -> None:
        assert GATES[self.plugin].reference.strip()

    def test_it_is_a_gate(self, config: c.FuserConfig) -> None:
        assert isinstance(trained(config).gate, Gate)

    def test_an_open_gate_lets_everything_through(self, config: c.FuserConfig) -> None:
        gate = config.gate.model_copy(update={"initial_logit": 1e4})
        fuser = trained(config.model_copy(update={"gate": gate})).eval()
        ungated = trained(config.model_copy(update={"gate": GateConfig()})).eval()
        ungated.load_state_dict(
            {name: t for name, t in fuser.state_dict().items() if not name.startswith("gate.")}
        )
        assert torch.equal(fuser(*caches(config=config)), ungated(*caches(config=config)))
        assert fuser.open_share()["eval"] == 1

    def test_shares_and_penalty_are_shares(self, config: c.FuserConfig) -> None:
        fuser = trained(config).train()
        fuser(*caches(config=config))
        share, penalty = fuser.open_share(), fuser.penalty()
        assert set(share) == {"train", "eval", "eval_keys", "eval_values"}
        assert all(0 <= each <= 1 for each in share.values())
        assert penalty is not None
        assert float(penalty.detach()) == pytest.approx(config.gate.sparsity * share["train"])

    def test_temperature_anneals_over_the_budget(self) -> None:
        gate = GateConfig(
            granularity=self.plugin,
            noise="logistic",
            temperature_start=1.0,
            temperature_end=0.01,
        )
        fuser = trained(c.FuserConfig(width=8, gate=gate))
        assert fuser.gate is not None
        seen = []
        for progress in (0.0, 0.5, 1.0):
            fuser.anneal(progress)
            seen.append(float(fuser.gate.temperature))
        assert seen == pytest.approx([1.0, 0.1, 0.01])
