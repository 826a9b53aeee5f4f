"""Training room: what a training step asks of the receiver, so that several may ask at once.

A training is a generator: it yields what the receiver is to read, is sent the loss of that, and
returns how it ended. Whoever drives it decides whether the receiver reads for it alone (`alone`)
or for several trainings at once (`training.group`).
"""

from __future__ import annotations

from collections.abc import Generator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Protocol
from typing import TypeVar

import torch

from c2c_search.inference.scoring import response_logits
from c2c_search.inference.tokens import onto


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.inference.fusion import FusedCache


Ended = TypeVar("Ended")


class Asked(Protocol):
    """Something to be read."""

    def loss(self) -> torch.Tensor:
        """Mean next-token loss (nats) over the response tokens; gradients flow."""
        ...


Steps = Generator[Asked, torch.Tensor, Ended]
"""A training in steps; see the module."""


@dataclass(frozen=True)
class Reading:
    """Responses that a receiver reads on top of a batch's fused cache.

    Args:
        model: The receiver.
        fused: The batch's fused cache.
        last_ids: Each prompt's last token, which is not in the cache.
        responses: For each prompt, the token ids of its response.
        label_smoothing: Of the loss.
    """

    model: PreTrainedModel
    fused: FusedCache
    last_ids: Sequence[int]
    responses: Sequence[Sequence[int]]
    label_smoothing: float

    @property
    def shareable(self) -> bool:
        """Whether the receiver can read it together with others.

        Not where its trial changes the receiver itself (``lora_rank``) or fuses while the
        receiver reads (``fuse_response``).
        """
        return self.fused.reader is None and self.fused.adaptation is None

    def loss(self) -> torch.Tensor:
        """Mean next-token loss (nats) over the response tokens; gradients flow."""
        branches = [[response] for response in self.responses]
        logits = response_logits(self.model, self.fused, self.last_ids, branches)
        return response_loss(logits, self.responses, self.label_smoothing)


@dataclass(frozen=True)
class Answered:
    """Responses that were read already, by what is trained itself.

    Args:
        logits: ``(all response tokens, vocabulary)``.
        responses: Their token ids.
        label_smoothing: Of the loss.
    """

    logits: torch.Tensor
    responses: Sequence[Sequence[int]]
    label_smoothing: float

    def loss(self) -> torch.Tensor:
        """Mean next-token loss (nats) over the response tokens; gradients flow."""
        return response_loss(self.logits, self.responses, self.label_smoothing)


def response_loss(
    logits: torch.Tensor, responses: Sequence[Sequence[int]], label_smoothing: float
) -> torch.Tensor:
    """Mean next-token loss (nats).

    Args:
        logits: ``(all response tokens, vocabulary)``.
        responses: Their token ids.
        label_smoothing: Probability taken from the right token, spread over all.
    """
    targets = torch.tensor([token for response in responses for token in response])
    return torch.nn.functional.cross_entropy(
        logits, onto(targets, logits.device), label_smoothing=label_smoothing
    )


def alone(training: Steps[Ended]) -> Ended:
    """Drive one training to its end; the receiver reads for it alone."""
    try:
        asked = next(training)
        while True:
            loss = asked.loss()
            del asked  # and its cache with it, before the next one is made
            asked = training.send(loss)
    except StopIteration as end:
        ended: Ended = end.value
        return ended
