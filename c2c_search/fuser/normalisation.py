"""Fuser room: how prompt caches are brought to one scale before they are projected."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Statistics:
    """Mean and deviation of a model's prompt cache, per keys/values, layer and channel.

    Both of shape ``(2, layers, 1, size)``; taken over the tokens of calibration prompts.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    @classmethod
    def of(cls, caches: torch.Tensor) -> Statistics:
        """Measure on packed prompt caches, ``(2, layers, tokens, size)``."""
        caches = caches.float()
        return cls(
            mean=caches.mean(dim=2, keepdim=True),
            deviation=caches.std(dim=2, keepdim=True, correction=0).clamp_min(1e-3),
        )


class Normalisation(nn.Module):
    """Input normalisation of one model's caches, and the units of the fuser's output.

    ``none`` leaves features alone, ``rms`` divides each layer's token by its root mean square,
    ``calibrated`` standardises each channel by the calibration prompts' mean and deviation.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, kind: str, layers: int, size: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "calibrated":
            self.register_buffer("mean", torch.zeros(2, layers, 1, size))
            self.register_buffer("deviation", torch.ones(2, layers, 1, size))

    def calibrate(self, statistics: Statistics) -> None:
        """Take over measured statistics; does nothing unless ``calibrated``."""
        if self.kind == "calibrated":
            self.mean.copy_(statistics.mean)
            self.deviation.copy_(statistics.deviation)

    def forward(self, caches: torch.Tensor) -> torch.Tensor:
        """Normalise packed caches, ``(2, layers, tokens, size)``."""
        if self.kind == "calibrated":
            return (caches - self.mean) / self.deviation
        if self.kind == "rms":
            return caches * torch.rsqrt(caches.square().mean(dim=-1, keepdim=True) + 1e-6)
        return caches

    def scale(self, projected: torch.Tensor) -> torch.Tensor:
        """Bring a projection to this model's units, ``(2, layers, tokens, size)``."""
        return projected * self.deviation if self.kind == "calibrated" else projected
