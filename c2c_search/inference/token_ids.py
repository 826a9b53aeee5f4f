"""Prompts that come as token ids, and answers that go out as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import fields
from typing import TYPE_CHECKING

import torch
from transformers import DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

from c2c_search.errors import ConfigError
from c2c_search.inference.packed.context import PackedContext
from c2c_search.inference.packed.side_memory import Memories
from c2c_search.inference.packed.tokens import TRUNK
from c2c_search.inference.packed.tokens import Tokens
from c2c_search.inference.scoring import check_finite
from c2c_search.tokenization.token_alignment import EncodedPrompt


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.inference.packed.fused_cache import FusedCache


@dataclass
class FusedOutput(CausalLMOutputWithPast):
    """What transformers gives, and what the receiver reads beside the cache.

    Args:
        memory: Within ``memory.active()`` the receiver's own `generate` reads it; None without.
    """

    memory: Memories | None = None


@dataclass(frozen=True)
class IdPrompts:
    """Prompts read off padded tensors.

    Args:
        encoded: The prompts, without padding.
        columns: For each prompt, where its tokens stand in ``receiver_input_ids``.
        width: Columns of ``receiver_input_ids``.
    """

    encoded: tuple[EncodedPrompt, ...]
    columns: tuple[torch.Tensor, ...]
    width: int

    @classmethod
    def read(
        cls,
        receiver_input_ids: torch.Tensor,
        sharer_input_ids: torch.Tensor,
        receiver_attention_mask: torch.Tensor | None = None,
        sharer_attention_mask: torch.Tensor | None = None,
        alignment: torch.Tensor | None = None,
    ) -> IdPrompts:
        """Take the padding away.

        Args:
            receiver_input_ids: ``(batch, tokens)``, padded on either side.
            sharer_input_ids: ``(batch, sharer tokens)``, padded on either side.
            receiver_attention_mask: 1 where a token is, 0 where padding; no padding if None.
            sharer_attention_mask: The same for the sharer.
            alignment: For each receiver token, the index of its sharer token among the sharer's
                tokens without padding, ``(batch, tokens)``; token by token if None.

        Raises:
            ConfigError: Shapes do not fit, a prompt is empty, or no alignment is given where
                the models read different numbers of tokens.
        """
        receiver, columns = _rows("receiver", receiver_input_ids, receiver_attention_mask)
        sharer, _ = _rows("sharer", sharer_input_ids, sharer_attention_mask)
        if len(receiver) != len(sharer):
            raise ConfigError(
                "Both models must be given the same number of prompts.",
                value=f"{len(receiver)} for the receiver, {len(sharer)} for the sharer",
            )
        encoded = []
        for row, (receiver_ids, sharer_ids) in enumerate(zip(receiver, sharer, strict=True)):
            if alignment is None:
                indices = _token_by_token(row, len(receiver_ids), len(sharer_ids))
            else:
                given = alignment[row][columns[row]].tolist()
                indices = _given(row, given, len(sharer_ids))
            encoded.append(EncodedPrompt(tuple(receiver_ids), tuple(sharer_ids), indices))
        return cls(tuple(encoded), tuple(columns), receiver_input_ids.shape[1])


def last_token_output(
    model: PreTrainedModel, fused: FusedCache, last_ids: Sequence[int], read: IdPrompts
) -> FusedOutput:
    """Feed each prompt's last token and lay the fused cache out as transformers has it.

    Args:
        model: The receiver.
        fused: Of the prompts.
        last_ids: Each prompt's last token.
        read: Where the prompts came from.

    Raises:
        FloatingPointError: A logit is no number.
    """
    context = PackedContext(model, fused)
    prompts = range(len(last_ids))
    tokens = Tokens(
        prompt=torch.tensor(prompts),
        branch=torch.full((len(prompts),), TRUNK),
        position=torch.tensor(context.next_positions),
    )
    logits = context.feed(torch.tensor(last_ids), tokens)
    check_finite(logits.amax(dim=-1))
    counts = context.lengths
    columns = list(read.columns)
    width = read.width
    if fused.positions is not None:  # appended entries stand in front
        width += max(
            count + 1 - len(of_row) for count, of_row in zip(counts, read.columns, strict=True)
        )
        columns = [torch.arange(width - count - 1, width) for count in counts]
    cache = DynamicCache()
    for number, layer in enumerate(context.cache.layers):
        dense = [
            _dense(entries[0], counts, columns, width) for entries in (layer.keys, layer.values)
        ]
        cache.update(*dense, number)
    # Newer versions of transformers call it `cache`, and answer to the old name too.
    names = {field.name for field in fields(CausalLMOutputWithPast)}
    name = "cache" if "cache" in names else "past_key_values"
    return FusedOutput(logits=logits[:, None], memory=context.memories, **{name: cache})


def sequences(
    input_ids: torch.Tensor, answers: Sequence[Sequence[int]], padding: int
) -> torch.Tensor:
    """Prompts with their answers behind them, ``(batch, tokens + longest answer)``."""
    longest = max(len(answer) for answer in answers)
    filled = [[*answer, *[padding] * (longest - len(answer))] for answer in answers]
    new = torch.tensor(filled, dtype=input_ids.dtype, device=input_ids.device)
    return torch.cat([input_ids, new.reshape(len(answers), longest)], dim=1)


def _dense(
    entries: torch.Tensor, counts: list[int], columns: list[torch.Tensor], width: int
) -> torch.Tensor:
    """From ``(heads, all prompts' entries then all last tokens, dim)`` to a row a prompt."""
    heads, _, dim = entries.shape
    packed, last = entries.split([sum(counts), len(counts)], dim=1)
    dense = entries.new_zeros(len(counts), heads, width, dim)
    for row, of_row in enumerate(packed.split(counts, dim=1)):
        dense[row][:, columns[row].to(dense.device)] = torch.cat(
            [of_row, last[:, row : row + 1]], 1
        )
    return dense


def _rows(
    role: str, ids: torch.Tensor, mask: torch.Tensor | None
) -> tuple[list[list[int]], list[torch.Tensor]]:
    if ids.ndim != 2 or (mask is not None and mask.shape != ids.shape):
        raise ConfigError(
            f"{role}_input_ids must be (batch, tokens), and a mask of the same shape.",
            value=f"ids {tuple(ids.shape)}, mask {None if mask is None else tuple(mask.shape)}",
        )
    kept = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    columns = [row.nonzero()[:, 0].cpu() for row in kept]
    rows = [ids[row].cpu()[where].tolist() for row, where in enumerate(columns)]
    for number, row in enumerate(rows):
        if not row:
            raise ConfigError(
                f"Every prompt must have at least one token for the {role}.",
                value=f"row {number} is all padding",
            )
    return rows, columns


def _token_by_token(row: int, receiver: int, sharer: int) -> tuple[int, ...]:
    if receiver != sharer:
        raise ConfigError(
            "Without an alignment, both models must read a prompt in equally many tokens.",
            value=f"{receiver} and {sharer} tokens in row {row}",
            hint="Give alignment=, the index of each receiver token's sharer token.",
        )
    return tuple(range(receiver))


def _given(row: int, indices: list[int], sharer: int) -> tuple[int, ...]:
    if not all(0 <= index < sharer for index in indices):
        raise ConfigError(
            f"An alignment must name indices of the sharer's tokens, 0 to {sharer - 1} here.",
            value=f"{indices} in row {row}",
        )
    return tuple(indices)
