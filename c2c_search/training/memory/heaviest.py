"""Which of a trial's batches take the most memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from c2c_search.evaluation.systems.prompts import batches
from c2c_search.training.order import Order


if TYPE_CHECKING:
    from c2c_search.config.trial import TrialConfig
    from c2c_search.data.schema import Row
    from c2c_search.tokenization.templates import Message
    from c2c_search.tokenization.token_alignment import EncodedPrompt


def heaviest_batches(trial: TrialConfig, rows: Sequence[Row]) -> list[list[int]]:
    """Of a trial's batches, in its own order, those that may take most memory; see `_heaviest`.

    Lengths are taken in characters.

    Returns:
        Indices into ``rows``.
    """
    prompts = [_characters(row["messages"]) + _characters(row["sharer_messages"]) for row in rows]
    training = trial.training
    order = Order(trial.seed, len(rows), training.batch_size)
    passes = training.steps * training.gradient_accumulation
    dealt = [order.rows(number) for number in range(passes)]
    return _heaviest(dealt, prompts, [len(row["response"]) for row in rows])


def heaviest_passes(
    trial: TrialConfig, rows: Sequence[Row], encoded: Sequence[EncodedPrompt]
) -> list[list[int]]:
    """Of the passes that validate a trial, those that may take most memory; see `_heaviest`.

    Returns:
        Indices into ``rows``.
    """
    prompts = [len(prompt.receiver_ids) for prompt in encoded]
    options = [row["choices"] for row in rows]
    passes = batches(prompts, options, trial.evaluation.batch_size)
    return _heaviest(list(passes), prompts, [sum(map(len, texts)) for texts in options])


def longest_prompts(rows: Sequence[Row], count: int) -> list[int]:
    """The training examples whose prompts have the most characters, at most so many.

    Returns:
        Indices into ``rows``.
    """
    lengths = [_characters(row["messages"]) for row in rows]
    return sorted(range(len(rows)), key=lambda row: -lengths[row])[:count]


def _heaviest(
    batches: Sequence[list[int]], prompts: Sequence[int], responses: Sequence[int]
) -> list[list[int]]:
    """The batch of the longest prompts, that of the longest responses, that of most of both.

    Prompts weigh by what the fuser is, responses by what the receiver is.
    """
    both = [
        prompt / (sum(prompts) or 1) + response / (sum(responses) or 1)
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    found: list[list[int]] = []
    for weights in (prompts, responses, both):
        batch = max(batches, key=lambda batch: sum(weights[row] for row in batch))
        if batch not in found:
            found.append(batch)
    return found


def _characters(messages: Sequence[Message] | None) -> int:
    return sum(len(message["content"]) for message in messages or ())
