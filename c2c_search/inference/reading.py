"""Prompts, read by both models as a fuser is to hear them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.parallel_prefill import read_both


if TYPE_CHECKING:
    import torch

    from c2c_search.fuser.config import FuserConfig
    from c2c_search.models.loading import LoadedModel
    from c2c_search.tokenization.token_alignment import EncodedPrompt


def heard(prompts: PairPrompts, config: FuserConfig | None) -> PairPrompts:
    """The prompts as a fuser hears them: from the receiver, where that is its own sharer.

    Of ``source: hidden``, the prompts' sharer is the receiver then already; see `as_heard`.
    """
    own = config is not None and config.sharer == "self" and config.source == "kv"
    return prompts.of_receiver if own else prompts


def as_heard(
    encoded: Sequence[EncodedPrompt], config: FuserConfig | None
) -> tuple[EncodedPrompt, ...]:
    """What both models read for a fuser: the receiver alone, if it is to hear its own layers."""
    own = config is not None and config.sharer == "self" and config.source == "hidden"
    return tuple(prompt.of_receiver() for prompt in encoded) if own else tuple(encoded)


def read_pair(
    encoded: Sequence[EncodedPrompt],
    receiver: LoadedModel,
    sharer: LoadedModel,
    config: FuserConfig | None,
    dtype: torch.dtype,
) -> PairPrompts:
    """Prompts with both models' caches, computed now; see `read_both`.

    Args:
        encoded: The prompts.
        receiver: The model that answers.
        sharer: The model that speaks.
        config: Of the fuser that hears them; None for the two models alone.
        dtype: What the caches are rounded to.
    """
    encoded = as_heard(encoded, config)
    caches = read_both(
        receiver.model,
        [prompt.receiver_ids for prompt in encoded],
        sharer.model,
        [prompt.sharer_ids for prompt in encoded],
        dtype,
        "kv" if config is None else config.source,
    )
    return PairPrompts(encoded, *caches)
