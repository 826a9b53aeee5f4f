"""Prompts read by both models, and kept for whoever asks them again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

import torch

from c2c_search.inference.drafting import draft_text
from c2c_search.inference.finite import blaming
from c2c_search.inference.message_effect import message_effect
from c2c_search.inference.token_ids import read_of_receiver
from c2c_search.models.context_length import ContextLength
from c2c_search.server.failures import too_long
from c2c_search.server.writing import Heard
from c2c_search.tokenization.spans import in_words


if TYPE_CHECKING:
    from c2c_search.inference.model import C2CModel
    from c2c_search.inference.packed.fused_cache import FusedCache
    from c2c_search.prompt_cache.batches import PairBatch
    from c2c_search.prompt_cache.batches import PairPrompts
    from c2c_search.prompt_cache.prefix_cache import PrefixCache
    from c2c_search.server.group import Asked
    from c2c_search.server.limits import ServerLimits
    from c2c_search.server.writing import Prompt
    from c2c_search.tokenization.token_alignment import EncodedPrompt


@dataclass(frozen=True)
class ReadPrompt:
    """A prompt that both models have read.

    Args:
        asked: Who asks it.
        fused: The receiver's cache of it.
        ids: The receiver's tokens.
        heard: Computes what the receiver hears of the sharer, where that is asked: when its
            answer is written, so that nobody waits for it.
    """

    asked: Asked
    fused: FusedCache
    ids: tuple[int, ...]
    heard: Callable[[], Heard] | None


class PromptReader:
    """Reads the prompts of one system.

    Args:
        model: The system.
        limits: How long they may be.
        kept: What was read before, by all systems: what is kept of a prompt is not read again.
    """

    def __init__(self, model: C2CModel, limits: ServerLimits, kept: PrefixCache) -> None:
        self.model, self.limits = model, limits
        model.kept = kept
        read = [ContextLength.of(each.model).tokens for each in (model.receiver, model.sharer)]
        self._most = min([limits.context_tokens, *(count for count in read if count is not None)])

    def read(self, taken: Sequence[Asked]) -> Iterator[ReadPrompt]:
        """Each prompt with its fused cache, those of one kind read together.

        Args:
            taken: Who asks; whoever cannot be answered is told so.
        """
        taken = sorted(taken, key=lambda asked: _kind(asked.wanted.prompt))
        for _, several in groupby(taken, key=lambda asked: _kind(asked.wanted.prompt)):
            for asked, prompts, row in self._prefilled([*several]):
                batch = self.model.batch(prompts, [row])
                try:
                    self._check(prompts.encoded[row], asked.wanted.behind)
                    with blaming(self.model, batch):
                        fused = self.model.fused_cache(batch)
                        heard = None
                        if asked.wanted.heard and self.model.fuser is not None:
                            heard = partial(self._heard, prompts, row, batch, fused)
                except Exception as error:
                    asked.failed(error)
                    continue
                yield ReadPrompt(asked, fused, tuple(batch.receiver_ids[0]), heard)

    def _heard(self, prompts: PairPrompts, row: int, batch: PairBatch, fused: FusedCache) -> Heard:
        prompt = prompts.encoded[row]
        return Heard(
            draft_text(self.model.sharer, prompt) if prompt.draft else None,
            message_effect(self.model, prompts, row, batch, fused),
            in_words(words, self.model.receiver.text_tokenizer)
            if (words := prompt.anchors)
            else None,
        )

    def _prefilled(self, several: Sequence[Asked]) -> list[tuple[Asked, PairPrompts, int]]:
        """Read prompts of one kind, those that are asked several times once."""
        by_key: dict[object, list[Asked]] = defaultdict(list)
        for asked in several:
            by_key[asked.wanted.prompt.key].append(asked)
        try:
            prompts = self._prompts([alike[0].wanted.prompt for alike in by_key.values()])
        except Exception as error:
            if len(by_key) > 1:  # one of them is at fault: each by itself
                return [each for alike in by_key.values() for each in self._prefilled(alike)]
            for asked in several:
                asked.failed(error)
            return []
        rows = enumerate(by_key.values())
        return [(asked, prompts, row) for row, alike in rows for asked in alike]

    def _prompts(self, prompts: Sequence[Prompt]) -> PairPrompts:
        """Prompts of one kind with both models' caches.

        Raises:
            ApiError: One is longer than is read.
        """
        if prompts[0].ids:
            encoded = [self._encoded(prompt.ids) for prompt in prompts]
        else:
            turns = [prompt.turns for prompt in prompts]
            theirs = [each.sharer_turns for each in prompts if each.sharer_turns is not None]
            encoded = [*self.model.encoded(turns, theirs or None)]
        for each in encoded:
            self._check(each, 1)
        return self.model.cached(encoded, kept=True)

    def _encoded(self, ids: Sequence[int]) -> EncodedPrompt:
        """A prompt of which the receiver's tokens alone are given."""
        if len(ids) > self._most:  # before the sharer's tokens are looked for
            raise too_long(len(ids), self._most)
        return read_of_receiver(self.model, torch.tensor([ids])).encoded[0]

    def _check(self, prompt: EncodedPrompt, behind: int) -> None:
        """Look how long a prompt is with so many tokens behind it.

        Raises:
            ApiError: Longer than a model reads, or is to read.
        """
        whole = max(len(prompt.receiver_ids), len(prompt.sharer_ids)) + behind
        if whole > self._most:
            raise too_long(whole, self._most)


def _kind(prompt: Prompt) -> tuple[bool, bool]:
    """Prompts of one kind are read in one call."""
    return bool(prompt.ids), prompt.sharer_turns is not None
