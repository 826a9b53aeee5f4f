"""What ZeRO splits among ranks, as whole vectors that do not tell how many ranks there were."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

import torch


if TYPE_CHECKING:
    from c2c_search.training.ranks import Ranks


class SplitState:
    """Parts and wholes of a ZeRO optimizer's vectors, one for each group of parameters.

    A whole vector holds the group's parameters one after the other, without the padding that
    DeepSpeed puts between and behind them.

    Args:
        zero: DeepSpeed's optimizer of stage 1 or 2.
        ranks: Who holds the parts.
    """

    def __init__(self, zero: Any, ranks: Ranks) -> None:
        self._zero, self._ranks = zero, ranks

    def size(self, group: int) -> int:
        """Of a group's whole vector."""
        return sum(parameter.numel() for parameter in self._zero.bit16_groups[group])

    def whole(self, group: int, part: torch.Tensor) -> torch.Tensor:
        """A group's whole vector, from this rank's part; all ranks ask for it at once."""
        flat = torch.cat(self._ranks.gathered(part.detach()))
        return torch.cat([flat[place] for place in self._places(group)])

    def part(self, group: int, whole: torch.Tensor) -> torch.Tensor:
        """This rank's part of a group's whole vector."""
        size = self._zero.single_partition_of_fp32_groups[group].numel()
        flat = torch.zeros(size * self._ranks.count, dtype=whole.dtype)
        begun = 0
        for place in self._places(group):
            ended = begun + place.stop - place.start
            flat[place] = whole[begun:ended]
            begun = ended
        return flat[size * self._ranks.index :][:size].clone()

    def _places(self, group: int) -> list[slice]:
        """Where each parameter of a group lies in the padded vector."""
        zero = self._zero
        sizes = [parameter.numel() for parameter in zero.round_robin_bit16_groups[group]]
        offsets = zero.round_robin_bit16_offsets[group]
        places = [slice(at, at + size) for at, size in zip(offsets, sizes, strict=True)]
        return [places[new] for new in zero.round_robin_bit16_indices[group]]
