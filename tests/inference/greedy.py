"""The likeliest answers as token ids, of whatever a model reads."""

from __future__ import annotations

from c2c_search.inference import decoding
from c2c_search.inference.sampling import stop_ids


def greedy(model, batch, tokens, *, with_stop=False):
    """Token ids of the answers to packed prompts."""
    return generate(
        model.receiver.model,
        model.fuse(batch),
        batch.last_ids,
        stop=stop_ids(model.receiver),
        max_new_tokens=tokens,
        with_stop=with_stop,
    )


def generate(model, fused, last_ids, *, stop, max_new_tokens, with_stop=False):
    """Answers on top of (fused) prompt caches, which these tokens end."""
    answers = decoding.greedy(
        model,
        fused,
        last_ids,
        ended=lambda _, ids: ids[-1] in stop,
        max_new_tokens=max_new_tokens,
    )
    if with_stop:
        return answers
    return [ids[:-1] if ids and ids[-1] in stop else ids for ids in answers]
