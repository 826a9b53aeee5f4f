"""The sharer's draft of an answer: what it would say by itself, as token ids that it has read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from c2c_search.batching import portions
from c2c_search.errors import ConfigError
from c2c_search.errors import NotFiniteError
from c2c_search.inference.decoding import greedy
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.inference.sampling import Stops
from c2c_search.inference.sampling import end_of_response
from c2c_search.inference.sampling import stop_ids
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.read_on import owner_of
from c2c_search.prompt_cache.read_on import read_on
from c2c_search.tokenization.continuations import response_ids
from c2c_search.tokenization.spans import in_words
from c2c_search.tokenization.templates import LINES
from c2c_search.tokenization.templates import both_asked
from c2c_search.tokenization.templates import chat_template
from c2c_search.tokenization.templates import template_of


if TYPE_CHECKING:
    from c2c_search.inference.fused_pair import FusedPair
    from c2c_search.models.loading import LoadedModel
    from c2c_search.prompt_cache.prefix_cache import PrefixCache
    from c2c_search.tokenization.templates import Template
    from c2c_search.tokenization.token_alignment import EncodedPrompt


_FORMAT = 1
# Many prompts share a pass over the weights.
BATCH = 512, 16_384
"""Of a batch of drafts at most: prompts, and (about) their tokens, whose caches it holds."""


@dataclass(frozen=True)
class Drafter:
    """A model that drafts answers: greedily, each up to its end.

    What ended a draft belongs to it (the model's end of text or, in the plain template, the token
    with the line's end), so that no draft is empty, and a shorter one is the beginning of a longer
    one. Which prompts are written together follows from the prompts alone.

    Args:
        loaded: The model.
        template: In which the prompts are written.
        tokens: Where a draft is cut that has not ended by itself.
    """

    loaded: LoadedModel
    template: Template
    tokens: int

    @property
    def lines(self) -> tuple[str, ...]:
        """Texts that end a draft; a base model in a chat reads the plain template."""
        chats = chat_template(self.loaded.text_tokenizer) is not None
        return LINES["chat" if self.template == "chat" and chats else "plain"]

    def key(self, prompts: str) -> str:
        """Name of what it drafts, in drafts of any length.

        Args:
            prompts: Key of the model's caches of the prompts; see `PromptCacheStore.key`.
        """
        parts = (
            _FORMAT,
            prompts,
            self.loaded.identity.tokenizer_sha256,
            self.lines,
            sorted(stop_ids(self.loaded)),
            BATCH,
        )
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def batches(self, prompts: Sequence[Sequence[int]], caches: PromptCaches) -> list[list[int]]:
        """Numbers of the prompts that are drafted together, those of similar length."""
        order = sorted(range(len(prompts)), key=caches.locations.__getitem__)
        return list(portions(order, lambda row: (1, len(prompts[row])), BATCH))

    def drafts(
        self, prompts: Sequence[Sequence[int]], caches: PromptCaches
    ) -> list[tuple[int, ...]]:
        """The drafts of prompts.

        Args:
            prompts: Token ids of each.
            caches: The model's of them.

        Raises:
            NotFiniteError: The model predicts something that is no number.
        """
        found: dict[int, tuple[int, ...]] = {}
        for rows in self.batches(prompts, caches):
            drafts = self.draft(prompts, caches, rows)
            found |= {row: tuple(ids) for row, ids in zip(rows, drafts, strict=True)}
        return [found[row] for row in range(len(prompts))]

    def draft(
        self, prompts: Sequence[Sequence[int]], caches: PromptCaches, rows: Sequence[int]
    ) -> list[list[int]]:
        """The drafts of one batch; see `drafts`."""
        model, ends = self.loaded.model, stop_ids(self.loaded)
        stops = Stops(self.loaded.text_tokenizer, self.lines)
        lengths = tuple(len(prompts[row]) - 1 for row in rows)  # the last token is fed again
        packed = caches.packed(rows, [torch.arange(length) for length in lengths])
        try:
            return greedy(
                model,
                FusedCache(packed.to(model.device), lengths),
                [prompts[row][-1] for row in rows],
                ended=lambda _, ids: ids[-1] in ends or stops.hit(ids),
                max_new_tokens=self.tokens,
            )
        except FloatingPointError as error:
            source = self.loaded.identity.source
            raise NotFiniteError("model", source, "log-likelihoods of its drafts") from error

    def given(self, prompt: EncodedPrompt, text: str) -> tuple[int, ...]:
        """A draft that is given in words, ended as the model would end its own.

        Raises:
            DataError: The tokenizer has no token for it.
        """
        (end, *_) = self.lines or ("",)
        asked = [prompt.sharer_text], [[text + end]]
        ((ids,),) = response_ids(*asked, self.template, self.loaded.text_tokenizer)
        return tuple([*ids, *([] if end else end_of_response(self.loaded))][: self.tokens])

    def text(self, prompt: EncodedPrompt) -> str:
        """A prompt's draft in words, without the token that ends a text."""
        return draft_text(self.loaded, prompt)


def draft_text(drafts: LoadedModel, prompt: EncodedPrompt) -> str:
    """A prompt's draft in words, of the model that drafts; see `Drafter.text`."""
    ids = [*prompt.draft]
    if ids and ids[-1] in stop_ids(drafts):
        ids.pop()
    return in_words(ids, drafts.text_tokenizer)


def drafter_of(model: FusedPair) -> Drafter | None:
    """A model's sharer as it drafts its answers; None where it sends what it has read alone."""
    if model.fuser is None or not model.fuser.config.drafts:
        return None
    template = model.draft_template or template_of(model.template, "sharer")
    return Drafter(model.sharer, template, model.fuser.config.draft_tokens)


def with_drafts(
    model: FusedPair, encoded: Sequence[EncodedPrompt], kept: PrefixCache | None = None
) -> tuple[EncodedPrompt, ...]:
    """Prompts behind which a model's sharer has drafted its answers, now, if it drafts any.

    Those that have a draft already stay as they are.

    Args:
        model: Whose sharer.
        encoded: The prompts.
        kept: What was read and drafted before; see `read_on`.
    """
    drafter = drafter_of(model)
    rows = [row for row, prompt in enumerate(encoded) if not prompt.drafted]
    if drafter is None or not rows:
        return tuple(encoded)
    ids = [encoded[row].sharer_ids for row in rows]
    if kept is None:
        caches = PromptCaches.in_passing(drafter.loaded.model, ids, model.cache_dtype)
        written = drafter.drafts(ids, caches)
    else:
        written = _kept_drafts(drafter, ids, model.cache_dtype, kept)
    drafts = dict(zip(rows, written, strict=True))
    return tuple(
        prompt.with_draft(drafts[row]) if row in drafts else prompt
        for row, prompt in enumerate(encoded)
    )


def _kept_drafts(
    drafter: Drafter, prompts: Sequence[tuple[int, ...]], dtype: torch.dtype, kept: PrefixCache
) -> list[tuple[int, ...]]:
    """Drafts behind prompts, those that are kept among them."""
    model, name = drafter.loaded.model, (drafter.lines, drafter.tokens)
    owner = owner_of(model)
    drafts = {ids: kept.noted(owner, ids, name) for ids in prompts}
    if new := [ids for ids, draft in drafts.items() if draft is None]:
        written = drafter.drafts(new, read_on(model, new, dtype, kept))
        for ids, draft in zip(new, written, strict=True):
            kept.note(owner, ids, name, draft)
            drafts[ids] = draft
    return [drafts[ids] for ids in prompts]


def draft_texts(
    model: FusedPair, questions: Sequence[str], sharer_contexts: Sequence[str] | None = None
) -> list[str]:
    """What a model's sharer drafts, in words; see `C2CModel.generate_batch` for the arguments.

    Raises:
        ConfigError: It drafts nothing.
    """
    drafter = drafter_of(model)
    if drafter is None:
        raise ConfigError(
            "Only a sharer that drafts an answer has a draft to show.",
            value="no fuser" if model.fuser is None else f"message {model.fuser.config.message}",
            hint="Ask a champion whose fuser.message is draft or both.",
        )
    prompts = with_drafts(model, model.encoded(*both_asked(questions, sharer_contexts)))
    return [drafter.text(prompt) for prompt in prompts]
