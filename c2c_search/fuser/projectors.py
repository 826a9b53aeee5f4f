"""The networks that turn sharer features into receiver ones; declared in `families`."""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from c2c_search.fuser import ridge
from c2c_search.fuser.stacked import ACTIVATIONS
from c2c_search.fuser.stacked import StackedBlock
from c2c_search.fuser.stacked import StackedLinear


if TYPE_CHECKING:
    from c2c_search.fuser.config import FuserConfig
    from c2c_search.fuser.moments import Moments


@dataclass(frozen=True)
class Shape:
    """What a projector is built for.

    Args:
        layers: Fused receiver layers.
        receiver_size: KV heads times head size of the receiver.
        receiver_heads: KV heads of the receiver.
        sharer_size: KV heads times head size of the sharer (or its hidden size, where that is
            heard), times layers where several of its layers are concatenated.
        gates_keys: Whether keys have gates too, or only values.
        sharer_kinds: 1 where the sharer's features for keys and for values are the same.
    """

    layers: int
    receiver_size: int
    receiver_heads: int
    sharer_size: int
    gates_keys: bool = True
    sharer_kinds: int = 2

    @property
    def gates(self) -> int:
        """Groups that a gate lets through: the layers' keys, then their values; or these alone."""
        return (1 + self.gates_keys) * self.layers


@dataclass(frozen=True)
class Projection:
    """What a projector returns; ``groups`` are the layers' keys, then the layers' values.

    Args:
        projected: ``(groups, tokens, receiver_size)``.
        hidden: ``(groups, tokens, hidden_size)``, from which gates are computed.
        weight: Weight in (0, 1), ``(groups, tokens, 1, heads or values)``, or None for 1.
    """

    projected: torch.Tensor
    hidden: torch.Tensor
    weight: torch.Tensor | None = None


