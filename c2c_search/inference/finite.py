"""Whose fault it is that an answer is no number."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from c2c_search.errors import NotFiniteError
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.inference.scoring import check_finite
from c2c_search.inference.scoring import response_logits


if TYPE_CHECKING:
    from c2c_search.inference.fused_pair import FusedPair
    from c2c_search.models.loading import LoadedModel
    from c2c_search.prompt_cache.batches import PairBatch


@contextmanager
def blaming(model: FusedPair, batch: PairBatch) -> Iterator[None]:
    """Name what is at fault if a number in this block is not finite.

    Args:
        model: What answers.
        batch: The prompts that it answers.

    Raises:
        NotFiniteError: Of the sharer, the receiver or the fuser.
    """
    try:
        yield
    except FloatingPointError as error:
        raise culprit(model, batch) from error


def culprit(model: FusedPair, batch: PairBatch) -> NotFiniteError:
    """What makes a model's answers no numbers: its receiver, one of its sharers, or its fuser."""
    alone = model.fuser is None
    for pair, read in model.pairs_of(batch):
        if not alone and not bool(read.sharer.isfinite().all()):
            return NotFiniteError("sharer", pair.sharer.identity.source, "prompt caches")
    try:
        if alone:
            raise FloatingPointError
        own = FusedCache(batch.receiver.to(model.device), batch.lengths)
        check_model(model.receiver, own, batch.last_ids)
    except FloatingPointError:
        role = "model" if model.sharer is model.receiver else "receiver"
        return NotFiniteError(role, model.receiver.identity.source, "log-likelihoods")
    name = f"{model.sharer.identity.source} to {model.receiver.identity.source}"
    return NotFiniteError("fuser", name, "changes to the receiver's cache")


@torch.no_grad()
def check_model(loaded: LoadedModel, cache: FusedCache, last_ids: Sequence[int]) -> None:
    """Let a model predict what follows a few prompts.

    Raises:
        FloatingPointError: It predicts something that is no number.
    """
    responses = [[[token]] for token in last_ids]
    check_finite(response_logits(loaded.model, cache, last_ids, responses).amax(dim=-1))
