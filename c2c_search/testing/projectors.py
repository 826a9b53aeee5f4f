"""Conformance suite of projector families."""

from __future__ import annotations

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
from c2c_search.testing.pairwise import each
from c2c_search.testing.pairwise import merged


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
        return merged(
            each("initialisation", initialisations),
            each("rank", ranks),
            each("injection", ("replace", "append")),
            each("layer_alignment", ("terminal", "similarity")),
        )

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
    keys = each("keys", get_args(c.Keys))
    sharers = each("sharer", ("real", "blank"))
    normalisations = each("normalisation", get_args(c.Normalisation))
    choices = each("layers", get_args(LayerChoice))
    beside: list[dict[str, Any]] = [
        {},
        {"keys": "unrotated", "layer_alignment": "similarity"},
        {"sources_per_layer": 2, "source_combination": "learned"},
        {"injection": "append", "slots": 3},
    ]
    return [
        *merged([{"intermediate": 7}], each("depth", range(1, 9))),
        *(
            {"gate": gate}
            for gate in merged(
                each("granularity", ("layer", "head", "token", "value")),
                [{"noise": "none", "rule": "soft"}, {"noise": "logistic", "rule": "hard"}],
            )
        ),
        *each("layer_alignment", ("terminal", "proportional", "similarity", "learned")),
        *merged(
            [
                {"sources_per_layer": count, "layer_alignment": way}
                for count, way in ((8, "terminal"), (2, "proportional"), (2, "similarity"))
            ],
            each("source_combination", get_args(c.Combination)),
        ),
        *merged(each("injection", ("residual", "replace", "append")), keys),
        *merged([{"injection": "append"}], each("slots", (1, 3)), keys, sharers),
        *merged([{"source": "hidden"}], normalisations, sharers, beside),
        *merged(
            normalisations,
            each("dynamic_weight", (True, False)),
            each("sharer", get_args(c.SharerMode)),
        ),
        *merged(
            [{"initialisation": "random", "dropout": 0.1}],
            each("weight_granularity", get_args(c.WeightGranularity)),
            [
                {"activation": activation, "input_activation": activation != "relu"}
                for activation in get_args(c.Activation)
            ],
        ),
        *merged(each("layer_share", (0.1, 0.5, 0.8)), choices),
        *merged([{"layer_count": 2}], choices),
        *merged(
            [{"ridge_weighting": "attention"}],
            each("initialisation", ("ridge", "zero")),
            each("injection", ("replace", "append")),
        ),
        {"layers": "0, 2"},
        {"layers": "1:2, 3:0", "keys": "unrotated"},
        {"layers": "1:2+0, 3:1+2", "sources_per_layer": 2},
    ]