class Projector(nn.Module, ABC):
    """What every projector family is.

    Args:
        config: The architecture.
        shape: What it is built for.
    """

    hidden_size: int
    """Size of `Projection.hidden`."""

    def __init__(self, config: FuserConfig, shape: Shape) -> None:
        super().__init__()
        self.config = config
        self.shape = shape
        self.reads_receiver = config.reads_receiver

    @abstractmethod
    def forward(self, receiver: torch.Tensor, sharer: torch.Tensor) -> Projection:
        """Project.

        Args:
            receiver: Normalised receiver features, ``(2, layers, tokens, receiver_size)``, keys
                then values; not looked at where `FuserConfig.reads_receiver` is false.
            sharer: Normalised features of the aligned sharer tokens and layers,
                ``(2, layers, tokens, sharer_size)``.
        """

    def regression(
        self, sharer: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets of the linear map that the family may take over by `fit`.

        Args:
            sharer: As in `forward`.
            targets: The receiver's normalised features, ``(2, layers, tokens, receiver_size)``.

        Returns:
            ``(groups, tokens, inputs)`` and ``(groups, tokens, outputs)``.
        """
        return sharer.flatten(0, 1), targets.flatten(0, 1)

    def fit(self, moments: Moments) -> None:
        """Take over the closed-form map of calibration features, where the family has one.

        Args:
            moments: Of what `regression` gives.
        """

    def block(self, groups: int, inner: int | None = None) -> StackedBlock:
        """A residual block of the hidden size."""
        config = self.config
        inner = inner or config.intermediate or config.width
        return StackedBlock(groups, config.width, inner, config.dropout, config.activation)

    def blocks(self, groups: int, count: int) -> list[StackedBlock]:
        return [self.block(groups) for _ in range(count)]

    def compressed(self, features: torch.Tensor) -> torch.Tensor:
        """The activation that may follow the compression."""
        if not self.config.input_activation:
            return features
        return ACTIVATIONS[self.config.activation](features)

    def weight_head(self, hidden_size: int) -> nn.Sequential:
        """From hidden features to the dynamic weight of keys and of values."""
        size = {"token": 1, "head": self.shape.receiver_heads, "value": self.shape.receiver_size}
        outputs = size[self.config.weight_granularity]
        return nn.Sequential(
            StackedLinear(2 * self.shape.layers, hidden_size, outputs), nn.Sigmoid()
        )


class C2CProjector(Projector):
    """Concatenate sharer and receiver, compress to ``width``, then two heads.

    Projection head: ``depth - 2`` residual blocks and a linear map to the receiver's size. Weight
    head: one block, a linear map to KV heads and a sigmoid. Depth 2 leaves out the projection
    head's blocks, depth 1 every block.

    The published projector is depth 3 or more, ``input_activation: false`` and
    ``initialisation: random``.
    """

    def __init__(self, config: FuserConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        groups, width = 2 * shape.layers, config.width
        self.hidden_size = width
        self.from_sharer = StackedLinear(groups, shape.sharer_size, width)
        self.from_receiver: StackedLinear | None = None
        if self.reads_receiver:
            self.from_receiver = StackedLinear(groups, shape.receiver_size, width, bias=False)
        self.trunk = self.block(groups) if config.depth > 1 else nn.Identity()
        zero = config.initialisation == "zero"
        self.projection = nn.Sequential(
            *self.blocks(groups, config.depth - 2),
            StackedLinear(groups, width, shape.receiver_size, zero=zero),
        )
        self.weight: nn.Sequential | None = None
        if config.weighted:
            front = [self.block(groups, width)] if config.depth > 1 else []
            self.weight = nn.Sequential(*front, *self.weight_head(width))

    def forward(self, receiver: torch.Tensor, sharer: torch.Tensor) -> Projection:
        compressed = self.from_sharer(sharer.flatten(0, 1))
        if self.from_receiver is not None:
            compressed = compressed + self.from_receiver(receiver.flatten(0, 1))
        hidden = self.trunk(self.compressed(compressed))
        weight = None if self.weight is None else self.weight(hidden)
        return Projection(self.projection(hidden), hidden, weight)


class JointProjector(Projector):
    """Keys and values of a layer compressed together, through one small latent.

    A sharer token becomes a latent of ``rank`` numbers a layer, computed from the sharer alone:
    it is all that would have to cross a wire. The receiver's side reads it beside its own token
    (one compression to ``width`` and residual blocks, as ``c2c``), and adds a linear map of it,
    which closed-form ridge can initialise.
    """

    def __init__(self, config: FuserConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        layers, width = shape.layers, config.width
        self.hidden_size, rank = width, config.rank or width
        zero = config.initialisation != "random"
        self.latent = StackedLinear(layers, shape.sharer_kinds * shape.sharer_size, rank)
        self.from_latent = StackedLinear(layers, rank, width)
        self.from_receiver: StackedLinear | None = None
        if self.reads_receiver:
            self.from_receiver = StackedLinear(layers, 2 * shape.receiver_size, width, bias=False)
        self.projection = nn.Sequential(
            *self.blocks(layers, config.depth - 1),
            StackedLinear(layers, width, 2 * shape.receiver_size, zero=zero),
        )
        self.linear = StackedLinear(layers, rank, 2 * shape.receiver_size, bias=False, zero=zero)
        self.weight = self.weight_head(width) if config.weighted else None

    def forward(self, receiver: torch.Tensor, sharer: torch.Tensor) -> Projection:
        latent = self.latent(self._heard(sharer))
        compressed = self.from_latent(latent)
        if self.from_receiver is not None:
            compressed = compressed + self.from_receiver(_side_by_side(receiver))
        hidden = self.compressed(compressed)
        projected = torch.cat((self.projection(hidden) + self.linear(latent)).chunk(2, dim=-1))
        hidden = torch.cat([hidden, hidden])
        weight = None if self.weight is None else self.weight(hidden)
        return Projection(projected, hidden, weight)

    def regression(
        self, sharer: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self._heard(sharer), _side_by_side(targets)

    def _heard(self, sharer: torch.Tensor) -> torch.Tensor:
        return _side_by_side(sharer[: self.shape.sharer_kinds])

    @torch.no_grad()
    def fit(self, moments: Moments) -> None:
        weight, bias = ridge.fit(moments, self.config.ridge_penalty)
        into, out_of = ridge.factorise(weight, moments, self.linear.weight.shape[1])
        assert self.latent.bias is not None
        self.latent.weight.copy_(into)
        self.latent.bias.zero_()
        self.linear.weight.copy_(out_of)
        last = self.projection[-1]
        assert isinstance(last, StackedLinear)
        assert last.bias is not None
        last.bias.copy_(bias + _missed(moments, weight, into, out_of))


class LinearProjector(Projector):
    """One affine map of the sharer's features, of full or of lower ``rank``; with or without bias.

    Weight and input-dependent gates read the sharer's and the receiver's features directly.
    """

    def __init__(self, config: FuserConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        groups, zero = 2 * shape.layers, config.initialisation != "random"
        self.hidden_size = shape.sharer_size + shape.receiver_size * self.reads_receiver
        self.compress: StackedLinear | None = None
        inputs = shape.sharer_size
        if config.rank is not None:
            self.compress = StackedLinear(groups, inputs, config.rank, bias=False)
            inputs = config.rank
        outputs = shape.receiver_size
        self.projection = StackedLinear(groups, inputs, outputs, bias=config.bias, zero=zero)
        self.weight = self.weight_head(self.hidden_size) if config.weighted else None

    def forward(self, receiver: torch.Tensor, sharer: torch.Tensor) -> Projection:
        features = sharer.flatten(0, 1)
        latent = features if self.compress is None else self.compress(features)
        hidden = features
        if self.reads_receiver:
            hidden = torch.cat([features, receiver.flatten(0, 1)], dim=-1)
        weight = None if self.weight is None else self.weight(hidden)
        return Projection(self.projection(latent), hidden, weight)

    @torch.no_grad()
    def fit(self, moments: Moments) -> None:
        weight, bias = ridge.fit(moments, self.config.ridge_penalty)
        if self.compress is not None:
            into, out_of = ridge.factorise(weight, moments, self.compress.weight.shape[-1])
            bias = bias + _missed(moments, weight, into, out_of)
            self.compress.weight.copy_(into)
            weight = out_of
        assert self.projection.bias is not None
        self.projection.weight.copy_(weight)
        self.projection.bias.copy_(bias)


class RidgeProjector(LinearProjector):
    """The affine map that calibration prompts give in closed form; nothing is trained."""

    def __init__(self, config: FuserConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.requires_grad_(False)


def _side_by_side(features: torch.Tensor) -> torch.Tensor:
    """``(2, layers, tokens, size)`` to ``(layers, tokens, 2 * size)``: keys, then values."""
    return torch.cat(features.unbind(0), dim=-1)


def _missed(
    moments: Moments, weight: torch.Tensor, into: torch.Tensor, out_of: torch.Tensor
) -> torch.Tensor:
    """What a map of lower rank misses in the mean, ``(groups, 1, outputs)``."""
    return moments.means()[0].float() @ (weight - into @ out_of)
