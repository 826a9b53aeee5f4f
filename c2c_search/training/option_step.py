"""What a task stage wants of the receiver: that the right one of a row's choices is likeliest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from c2c_search.inference.scoring import likelihoods
from c2c_search.training.step import ReceiverStep


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.inference.packed.fused_cache import FusedCache


@dataclass(frozen=True)
class Options:
    """The choices of a few rows, as the receiver's tokens, and which are right.

    Args:
        ids: For each row, the token ids of each of its choices.
        right: For each row, the index of the right choice.
        length_normalised: Whether a choice's log-likelihood is divided by its tokens, as where
            answers are judged.
    """

    ids: Sequence[Sequence[Sequence[int]]]
    right: Sequence[int]
    length_normalised: bool

    def of_rows(self, rows: Sequence[int]) -> Options:
        """Of some rows."""
        ids, right = [self.ids[row] for row in rows], [self.right[row] for row in rows]
        return replace(self, ids=ids, right=right)

    def loss(self, logits: torch.Tensor) -> torch.Tensor:
        """Mean over rows of -log of the right choice's share (nats); gradients flow.

        The share is the softmax, over the row's choices, of their log-likelihoods.

        Args:
            logits: ``(all choices' tokens, vocabulary)``, in the order of ``ids``.
        """
        scores = likelihoods(logits, self.ids)
        if self.length_normalised:
            lengths = [len(choice) for choices in self.ids for choice in choices]
            scores = scores / torch.tensor(lengths, device=scores.device)
        of_rows = scores.split([len(choices) for choices in self.ids])
        losses = [
            -own.log_softmax(dim=0)[right] for own, right in zip(of_rows, self.right, strict=True)
        ]
        return torch.stack(losses).mean()


@dataclass(frozen=True)
class OptionStep(ReceiverStep):
    """Choices that a receiver reads on top of a batch's fused cache, side by side.

    ``responses`` holds each row's choices one behind the other; ``label_smoothing`` is not used.

    Args:
        options: The choices.
    """

    options: Options

    @classmethod
    def of(
        cls, model: PreTrainedModel, fused: FusedCache, last_ids: Sequence[int], options: Options
    ) -> OptionStep:
        """What a receiver is to read of a batch's choices; see `ReceiverStep`."""
        flat = [[token for choice in choices for token in choice] for choices in options.ids]
        return cls(model, fused, last_ids, flat, 0.0, options)

    @property
    def weight(self) -> int:
        """Its rows, each of which counts alike."""
        return len(self.responses)

    @property
    def branches(self) -> list[list[Sequence[int]]]:
        """The choices."""
        return [list(choices) for choices in self.options.ids]

    def of_rows(self, rows: range) -> OptionStep:
        """Of some prompts that stand side by side."""
        part = super().of_rows(rows)
        assert isinstance(part, OptionStep)
        return replace(part, options=self.options.of_rows(rows))

    def loss_of(self, logits: torch.Tensor) -> torch.Tensor:
        """The loss, from ``(all choices' tokens, vocabulary)``; see `Options.loss`."""
        return self.options.loss(logits)


@dataclass(frozen=True)
class OptionLogitsStep:
    """Choices that were read already, by what is trained itself.

    Args:
        logits: ``(all choices' tokens, vocabulary)``.
        options: The choices.
    """

    logits: torch.Tensor
    options: Options

    def loss(self) -> torch.Tensor:
        """See `Options.loss`."""
        return self.options.loss(self.logits)
