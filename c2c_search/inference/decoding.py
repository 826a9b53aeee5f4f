"""Decoding token by token on top of (fused) prompt caches."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from c2c_search.inference.packed.context import PackedContext
from c2c_search.inference.packed.tokens import TRUNK
from c2c_search.inference.packed.tokens import Tokens
from c2c_search.inference.scoring import check_finite


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.inference.packed.fused_cache import FusedCache


Choose = Callable[[Sequence[int], torch.Tensor], list[int]]
"""Next tokens of some prompts, from their numbers and logits ``(prompts, vocabulary)``."""

Ended = Callable[[int, Sequence[int]], bool]
"""Whether an answer has ended, given its prompt's number and its token ids so far."""


@torch.no_grad()
def go_on(
    model: PreTrainedModel,
    fused: FusedCache,
    last_ids: Sequence[int],
    *,
    choose: Choose,
    ended: Ended,
    max_new_tokens: int,
) -> list[list[int]]:
    """Decode token by token on top of (fused) prompt caches.

    Args:
        model: The model that answers.
        fused: The caches of the prompts.
        last_ids: Each prompt's last token, which is not in the cache.
        choose: Chooses tokens.
        ended: Asked after every token; a prompt whose answer has ended stops running.
        max_new_tokens: Where a long answer is cut.

    Returns:
        New token ids of each prompt, the one that ended the answer included.
    """
    context = PackedContext(model, fused)
    answers: list[list[int]] = [[] for _ in last_ids]
    running = list(range(len(last_ids)))
    ids = torch.tensor(list(last_ids))
    for new in range(max_new_tokens):
        tokens = Tokens(
            prompt=torch.tensor(running),
            branch=torch.full((len(running),), TRUNK),
            position=torch.tensor([context.next_positions[row] + new for row in running]),
        )
        chosen = choose(running, context.feed(ids, tokens))
        for row, token in zip(running, chosen, strict=True):
            answers[row].append(token)
        running = [row for row in running if not ended(row, answers[row])]
        if not running:
            break
        ids = torch.tensor([answers[row][-1] for row in running])
    return answers


def greedy(
    model: PreTrainedModel,
    fused: FusedCache,
    last_ids: Sequence[int],
    *,
    ended: Ended,
    max_new_tokens: int,
) -> list[list[int]]:
    """Decode the likeliest token each time; see `go_on`.

    Raises:
        FloatingPointError: A logit is no number.
    """
    # Left on the device until the end: a step waits for the tokens alone.
    highest: list[torch.Tensor] = []

    def choose(prompts: Sequence[int], logits: torch.Tensor) -> list[int]:
        chosen = logits.argmax(dim=-1)
        highest.append(logits.gather(1, chosen[:, None]))
        return chosen.tolist()

    answers = go_on(
        model, fused, last_ids, choose=choose, ended=ended, max_new_tokens=max_new_tokens
    )
    check_finite(torch.cat(highest) if highest else torch.empty(0))
    return answers
