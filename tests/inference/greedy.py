"""The likeliest answers as token ids, of whatever a model reads."""

from __future__ import annotations

from c2c_search.inference.decoding import generate
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
