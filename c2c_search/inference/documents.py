"""A document that the sharer alone reads, put into the words that its fuser was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from c2c_search.errors import ConfigError
from c2c_search.inference.drafting import drafter_of
from c2c_search.models.context_length import ContextLength
from c2c_search.tokenization.spans import read_all
from c2c_search.tokenization.templates import asked
from c2c_search.tokenization.templates import asked_about
from c2c_search.tokenization.templates import render
from c2c_search.tokenization.templates import template_of


if TYPE_CHECKING:
    from c2c_search.inference.manifest import Manifest
    from c2c_search.inference.model import C2CModel


def sharer_context(manifest: Manifest, document: str, question: str) -> str:
    """What the sharer reads of a document that it is asked about.

    The question stands below it, as in the built-in tasks, or nowhere, where the champion's
    recorded questions stand nowhere in what its sharer read.
    """
    trained = [each for each in manifest.questions if each.sharer_context is not None]
    if trained and not any(each.question in str(each.sharer_context) for each in trained):
        return document
    return asked_about(document, question)


def check_length(model: C2CModel, context: str, max_new_tokens: int) -> None:
    """Refuse what the sharer was not made to read in one piece.

    Args:
        model: Its sharer is to read ``context``.
        context: See `sharer_context`.
        max_new_tokens: That the sharer writes behind it, where it answers alone.

    Raises:
        ConfigError: It is longer than the sharer's context length.
    """
    limit = ContextLength.of(model.sharer.model).tokens
    tokenizer, drafter = model.sharer.text_tokenizer, drafter_of(model)
    template = template_of(model.template, "sharer")
    if drafter is not None:
        template, max_new_tokens = drafter.template, max(drafter.tokens, max_new_tokens)
    (prompt,) = read_all([render(asked(context), template, tokenizer, model.date)], tokenizer)
    ids = prompt.tokens.ids
    if limit is not None and len(ids) + max_new_tokens > limit:
        raise ConfigError(
            f"The document, the question and an answer of {max_new_tokens} tokens must fit into "
            f"the {limit} tokens that the sharer reads.",
            value=f"{len(ids)} tokens before the answer, {model.sharer.identity.source}",
            hint="Give it the part of the document that tells the answer.",
        )
