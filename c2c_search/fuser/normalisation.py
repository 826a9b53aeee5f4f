"""How prompt caches are brought to one scale before they are projected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn


if TYPE_CHECKING:
    from c2c_search.fuser.moments import ChannelMoments


_SMALLEST_DEVIATION = 1e-3


class Normalisation(nn.Module):
    """Input normalisation of one model's caches, and the units of the fuser's output.

    ``none`` leaves features alone, ``rms`` divides each layer's token by its root mean square,
    ``calibrated`` standardises each channel by the calibration prompts' mean and deviation.

    Args:
        kind: One of these.
        layers: Of the model.
        size: Numbers of a token.
        kinds: Of numbers: keys and values are 2, what layers put out is 1.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, kind: str, layers: int, size: int, *, kinds: int = 2) -> None:
        super().__init__()
        self.kind = kind
        if kind == "calibrated":
            self.register_buffer("mean", torch.zeros(kinds, layers, 1, size))
            self.register_buffer("deviation", torch.ones(kinds, layers, 1, size))

    def calibrate(self, moments: ChannelMoments, layers: torch.Tensor | None = None) -> None:
        """Take over what was measured on the calibration prompts' caches; of ``calibrated``.

        Args:
            moments: Of some layers.
            layers: Which they are; all of them when left out.
        """
        chosen = slice(None) if layers is None else layers
        mean, deviation = moments.mean, moments.deviation.clamp_min(_SMALLEST_DEVIATION)
        self.mean[:, chosen] = mean.to(self.mean)
        self.deviation[:, chosen] = deviation.to(self.deviation)

    def forward(self, caches: torch.Tensor, layers: torch.Tensor | None = None) -> torch.Tensor:
        """Normalise packed caches, ``(kinds, layers, tokens, size)``.

        Args:
            caches: Of some layers.
            layers: Which they are; all of them when left out.
        """
        if self.kind == "calibrated":
            mean, deviation = self.mean, self.deviation
            if layers is not None:
                mean, deviation = mean.index_select(1, layers), deviation.index_select(1, layers)
            return (caches - mean) / deviation
        if self.kind == "rms":
            return caches * torch.rsqrt(caches.square().mean(dim=-1, keepdim=True) + 1e-6)
        return caches

    def scale(self, added: torch.Tensor) -> torch.Tensor:
        """Bring what is added to a cache to this model's units, ``(2, layers, tokens, size)``."""
        return added * self.deviation if self.kind == "calibrated" else added

    def restore(self, features: torch.Tensor) -> torch.Tensor:
        """The cache that standardised features stand for, ``(2, layers, tokens, size)``."""
        scaled = self.scale(features)
        return scaled + self.mean if self.kind == "calibrated" else scaled
