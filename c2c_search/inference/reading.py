"""Prompts, read by both models as a fuser is to hear them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.parallel_prefill import read_both
from c2c_search.tokenization.spans import in_words
from c2c_search.tokenization.templates import asked_about


if TYPE_CHECKING:
    import torch

    from c2c_search.fuser.config import FuserConfig
    from c2c_search.models.loading import LoadedModel
    from c2c_search.prompt_cache.prefix_cache import PrefixCache
    from c2c_search.tokenization.templates import Rendered
    from c2c_search.tokenization.token_alignment import EncodedPrompt


def speaks_for_itself(config: FuserConfig | None) -> bool:
    """Whether a fuser's receiver, which is its own sharer, has to read something for that.

    Its own keys and values it has in any case; see `heard`.
    """
    if config is None or config.sharer != "self":
        return False
    return config.drafts or config.source != "kv"


def heard(prompts: PairPrompts, config: FuserConfig | None) -> PairPrompts:
    """The prompts as a fuser hears them: from the receiver, where that is its own sharer.

    Where it speaks for itself, the prompts' sharer is the receiver already; see `as_heard`.
    """
    own = config is not None and config.sharer == "self" and not speaks_for_itself(config)
    return prompts.of_receiver if own else prompts


def as_heard(
    encoded: Sequence[EncodedPrompt], config: FuserConfig | None
) -> tuple[EncodedPrompt, ...]:
    """What both models read for a fuser: the receiver alone, if it is to hear its own layers."""
    own = config is not None and speaks_for_itself(config) and not config.drafts
    return tuple(prompt.of_receiver() for prompt in encoded) if own else tuple(encoded)


def read_pair(
    encoded: Sequence[EncodedPrompt],
    receiver: LoadedModel,
    sharer: LoadedModel,
    config: FuserConfig | None,
    dtype: torch.dtype,
    kept: PrefixCache | None = None,
) -> PairPrompts:
    """Prompts with both models' caches, computed now; see `read_both`.

    Args:
        encoded: The prompts.
        receiver: The model that answers.
        sharer: The model that speaks.
        config: Of the fuser that hears them; None for the two models alone.
        dtype: What the caches are rounded to.
        kept: What was read before, which is not read again; see `read_on`.
    """
    encoded = as_heard(encoded, config)
    caches = read_both(
        receiver.model,
        [prompt.receiver_ids for prompt in encoded],
        sharer.model,
        [prompt.sharer_ids for prompt in encoded],
        dtype,
        "kv" if config is None else config.source,
        kept,
    )
    return PairPrompts(encoded, *caches)


def read_alone(prompt: EncodedPrompt, receiver: LoadedModel, sharer: LoadedModel) -> str:
    """What a sharer has read that its receiver does not read itself; empty where that is nothing.

    Args:
        prompt: As both read it; a draft is not counted.
        receiver: The model that answers.
        sharer: The model that speaks.
    """
    ours, theirs = prompt.receiver_text, prompt.sharer_text
    if ours is None or theirs is None:
        ids = prompt.sharer_ids[: len(prompt.sharer_ids) - prompt.drafted]
        read = in_words(prompt.receiver_ids, receiver.text_tokenizer)
        heard = in_words(ids, sharer.text_tokenizer)
        return "" if read == heard else heard
    known = _contents(ours)
    found = []
    for content in _contents(theirs):
        if content not in known:  # a document with the question below it, say
            question = known[-1]
            document = content.removesuffix(asked_about("", question)).removesuffix(question)
            found.append(document.strip())
    return "\n".join(content for content in found if content)


def _contents(rendered: Rendered) -> list[str]:
    spans = rendered.contents or ((0, len(rendered.text)),)
    return [rendered.text[start:end].strip() for start, end in spans]
