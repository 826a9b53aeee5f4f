"""Conformance suite of projector families."""

from __future__ import annotations

from itertools import product
from typing import Any
from typing import ClassVar
from typing import get_args

import pytest
import torch

from c2c_search.fuser import config as c
from c2c_search.fuser.calibration_part import CalibrationPart
from c2c_search.fuser.families import PROJECTORS
from c2c_search.fuser.families import ProjectorFamily
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.layers import LayerChoice
from c2c_search.testing.fusers import FuserConformance
from c2c_search.testing.pairs import RECEIVER
from c2c_search.testing.pairs import SHARER
from c2c_search.testing.pairs import caches
from c2c_search.testing.pairs import valid


class ProjectorConformance(FuserConformance):
    """What a projector family must do with every gate, injection and so on."""

    plugin: ClassVar[str]
    """Its name, as in ``fuser.projector``."""

    reads_sharer: ClassVar[set[str] | None] = None
    """Parameters that nothing but the sharer's features reaches, e.g. ``projector.map.weight``;
    they are not checked where left out."""

    @property
    def family(self) -> ProjectorFamily:
        return PROJECTORS[self.plugin]

    def configs(self) -> list[c.FuserConfig]:
        start: dict[str, Any] = {"projector": self.plugin, "width": 8}
        if self.family.closed_form:
            start["injection"] = "replace"
        return valid([start | fields for fields in [{}, *_axes(), *self._fits()]])

    def _fits(self) -> list[dict[str, Any]]:
        """Closed-form starts, of every rank that means something."""
        initialisations = ("ridge",) if self.family.ridge_start else ("zero",)
        ranks = (None, 4, 30) if self.family.takes_rank else (None,)
        return [
            {"initialisation": start, "rank": rank, "injection": injection, "layer_alignment": way}
            for start, rank, injection, way in product(
                initialisations, ranks, ("replace", "append"), ("terminal", "similarity")
            )
        ]

    def silent_without_sharer(self, config: c.FuserConfig) -> set[str] | None:
        return self.reads_sharer

    def test_it_says_where_it_comes_from(self) -> None:
        assert self.family.reference.strip()

    @pytest.mark.parametrize("injection", ["replace", "append"])
    def test_a_closed_form_map_is_the_one_that_a_pair_was_made_from(self, injection: str) -> None:
        family = self.family
        if not (family.closed_form or family.ridge_start):
            pytest.skip("it has no closed form")
        receiver, sharer = caches(400, seed=3, linear=True)
        for rank in (None, 20) if family.takes_rank else (None,):
            config = c.FuserConfig(
                projector=self.plugin,
                initialisation="ridge" if family.ridge_start else "zero",
                rank=rank,
                injection=injection,
                dynamic_weight=False,
                ridge_penalty=1e-6,
                width=24,
            )
            fuser = Fuser(config, RECEIVER, SHARER).eval()
            fuser.calibrate(lambda: [CalibrationPart(receiver, sharer)])
            predicted = fuser(torch.zeros_like(receiver), sharer)
            torch.testing.assert_close(predicted, receiver, atol=0.05, rtol=1e-3)


def _axes() -> list[dict[str, Any]]:
    """Every axis of an architecture, those that meddle with each other together."""
    axes: list[dict[str, Any]] = [{"depth": depth, "intermediate": 7} for depth in range(1, 9)]
    axes += [
        {"gate": {"granularity": granularity, "noise": noise, "rule": rule}}
        for granularity, (noise, rule) in product(
            ("layer", "head", "token", "value"), (("none", "soft"), ("logistic", "hard"))
        )
    ]
    axes += [
        {"layer_alignment": way} for way in ("terminal", "proportional", "similarity", "learned")
    ]
    axes += [
        {"sources_per_layer": count, "source_combination": how, "layer_alignment": way}
        for (count, way), how in product(
            ((8, "terminal"), (2, "proportional"), (2, "similarity")), get_args(c.Combination)
        )
    ]
    axes += [
        {"injection": injection, "keys": keys}
        for injection, keys in product(("residual", "replace", "append"), get_args(c.Keys))
    ]
    axes += [
        {"injection": "append", "slots": slots, "keys": keys, "sharer": sharer}
        for slots, keys, sharer in product((1, 3), get_args(c.Keys), ("real", "blank"))
    ]
    beside: list[dict[str, Any]] = [
        {},
        {"keys": "unrotated", "layer_alignment": "similarity"},
        {"sources_per_layer": 2, "source_combination": "learned"},
        {"injection": "append", "slots": 3},
    ]
    axes += [
        {"source": "hidden", "normalisation": normalisation, "sharer": sharer, **fields}
        for normalisation, sharer, fields in product(
            get_args(c.Normalisation),
            ("real", "blank"),
            beside,
        )
    ]
    axes += [
        {"normalisation": normalisation, "dynamic_weight": weight, "sharer": sharer}
        for normalisation, weight, sharer in product(
            get_args(c.Normalisation), (True, False), get_args(c.SharerMode)
        )
    ]
    axes += [
        {
            "weight_granularity": granularity,
            "activation": activation,
            "input_activation": activation != "relu",
            "initialisation": "random",
            "dropout": 0.1,
        }
        for granularity, activation in product(
            get_args(c.WeightGranularity), get_args(c.Activation)
        )
    ]
    axes += [
        {"layer_share": share, "layers": choice}
        for share, choice in product((0.1, 0.5, 0.8), get_args(LayerChoice))
    ]
    axes += [{"layer_count": 2, "layers": choice} for choice in get_args(LayerChoice)]
    axes += [
        {"initialisation": start, "injection": injection, "ridge_weighting": "attention"}
        for start, injection in product(("ridge", "zero"), ("replace", "append"))
    ]
    axes += [{"layers": "0, 2"}, {"layers": "1:2, 3:0", "keys": "unrotated"}]
    axes += [{"layers": "1:2+0, 3:1+2", "sources_per_layer": 2}]
    return axes
