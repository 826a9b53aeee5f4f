"""Pair room: prompts in, prompt caches out, in batches that need no padding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from transformers import DynamicCache


if TYPE_CHECKING:
    from transformers import PreTrainedModel


def prefill(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, batch_tokens: int = 2048
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Run prompts through a model and keep its KV-cache.

    Prompts of one length run together, so nothing is padded; what all prompts of the call begin
    with (a template, an instruction) runs only once.

    Args:
        model: A frozen causal language model.
        prompts: Token ids of each prompt, each of at least one token.
        batch_tokens: Prompt tokens in one batch, about.

    Yields:
        The indices of a batch's prompts and their caches, ``(batch, tokens, 2, layers, size)``,
        keys then values, on the model's device. Longest prompts come first, so that memory shows
        its peak at once.
    """
    shared = _common_prefix(prompts)
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, prompt in enumerate(prompts):
        by_length[len(prompt)].append(index)
    prefix_cache = _run(model, torch.tensor([list(prompts[0][:shared])]), None) if shared else None
    for length in sorted(by_length, reverse=True):
        indices = by_length[length]
        rows = max(1, batch_tokens // length)
        for first in range(0, len(indices), rows):
            batch = indices[first : first + rows]
            ids = torch.tensor([list(prompts[index][shared:]) for index in batch])
            yield batch, stack_cache(_run(model, ids, prefix_cache))


def stack_cache(cache: DynamicCache) -> torch.Tensor:
    """A transformers cache as one tensor, ``(batch, tokens, 2, layers, size)``."""
    layers = [
        torch.stack([layer.keys.transpose(1, 2), layer.values.transpose(1, 2)], dim=2).flatten(3)
        for layer in cache.layers
    ]
    return torch.stack(layers, dim=3)


@torch.no_grad()
def _run(model: PreTrainedModel, ids: torch.Tensor, prefix: DynamicCache | None) -> DynamicCache:
    # Without a config, every layer keeps all its tokens: a sliding layer would forget some.
    cache = DynamicCache()
    ids = ids.to(model.device)
    before = 0
    if prefix is not None:
        before = prefix.get_seq_length()
        for number, layer in enumerate(prefix.layers):
            expanded = (len(ids), *layer.keys.shape[1:])
            cache.update(layer.keys.expand(expanded), layer.values.expand(expanded), number)
    positions = torch.arange(before, before + ids.shape[1], device=model.device)
    model.base_model(
        input_ids=ids,
        past_key_values=cache,
        position_ids=positions.expand(len(ids), -1),
        use_cache=True,
    )
    return cache


def _common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that all prompts begin with; at least one token of each prompt is left over."""
    if len(prompts) < 2:
        return 0
    # The lexicographically first and last prompts are the furthest apart.
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))
    shared = 0
    while shared < min(len(first), len(last)) and first[shared] == last[shared]:
        shared += 1
    return min(shared, min(len(prompt) for prompt in prompts) - 1)
