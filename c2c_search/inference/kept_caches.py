"""What a model has read of conversations, kept so that a further turn reads only what is new."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from c2c_search.inference.anchors import with_anchors
from c2c_search.inference.reading import as_heard
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.caches import rounded
from c2c_search.prompt_cache.prefill import Prefill
from c2c_search.prompt_cache.recent import RecentlyRead


if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

    from c2c_search.fuser.config import FuserConfig
    from c2c_search.inference.drafting import Drafter
    from c2c_search.models.loading import LoadedModel
    from c2c_search.tokenization.token_alignment import EncodedPrompt


CONVERSATIONS = 8
"""Conversations that are kept, those asked last."""


class KeptCaches:
    """A model's caches of the conversations that it was asked last.

    A text that begins as one of them does is read from there on. Its cache is that of the whole
    text, up to rounding. Several threads may ask at once.

    Args:
        model: A frozen causal language model.
        recent: Where they are kept, by their tokens: caches as computed, ``(tokens, 2, layers,
            size)``.
        conversations: How many are kept.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        recent: RecentlyRead,
        conversations: int = CONVERSATIONS,
    ) -> None:
        self.model, self.recent, self.conversations = model, recent, conversations

    def read(self, ids: Sequence[int], dtype: torch.dtype) -> PromptCaches:
        """The caches of one text, rounded.

        Args:
            ids: Its tokens.
            dtype: What the caches are rounded to.

        Raises:
            ConfigError: As of `PromptCaches.compute`.
        """
        ids = tuple(ids)
        longest, before = max(
            self.recent.of(self), key=lambda each: _common(each[0], ids), default=((), None)
        )
        # One token is read in any case: a pass needs one.
        known = min(_common(longest, ids), len(ids) - 1)
        entries = None
        if before is not None and known:
            entries = before[:known].permute(1, 2, 0, 3)
        cache = Prefill(self.model, [ids], entries=entries).run(0)
        self._keep(ids, cache)
        return PromptCaches([rounded(cache, dtype)], ((0, 0),))

    def _keep(self, ids: tuple[int, ...], cache: torch.Tensor) -> None:
        """Put a text in front, in the place of those that it begins with."""
        others = 0
        for each, _ in self.recent.of(self):
            within = ids[: len(each)] == each
            others += not within
            if within or others >= self.conversations:
                self.recent.drop(self, each)
        self.recent.put(self, ids, cache, cache.nbytes)


class KeptPair:
    """What both models of a pair have read of conversations.

    What the sharer's layers put out (``source: hidden``) is read anew each time.

    Args:
        receiver: The model that answers.
        sharer: The model that speaks.
        recent: Where it is kept; by itself and without a bound, when left out.
    """

    def __init__(
        self, receiver: LoadedModel, sharer: LoadedModel, recent: RecentlyRead | None = None
    ) -> None:
        self._models = receiver, sharer
        recent = recent or RecentlyRead()
        self.receiver = KeptCaches(receiver.model, recent)
        self.sharer = self.receiver if sharer is receiver else KeptCaches(sharer.model, recent)

    def read(
        self,
        prompt: EncodedPrompt,
        drafter: Drafter | None,
        config: FuserConfig | None,
        dtype: torch.dtype,
    ) -> PairPrompts:
        """A prompt with both models' caches, and the sharer's draft and anchors, if any.

        Args:
            prompt: As both models read it.
            drafter: The sharer, where it drafts.
            config: Of the fuser.
            dtype: What the caches are rounded to.
        """
        anchored = config is not None and config.anchored
        own = None if anchored else self.receiver.read(prompt.receiver_ids, dtype)
        return self.heard(prompt, own, drafter, config, dtype)

    def heard(
        self,
        prompt: EncodedPrompt,
        own: PromptCaches | None,
        drafter: Drafter | None,
        config: FuserConfig | None,
        dtype: torch.dtype,
    ) -> PairPrompts:
        """The same where the receiver has read the prompt; None where it waits for anchors."""
        if drafter is not None and not prompt.drafted:
            before = self.sharer.read(prompt.sharer_ids, dtype)
            (draft,) = drafter.drafts([prompt.sharer_ids], before)
            prompt = prompt.with_draft(draft)
        (prompt,) = as_heard(with_anchors([prompt], config, *self._models), config)
        if own is None:
            own = self.receiver.read(prompt.receiver_ids, dtype)
        if config is not None and config.source != "kv":
            theirs = PromptCaches.compute(
                self.sharer.model, [prompt.sharer_ids], dtype, source=config.source
            )
        else:
            theirs = self.sharer.read(prompt.sharer_ids, dtype)
        return PairPrompts((prompt,), own, theirs)


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Tokens that both begin with."""
    for index, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine != theirs:
            return index
    return min(len(one), len(other))
