"""Prompts of a pair with their caches, ready to be fused in packed batches."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from c2c_search.tokenization.templates import Rendered
from c2c_search.tokenization.token_alignment import EncodedPrompt


if TYPE_CHECKING:
    from c2c_search.prompt_cache.caches import PromptCaches


@dataclass(frozen=True)
class SharerContext:
    """The sharer's whole prompt caches, for a sharer that reads on beyond the prompt.

    Args:
        packed: ``(2, sharer_layers, sharer tokens, sharer_size)``, one prompt after the other.
        lengths: Sharer tokens of each prompt.
    """

    packed: torch.Tensor
    lengths: tuple[int, ...]


@dataclass(frozen=True)
class PairBatch:
    """Caches of a few prompts, packed: one prompt's tokens after the other, no padding.

    The last token of each prompt is left out: it is never fused, the receiver reads it again on
    top of the fused cache (as in the published C2C).

    Args:
        receiver: ``(2, receiver_layers, tokens, receiver_size)``.
        sharer: What the sharer says, ``(2, sharer_layers, sharer tokens, sharer_size)``: its
            cache at every receiver token's aligned position, or of its whole prompt, its draft
            or both. What its layers put out in place of keys and values is
            ``(1, sharer_layers, …, hidden_size)``.
        lengths: Receiver tokens of each prompt in the pack.
        last_ids: The receiver's last token of each prompt.
        sharer_positions: For each prompt, the positions in its sharer prompt that ``sharer``
            holds.
        context: The sharer's whole prompts, where they are needed.
        texts: What the receiver reads; None for a prompt that is given as token ids.
        receiver_ids: All that the receiver reads, as token ids of each prompt.
        anchored: Where, among these, words of the sharer begin and end, for each prompt.
    """

    receiver: torch.Tensor
    sharer: torch.Tensor
    lengths: tuple[int, ...]
    last_ids: tuple[int, ...]
    sharer_positions: tuple[torch.Tensor, ...]
    context: SharerContext | None = None
    texts: tuple[Rendered | None, ...] = ()
    receiver_ids: tuple[tuple[int, ...], ...] = ()
    anchored: tuple[tuple[int, int], ...] = ()

    def to(self, device: torch.device) -> PairBatch:
        context = self.context
        if context is not None:
            packed = context.packed.to(device, non_blocking=True)
            context = replace(context, packed=packed)
        return replace(
            self,
            receiver=self.receiver.to(device, non_blocking=True),
            sharer=self.sharer.to(device, non_blocking=True),
            context=context,
        )

    def pinned(self) -> PairBatch:
        """The same in memory that a GPU copies from while the host goes on."""
        context = self.context
        if context is not None:
            context = replace(context, packed=_pinned(context.packed))
        return replace(
            self,
            receiver=_pinned(self.receiver),
            sharer=_pinned(self.sharer),
            context=context,
        )


@dataclass(frozen=True)
class PairPrompts:
    """Prompts as both models read them, and both models' caches of them, row by row."""

    encoded: tuple[EncodedPrompt, ...]
    receiver: PromptCaches
    sharer: PromptCaches

    def __len__(self) -> int:
        return len(self.encoded)

    @property
    def ready(self) -> bool:
        """Whether a batch is read, and neither model runs for it."""
        return self.receiver.ready and self.sharer.ready

    def expect(self, rows: Sequence[int]) -> None:
        """Say which prompts are packed soon, the next first; see `PromptCaches.expect`."""
        self.receiver.expect(rows)
        self.sharer.expect(rows)

    @cached_property
    def _aligned(self) -> list[torch.Tensor]:
        return [torch.tensor(prompt.alignment[:-1], dtype=torch.long) for prompt in self.encoded]

    @classmethod
    def alone(
        cls,
        ids: Sequence[Sequence[int]],
        caches: PromptCaches,
        texts: Sequence[Rendered | None] | None = None,
    ) -> PairPrompts:
        """Prompts of a model that answers by itself, from its own caches.

        Args:
            ids: Token ids of each prompt.
            caches: The model's caches of them.
            texts: What the model reads, where that is known.
        """
        itself = tuple(
            EncodedPrompt(tuple(row), tuple(row), tuple(range(len(row))), text, text)
            for row, text in zip(ids, texts or [None] * len(ids), strict=True)
        )
        return cls(itself, caches, caches)

    @cached_property
    def of_receiver(self) -> PairPrompts:
        """The same prompts for the receiver alone, which is its own sharer, from its caches."""
        itself = tuple(prompt.of_receiver() for prompt in self.encoded)
        return PairPrompts(itself, self.receiver, self.receiver)

    def followed_by(self, others: PairPrompts) -> PairPrompts:
        """These prompts of a pair, and behind them others."""
        return PairPrompts(
            (*self.encoded, *others.encoded),
            self.receiver.followed_by(others.receiver),
            self.sharer.followed_by(others.sharer),
        )

    def of_sharer(self) -> PairPrompts:
        """The same prompts for the sharer alone: it answers, from its own caches."""
        return self.alone(
            [prompt.sharer_ids for prompt in self.encoded],
            self.sharer,
            [prompt.sharer_text for prompt in self.encoded],
        )

    def batch(
        self,
        rows: Sequence[int],
        partners: Sequence[int] | None = None,
        *,
        whole: bool = False,
        draft: bool = False,
        context: bool = False,
        silent: Collection[int] = (),
    ) -> PairBatch:
        """Pack some prompts.

        Args:
            rows: The prompts.
            partners: Prompts whose sharer caches take the place of the rows' own (the
                deranged-sharer control). Their tokens are matched from both ends, so that
                what a shared template says still stands where it stood.
            whole: The sharer says all its tokens, not one for each of the receiver's.
            draft: Of all of them, it says those that it has drafted.
            context: Whether to bring the sharer's whole prompts too.
            silent: Prompts whose sharers say nothing; ``whole`` or ``draft``.
        """
        lengths = tuple(len(self._aligned[row]) for row in rows)
        speakers = rows if partners is None else partners
        if draft:
            positions = [self._draft_of(speaker) for speaker in speakers]
        elif whole:
            positions = [self._all_of(speaker) for speaker in speakers]
        elif partners is None:
            positions = [self._aligned[row] for row in rows]
        else:
            positions = [
                _from_both_ends(length, self._aligned[partner])
                for length, partner in zip(lengths, partners, strict=True)
            ]
        positions = [
            told[:0] if speaker in silent else told
            for speaker, told in zip(speakers, positions, strict=True)
        ]
        return PairBatch(
            receiver=self.receiver.packed(rows, [torch.arange(length) for length in lengths]),
            sharer=self.sharer.packed(speakers, positions),
            lengths=lengths,
            last_ids=tuple(self.encoded[row].receiver_ids[-1] for row in rows),
            sharer_positions=tuple(positions),
            context=self._context(speakers) if context else None,
            texts=tuple(self.encoded[row].receiver_text for row in rows),
            receiver_ids=tuple(self.encoded[row].receiver_ids for row in rows),
            anchored=tuple(self.encoded[row].anchored or (0, 0) for row in rows),
        )

    def _all_of(self, row: int) -> torch.Tensor:
        return torch.arange(len(self.encoded[row].sharer_ids))

    def _draft_of(self, row: int) -> torch.Tensor:
        drafted = self.encoded[row].drafted
        assert drafted, "a draft has one token at least"
        return self._all_of(row)[-drafted:]

    def _context(self, rows: Sequence[int]) -> SharerContext:
        positions = [self._all_of(row) for row in rows]
        return SharerContext(
            packed=self.sharer.packed(rows, positions),
            lengths=tuple(map(len, positions)),
        )


def _pinned(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.is_cuda else tensor.pin_memory()


def _from_both_ends(length: int, aligned: torch.Tensor) -> torch.Tensor:
    """Stretch or cut an alignment to ``length`` tokens, in its middle."""
    token = torch.arange(length)
    from_end = len(aligned) - (length - token)
    index = torch.where(token < length // 2, token, from_end)
    return aligned[index.clamp(0, len(aligned) - 1)]
