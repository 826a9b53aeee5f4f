"""The tokens of what follows a prompt: those that it has in the text of both together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import NamedTuple

from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.tokenization.spans import tokenize
from c2c_search.tokenization.templates import Rendered
from c2c_search.tokenization.templates import Template
from c2c_search.tokenization.templates import continuation


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


_BEFORE = ("\n", ":", ".", "a", "1", "<")
"""Texts to put a continuation behind, where it cannot stand behind its own prompt."""


def response_ids(
    prompts: Sequence[Rendered | None],
    responses: Sequence[Sequence[str]],
    template: Template,
    tokenizer: PreTrainedTokenizerFast,
) -> list[list[list[int]]]:
    """Tokens of responses as they follow prompts of a template; see `continuation_ids`."""
    texts = [[continuation(each, template, tokenizer) for each in own] for own in responses]
    return continuation_ids(prompts, texts, tokenizer)


def continuation_ids(
    prompts: Sequence[Rendered | None],
    continuations: Sequence[Sequence[str]],
    tokenizer: PreTrainedTokenizerFast,
) -> list[list[list[int]]]:
    """Tokens of continuations as they follow their prompts.

    Prompt and continuation are tokenized together, and what follows the prompt's own tokens is
    the continuation's. Tokenized alone, a text may begin otherwise: many tokenizers put a space
    before it. Where a tokenizer makes one token of the prompt's end and the continuation's
    beginning, the prompt keeps its tokens, whose cache all its continuations share, and the
    continuation has those that it has behind a text with which it does not merge.

    Args:
        prompts: What comes before; None where only its tokens are known.
        continuations: For each prompt, the texts that may follow it.
        tokenizer: Of the model that reads both.

    Returns:
        For each prompt, the token ids of each continuation, at least one.

    Raises:
        ConfigError: The tokenizer merges every text with what follows it.
        DataError: The tokenizer has no token for a continuation.

    Source: lm-evaluation-harness, ``TemplateLM._encode_pair``, for all that does not merge.
    """
    found: list[list[list[int] | None]] = [[None] * len(texts) for texts in continuations]
    for special in (True, False):
        chosen = [
            (row, prompt)
            for row, prompt in enumerate(prompts)
            if prompt is not None and prompt.special is special
        ]
        texts = [
            _Text(prompt.text + continuation, len(prompt.text), prompt.foreign)
            for row, prompt in chosen
            for continuation in ("", *continuations[row])
        ]
        ids = iter(_tokens(texts, tokenizer, special=special))
        for row, _ in chosen:
            begins = next(ids)
            found[row] = [_behind(begins, next(ids)) for _ in continuations[row]]
    return [
        [
            _checked(_alone(text, tokenizer) if own is None else own, text, tokenizer)
            for own, text in zip(of_prompt, texts, strict=True)
        ]
        for of_prompt, texts in zip(found, continuations, strict=True)
    ]


class _Text(NamedTuple):
    """A continuation behind what comes before.

    Args:
        text: Both.
        begins: Where the continuation begins.
        foreign: What of the front others have written; they have written all that follows.
    """

    text: str
    begins: int
    foreign: Sequence[tuple[int, int]] = ()


def _tokens(
    texts: Sequence[_Text], tokenizer: PreTrainedTokenizerFast, *, special: bool
) -> list[list[int]]:
    """Their tokens, of which what others have written is no control token."""
    foreign = [[*one.foreign, (one.begins, len(one.text))] for one in texts]
    read = tokenize([one.text for one in texts], tokenizer, special=special, foreign=foreign)
    return [ids for ids, _ in read]


def _behind(prompt: Sequence[int], whole: list[int]) -> list[int] | None:
    """What follows the prompt's tokens; None if these are not what the whole begins with."""
    return whole[len(prompt) :] if whole[: len(prompt)] == prompt else None


def _alone(text: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Tokens of a continuation behind any text that it does not merge with."""
    alone = [_Text(front, len(front)) for front in _BEFORE]
    behind = [_Text(front + text, len(front)) for front in _BEFORE]
    fronts = _tokens(alone, tokenizer, special=False)
    wholes = _tokens(behind, tokenizer, special=False)
    for front, whole in zip(fronts, wholes, strict=True):
        if front and (ids := _behind(front, whole)) is not None:
            return ids
    raise ConfigError(
        "A tokenizer must keep a prompt's last token whatever follows it: the prompt's cache is"
        " computed once for all its continuations.",
        value=f"{text!r} behind any text, by the tokenizer of {tokenizer.name_or_path}",
        hint="Choose a model with another tokenizer.",
    )


def _checked(ids: list[int], text: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    if not ids:
        raise DataError(
            "An option or response must have at least one token.",
            value=text,
            hint=f"The tokenizer of {tokenizer.name_or_path} has none for it: leave the row out,"
            " or choose a model that knows its script.",
        )
    return ids
