"""How much of a prompt the two models can read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lm_eval.models.utils import resolve_max_length


if TYPE_CHECKING:
    from c2c_search.inference.model import C2CModel
    from c2c_search.models.loading import LoadedModel
    from c2c_search.tokenization.token_alignment import EncodedPrompt


def last_tokens(prompt: EncodedPrompt, tokens: int, sharer_tokens: int) -> EncodedPrompt:
    """The end of a prompt that is too long for one of the models."""
    dropped = max(len(prompt.sharer_ids) - sharer_tokens, 0)
    return replace(
        prompt,
        receiver_ids=prompt.receiver_ids[-tokens:],
        sharer_ids=prompt.sharer_ids[dropped:],
        alignment=tuple(max(index - dropped, 0) for index in prompt.alignment[-tokens:]),
    )


def anchor_tokens(model: C2CModel) -> int:
    """Tokens that the receiver reads beside the harness's: of anchors, and their line's end."""
    config = None if model.fuser is None else model.fuser.config
    return 0 if config is None or not config.anchored else config.anchor_tokens + 1


def longest_prompt(loaded: LoadedModel) -> int:
    """Tokens that a model reads."""
    longest: int = resolve_max_length(loaded.model.config, loaded.tokenizer)
    return longest
