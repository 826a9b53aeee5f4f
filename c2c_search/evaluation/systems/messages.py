"""Messages that say nothing of the question: zeros, and noise as large as what is said."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING

import torch

from c2c_search.evaluation.systems.c2c import Fused
from c2c_search.evaluation.systems.passes import item_seed
from c2c_search.fuser.moments import ChannelMoments
from c2c_search.inference.anchors import saying
from c2c_search.inference.fusion import rotations_of


if TYPE_CHECKING:
    from c2c_search.evaluation.systems.passes import Pass
    from c2c_search.evaluation.systems.prompts import QuestionPrompts
    from c2c_search.inference.model import C2CModel
    from c2c_search.prompt_cache.batches import PairBatch


_MOST_QUESTIONS = 200
"""Whose messages the moments are taken from, at most: tens of tokens each."""


class Replaced(Fused):
    """A fuser that hears something else in place of the sharer's prompt cache.

    It is replaced before the fuser reads it, before any normalisation: so many entries, at the
    same places. Where the response is fused too, the sharer reads that on top of what was put in
    place of its prompt.

    Args:
        name: In `SYSTEMS`.
        model: With the fuser.
    """

    def passes(self, prompts: QuestionPrompts) -> Iterator[Pass]:
        for each in super().passes(prompts):
            ids = [prompts.questions[row].item.id for row in each.rows]
            yield replace(each, batch=self.replaced(prompts, each.batch, ids))
        self.heard.clear()  # of drafts that nobody has heard

    @abstractmethod
    def replaced(
        self, prompts: QuestionPrompts, batch: PairBatch, ids: Sequence[str]
    ) -> PairBatch:
        """A batch with another message.

        Args:
            prompts: All that is asked.
            batch: Some of it.
            ids: Of its items.
        """


class Zeroed(Replaced):
    """Every entry of the message is zero.

    A twin (`FuserConfig.without_sharer`) is blanked behind the normalisation, where zero is the
    mean of all messages if that is calibrated, and is trained so. Here zeros stand in front of it,
    and the trained fuser has never heard them. There are no anchors.
    """

    def replaced(
        self, prompts: QuestionPrompts, batch: PairBatch, ids: Sequence[str]
    ) -> PairBatch:
        context = None if batch.context is None else torch.zeros_like(batch.context.packed)
        return _saying(batch, torch.zeros_like(batch.sharer), context)


class Noise(Replaced):
    """Every entry of the message is Gaussian noise, of the real messages' mean and deviation.

    Both are those of each layer and channel, of keys and of values, over the entries of the
    split's messages as the fuser projects them: where it takes RoPE off the keys, the noise is
    drawn without it. In the place of anchors stand as many tokens of the receiver's vocabulary,
    all equally likely. An item's noise follows from its id and the seed.

    Args:
        name: In `SYSTEMS`.
        model: With the fuser.
        seed: Of the noise.
    """

    def __init__(self, name: str, model: C2CModel, seed: int) -> None:
        super().__init__(name, model)
        self.seed = seed
        self._known: dict[tuple[str, ...], ChannelMoments] = {}

    def replaced(
        self, prompts: QuestionPrompts, batch: PairBatch, ids: Sequence[str]
    ) -> PairBatch:
        moments = self._moments(prompts)
        if batch.context is not None:
            lengths = list(batch.context.lengths)
        else:
            lengths = [int(max(read, default=-1)) + 1 for read in batch.sharer_positions]
        # Of whole prompts, so that a token that stands for several says the same to each.
        whole = self._rotated(
            torch.cat(
                [self._drawn(moments, one, n) for one, n in zip(ids, lengths, strict=True)], dim=2
            ),
            torch.cat([torch.arange(length) for length in lengths]),
        ).to(batch.sharer.device)
        starts = accumulate(lengths[:-1], initial=0)
        heard = [start + read for start, read in zip(starts, batch.sharer_positions, strict=True)]
        batch = _saying(batch, whole[:, :, torch.cat(heard)], whole)
        counts = [stop - start for start, stop in batch.anchored]
        if not any(counts):
            return batch
        drawn = [self._drawn_words(one, count) for one, count in zip(ids, counts, strict=True)]
        return saying(self.model, batch, drawn)

    def _drawn_words(self, item_id: str, count: int) -> list[int]:
        """Tokens in the place of an item's anchors, the same in any batch."""
        receiver = self.model.receiver
        special = {*receiver.text_tokenizer.all_special_ids}
        vocabulary = min(len(receiver.text_tokenizer), receiver.model.config.vocab_size)
        ordinary = [token for token in range(vocabulary) if token not in special]
        return Random(item_seed(self.seed, item_id)).choices(ordinary, k=count)

    def _drawn(self, moments: ChannelMoments, item_id: str, tokens: int) -> torch.Tensor:
        """An item's noise, ``(2, sharer_layers, tokens, sharer_size)``, the same in any batch."""
        generator = torch.Generator().manual_seed(item_seed(self.seed, item_id))
        kinds, layers, _, size = moments.mean.shape
        noise = torch.randn(kinds, layers, tokens, size, generator=generator)
        return moments.mean.float() + noise * moments.deviation.float()

    def _rotated(self, noise: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Noise with the RoPE that the fuser will take off again."""
        rotaries = self.model.rotaries
        if rotaries is None or rotaries.sharer is None:
            return noise
        rotation = rotaries.sharer.at(positions).to(noise.device)
        return torch.stack([rotation.apply(noise[0]), noise[1]])

    def _moments(self, prompts: QuestionPrompts) -> ChannelMoments:
        """Of the messages of a split's first questions: of all that are asked of it, the same."""
        key = tuple(question.item.id for question in prompts.whole.questions[:_MOST_QUESTIONS])
        if key not in self._known:
            self._known[key] = self._measured(prompts.first_of_split(_MOST_QUESTIONS))
        return self._known[key]

    def _measured(self, prompts: QuestionPrompts) -> ChannelMoments:
        assert self.model.fuser is not None
        config, moments = self.model.fuser.config, ChannelMoments()
        read = prompts.read(config)
        for rows in prompts.batches(read):
            batch = self.model.batch(read, rows)
            rotations = rotations_of(batch, self.model.rotaries, config.injected.projects)
            said = batch.sharer if rotations is None else rotations.undo_sharer(batch.sharer)
            moments.add(said)
        return moments


def _saying(batch: PairBatch, message: torch.Tensor, context: torch.Tensor | None) -> PairBatch:
    """The batch with another message and, where the sharer reads on, another prompt's cache."""
    if batch.context is None or context is None:
        return replace(batch, sharer=message)
    return replace(batch, sharer=message, context=replace(batch.context, packed=context))
