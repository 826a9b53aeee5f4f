"""Words of the sharer's message, as tokens that the receiver reads in front of its question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from c2c_search.inference.drafting import draft_text
from c2c_search.inference.drafting import with_drafts
from c2c_search.inference.reading import read_alone
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.tokenization.spans import in_words
from c2c_search.tokenization.spans import read_all
from c2c_search.tokenization.spans import tokenize
from c2c_search.tokenization.templates import both_asked


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from c2c_search.fuser.config import FuserConfig
    from c2c_search.inference.fused_pair import FusedPair
    from c2c_search.models.loading import LoadedModel
    from c2c_search.prompt_cache.batches import PairBatch
    from c2c_search.tokenization.token_alignment import EncodedPrompt


def with_anchors(
    encoded: Sequence[EncodedPrompt],
    config: FuserConfig | None,
    receiver: LoadedModel,
    sharer: LoadedModel,
) -> tuple[EncodedPrompt, ...]:
    """Prompts in which the receiver reads words of the sharer's message, if a fuser wants any.

    They stand in a line of their own: in a chat before the last turn's words, and else before all
    that the receiver reads, as if somebody had written them there. Prompts in which they stand
    already stay as they are.

    Args:
        encoded: The prompts, with drafts where the sharer drafts.
        config: Of the fuser.
        receiver: The model that reads them.
        sharer: The model whose words they are.

    Raises:
        SourceError: A model has no tokenizer.
    """
    rows = [row for row, prompt in enumerate(encoded) if prompt.anchored is None]
    if config is None or not config.anchored or not rows:
        return tuple(encoded)
    speaks = receiver if config.sharer == "self" else sharer
    words = [_words(encoded[row], config, receiver, speaks) for row in rows]
    tokens = _cut(words, config, receiver.text_tokenizer)
    places = _openings([encoded[row] for row in rows], receiver.text_tokenizer)
    found = dict(zip(rows, zip(places, tokens, strict=True), strict=True))
    return tuple(
        prompt.with_anchors(*found[row]) if row in found else prompt
        for row, prompt in enumerate(encoded)
    )


def anchor_texts(
    model: FusedPair, questions: Sequence[str], sharer_contexts: Sequence[str] | None = None
) -> list[str]:
    """The words of its sharer that a model's receiver reads, empty where there are none.

    See `C2CModel.generate_batch` for the arguments.
    """
    config = None if model.fuser is None else model.fuser.config
    drafted = with_drafts(model, model.encoded(*both_asked(questions, sharer_contexts)))
    prompts = with_anchors(drafted, config, model.receiver, model.sharer)
    return [in_words(prompt.anchors, model.receiver.text_tokenizer) for prompt in prompts]


def saying(model: FusedPair, batch: PairBatch, anchors: Sequence[Sequence[int]]) -> PairBatch:
    """A batch whose receiver reads other words in the place of its anchors, which it reads now.

    Args:
        model: Whose receiver.
        batch: Prompts with anchors.
        anchors: Token ids for each prompt; none where nothing is said.
    """
    ids = [
        (*read[:start], *new, *read[stop:])
        for read, (start, stop), new in zip(
            batch.receiver_ids, batch.anchored, anchors, strict=True
        )
    ]
    caches = PromptCaches.compute(model.receiver.model, ids, model.cache_dtype)
    lengths = tuple(len(prompt) - 1 for prompt in ids)
    packed = caches.packed(range(len(ids)), [torch.arange(length) for length in lengths])
    return replace(
        batch,
        receiver=packed.to(batch.receiver.device),
        lengths=lengths,
        receiver_ids=tuple(ids),
        anchored=tuple(
            (start, start + len(new))
            for (start, _), new in zip(batch.anchored, anchors, strict=True)
        ),
    )


def _words(
    prompt: EncodedPrompt, config: FuserConfig, receiver: LoadedModel, sharer: LoadedModel
) -> str:
    """What the message says in words: what the sharer alone has read, then its draft."""
    said = []
    if config.message != "draft" and config.sharer != "self":
        said.append(read_alone(prompt, receiver, sharer))
    if prompt.drafted:
        said.append(draft_text(sharer, prompt))
    return "\n".join(part for part in said if part)


def _cut(
    words: Sequence[str], config: FuserConfig, tokenizer: PreTrainedTokenizerFast
) -> list[list[int]]:
    """The receiver's tokens of as many of the words as it reads, each with the line's end."""
    lines = []
    most = config.anchor_tokens
    for text, (_, spans) in zip(words, tokenize(words, tokenizer, special=False), strict=True):
        if len(spans) > most:
            # Several tokens may make one character, which is said whole or not at all.
            begun = text[: min(spans[most - 1][1], spans[most][0])]
            ended = text[max(spans[-most][0], spans[-most - 1][1]) :]
            text = (begun if config.anchors == "first" else ended).strip()
        lines.append(f"{text}\n" if text else "")
    read = tokenize(lines, tokenizer, special=False)
    return [tokens.ids if line else [] for line, tokens in zip(lines, read, strict=True)]


def _openings(prompts: Sequence[EncodedPrompt], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Before which of its receiver's tokens each prompt's anchors stand; never behind the last."""
    texts = [prompt.receiver_text for prompt in prompts]
    read = iter(read_all([text for text in texts if text is not None], tokenizer))
    found = []
    for prompt in prompts:
        first = int(prompt.receiver_ids[0] == tokenizer.bos_token_id)
        if prompt.receiver_text is not None:
            rendered, (ids, spans) = prompt.receiver_text, next(read).tokens
            chat = not rendered.special and rendered.contents
            place = rendered.contents[-1][0] if chat else 0
            behind = (spans[:, 1] > place) & (spans[:, 1] > spans[:, 0])
            cut = len(ids) - len(prompt.receiver_ids)  # of a prompt that was too long
            first = max(int(behind.argmax()) - cut, first)
        found.append(min(first, len(prompt.receiver_ids) - 1))
    return found
