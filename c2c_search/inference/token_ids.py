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
from c2c_search.inference.sampling import padding_id
from c2c_search.inference.scoring import check_finite
from c2c_search.tokenization.templates import Rendered
from c2c_search.tokenization.templates import chat_template
from c2c_search.tokenization.templates import template_of
from c2c_search.tokenization.token_alignment import EncodedPrompt
from c2c_search.tokenization.token_alignment import encode_rendered


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.inference.fused_pair import FusedPair
    from c2c_search.inference.packed.fused_cache import FusedCache
    from c2c_search.models.loading import LoadedModel
    from c2c_search.tokenization.templates import Template


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


def read_of_receiver(
    pair: FusedPair, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
) -> IdPrompts:
    """Prompts of which the receiver's tokens alone are given, as its tokenizer makes them.

    A sharer with the same tokenizer reads the same tokens. Another one reads the same text, where
    both read the plain template: that is what the tokens say.

    Args:
        pair: Both models.
        input_ids: The receiver's, ``(batch, tokens)``, padded on either side.
        attention_mask: 1 where a token is, 0 where padding; no padding if None.

    Raises:
        ConfigError: What the sharer reads cannot be told from the receiver's tokens, or as of
            `IdPrompts.read`.
    """
    rows, columns = _rows("receiver", input_ids, attention_mask)
    ours, theirs = pair.receiver, pair.sharer
    if ours.identity.tokenizes_as(theirs.identity):
        same = tuple(EncodedPrompt(tuple(row), tuple(row), tuple(range(len(row)))) for row in rows)
        return IdPrompts(same, tuple(columns), input_ids.shape[1])
    said = [str(ours.text_tokenizer.decode(row, skip_special_tokens=True)) for row in rows]
    texts = [Rendered(text, ((0, len(text)),), special=True) for text in said]
    alignment = "span" if pair.fuser is None else pair.fuser.config.token_alignment
    tokenizers = ours.text_tokenizer, theirs.text_tokenizer
    encoded = encode_rendered(texts, texts, *tokenizers, alignment)
    if any(not _reads_plain(*each) for each in _templates(pair)) or any(
        [*prompt.receiver_ids] != row for prompt, row in zip(encoded, rows, strict=True)
    ):
        raise ConfigError(
            "What the sharer reads can be told from the receiver's tokens alone only where both "
            "have one tokenizer, or both read the plain template.",
            value=f"template {pair.template}",
            hint="Give both models' ids: `model.generate(**model.inputs(question))`.",
        )
    return IdPrompts(encoded, tuple(columns), input_ids.shape[1])


def _templates(pair: FusedPair) -> list[tuple[Template, LoadedModel]]:
    """What each model reads its prompts in."""
    heard = pair.draft_template or template_of(pair.template, "sharer")
    return [(pair.receiver_template, pair.receiver), (heard, pair.sharer)]


def _reads_plain(template: Template, loaded: LoadedModel) -> bool:
    return template == "plain" or chat_template(loaded.text_tokenizer) is None


def padded(
    encoded: Sequence[EncodedPrompt], receiver: LoadedModel, sharer: LoadedModel
) -> dict[str, torch.Tensor]:
    """Prompts as tensors padded on the left, by the names of `IdPrompts.read`'s arguments.

    Args:
        encoded: The prompts, without drafts.
        receiver: The model that answers, whose padding token is taken.
        sharer: The model that speaks.
    """
    said = [prompt.sharer_ids for prompt in encoded]
    ids, mask = _filled([prompt.receiver_ids for prompt in encoded], padding_id(receiver))
    heard, heard_mask = _filled(said, padding_id(sharer))
    alignment, _ = _filled([prompt.alignment for prompt in encoded], 0)
    return {
        "receiver_input_ids": ids,
        "receiver_attention_mask": mask,
        "sharer_input_ids": heard,
        "sharer_attention_mask": heard_mask,
        "alignment": alignment,
    }


def _filled(rows: Sequence[Sequence[int]], padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows padded on the left, and where they are."""
    width = max(map(len, rows))
    ids = torch.tensor([[*[padding] * (width - len(row)), *row] for row in rows])
    mask = torch.tensor([[*[0] * (width - len(row)), *[1] * len(row)] for row in rows])
    return ids, mask


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
    further = max(
        count + 1 - len(of_row) for count, of_row in zip(counts, read.columns, strict=True)
    )
    if further or fused.positions is not None:  # appended entries, or anchors, stand in front
        width += further
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
