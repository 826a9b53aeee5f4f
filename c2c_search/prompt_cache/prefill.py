"""Prompts in, prompt caches out, in batches of prompts of similar length."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from functools import cached_property
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING
from typing import Any

import torch
from transformers import DynamicCache

from c2c_search.errors import ConfigError
from c2c_search.models.geometry import geometry
from c2c_search.models.geometry import rope_window


if TYPE_CHECKING:
    from transformers import PreTrainedModel


BATCH_TOKENS = 2048
"""Tokens in one batch, about."""

TOKENS_TO_BEGIN = 48
"""A pass takes as long to begin as so many tokens take in it (reading weights, starting kernels).

Measured on two cores, and more of them on a GPU.
"""


def prefill(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, batch_tokens: int = BATCH_TOKENS
) -> Iterator[tuple[list[int], tuple[torch.Tensor, ...]]]:
    """Run prompts through a model and keep its KV-cache; see `Prefill`.

    Args:
        model: A frozen causal language model.
        prompts: Token ids of each prompt, each of at least one token.
        batch_tokens: Tokens in one batch, about.

    Yields:
        The indices of a batch's prompts and their caches, each ``(tokens, 2, layers, size)``,
        keys then values, on the model's device. Longest prompts come first, so that memory shows
        its peak at once.

    Raises:
        ConfigError: A prompt is longer than the model's `rope_window`.
    """
    planned = Prefill(model, prompts, batch_tokens=batch_tokens)
    for number, rows in enumerate(planned.batches):
        yield rows, planned.run(number).split(planned.lengths(number))


class Prefill:
    """Prompts in batches, any of which can be run at any time, each time with the same result.

    Prompts of similar length run together, so that little is padded; what all prompts begin with
    (a template, an instruction) runs only once. Padding stands behind a prompt, where nothing of
    it looks, and is cut off. A cache depends on what it is computed with, in its last bits, so
    the batches follow from the prompts alone, and from nothing that was run before.

    Args:
        model: A frozen causal language model.
        prompts: Token ids of each prompt, each of at least one token.
        batch_tokens: Tokens in one batch, about.
        entries: Cache entries that no tokens stand for, ``(2, layers, entries, size)``, in the
            place of as many ids that every prompt begins with.

    Raises:
        ConfigError: A prompt is longer than the model's `rope_window`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        *,
        batch_tokens: int = BATCH_TOKENS,
        entries: torch.Tensor | None = None,
    ) -> None:
        check_positions(model, max(map(len, prompts), default=0) - 1)
        self.model = model
        self.prompts = prompts
        self.entries = entries
        self.batches: list[list[int]] = []
        """Indices of each batch's prompts, the longest first."""
        by_length: dict[int, list[int]] = defaultdict(list)
        for index, prompt in enumerate(prompts):
            by_length[len(prompt)].append(index)
        counts = [(length, len(by_length[length])) for length in sorted(by_length, reverse=True)]
        for lengths in _together(counts, batch_tokens):
            indices = [index for length in lengths for index in by_length[length]]
            most = _most(lengths[0], batch_tokens)
            self.batches += [
                indices[first : first + most] for first in range(0, len(indices), most)
            ]

    def lengths(self, number: int) -> list[int]:
        """Tokens of each prompt of a batch."""
        return [len(self.prompts[row]) for row in self.batches[number]]

    def run(self, number: int) -> torch.Tensor:
        """Caches of a batch, one prompt after the other, on the model's device.

        Returns:
            ``(tokens, 2, layers, size)``, without padding.
        """
        rows, lengths = self.batches[number], self.lengths(number)
        padded = self.read_rows(rows, lengths[0])
        if lengths[-1] == lengths[0]:
            return padded.flatten(0, 1)
        return torch.cat([cache[:length] for cache, length in zip(padded, lengths, strict=True)])

    def read_rows(self, rows: Sequence[int], width: int) -> torch.Tensor:
        """Read some prompts in one pass.

        Args:
            rows: The prompts.
            width: Tokens to which each is padded.

        Returns:
            ``(prompts, width, 2, layers, size)``.
        """
        ids = torch.zeros(len(rows), width - self.shared, dtype=torch.long)
        for row_ids, row in zip(ids, rows, strict=True):
            behind = self.prompts[row][self.shared :]
            row_ids[: len(behind)] = torch.tensor(list(behind))
        return self.read(ids)

    def read(self, ids: torch.Tensor) -> torch.Tensor:
        """Read what stands behind the shared tokens, ``(batch, tokens)``, padded.

        Returns:
            What is kept of all tokens, the shared ones too, ``(batch, tokens, 2, layers, size)``.
        """
        return stack_cache(_run(self.model, ids, self._prefix))

    @cached_property
    def shared(self) -> int:
        """Tokens that all prompts begin with, read once."""
        return _common_prefix(self.prompts) if self.entries is None else self.entries.shape[2]

    @cached_property
    def _prefix(self) -> DynamicCache | None:
        if self.entries is not None:
            return _as_cache(self.model, self.entries)
        if not self.shared:
            return None
        return _run(self.model, torch.tensor([list(self.prompts[0][: self.shared])]), None)


