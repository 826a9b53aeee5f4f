"""A message of as many entries as is wanted, whatever its length: learned pooling over tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Sequence

import torch
from torch import nn

from c2c_search.batching import portions


class Pool(nn.Module):
    """``slots`` learned queries of each fused layer attend over a prompt's message.

    A token's weight in a slot is a softmax over the message of

        query · (keys, values) / √(2 size) - (place - centre)² / (2 width²)

    where ``place`` is how far into the message the token stands, in (0, 1). An entry's key and its
    value are pooled with the same weights, so that they are of the same tokens. Queries start at
    zero and centres evenly spread, one window of the message to each slot.

    Args:
        slots: Entries of a message.
        layers: Fused receiver layers.
        size: Features of a token's keys, and of its values.
        kinds: Of features that differ: 1 where keys and values are made of the same ones.

    Source: after XKV (arXiv 2608.20617), which pools both models' caches.
    """

    def __init__(self, slots: int, layers: int, size: int, kinds: int = 2) -> None:
        super().__init__()
        self.slots = slots
        self.kinds = kinds
        self.queries = nn.Parameter(torch.zeros(layers, slots, kinds * size))
        centres = (torch.arange(slots) + 0.5) / slots
        self.centres = nn.Parameter(centres.repeat(layers, 1, 1))
        # Neighbouring windows cross where each is at 1 / √e.
        self.log_widths = nn.Parameter(torch.full((layers, 1, slots), -math.log(2 * slots)))

    def forward(self, features: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """Pool the messages of packed prompts, each by itself.

        Args:
            features: ``(2, layers, tokens, size)``, keys then values.
            lengths: Tokens of each prompt's message; of one without any, all slots are zero.

        Returns:
            ``(2, layers, prompts * slots, size)``.
        """
        index, there, places = _padded(lengths, features)
        padded = features[:, :, index]  # (2, layers, prompts, longest, size)
        read = torch.cat(padded[: self.kinds].unbind(0), dim=-1)
        scale = self.queries.shape[-1] ** -0.5
        logits = read @ (scale * self.queries)[:, None].transpose(2, 3)
        off = places[..., None] - self.centres[:, None]
        logits = logits - (off * torch.exp(-self.log_widths[:, None])).square() / 2
        hidden = ~there[..., None]
        logits = logits.masked_fill(hidden, torch.finfo(logits.dtype).min)
        weights = logits.softmax(dim=2).masked_fill(hidden, 0)
        return (weights.transpose(2, 3) @ padded).flatten(2, 3)


def _padded(
    lengths: Sequence[int], features: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Packed tokens as rows, each ``(prompts, longest)``: which, whether there is one, its place.

    Where there is none, a prompt's own last token stands: no prompt sees another's numbers.
    """
    device = features.device
    counts = torch.tensor(lengths, device=device)[:, None]
    number = torch.arange(max(1, *lengths) if lengths else 1, device=device)[None]
    starts = counts.cumsum(dim=0) - counts
    index = (starts + torch.minimum(number, counts - 1)).clamp_min(0)
    places = (number + 0.5).to(features.dtype) / counts.clamp_min(1)
    return index, number < counts, places


def whole_prompts(
    lengths: Sequence[int], slots: int, most: int
) -> Iterator[tuple[slice, slice, list[int]]]:
    """Packed prompts, some whole ones at a time.

    Args:
        lengths: Tokens of each prompt's message.
        slots: Entries of each.
        most: Tokens at a time, about.

    Yields:
        Where their tokens stand, where their entries do, and their lengths.
    """
    token = entry = 0
    for few in portions(lengths, lambda length: [length], [most]):
        tokens, entries = sum(few), slots * len(few)
        yield slice(token, token + tokens), slice(entry, entry + entries), list(few)
        token, entry = token + tokens, entry + entries


def window_middles(positions: torch.Tensor, slots: int) -> torch.Tensor:
    """Where the slots of a message stand: in the middle of what each pools at first.

    Args:
        positions: Of the message's tokens, ``(tokens,)``, at least one.
        slots: Entries of the message.

    Returns:
        ``(slots,)``; several stand at one position where there are fewer tokens.
    """
    return positions[(2 * torch.arange(slots) + 1) * len(positions) // (2 * slots)]
