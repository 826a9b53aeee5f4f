"""Fuser room: projector families, the networks that turn sharer features into receiver ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import TypeVar

import torch
from torch import nn

from c2c_search.fuser.stacked import StackedBlock
from c2c_search.fuser.stacked import StackedLinear


if TYPE_CHECKING:
    from c2c_search.fuser.config import FuserConfig


@dataclass(frozen=True)
class Shape:
    """What a projector is built for.

    Args:
        groups: Receiver layers times two (keys, then values).
        receiver_size: KV heads times head size of the receiver.
        receiver_heads: KV heads of the receiver.
        sharer_size: KV heads times head size of the sharer.
    """

    groups: int
    receiver_size: int
    receiver_heads: int
    sharer_size: int


@dataclass(frozen=True)
class Projection:
    """What a projector returns.

    Args:
        projected: ``(groups, tokens, receiver_size)``.
        weight: Per-head weight in (0, 1), ``(groups, tokens, receiver_heads)``, or None for 1.
        hidden: ``(groups, tokens, width)``, from which input-dependent gates are computed.
    """

    projected: torch.Tensor
    weight: torch.Tensor | None
    hidden: torch.Tensor


PROJECTORS: dict[str, type[nn.Module]] = {}
REFERENCES: dict[str, str] = {}
_Projector = TypeVar("_Projector", bound=type[nn.Module])


def projector(name: str, *, reference: str) -> Callable[[_Projector], _Projector]:
    """Register a projector family under ``name``; ``reference`` says where it comes from."""

    def register(cls: _Projector) -> _Projector:
        PROJECTORS[name] = cls
        REFERENCES[name] = reference
        return cls

    return register


@projector("c2c", reference="C2C (arXiv 2510.03215), section 3.3; the published C2CProjector")
class C2CProjector(nn.Module):
    """Concatenate sharer and receiver, compress to ``width``, then two heads.

    Projection head: ``depth - 2`` residual blocks and a linear map to the receiver's size. Weight
    head: one block, a linear map to KV heads and a sigmoid. Depth 2 leaves out the projection
    head's blocks, depth 1 every block.

    Two things differ from the published projector: a GELU follows the compression, and the
    projection's last map starts at zero, so that an untrained fuser changes nothing.
    """

    def __init__(self, config: FuserConfig, shape: Shape) -> None:
        super().__init__()
        groups, width = shape.groups, config.width
        intermediate = config.intermediate or width
        blocks = config.depth > 1

        def block(inner: int) -> nn.Module:
            return StackedBlock(groups, width, inner, config.dropout)

        self.from_sharer = StackedLinear(groups, shape.sharer_size, width)
        self.from_receiver = StackedLinear(groups, shape.receiver_size, width, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.trunk = block(intermediate) if blocks else nn.Identity()
        self.projection = nn.Sequential(
            *(block(intermediate) for _ in range(config.depth - 2)),
            StackedLinear(groups, width, shape.receiver_size, zero=True),
        )
        self.weight: nn.Sequential | None = None
        if config.dynamic_weight:
            self.weight = nn.Sequential(
                *([block(width)] if blocks else []),
                StackedLinear(groups, width, shape.receiver_heads),
                nn.Sigmoid(),
            )

    def forward(self, receiver: torch.Tensor, sharer: torch.Tensor) -> Projection:
        """Project.

        Args:
            receiver: Normalised receiver features, ``(groups, tokens, receiver_size)``.
            sharer: Normalised features of the aligned sharer tokens and layers,
                ``(groups, tokens, sharer_size)``.
        """
        compressed = self.from_sharer(sharer) + self.from_receiver(receiver)
        hidden = self.trunk(self.dropout(nn.functional.gelu(compressed)))
        weight = None if self.weight is None else self.weight(hidden)
        return Projection(self.projection(hidden), weight, hidden)
