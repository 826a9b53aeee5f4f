"""A low-rank update of the receiver's attention, trained together with the fuser."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from c2c_search.fuser.stacked import StackedLinear


if TYPE_CHECKING:
    from c2c_search.fuser.shapes import AttentionMap
    from c2c_search.fuser.shapes import ProjectionRole


@dataclass(frozen=True)
class Update:
    """What is added to one linear map of one layer.

    Args:
        down: ``(inputs, rank)``.
        up: ``(rank, outputs)``.
    """

    down: torch.Tensor
    up: torch.Tensor

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """``(..., inputs)`` to ``(..., outputs)``: in the update's dtype, given back in theirs."""
        return (features.to(self.down.dtype) @ self.down @ self.up).to(features.dtype)


class Lora(nn.Module):
    """Low-rank updates of the attention's linear maps, in all layers of the receiver.

    ``map(x) + x · down · up``, where ``up`` begins at zero: untrained, it changes nothing. The
    published factor alpha / rank is fixed at 1, which the learning rate stands for.

    Args:
        rank: Of every update.
        layers: Of the receiver.
        projections: The maps that each layer has.

    Source: LoRA (arXiv 2106.09685), section 4.1.
    """

    def __init__(self, rank: int, layers: int, projections: Iterable[AttentionMap]) -> None:
        super().__init__()
        self.projections = tuple(projections)
        self.down, self.up = nn.ModuleDict(), nn.ModuleDict()
        for each in self.projections:
            self.down[each.role] = StackedLinear(layers, each.inputs, rank, bias=False)
            self.up[each.role] = StackedLinear(layers, rank, each.outputs, bias=False, zero=True)

    def updates(self) -> dict[ProjectionRole, tuple[Update, ...]]:
        """The updates by role and layer, as views; gradients flow into the factors."""
        return {
            each.role: tuple(
                Update(down, up)
                for down, up in zip(
                    # One view of all layers: a view each would have a backward pass each.
                    self.down[each.role].weight.unbind(0),
                    self.up[each.role].weight.unbind(0),
                    strict=True,
                )
            )
            for each in self.projections
        }