def _as_cache(model: PreTrainedModel, entries: torch.Tensor) -> DynamicCache:
    """Entries ``(2, layers, entries, size)`` as a model reads them."""
    cache = DynamicCache()
    by_head = entries.to(model.device, model.dtype).unflatten(3, (geometry(model).kv_heads, -1))
    for number, (keys, values) in enumerate(by_head.transpose(2, 3).unbind(1)):
        cache.update(keys[None], values[None], number)
    return cache


def stack_cache(cache: DynamicCache) -> torch.Tensor:
    """A transformers cache as one tensor, ``(batch, tokens, 2, layers, size)``."""
    layers = [
        torch.stack([layer.keys.transpose(1, 2), layer.values.transpose(1, 2)], dim=2).flatten(3)
        for layer in cache.layers
    ]
    return torch.stack(layers, dim=3)


@torch.no_grad()
def run(
    model: PreTrainedModel, ids: torch.Tensor, positions: torch.Tensor, cache: DynamicCache
) -> DynamicCache:
    """Read tokens into a cache, without the cost of predicting the next one.

    Args:
        model: A causal language model.
        ids: ``(batch, tokens)``.
        positions: Of the same shape.
        cache: What was read before; it grows.
    """
    model.base_model(
        input_ids=ids.to(model.device),
        position_ids=positions.to(model.device),
        use_cache=True,
        **cache_argument(model.base_model, cache),
    )
    return cache


def cache_argument(model: PreTrainedModel, cache: DynamicCache) -> dict[str, DynamicCache]:
    """The cache under the name that this version of transformers gives it."""
    return {"cache" if takes(type(model).forward, "cache") else "past_key_values": cache}


@lru_cache
def takes(function: Callable[..., Any], argument: str) -> bool:
    """Whether a function, or a class, names an argument; asked in every step, so remembered."""
    return argument in inspect.signature(function).parameters


def check_positions(model: PreTrainedModel, last: int) -> None:
    """Refuse positions at which a cached key would depend on what is read later.

    Raises:
        ConfigError: ``last`` is not within the model's `rope_window`.
    """
    window = rope_window(model)
    if window is not None and last >= window:
        raise ConfigError(
            f"Prompt and answer must fit into {window} tokens: beyond that this model rotates"
            " all keys, also those in the cache, by other frequencies.",
            value=f"position {last} ({model.config.model_type})",
            hint="Shorten the prompts, or choose a model whose RoPE does not change with length"
            " (neither dynamic nor longrope).",
        )


def behind(prefix: DynamicCache | None, ids: torch.Tensor) -> tuple[DynamicCache, torch.Tensor]:
    """A cache that each row of ids reads on from, and the ids' positions, of their shape."""
    # Without a config, every layer keeps all its tokens: a sliding layer would forget some.
    cache = DynamicCache()
    before = 0
    if prefix is not None:
        before = prefix.get_seq_length()
        for number, layer in enumerate(prefix.layers):
            expanded = (len(ids), *layer.keys.shape[1:])
            cache.update(layer.keys.expand(expanded), layer.values.expand(expanded), number)
    return cache, torch.arange(before, before + ids.shape[1]).expand(len(ids), -1)


def _run(model: PreTrainedModel, ids: torch.Tensor, prefix: DynamicCache | None) -> DynamicCache:
    cache, positions = behind(prefix, ids)
    return run(model, ids, positions, cache)


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


def _together(counts: Sequence[tuple[int, int]], batch_tokens: int) -> list[list[int]]:
    """Lengths whose prompts share batches, so that padding and passes cost the least.

    Args:
        counts: Lengths, the longest first, and how many prompts have them.
        batch_tokens: Tokens in one batch, about.
    """
    least = [0] * (len(counts) + 1)  # of these lengths and all shorter ones
    ends = [0] * len(counts)
    for first in reversed(range(len(counts))):
        longest, prompts = counts[first][0], 0
        found = []
        for last in range(first, len(counts)):
            length, more = counts[last]
            if longest - length > TOKENS_TO_BEGIN:
                break
            prompts += more
            passes = ceil(prompts / _most(longest, batch_tokens))
            work = prompts * longest + passes * TOKENS_TO_BEGIN
            found.append((work + least[last + 1], -last))
        least[first], last = min(found)  # of equals, that of fewer passes
        ends[first] = 1 - last
    groups, first = [], 0
    while first < len(counts):
        groups.append([length for length, _ in counts[first : ends[first]]])
        first = ends[first]
    return groups


def _most(longest: int, batch_tokens: int) -> int:
    """Prompts in one batch, at most."""
    return max(1, batch_tokens // longest)
