"""Rotary position embeddings, taken off cached keys and put back on."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Literal

import torch
from transformers import DynamicCache

from c2c_search.errors import ConfigError
from c2c_search.models.geometry import geometry
from c2c_search.models.geometry import rope_window
from c2c_search.prompt_cache.prefill import check_positions
from c2c_search.prompt_cache.prefill import run
from c2c_search.prompt_cache.prefill import stack_cache


if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


_PROBED_IDS = 4
_FAR = 255  # the other of the two positions at which `Rotary.of` compares keys

_Spread = Literal["twice", "in a row", "once"]


@dataclass(frozen=True)
class Rotation:
    """Rotary embedding of packed tokens.

    Args:
        cos: ``(layers or 1, tokens, rotated dims)`` in float32, times the model's attention
            scaling if it has one; 1 in layers without RoPE.
        sin: Of the same shape; 0 in layers without RoPE.
        head_dim: Size of a head, of which the first ``rotated dims`` are rotated.
        interleaved: Whether neighbours rotate together, or the two halves of the rotated dims.
    """

    cos: torch.Tensor
    sin: torch.Tensor
    head_dim: int
    interleaved: bool

    def apply(self, keys: torch.Tensor) -> torch.Tensor:
        """Rotate keys, ``(layers, tokens, kv_heads * head_dim)``, as the model does."""
        return self._turn(keys, self.cos, self.sin)

    def undo(self, keys: torch.Tensor) -> torch.Tensor:
        """The inverse of `apply`, also where the model scales or rounds cos and sin."""
        squared = self.cos.square() + self.sin.square()
        return self._turn(keys, self.cos / squared, -self.sin / squared)

    def select(self, layers: torch.Tensor) -> Rotation:
        """The rotation in some layers only, by their numbers."""
        if len(self.cos) == 1:  # all layers rotate alike
            return self
        layers = layers.to(self.cos.device)
        return replace(self, cos=self.cos[layers], sin=self.sin[layers])

    def take(self, tokens: torch.Tensor) -> Rotation:
        """The rotation of some tokens only, by their indices; they may repeat."""
        tokens = tokens.to(self.cos.device)
        return replace(self, cos=self.cos[:, tokens], sin=self.sin[:, tokens])

    def to(self, device: torch.device | str) -> Rotation:
        return replace(self, cos=self.cos.to(device), sin=self.sin.to(device))

    def pair_sizes(self, keys: torch.Tensor) -> torch.Tensor:
        """For every value of keys, the length of the pair that it rotates in."""
        rotated, rest = self._split(keys)
        pairs = torch.hypot(rotated, self._quarter_turn(rotated))
        return torch.cat([pairs, rest.abs()], dim=-1).flatten(-2)

    def _turn(self, keys: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        rotated, rest = self._split(keys)
        turned = rotated * cos[:, :, None] + self._quarter_turn(rotated) * sin[:, :, None]
        return torch.cat([turned, rest], dim=-1).flatten(-2).to(keys.dtype)

    def _split(self, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        heads = keys.float().unflatten(-1, (-1, self.head_dim))
        dims = self.cos.shape[-1]
        return heads[..., :dims], heads[..., dims:]

    def _quarter_turn(self, rotated: torch.Tensor) -> torch.Tensor:
        axis, shape = (-1, (-1, 2)) if self.interleaved else (-2, (2, -1))
        first, second = rotated.unflatten(-1, shape).unbind(axis)
        return torch.stack([-second, first], dim=axis).flatten(-2)


@dataclass(frozen=True)
class _Layout:
    """How a model puts cos and sin on a head; no configuration says it, so it is tried.

    Args:
        spread: How the rotary module hands out one number for each pair of dims: all numbers
            twice over (Llama), each number twice in a row (Cohere), or once (GPT-J).
        interleaved: As for `Rotation`.
        direction: 1, or -1 for a model that rotates the other way round (nanochat).
    """

    spread: _Spread
    interleaved: bool
    direction: int

    def rotation(self, cos: torch.Tensor, sin: torch.Tensor, head_dim: int) -> Rotation:
        """The rotation by what a module says, ``(layers, tokens, module's dims)``."""
        cos, sin = self._over_dims(cos), self._over_dims(sin) * self.direction
        return Rotation(cos, sin, head_dim, self.interleaved)

    def _over_dims(self, values: torch.Tensor) -> torch.Tensor:
        if self.spread == "twice":
            values = values[..., : values.shape[-1] // 2]
        elif self.spread == "in a row":
            values = values[..., ::2]
        if self.interleaved:
            return values.repeat_interleave(2, dim=-1)
        return torch.cat([values, values], dim=-1)


_WAYS: tuple[tuple[_Spread, bool], ...] = (  # the common ones first
    ("twice", False),
    ("twice", True),
    ("in a row", True),
    ("once", False),
    ("once", True),
)
_LAYOUTS = [
    _Layout(spread, interleaved, direction)
    for direction in (1, -1)
    for spread, interleaved in _WAYS
]


@dataclass(frozen=True)
class _Source:
    """A rotary module of a model, for one type of layers if it tells them apart."""

    model: PreTrainedModel
    module: nn.Module
    layer_type: str | None

    @torch.no_grad()
    def __call__(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """cos and sin of ``(tokens,)`` positions, ``(1, tokens, module's dims)`` in float32."""
        # The module reads device and dtype off it: cos and sin come rounded as the model's own.
        like = torch.empty(1, 1, dtype=self.model.dtype, device=self.model.device)
        # Tables and length rules only know positions from 0; cos is even and sin is odd.
        # Position 0 goes along, where sin is 0: some modules return sin first.
        asked = torch.cat([positions.new_zeros(1), positions.abs()])[None].to(like.device)
        kind = {} if self.layer_type is None else {"layer_type": self.layer_type}
        found = self.module(like, asked, **kind)
        cos, sin = (found.real, found.imag) if torch.is_tensor(found) else found
        if not cos[0, 0].any():
            cos, sin = sin, cos
        cos, sin = (part[:, 1:].to(positions.device, torch.float32) for part in (cos, sin))
        return cos, sin * positions.sign()[None, :, None]


class Rotary:
    """The rotary embedding of a model; `Rotary.of` finds it.

    Args:
        model: The model.
        sources: Its rotary modules.
        of_layer: ``(layers,)``, which of them each layer uses; their number for none of them.
        layout: How they are put on a head.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        sources: Sequence[_Source],
        of_layer: torch.Tensor,
        layout: _Layout,
    ) -> None:
        self._model = model
        self._layout = layout
        self._head_dim = geometry(model).head_dim
        used, self._of_layer = of_layer.cpu().unique(return_inverse=True)
        self._alike = len(used) == 1
        self._sources = [sources[number] for number in used.tolist() if number < len(sources)]

    @classmethod
    def of(cls, model: PreTrainedModel) -> Rotary | None:
        """Find a model's rotary embedding, by reading a few of its keys at two positions.

        A token that reads only itself has, before RoPE, the same keys at every position, in
        every layer. This tells which module and layout each layer uses, and proves it.

        Args:
            model: A model of a pair.

        Returns:
            None for a model without RoPE: learned positions, ALiBi, or none at all.

        Raises:
            ConfigError: The model puts something on its keys that cannot be taken off.
        """
        keys, positions = _probe(model)
        head_dim = geometry(model).head_dim
        tolerance = max(1e-3, 16 * torch.finfo(model.dtype).eps)
        moved = _drift(keys, keys.abs())
        if not (sources := list(_sources(model))):
            # Unlike learned positions, any rotation leaves the length of a key as it is.
            lengths = keys.unflatten(-1, (-1, head_dim)).norm(dim=-1)
            if moved.max() > tolerance and _drift(lengths, lengths).max() <= tolerance:
                raise _unsupported(model)
            return None
        angles = [source(positions) for source in sources]
        for layout in _LAYOUTS:
            rotations = [layout.rotation(cos, sin, head_dim) for cos, sin in angles]
            drifts = torch.stack([*(_drift_without(each, keys) for each in rotations), moved])
            least, of_layer = drifts.min(dim=0)
            used = {number for number in of_layer.tolist() if number < len(sources)}
            # One tensor holds all layers: they must rotate the same dims.
            same = len({rotations[number].cos.shape[-1] for number in used}) <= 1
            if same and least.max() <= tolerance:
                return cls(model, sources, of_layer, layout) if used else None
        raise _unsupported(model)

    def at(self, positions: torch.Tensor) -> Rotation:
        """The rotation of tokens by their positions.

        Args:
            positions: ``(tokens,)``, of prompts packed in any order; they may be negative.

        Returns:
            The rotation, on the device of ``positions``.

        Raises:
            ConfigError: A position is not within the model's `rope_window`.
        """
        check_positions(self._model, int(positions.abs().max()) if len(positions) else 0)
        angles = [source(positions) for source in self._sources]
        rotations = [self._layout.rotation(cos, sin, self._head_dim) for cos, sin in angles]
        if self._alike:
            return rotations[0]
        of_layer = self._of_layer.to(positions.device)
        # Layers without RoPE come last.
        cos = torch.cat([*(each.cos for each in rotations), torch.ones_like(rotations[0].cos)])
        sin = torch.cat([*(each.sin for each in rotations), torch.zeros_like(rotations[0].sin)])
        return replace(rotations[0], cos=cos[of_layer], sin=sin[of_layer])


def _sources(model: PreTrainedModel) -> Iterator[_Source]:
    for module in model.base_model.get_decoder().modules():  # not those of a vision tower
        if type(module).__name__.endswith("RotaryEmbedding"):
            kinds = getattr(module, "rope_type", None)
            for kind in kinds if isinstance(kinds, Mapping) else [None]:
                yield _Source(model, module, kind)


def _probe(model: PreTrainedModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys of a few tokens that each read only themselves, near and then far.

    Returns:
        Keys, ``(layers, tokens, kv_heads * head_dim)`` in float32, and the tokens' positions.
    """
    config = model.config.get_text_config()
    limits = (rope_window(model), getattr(config, "max_position_embeddings", None))
    far = min([_FAR, *(limit - 1 for limit in limits if limit)])
    positions = torch.tensor([0, far]).repeat_interleave(_PROBED_IDS)
    # Ordinary words: what begins and ends a vocabulary may be special, or never trained.
    ids = (geometry(model).vocab_size // 3 + torch.arange(_PROBED_IDS)).repeat(2)
    cache = stack_cache(run(model, ids[:, None], positions[:, None], DynamicCache()))
    keys = cache[:, 0, 0].transpose(0, 1).float()
    return keys, positions.to(keys.device)


def _drift_without(rotation: Rotation, keys: torch.Tensor) -> torch.Tensor:
    """How far keys are from the same near and far once ``rotation`` is undone, by layer."""
    if rotation.cos.shape[-1] > rotation.head_dim:
        return torch.full((len(keys),), torch.inf, device=keys.device)
    unrotated = rotation.undo(keys)
    return _drift(unrotated, rotation.pair_sizes(unrotated))


def _drift(values: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """The largest difference of ``values`` near and far, relative to ``sizes``, by layer."""
    near, far = values.chunk(2, dim=1)
    size = sizes.chunk(2, dim=1)[0]
    # The noise of a sum is that of its terms, however small the sum.
    floor = 0.01 * size.square().flatten(1).mean(dim=1).sqrt() + torch.finfo(size.dtype).tiny
    of_all = (near - far).abs().flatten(1) / (size.flatten(1) + floor[:, None])
    return of_all.amax(dim=1)


def _unsupported(model: PreTrainedModel) -> ConfigError:
    return ConfigError(
        "keys: unrotated needs a model whose keys are the same at every position once its RoPE"
        " is undone, with the same dims rotated in all layers.",
        value=model.config.model_type,
        hint="keys: unrotated does not support this model; use keys: rotated.",
    )
