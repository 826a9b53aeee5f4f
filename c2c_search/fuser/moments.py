"""Means and second moments of features, from tokens that come some at a time.

What is solved with is float64 on the CPU: not every accelerator computes in it.
"""

from __future__ import annotations

import torch


class ChannelMoments:
    """Mean and deviation of every channel of packed caches."""

    def __init__(self) -> None:
        self._tokens = 0

    def add(self, caches: torch.Tensor) -> None:
        """Take in further tokens, ``(2, layers, tokens, size)``."""
        values = caches.cpu().double()
        if not self._tokens:
            self._shift = values.mean(dim=2, keepdim=True)
            self._sum, self._squares = torch.zeros_like(self._shift), torch.zeros_like(self._shift)
        # Far from zero a deviation would drown in its mean.
        values = values - self._shift
        self._sum += values.sum(dim=2, keepdim=True)
        self._squares += values.square().sum(dim=2, keepdim=True)
        self._tokens += values.shape[2]

    @property
    def mean(self) -> torch.Tensor:
        """``(2, layers, 1, size)``."""
        return self._shift + self._sum / self._tokens

    @property
    def deviation(self) -> torch.Tensor:
        """Of the tokens themselves, not an estimate for others, ``(2, layers, 1, size)``."""
        off = self._sum / self._tokens
        return (self._squares / self._tokens - off.square()).clamp_min(0).sqrt()


class Products:
    """Products of two centred features, summed over tokens."""

    def __init__(self) -> None:
        self._tokens = 0

    def add(self, left: torch.Tensor, right: torch.Tensor) -> None:
        """Take in further tokens, each ``(groups, tokens, size)``, of one device and dtype."""
        if not self._tokens:
            self._shifts = [part.mean(dim=1, keepdim=True) for part in (left, right)]
            self._sums = [torch.zeros_like(shift) for shift in self._shifts]
            self._products = left.new_zeros(len(left), left.shape[2], right.shape[2])
        # Far from zero the products would drown in those of the means.
        left, right = left - self._shifts[0], right - self._shifts[1]
        for total, part in zip(self._sums, (left, right), strict=True):
            total += part.sum(dim=1, keepdim=True)
        self._products.baddbmm_(left.transpose(1, 2), right)
        self._tokens += left.shape[1]

    def means(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Of both, each ``(groups, 1, size)``."""
        left, right = (
            shift + total / self._tokens
            for shift, total in zip(self._shifts, self._sums, strict=True)
        )
        return left, right

    def centred(self) -> torch.Tensor:
        """``(groups, left size, right size)``."""
        left, right = self._sums
        return self._products.baddbmm(left.transpose(1, 2), right, alpha=-1 / self._tokens)


class Moments:
    """What a linear regression needs to know of inputs and targets, for groups of its own each."""

    def __init__(self) -> None:
        self._inputs, self._both = Products(), Products()

    def add(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Take in further tokens, ``(groups, tokens, inputs)``, ``(groups, tokens, outputs)``."""
        x, y = inputs.cpu().double(), targets.cpu().double()
        self._inputs.add(x, x)
        self._both.add(x, y)

    def means(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Of inputs ``(groups, 1, inputs)`` and targets ``(groups, 1, outputs)``."""
        return self._both.means()

    def gram(self) -> torch.Tensor:
        """Products of the centred inputs, summed over tokens, ``(groups, inputs, inputs)``."""
        return self._inputs.centred()

    def cross(self) -> torch.Tensor:
        """Those of centred inputs and targets, ``(groups, inputs, outputs)``."""
        return self._both.centred()
