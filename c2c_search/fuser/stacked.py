"""Layers whose weights are stacked, so that all model layers run as one product."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn


ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": nn.functional.gelu,
    "relu": nn.functional.relu,
    "silu": nn.functional.silu,
}


class StackedLinear(nn.Module):
    """``groups`` independent linear maps as one batched matrix product.

    Maps ``(groups, tokens, inputs)`` to ``(groups, tokens, outputs)``. One group is one receiver
    layer's keys or values, or both of them. Weights start as `torch.nn.Linear`'s do, or at zero.
    """

    def __init__(
        self, groups: int, inputs: int, outputs: int, *, bias: bool = True, zero: bool = False
    ) -> None:
        super().__init__()
        bound = 0.0 if zero else 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(groups, inputs, outputs).uniform_(-bound, bound))
        self.bias = (
            nn.Parameter(torch.empty(groups, 1, outputs).uniform_(-bound, bound)) if bias else None
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if self.bias is None:
            return torch.bmm(features, self.weight)
        return torch.baddbmm(self.bias, features, self.weight)


class StackedRMSNorm(nn.Module):
    """Root-mean-square normalisation with one scale per group and channel."""

    def __init__(self, groups: int, size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(groups, 1, size))
        self.eps = eps

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        scale = torch.rsqrt(features.square().mean(dim=-1, keepdim=True) + self.eps)
        return features * scale * self.weight


class StackedBlock(nn.Module):
    """Pre-norm residual MLP block: ``x + dropout(w2(activation(w1(norm(x)))))``, without biases.

    Source: the block of the published C2C projector.
    """

    def __init__(
        self, groups: int, size: int, intermediate: int, dropout: float, activation: str
    ) -> None:
        super().__init__()
        self.norm = StackedRMSNorm(groups, size)
        self.w1 = StackedLinear(groups, size, intermediate, bias=False)
        self.w2 = StackedLinear(groups, intermediate, size, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.activation = ACTIVATIONS[activation]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        inner = self.activation(self.w1(self.norm(features)))
        return features + self.dropout(self.w2(inner))
