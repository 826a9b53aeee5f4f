"""What each token of a message does to the receiver's first word, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from c2c_search.inference.packed.context import PackedContext
from c2c_search.inference.packed.tokens import TRUNK
from c2c_search.inference.packed.tokens import Tokens
from c2c_search.inference.reading import heard


if TYPE_CHECKING:
    from c2c_search.fuser.config import FuserConfig
    from c2c_search.inference.fused_pair import FusedPair
    from c2c_search.inference.packed.fused_cache import FusedCache
    from c2c_search.prompt_cache.batches import PairBatch
    from c2c_search.prompt_cache.batches import PairPrompts


LONGEST = 1024
"""Tokens of a prompt up to which it is computed: what a backward pass keeps grows with them."""


@dataclass(frozen=True)
class MessageEffect:
    """How far each part of a message moves the receiver towards its first token.

    To the first order, in logits between that token and the next likely one: the gradient times
    what the fuser has put there. The sum over everything is about what the message is worth.

    Args:
        layers: The receiver's fused layers.
        tokens: What is spoken of, in words: the sharer's tokens where they stand beside the
            receiver's cache, or the receiver's tokens, which the message changes.
        of_sharer: Whether they are the sharer's.
        effect: ``(layers, tokens)``; positive is towards the first token.
        first: The first token, in words.
        second: The next likely one.
    """

    layers: tuple[int, ...]
    tokens: tuple[str, ...]
    of_sharer: bool
    effect: torch.Tensor
    first: str
    second: str


def message_effect(
    pair: FusedPair, prompts: PairPrompts, row: int, batch: PairBatch, fused: FusedCache
) -> MessageEffect | None:
    """The effect of one prompt's message.

    Args:
        pair: Both models, with a fuser.
        prompts: The prompt is one of them.
        row: Which.
        batch: It alone.
        fused: Its cache; nothing must have been read on from it.

    Returns:
        None where the prompt is longer than `LONGEST`, or nothing is said of it.
    """
    fuser = pair.fuser
    assert fuser is not None
    prompt = heard(prompts, fuser.config).encoded[row]
    if not len(batch.sharer_positions[0]):
        return None
    if max(len(prompt.receiver_ids), len(prompt.sharer_ids)) > LONGEST:
        return None
    *others, told = fused.said  # what the fuser has made stands last
    told = told.detach().requires_grad_()
    with torch.enable_grad():
        context = PackedContext(pair.receiver.model, fused.saying([*others, told]))
        token = Tokens(*(torch.tensor([n]) for n in (0, TRUNK, context.next_positions[0])))
        logits = context.feed(torch.tensor(batch.last_ids), token)[0].float()
        best = logits.topk(2)
        (slope,) = torch.autograd.grad(best.values[0] - best.values[1], told)
    first, second = (
        str(pair.receiver.text_tokenizer.decode([each])) for each in best.indices.tolist()
    )
    effect = (slope * _put(fuser.config, batch, told.detach())).float().sum(dim=(0, 3))
    if not fuser.config.adds_memory:
        effect = effect[fuser.layers]
    if fuser.config.slots is not None:
        tokens = [f"slot {number + 1}" for number in range(fuser.config.slots)]
    elif fuser.config.stands_beside:
        said = [prompt.sharer_ids[position] for position in batch.sharer_positions[0].tolist()]
        tokens = [str(pair.sharer.text_tokenizer.decode([each])) for each in said]
    else:
        read = prompt.receiver_ids[:-1]
        tokens = [str(pair.receiver.text_tokenizer.decode([each])) for each in read]
    return MessageEffect(
        layers=tuple(fuser.layers),
        tokens=tuple(tokens),
        of_sharer=fuser.config.stands_beside,
        effect=effect[:, : len(tokens)].cpu(),
        first=first,
        second=second,
    )


def _put(config: FuserConfig, batch: PairBatch, told: torch.Tensor) -> torch.Tensor:
    """What a fuser has put where ``told`` stands, in its shape.

    Of a cache that is changed, the change. Of entries and memories the values: nothing is found
    where they are zero.
    """
    if not config.stands_beside:
        return told - batch.receiver.to(told)
    return torch.stack([torch.zeros_like(told[0]), told[1]])
