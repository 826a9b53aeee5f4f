"""How likely a model finds each response, on top of a prompt's cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from c2c_search.inference.packed.context import PackedContext
from c2c_search.inference.packed.tokens import TRUNK
from c2c_search.inference.packed.tokens import Tokens
from c2c_search.inference.packed.tokens import onto


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.inference.packed.fused_cache import FusedCache


def response_logits(
    model: PreTrainedModel,
    fused: FusedCache,
    last_ids: Sequence[int],
    responses: Sequence[Sequence[Sequence[int]]],
) -> torch.Tensor:
    """Logits for the next token, at every token of every response.

    Only the last prompt token and the responses run through the model. A prompt's responses
    share its cache and its last token: they are branches that do not see each other.

    Args:
        model: The model that answers.
        fused: Its (fused) prompt caches.
        last_ids: Each prompt's last token, which is not in the cache.
        responses: For each prompt, the token ids of each response, at least one each.

    Returns:
        ``(all response tokens, vocabulary)`` in float32, in the order of ``responses``.
    """
    context = PackedContext(model, fused)
    ids: list[int] = []
    fed: list[tuple[int, int, int]] = []  # prompt, branch, position
    predictors: list[int] = []  # which fed token predicts each response token
    for prompt, (position, last, branches) in enumerate(
        zip(context.next_positions, last_ids, responses, strict=True)
    ):
        trunk = len(ids)
        ids.append(last)
        fed.append((prompt, TRUNK, position))
        for branch, response in enumerate(branches):
            first = len(ids)
            predictors += [trunk, *range(first, first + len(response) - 1)]
            ids += response[:-1]
            fed += [(prompt, branch, position + 1 + n) for n in range(len(response) - 1)]
    tokens = Tokens(*torch.tensor(fed).T)
    logits = context.feed(torch.tensor(ids), tokens, torch.tensor(predictors))
    return logits.float()


def score_options(
    model: PreTrainedModel,
    fused: FusedCache,
    last_ids: Sequence[int],
    options: Sequence[Sequence[Sequence[int]]],
) -> list[torch.Tensor]:
    """Log-likelihood (nats) of every option's tokens, as one tensor for each prompt.

    Options of the same tokens are equally likely, to the last bit.

    The arguments are those of `response_logits`.

    Raises:
        FloatingPointError: One is no number.
    """
    totals = option_likelihoods(model, fused, last_ids, options)
    check_finite(totals)
    return [
        score[[choices.index(option) for option in choices]]
        for score, choices in zip(
            totals.split([len(choices) for choices in options]), options, strict=True
        )
    ]


def option_likelihoods(
    model: PreTrainedModel,
    fused: FusedCache,
    last_ids: Sequence[int],
    options: Sequence[Sequence[Sequence[int]]],
) -> torch.Tensor:
    """The same of all options one after the other, whatever the numbers are."""
    return likelihoods(response_logits(model, fused, last_ids, options), options).cpu()


def likelihoods(logits: torch.Tensor, options: Sequence[Sequence[Sequence[int]]]) -> torch.Tensor:
    """Log-likelihood (nats) of every option, one after the other; gradients flow.

    Args:
        logits: ``(all option tokens, vocabulary)``; see `response_logits`.
        options: For each prompt, the token ids of each option.
    """
    flat = [option for choices in options for option in choices]
    targets = torch.tensor([token for option in flat for token in option])
    chosen = logits.log_softmax(dim=-1).gather(1, onto(targets[:, None], logits.device))[:, 0]
    return torch.stack([each.sum() for each in chosen.split([len(option) for option in flat])])


def check_finite(values: torch.Tensor) -> None:
    """Refuse what a model has computed of its answers.

    Raises:
        FloatingPointError: Something is NaN or infinite.
    """
    if not bool(values.isfinite().all()):
        raise FloatingPointError("not finite")
