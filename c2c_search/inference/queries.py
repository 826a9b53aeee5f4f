"""What a receiver's attention asks: its queries before RoPE, and the norms of queries and keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from typing import Any

import torch
from transformers import DynamicCache

from c2c_search.errors import ConfigError
from c2c_search.inference.packed.attention import attending
from c2c_search.inference.packed.attention import lends
from c2c_search.models.attention_maps import SIDE_MEMORY
from c2c_search.models.attention_maps import attention_maps
from c2c_search.models.attention_maps import attentions
from c2c_search.models.attention_maps import map_sizes
from c2c_search.models.geometry import geometry
from c2c_search.prompt_cache.prefill import run


if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


_NORMS = (
    ("q_norm", "k_norm"),
    ("q_layernorm", "k_layernorm"),
    ("query_layernorm", "key_layernorm"),
    ("qk_norm", "qk_norm"),
)
_PROBED_IDS = 4
_ALIKE = 0.999  # cosine of queries that are the same but for rounding
_SMALLEST_SCALE = 1e-6


class Queries:
    """How a model's attention makes its queries; `Queries.of` proves it.

    The linear map of the queries (or of queries, keys and values at once), then the query norm
    where the model has one. RoPE is left out, whichever it is.

    Args:
        model: The receiver.

    Raises:
        ConfigError: Its attention's maps cannot be told by their names, or cannot be looked into.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        if not lends(model):
            raise _refused(model)
        shape = geometry(model)
        found = attention_maps(model, SIDE_MEMORY)
        self.kv_heads, self.head_dim = shape.kv_heads, shape.head_dim
        self.maps: list[nn.Module] = found.get("query") or found["qkv"]
        """The maps that queries come from, by layer."""
        self.outputs: list[nn.Module] = found["output"]
        """The maps behind attention, by layer."""
        self.attentions = attentions(model)
        self.norms = [_norms(attention) for attention in self.attentions]
        self.heads = map_sizes(self.outputs[0])[0] // self.head_dim
        self.grouped = False
        """Whether a map of all three gives each KV head's queries, key and value in turn."""
        self.scaling = [self.head_dim**-0.5] * shape.layers
        """What products of query and key are multiplied by, by layer."""

    @classmethod
    def of(cls, model: PreTrainedModel) -> Queries:
        """Those of a model, whose attention is given a few tokens and asked for its queries.

        They stand at position 0, where RoPE turns nothing.

        Raises:
            ConfigError: As for the class, or they are not what was thought.
        """
        queries = cls(model)
        for grouped in (False, True):
            queries.grouped = grouped
            if queries._proven(model):
                return queries
        raise _refused(model)

    def __call__(self, layer: int, mapped: torch.Tensor) -> torch.Tensor:
        """Queries from what a layer's map gives.

        Args:
            layer: Of the receiver.
            mapped: ``(batch, tokens, outputs)``.

        Returns:
            ``(batch, tokens, heads, head_dim)``, normalised and unrotated.
        """
        if self.grouped:
            by_head = mapped.unflatten(-1, (self.kv_heads, -1, self.head_dim))
            asked = by_head[..., :-2, :].flatten(-3, -2)
        else:
            asked = mapped[..., : self.heads * self.head_dim].unflatten(-1, (self.heads, -1))
        return _normalised(self.norms[layer][0], asked)

    def normed_keys(self, layer: int, keys: torch.Tensor) -> torch.Tensor:
        """Keys ``(tokens, size)`` through a layer's key norm; as they are where it has none."""
        by_head = keys.unflatten(-1, (self.kv_heads, -1))
        return _normalised(self.norms[layer][1], by_head).flatten(-2)

    def unnormed_keys(self, keys: torch.Tensor) -> torch.Tensor:
        """Keys of all layers, ``(layers, tokens, size)``, without their norm's scale and shift.

        `normed_keys` gives the keys back, but for the size of a head's keys that a norm takes.
        """
        return torch.stack([self._without_scale(n, each) for n, each in enumerate(keys)])

    def _without_scale(self, layer: int, keys: torch.Tensor) -> torch.Tensor:
        if self.norms[layer][1] is None:
            return keys
        # Of mean 0 and size 1, so that whichever norm leaves it as it is.
        even = keys.new_ones(1, keys.shape[-1])
        even[:, 1::2] = -1
        dtype = self.maps[layer].weight.dtype
        shift = self.normed_keys(layer, torch.zeros_like(even, dtype=dtype)).to(keys.dtype)
        scale = (self.normed_keys(layer, even.to(dtype)).to(keys.dtype) - shift) * even
        said = scale.abs() > _SMALLEST_SCALE
        return torch.where(said, (keys - shift) / torch.where(said, scale, 1.0), 0.0)

    @torch.no_grad()
    def _proven(self, model: PreTrainedModel) -> bool:
        """Whether these are the queries that attention gets; takes over how it scales them."""
        asked: dict[int, tuple[torch.Tensor, float | None]] = {}
        mapped: dict[int, torch.Tensor] = {}
        numbers = {id(attention): layer for layer, attention in enumerate(self.attentions)}

        def note(attention: nn.Module, query: torch.Tensor, scaling: float | None) -> None:
            asked[numbers.get(id(attention), -1)] = query.transpose(1, 2).float(), scaling

        # Ordinary words: what begins and ends a vocabulary may be special, or never trained.
        ids = (geometry(model).vocab_size // 3 + torch.arange(_PROBED_IDS))[:, None]
        with _giving(self.maps, mapped), attending(model, None, note):
            run(model, ids, torch.zeros_like(ids), DynamicCache())
        for layer in range(len(self.maps)):
            if layer not in asked or layer not in mapped:
                return False
            wanted, scaling = asked[layer]
            if not self._fits(mapped[layer]):
                return False
            found = self(layer, mapped[layer]).float()
            if found.shape != wanted.shape:
                return False
            cosine = torch.cosine_similarity(found.flatten(), wanted.flatten(), dim=0)
            if not cosine > _ALIKE:
                return False
            # Some multiply queries by what others scale products by.
            factor = float((found * wanted).sum() / found.square().sum())
            own = self.head_dim**-0.5 if scaling is None else scaling
            self.scaling[layer] = own * (1.0 if abs(factor - 1) < 1 - _ALIKE else factor)
        return True

    def _fits(self, mapped: torch.Tensor) -> bool:
        """Whether a map gives as many numbers as its layout needs."""
        most = (self.heads + 2 * self.kv_heads) * self.head_dim
        alone = self.heads * self.head_dim
        return mapped.shape[-1] == most or (mapped.shape[-1] == alone and not self.grouped)


def _refused(model: PreTrainedModel) -> ConfigError:
    return ConfigError(
        "A side memory needs a receiver whose attention transformers lets one look into, and "
        "whose queries are a linear map and a norm of known names, before RoPE.",
        value=model.config.model_type,
        hint=SIDE_MEMORY.instead,
    )


@contextmanager
def _giving(maps: list[nn.Module], mapped: dict[int, torch.Tensor]) -> Iterator[None]:
    """Take note of what maps give within the block, by their numbers."""

    def noting(number: int) -> Any:
        def note(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            mapped[number] = output

        return note

    handles = [each.register_forward_hook(noting(number)) for number, each in enumerate(maps)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _norms(attention: nn.Module) -> tuple[nn.Module | None, nn.Module | None]:
    """The norms of an attention's queries and keys."""
    for names in _NORMS:
        query, key = (getattr(attention, name, None) for name in names)
        if query is not None and key is not None:
            return query, key
    return None, None


def _normalised(norm: nn.Module | None, by_head: torch.Tensor) -> torch.Tensor:
    """Heads ``(..., heads, head_dim)`` through a norm of each of them, or of all at once."""
    if norm is None:
        return by_head
    weight = getattr(norm, "weight", None)
    if weight is not None and weight.dim() == 1 and len(weight) != by_head.shape[-1]:
        normed: torch.Tensor = norm(by_head.flatten(-2)).unflatten(-1, by_head.shape[-2:])
    else:
        normed = norm(by_head)
    return normed
