"""Conformance suite of injections."""

from __future__ import annotations

from typing import Any
from typing import ClassVar
from typing import get_args

import torch

from c2c_search.fuser import config as c
from c2c_search.fuser.injections import INJECTIONS
from c2c_search.testing.fusers import FuserConformance
from c2c_search.testing.pairs import caches
from c2c_search.testing.pairs import rotations
from c2c_search.testing.pairs import trained
from c2c_search.testing.pairs import valid
from c2c_search.testing.pairwise import each
from c2c_search.testing.pairwise import merged


class InjectionConformance(FuserConformance):
    """What an injection must do with every built-in projector, gate and normalisation."""

    plugin: ClassVar[str]
    """Its name, as in ``fuser.injection``."""

    def configs(self) -> list[c.FuserConfig]:
        projectors: list[dict[str, Any]] = [
            {"projector": "c2c"},
            {"projector": "joint", "rank": 5},
            {"projector": "linear"},
            {"projector": "linear", "initialisation": "ridge"},
            {"projector": "ridge"},
        ]
        keys = each("keys", get_args(c.Keys))
        alone: list[dict[str, Any]] = [
            {"gate": {"granularity": "head"}},
            {"gate": {"granularity": "layer", "noise": "logistic", "rule": "hard"}},
            {"gate": {"granularity": "token"}},
            {"gate": {"granularity": "value", "rule": "tanh", "initial_logit": 0.5}},
            {"dynamic_weight": False},
            {"layer_share": 0.5},
            {"fuse_response": True},
            {"refresh": 2, "keys": "unrotated"},
        ]
        start = [{"width": 8, "injection": self.plugin}]
        return valid(
            [
                *merged(start, projectors, alone),
                *merged(start, projectors, [{"source": "hidden"}], keys),
                *merged(start, projectors, each("slots", (1, 9)), keys),
                *merged(start, projectors, each("normalisation", get_args(c.Normalisation)), keys),
            ]
        )

    def test_it_says_where_it_comes_from(self) -> None:
        assert INJECTIONS[self.plugin].reference.strip()

    def test_anchors_are_no_part_of_the_network(self) -> None:
        if not INJECTIONS[self.plugin].stands_beside:
            return
        plain = c.FuserConfig(injection=self.plugin, initialisation="random", width=8)
        anchored = plain.model_copy(update={"anchors": "last", "anchor_tokens": 5})
        fusers = [trained(config).eval() for config in (plain, anchored)]
        fused = [fuser(*caches(config=plain), rotations(plain, 7)) for fuser in fusers]
        assert torch.equal(*fused)

    def test_the_sharer_is_heard(self, config: c.FuserConfig) -> None:
        fuser = trained(config).eval()
        receiver, sharer = caches(config=config)
        turned = rotations(config, 7)
        fused, other = (fuser(receiver, each, turned) for each in (sharer, sharer.flip(2)))
        assert config.gate.rule == "hard" or not torch.allclose(fused, other, atol=1e-4)

    def test_what_stands_beside_is_the_sharers_alone(self, config: c.FuserConfig) -> None:
        if not config.stands_beside:
            return
        fuser = trained(config).eval()
        receiver, sharer = caches(config=config)
        turned = rotations(config, 7)
        entries = fuser(receiver, sharer, turned)
        assert torch.equal(fuser(receiver[:, :, :3].flip(2), sharer, turned), entries)
