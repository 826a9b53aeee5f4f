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
from c2c_search.inference.kept_caches import KeptPair
from c2c_search.inference.message_effect import message_effect
from c2c_search.inference.token_ids import read_of_receiver
from c2c_search.models.context_length import ContextLength
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.server.failures import too_long
from c2c_search.server.writing import Heard
from c2c_search.tokenization.spans import in_words


if TYPE_CHECKING:
    from c2c_search.inference.model import C2CModel
    from c2c_search.inference.packed.fused_cache import FusedCache
    from c2c_search.prompt_cache.batches import PairBatch
    from c2c_search.prompt_cache.recent import RecentlyRead
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
        hit: Told of each prompt whether its caches were there.
        recent: Where they are kept, beside conversations that are read on.
    """

    def __init__(
        self,
        model: C2CModel,
        limits: ServerLimits,
        hit: Callable[[bool], None],
        recent: RecentlyRead,
    ) -> None:
        self.model, self.limits = model, limits
        self._hit, self._recent = hit, recent
        model.kept = KeptPair(model.receiver, model.sharer, recent)
        read = [ContextLength.of(each.model).tokens for each in (model.receiver, model.sharer)]
        self._most = min([limits.context_tokens, *(count for count in read if count is not None)])

    def read(self, taken: Sequence[Asked]) -> Iterator[ReadPrompt]:
        """Each prompt with its fused cache, new ones read together.

        Args:
            taken: Who asks; whoever cannot be answered is told so.
        """
        known, new = self._known(taken)
        for several in (known, *self._new(new)):
            for asked, prompts in several:
                batch = self.model.batch(prompts)
                try:
                    self._check(prompts.encoded[0], asked.wanted.behind)
                    with blaming(self.model, batch):
                        fused = self.model.fused_cache(batch)
                        heard = None
                        if asked.wanted.heard and self.model.fuser is not None:
                            heard = partial(self._heard, prompts, batch, fused)
                except Exception as error:
                    asked.failed(error)
                    continue
                yield ReadPrompt(asked, fused, tuple(batch.receiver_ids[0]), heard)

    def _heard(self, prompts: PairPrompts, batch: PairBatch, fused: FusedCache) -> Heard:
        (prompt,) = prompts.encoded
        return Heard(
            draft_text(self.model.sharer, prompt) if prompt.draft else None,
            message_effect(self.model, prompts, 0, batch, fused),
            in_words(words, self.model.receiver.text_tokenizer)
            if (words := prompt.anchors)
            else None,
        )

    def _known(
        self, taken: Sequence[Asked]
    ) -> tuple[list[tuple[Asked, PairPrompts]], list[Asked]]:
        """Those whose prompts are kept, with these, and the others."""
        known, new = [], []
        for asked in taken:
            kept = self._recent.get(self, asked.wanted.prompt.key)
            self._hit(kept is not None)
            if kept is None:
                new.append(asked)
            else:
                known.append((asked, kept))
        return known, new

    def _new(self, new: Sequence[Asked]) -> Iterator[list[tuple[Asked, PairPrompts]]]:
        new = sorted(new, key=lambda asked: _kind(asked.wanted.prompt))
        for _, several in groupby(new, key=lambda asked: _kind(asked.wanted.prompt)):
            yield self._prefilled([*several])

    def _prefilled(self, several: Sequence[Asked]) -> list[tuple[Asked, PairPrompts]]:
        """Read prompts of one kind, those that are asked several times once."""
        by_key: dict[object, list[Asked]] = defaultdict(list)
        for asked in several:
            by_key[asked.wanted.prompt.key].append(asked)
        try:
            found = self._prompts([alike[0].wanted.prompt for alike in by_key.values()])
        except Exception as error:
            if len(by_key) > 1:  # one of them is at fault: each by itself
                return [each for alike in by_key.values() for each in self._prefilled(alike)]
            for asked in several:
                asked.failed(error)
            return []
        for key, each in zip(by_key, found, strict=True):
            self._recent.put(self, key, each, _bytes(each))  # for whoever asks it again
        return [
            (asked, each)
            for alike, each in zip(by_key.values(), found, strict=True)
            for asked in alike
        ]

    def _prompts(self, prompts: Sequence[Prompt]) -> list[PairPrompts]:
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
        if len(prompts) == 1 and len(prompts[0].turns) > 1:  # perhaps a turn more than before
            (prompt,) = prompts
            return [self.model.read_on(prompt.turns, prompt.sharer_turns)]
        together = self.model.cached(encoded)
        return [_one(together, row) for row in range(len(prompts))]

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


def _one(prompts: PairPrompts, row: int) -> PairPrompts:
    """One of several prompts, of which nothing is kept with it."""
    if len(prompts) == 1:
        return prompts
    encoded = prompts.encoded[row]

    def cut(caches: PromptCaches, tokens: int) -> PromptCaches:
        shard, first = caches.locations[row]
        return PromptCaches([caches.shards[shard][first : first + tokens].clone()], ((0, 0),))

    own = cut(prompts.receiver, len(encoded.receiver_ids))
    return PairPrompts((encoded,), own, cut(prompts.sharer, len(encoded.sharer_ids)))


def _bytes(prompts: PairPrompts) -> int:
    """Of both models' caches; a model alone has them once."""
    caches = {id(each): each.shards for each in (prompts.receiver, prompts.sharer)}
    return sum(shards[n].nbytes for shards in caches.values() for n in range(len(shards)))


def _kind(prompt: Prompt) -> tuple[bool, bool, bool]:
    """Prompts of one kind are read in one call."""
    return bool(prompt.ids), prompt.sharer_turns is not None, len(prompt.turns) > 1
