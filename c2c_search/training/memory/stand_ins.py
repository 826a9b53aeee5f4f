"""What stands in for a pair's prompt caches and RoPE where no tensor has any content."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import accumulate
from typing import TYPE_CHECKING

import torch

from c2c_search.models.geometry import geometry
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.rope import Rotation


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.fuser.shapes import CacheShape
    from c2c_search.fuser.shapes import Source
    from c2c_search.tokenization.token_alignment import EncodedPrompt


def prompts_without_content(
    encoded: Sequence[EncodedPrompt],
    shapes: tuple[CacheShape, CacheShape],
    dtype: torch.dtype,
    source: Source = "kv",
    draft_tokens: int = 0,
    anchor_tokens: int = 0,
) -> PairPrompts:
    """Prompts whose caches, of the receiver's shape and the sharer's, have no content.

    Behind each the sharer has drafted as many tokens as it may, and in front of each the receiver
    reads as many of its words. To be called where tensors are
    made without it.

    Args:
        encoded: The prompts.
        shapes: Of receiver and sharer.
        dtype: Of the caches.
        source: What of the sharer is kept.
        draft_tokens: That it drafts.
        anchor_tokens: Of its words, that the receiver reads.
    """
    if draft_tokens:
        encoded = [prompt.with_draft((0,) * draft_tokens) for prompt in encoded]
    if anchor_tokens:
        encoded = [prompt.with_anchors(0, (0,) * anchor_tokens) for prompt in encoded]
    lengths = (
        [len(prompt.receiver_ids) for prompt in encoded],
        [len(prompt.sharer_ids) for prompt in encoded],
    )
    stored = [_stored(*each, dtype) for each in zip(shapes, lengths, ("kv", source), strict=True)]
    return PairPrompts(tuple(encoded), *stored)


def _stored(
    shape: CacheShape, lengths: Sequence[int], source: Source, dtype: torch.dtype
) -> PromptCaches:
    kinds, size = 2 if source == "kv" else 1, shape.heard_size(source)
    shard = torch.empty(sum(lengths), kinds, shape.layers, size, dtype=dtype)
    starts = [0, *accumulate(lengths)]
    return PromptCaches((shard,), tuple((0, start) for start in starts[:-1]))


class RotaryWithoutContent:
    """Stands in for a model's `Rotary`, which is found by running the model on real numbers.

    It is taken to rotate whole heads, alike in all layers unless its module tells them apart.

    Args:
        model: Its model.
        without_content: Within it tensors are made without content.
    """

    def __init__(
        self, model: PreTrainedModel, without_content: Callable[[], AbstractContextManager[None]]
    ) -> None:
        shape = geometry(model)
        kinds = (getattr(module, "rope_type", None) for module in model.modules())
        told_apart = any(isinstance(kind, Mapping) for kind in kinds)
        self._layers = shape.layers if told_apart else 1
        self._head_dim = shape.head_dim
        self._without_content = without_content

    def at(self, positions: torch.Tensor) -> Rotation:
        size = (self._layers, len(positions), self._head_dim)
        with self._without_content():
            return Rotation(torch.empty(size), torch.empty(size), self._head_dim, False)
