"""Conformance suite of layer alignments."""

from __future__ import annotations

from itertools import product
from typing import ClassVar

import pytest
import torch

from c2c_search.fuser import config as c
from c2c_search.fuser.layer_alignment import LAYER_ALIGNMENTS
from c2c_search.fuser.layer_alignment import LayerAlignment
from c2c_search.testing.fusers import FuserConformance
from c2c_search.testing.pairs import valid
from c2c_search.testing.pairwise import each
from c2c_search.testing.pairwise import merged


_COMBINATIONS = ((1, "concat"), (2, "concat"), (2, "mean"), (4, "learned"))
_SIZES = tuple(product((1, 2, 3, 7), (1, 2, 5), (1, 2, 8)))


class LayerAlignmentConformance(FuserConformance):
    """What a layer alignment must do between models of any depth, and within a fuser."""

    plugin: ClassVar[str]
    """Its name, as in ``fuser.layer_alignment``."""

    @property
    def alignment(self) -> LayerAlignment:
        return LAYER_ALIGNMENTS[self.plugin]

    def configs(self) -> list[c.FuserConfig]:
        if self.alignment.stored:  # nothing can be made without its map
            return []
        return valid(
            merged(
                [{"layer_alignment": self.plugin, "width": 8}],
                each("projector", ("c2c", "linear")),
                [
                    {"sources_per_layer": count, "source_combination": how}
                    for count, how in _COMBINATIONS
                ],
                each("layer_share", (1.0, 0.5)),
            )
        )

    def test_it_says_where_it_comes_from(self) -> None:
        assert self.alignment.reference.strip()

    @pytest.mark.parametrize(("receiver", "sharer", "count"), _SIZES)
    def test_every_receiver_layer_hears_as_many_layers_that_exist(
        self, receiver: int, sharer: int, count: int
    ) -> None:
        if self.alignment.stored:
            with pytest.raises(ValueError, match="given"):
                self.alignment.align(receiver, sharer, count, None)
            return
        similarity = None
        if self.alignment.measured:
            with pytest.raises(ValueError, match="similarity"):
                self.alignment.align(receiver, sharer, count, None)
            generator = torch.Generator().manual_seed(0)
            similarity = torch.rand(receiver, sharer, generator=generator)
        sources = self.alignment.align(receiver, sharer, count, similarity)
        assert sources == self.alignment.align(receiver, sharer, count, similarity)
        assert len(sources) == receiver
        assert {len(layers) for layers in sources} == {min(count, sharer)}
        for layers in sources:
            assert len(set(layers)) == len(layers)
            assert all(0 <= layer < sharer for layer in layers)
