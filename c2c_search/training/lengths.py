"""Whether a pair can read what it is trained and judged on, told before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING

from c2c_search.models.context_length import ContextLength
from c2c_search.tokenization.continuations import response_ids
from c2c_search.tokenization.templates import template_of


if TYPE_CHECKING:
    from c2c_search.data.schema import Row
    from c2c_search.fuser.config import FuserConfig
    from c2c_search.inference.drafting import Drafter
    from c2c_search.models.loading import LoadedModel
    from c2c_search.tokenization.templates import Rendered
    from c2c_search.tokenization.templates import Role
    from c2c_search.tokenization.templates import RoleTemplates
    from c2c_search.tokenization.templates import Template
    from c2c_search.tokenization.token_alignment import EncodedPrompt

_TOKENS_PER_BYTE = 4  # at most; normalizers write some characters out
_MORE = 8  # tokens that a continuation may have besides


def length_notices(
    receiver: LoadedModel,
    sharer: LoadedModel,
    template: Template | RoleTemplates,
    splits: Mapping[str, tuple[Sequence[Row], Sequence[EncodedPrompt]]],
) -> Iterator[str]:
    """Compare every split with what both models read.

    Args:
        receiver: Reads prompts and answers.
        sharer: Reads prompts, and answers them where it is measured alone.
        template: Of the prompts, of both roles or of each.
        splits: Rows of each split, and their prompts under token alignment ``span``.

    Yields:
        What a user should know of texts that are longer than a model was made for.

    Raises:
        ConfigError: Some are longer than a model can read.
    """
    roles: tuple[tuple[Role, LoadedModel], ...] = (("receiver", receiver), ("sharer", sharer))
    for role, loaded in roles:
        limit = ContextLength.of(loaded.model)
        if limit.tokens is None:
            continue
        for split, (rows, encoded) in splits.items():
            ids = [getattr(prompt, f"{role}_ids") for prompt in encoded]
            texts = [getattr(prompt, f"{role}_text") for prompt in encoded]
            of_role = template_of(template, role)
            lengths = _lengths(rows, ids, texts, loaded, of_role, limit.tokens)
            told = limit.check(lengths, role, loaded.identity.source, f"{split} examples")
            if told is not None:
                yield told


def room_notices(
    config: FuserConfig,
    receiver: LoadedModel,
    drafter: Drafter | None,
    splits: Mapping[str, Sequence[EncodedPrompt]],
) -> list[str]:
    """Compare every split with the room that a fuser's drafts and anchors leave.

    Args:
        config: Of the fuser.
        receiver: Reads its anchors.
        drafter: Writes its drafts; None where there are none.
        splits: Prompts of each, without either.

    Returns:
        What a user should know, as of `length_notices`.

    Raises:
        ConfigError: Some are longer than a model can read.
    """
    notices = [] if drafter is None else [*draft_notices(drafter, splits)]
    if config.anchored:
        notices += anchor_notices(receiver, config.anchor_tokens + 1, splits)
    return notices


def draft_notices(
    drafter: Drafter, splits: Mapping[str, Sequence[EncodedPrompt]]
) -> Iterator[str]:
    """Compare every split with what a sharer that drafts reads: its prompts, and drafts to them.

    Yields:
        What a user should know, as of `length_notices`.

    Raises:
        ConfigError: Some are longer than the model can read.
    """
    limit, source = ContextLength.of(drafter.loaded.model), drafter.loaded.identity.source
    for split, encoded in splits.items():
        lengths = [len(prompt.sharer_ids) + drafter.tokens for prompt in encoded]
        told = limit.check(lengths, "sharer", source, f"{split} examples with their drafts")
        if told is not None:
            yield told


def anchor_notices(
    receiver: LoadedModel, tokens: int, splits: Mapping[str, Sequence[EncodedPrompt]]
) -> Iterator[str]:
    """Compare every split with what a receiver reads beside words of its sharer.

    Args:
        receiver: Reads both.
        tokens: Of the words, at most.
        splits: Prompts of each, without anchors.

    Yields:
        What a user should know, as of `length_notices`.

    Raises:
        ConfigError: Some are longer than the model can read.
    """
    limit, source = ContextLength.of(receiver.model), receiver.identity.source
    for split, encoded in splits.items():
        lengths = [len(prompt.receiver_ids) + tokens for prompt in encoded]
        told = limit.check(lengths, "receiver", source, f"{split} examples with their anchors")
        if told is not None:
            yield told


def _lengths(
    rows: Sequence[Row],
    ids: Sequence[Sequence[int]],
    texts: Sequence[Rendered | None],
    loaded: LoadedModel,
    template: Template,
    limit: int,
) -> list[int]:
    """Tokens that a model reads of each row; of those that surely fit, no fewer than that."""
    answers = [row["choices"] or [row["response"]] for row in rows]
    lengths = [
        len(prompt) + _TOKENS_PER_BYTE * max(len(one.encode()) for one in each) + _MORE
        for prompt, each in zip(ids, answers, strict=True)
    ]
    unsure = [index for index, length in enumerate(lengths) if length > limit]
    known = response_ids(
        [texts[index] for index in unsure],
        [answers[index] for index in unsure],
        template,
        loaded.text_tokenizer,
    )
    for index, options in zip(unsure, known, strict=True):
        # The last token of an option is predicted and not read; a response has EOS behind it.
        unread = 1 if rows[index]["choices"] else 0
        lengths[index] = len(ids[index]) + max(map(len, options)) - unread
    return lengths
