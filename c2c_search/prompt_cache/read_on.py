"""Prompts read on from where their beginnings are kept."""

from __future__ import annotations

from collections.abc import Hashable
from collections.abc import Mapping
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.caches import rounded
from c2c_search.prompt_cache.hidden import planned
from c2c_search.prompt_cache.prefill import TOKENS_TO_BEGIN
from c2c_search.prompt_cache.prefill import Prefill
from c2c_search.prompt_cache.prefix_cache import common


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.fuser.shapes import Source
    from c2c_search.prompt_cache.prefix_cache import PrefixCache


Ids = tuple[int, ...]


def read_on(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    dtype: torch.dtype,
    kept: PrefixCache,
    source: Source = "kv",
) -> PromptCaches:
    """The caches of prompts, up to rounding those of `PromptCaches.compute`; they are kept.

    What a prompt begins with and is kept is not read again; prompts that begin alike are read
    together, on top of that, where it saves more than a pass takes to begin. Layers with a
    sliding window keep all tokens, as all caches here do, so that any beginning can be gone on
    from. What a sharer's layers put out (``hidden``) is kept of whole prompts alone.

    Args:
        model: A frozen causal language model.
        prompts: Token ids of each prompt.
        dtype: What the caches are rounded to; they are kept as computed.
        kept: What was read before, by whichever system.
        source: What is kept of a prompt.

    Raises:
        ConfigError: As of `PromptCaches.compute`.
    """
    owner = owner_of(model, source)
    texts = sorted({tuple(ids) for ids in prompts})
    before = {ids: _on_this_stream(kept.entries(owner, ids)) for ids in texts}
    known = {ids: sum(map(len, parts)) for ids, parts in before.items()}
    found = {ids: torch.cat(before[ids]) for ids in texts if known[ids] == len(ids)}
    new = [ids for ids in texts if ids not in found]
    read = 0
    for group in _groups(new, known if source == "kv" else dict.fromkeys(new, 0)):
        if source == "kv":
            entries = _beginning(model, group, before, known)
            prefill = Prefill(model, group, entries=entries)
            read -= min(known[group[0]], prefill.shared)
        else:
            prefill = planned(model, group, source)
        read += prefill.shared
        for number, rows in enumerate(prefill.batches):
            lengths = prefill.lengths(number)
            for row, cache in zip(rows, prefill.run(number).split(lengths), strict=True):
                found[group[row]] = cache
                if bool(cache.isfinite().all()):  # else it would spoil all that begin so
                    kept.put(owner, group[row], cache)
                read += len(cache) - prefill.shared
    kept.told(read, sum(map(len, prompts)) - read)
    shards = [rounded(found[tuple(ids)], dtype) for ids in prompts]
    return PromptCaches(shards, tuple((number, 0) for number in range(len(shards))))


def unread(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    kept: PrefixCache,
    source: Source = "kv",
) -> list[Sequence[int]]:
    """What of each prompt `read_on` has to read, where they have nothing in common."""
    owner = owner_of(model, source)
    return [ids[kept.longest(owner, ids) :] for ids in prompts]


def owner_of(model: PreTrainedModel, source: Source = "kv") -> Hashable:
    """By what a model's caches are kept: on another device, or in another dtype, others."""
    return model, model.device, model.dtype, source


def _beginning(
    model: PreTrainedModel,
    group: Sequence[Ids],
    before: Mapping[Ids, Sequence[torch.Tensor]],
    known: Mapping[Ids, int],
) -> torch.Tensor | None:
    """Entries of what a group begins with, ``(2, layers, tokens, size)``; None for nothing."""
    first, shared = group[0], _shared(group, known)
    there = min(known[first], shared)
    if not there:
        return None  # what a group has in common is read once in any case
    entries = torch.cat([*before[first]])[:there].permute(1, 2, 0, 3)
    if len(group) > 1 and _saved(len(group), shared, there, there) > 0:
        read = Prefill(model, [first[:shared]], entries=entries).run(0)
        entries = read.permute(1, 2, 0, 3)
    return entries


def _groups(texts: Sequence[Ids], known: Mapping[Ids, int]) -> list[list[Ids]]:
    """Texts that are read together, each group on top of what all of it begins with.

    Args:
        texts: Different ones, in their order.
        known: Tokens at the beginning of each whose caches are there.
    """
    groups, rest = _apart(texts, known, 0) if texts else ([], [])
    return [*groups, rest] if rest else groups


def _apart(
    texts: Sequence[Ids], known: Mapping[Ids, int], around: int
) -> tuple[list[list[Ids]], list[Ids]]:
    """Groups that are better read by themselves, and those that stay with the texts around.

    Args:
        texts: In their order.
        known: As for `_groups`.
        around: Tokens that the texts around them begin with.
    """
    shared = _shared(texts, known)
    there = min(known[texts[0]], shared)
    alone = _saved(len(texts), shared, there, around) > TOKENS_TO_BEGIN
    groups: list[list[Ids]] = []
    rest: list[Ids] = []
    for part in _parts(texts):
        if len(texts) > 1:
            apart, stay = _apart(part, known, shared if alone else around)
        else:
            apart, stay = [], [*part]
        groups += apart
        rest += stay
    return ([*groups, rest], []) if alone and rest else (groups, rest)


def _parts(texts: Sequence[Ids]) -> list[list[Ids]]:
    """Texts in their order, parted where two neighbours have the least in common."""
    alike = [common(*both) for both in pairwise(texts)]
    parts = [[texts[0]]]
    for text, count in zip(texts[1:], alike, strict=True):
        if count == min(alike):
            parts.append([text])
        else:
            parts[-1].append(text)
    return parts


def _saved(texts: int, shared: int, there: int, around: int) -> int:
    """Tokens that are not read where so many texts begin with what they share.

    Args:
        texts: How many.
        shared: Tokens that they begin with.
        there: Of these, those whose caches are there; the others take a pass of their own.
        around: Tokens that are read once in any case.
    """
    apart = shared - there + TOKENS_TO_BEGIN if shared > there else 0
    return texts * (shared - around) - apart


def _shared(texts: Sequence[Ids], known: Mapping[Ids, int]) -> int:
    """Tokens that texts are read on top of; one token of each is read in any case."""
    first, last = texts[0], texts[-1]  # in their order, these have the least in common
    count = known[first] if len(texts) == 1 else common(first, last)
    return min(count, min(map(len, texts)) - 1)


def _on_this_stream(parts: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """Tensors that another stream of a GPU may have made, whose memory is not taken meanwhile."""
    for part in parts:
        if part.is_cuda:
            part.record_stream(torch.cuda.current_stream(part.device))
    return parts
