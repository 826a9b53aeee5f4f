"""How likely each token of a text is (``echo`` with ``logprobs``), as harnesses ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from c2c_search.inference.scoring import check_finite
from c2c_search.inference.scoring import response_logits
from c2c_search.inference.token_ids import read_of_receiver
from c2c_search.server.failures import ApiError
from c2c_search.server.writing import ToldToken


if TYPE_CHECKING:
    from c2c_search.inference.model import C2CModel


ANSWER = "Answer:"
"""What a prompt ends with in the plain template: up to the last one the sharer reads."""


@torch.no_grad()
def likelihoods(model: C2CModel, ids: Sequence[int], top: int) -> list[ToldToken]:
    """Every token of a text under a model.

    A pair's sharer reads the text up to its last "Answer:", as the prompt that it was trained
    on ends; what stands behind is the receiver's, and has likelihoods.

    Args:
        model: A pair, or a model alone.
        ids: The receiver's tokens.
        top: Likeliest tokens that are told.

    Raises:
        ApiError: There is no such end, or nothing behind it.
    """
    start = 1 if model.fuser is None else _end_of_prompt(model, ids)
    tokenizer = model.receiver.text_tokenizer
    told = [ToldToken.of(tokenizer, token, None) for token in ids[:start]]
    if start >= len(ids):
        return told
    read = read_of_receiver(model, torch.tensor([[*ids[:start]]]))
    batch = model.batch(model.cached(read.encoded))
    logits = response_logits(
        model.receiver.model, model.fused_cache(batch), batch.last_ids, [[ids[start:]]]
    )
    scores = logits.log_softmax(dim=-1)
    check_finite(scores.amax(dim=-1))
    best = scores.topk(max(top, 1), dim=-1)
    for row, token in enumerate(ids[start:]):
        alternatives = zip(best.indices[row].tolist(), best.values[row].tolist(), strict=True)
        told.append(ToldToken.of(tokenizer, token, float(scores[row, token]), alternatives))
    return told


def _end_of_prompt(model: C2CModel, ids: Sequence[int]) -> int:
    """Tokens up to the last "Answer:"."""
    tokenizer = model.receiver.text_tokenizer
    for count in range(len(ids), 0, -1):
        text = str(tokenizer.decode([*ids[:count]]))
        if text.endswith(ANSWER):
            return count
    raise ApiError(
        400,
        f"What the sharer reads of an echoed text ends with {ANSWER!r}, and this has none. Ask "
        "the receiver or the sharer alone (model NAME/receiver), or leave echo out.",
        param="prompt",
        code="unsupported_value",
    )
