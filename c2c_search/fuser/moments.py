"""Means and second moments of features, from tokens that come some at a time.

What is solved with is float64 on the CPU: not every accelerator computes in it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass

import torch


class ChannelMoments:
    """Mean and deviation of every channel of packed caches."""

    def __init__(self) -> None:
        self._tokens = 0

    def add(self, caches: torch.Tensor) -> None:
        """Take in further tokens, ``(2, layers, tokens, size)``."""
        if not caches.shape[2]:
            return
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
        self._tokens: int | torch.Tensor = 0
        self._sums: list[torch.Tensor] = []

    def add(
        self, left: torch.Tensor, right: torch.Tensor, weights: torch.Tensor | None = None
    ) -> None:
        """Take in further tokens.

        Args:
            left: ``(groups, tokens, size)``, of one device and dtype with ``right``.
            right: ``(groups, tokens, size)``.
            weights: How often each token counts, ``(groups, tokens)``, at least 0; once when
                left out.
        """
        if not self._sums:
            self._shifts = [part.mean(dim=1, keepdim=True) for part in (left, right)]
            self._sums = [torch.zeros_like(shift) for shift in self._shifts]
            self._products = left.new_zeros(len(left), left.shape[2], right.shape[2])
        # Far from zero the products would drown in those of the means.
        left, right = left - self._shifts[0], right - self._shifts[1]
        counted = left if weights is None else left * weights[..., None]
        also = right if weights is None else right * weights[..., None]
        for total, part in zip(self._sums, (counted, also), strict=True):
            total += part.sum(dim=1, keepdim=True)
        self._products.baddbmm_(counted.transpose(1, 2), right)
        self._tokens = self._tokens + (
            left.shape[1] if weights is None else weights.sum(dim=1)[:, None, None]
        )

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
        if isinstance(self._tokens, int):
            return self._products.baddbmm(left.transpose(1, 2), right, alpha=-1 / self._tokens)
        return self._products - (left / self._tokens).transpose(1, 2) @ right


class Moments:
    """What a linear regression needs to know of inputs and targets, for groups of its own each."""

    def __init__(self) -> None:
        self._inputs, self._both = Products(), Products()

    def add(
        self, inputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
    ) -> None:
        """Take in further tokens.

        Args:
            inputs: ``(groups, tokens, inputs)``.
            targets: ``(groups, tokens, outputs)``.
            weights: See `Products.add`.
        """
        x, y = inputs.cpu().double(), targets.cpu().double()
        w = None if weights is None else weights.cpu().double()
        self._inputs.add(x, x, w)
        self._both.add(x, y, w)

    def means(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Of inputs ``(groups, 1, inputs)`` and targets ``(groups, 1, outputs)``."""
        return self._both.means()

    def gram(self) -> torch.Tensor:
        """Products of the centred inputs, summed over tokens, ``(groups, inputs, inputs)``."""
        return self._inputs.centred()

    def cross(self) -> torch.Tensor:
        """Those of centred inputs and targets, ``(groups, inputs, outputs)``."""
        return self._both.centred()


@dataclass(frozen=True)
class Regression:
    """Inputs and targets of calibration tokens.

    Args:
        inputs: ``(groups, tokens, inputs)``.
        targets: ``(groups, tokens, outputs)``; outputs are heads times head size, once or, keys
            before values, twice.
        attention: What each token receives in each layer and head, ``(layers, heads, tokens)``;
            groups are the layers, once or (keys before values) twice.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    attention: torch.Tensor | None = None

    def weights(self, head: int | None) -> torch.Tensor | None:
        """Of the tokens, ``(groups, tokens)``, for a head or in the mean of all."""
        if self.attention is None:
            return None
        of_layer = self.attention.mean(dim=1) if head is None else self.attention[:, head]
        return of_layer.repeat(len(self.inputs) // len(of_layer), 1)


class HeadMoments(Moments):
    """Moments in which every KV head weighs the tokens in its own way.

    As `Moments` they are those of all heads, the tokens weighed by the heads' mean.

    Args:
        regressions: Gives the calibration tokens, some at a time, anew at every call.
        heads: KV heads.
        head_dim: Numbers of a head.
    """

    def __init__(
        self, regressions: Callable[[], Iterable[Regression]], heads: int, head_dim: int
    ) -> None:
        super().__init__()
        self._regressions = regressions
        self.heads, self.head_dim = heads, head_dim
        for each in regressions():
            self.add(each.inputs, each.targets, each.weights(None))

    def of_head(self, head: int) -> Moments:
        """Of one head's outputs; one head at a time is in memory."""
        found = Moments()
        for each in self._regressions():
            split = each.targets.unflatten(-1, (-1, self.heads, self.head_dim))
            found.add(each.inputs, split[..., head, :].flatten(2), each.weights(head))
        return found
