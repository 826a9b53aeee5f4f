"""What a training step wants of the receiver, so that several may want it at once.

A training is a generator: it yields what the receiver is to read, is sent the loss of that, and
returns how it ended. Whoever drives it decides whether the receiver reads for it alone (`alone`)
or for several trainings at once (`training.lockstep`). What is long the receiver reads in several
passes, so that its own memory does not grow with the batch.
"""

from __future__ import annotations

from collections.abc import Generator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any
from typing import Protocol
from typing import TypeVar

import torch

from c2c_search.batching import portions
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.inference.packed.tokens import onto
from c2c_search.inference.scoring import response_logits


if TYPE_CHECKING:
    from transformers import PreTrainedModel


PROMPT_TOKENS = 4096
"""Prompt tokens in one pass, about: the receiver keeps queries and keys for the way back."""

RESPONSE_TOKENS = 1024
"""Response tokens in one pass, about: each of them has logits for the whole vocabulary."""

Ended = TypeVar("Ended")


class LossRequest(Protocol):
    """A loss that a training wants."""

    def loss(self) -> torch.Tensor:
        """Mean next-token loss (nats) over the response tokens; gradients flow."""
        ...


Steps = Generator[LossRequest, torch.Tensor, Ended]
"""A training in steps; see the module."""


@dataclass(frozen=True)
class ReceiverStep:
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

        Not where its trial changes the receiver itself (``lora_rank``), or where its sharer
        reads along (``fuse_response``, ``refresh``).
        """
        return self.fused.reader is None and self.fused.adaptation is None

    @property
    def tokens(self) -> int:
        """Of all responses."""
        return sum(map(len, self.responses))

    @property
    def weight(self) -> int:
        """How much of a batch's loss this part of it is: its tokens, which count alike."""
        return self.tokens

    @property
    def branches(self) -> list[list[Sequence[int]]]:
        """What the receiver reads after each prompt, side by side."""
        return [[response] for response in self.responses]

    def loss_of(self, logits: torch.Tensor) -> torch.Tensor:
        """The loss, from ``(all response tokens, vocabulary)``."""
        return response_loss(logits, self.responses, self.label_smoothing)

    def of_rows(self, rows: range) -> ReceiverStep:
        """Of some prompts that stand side by side."""
        chosen = slice(rows.start, rows.stop)
        return replace(
            self,
            fused=self.fused.of_rows(rows),
            last_ids=self.last_ids[chosen],
            responses=self.responses[chosen],
        )

    def loss(self) -> torch.Tensor:
        """Mean next-token loss (nats) over the response tokens; gradients flow."""
        if self.shareable and len(_passes([self])) > 1:
            return losses_at_once([self])[0]
        return self._read()

    @torch.no_grad()
    def value(self) -> torch.Tensor:
        """The same loss without gradients."""
        parts = [self.of_rows(rows) for each in _passes([self]) for rows in each.values()]
        return torch.stack([part._read() * (part.weight / self.weight) for part in parts]).sum()

    def _read(self) -> torch.Tensor:
        return self.loss_of(response_logits(self.model, self.fused, self.last_ids, self.branches))


@dataclass(frozen=True)
class LogitsStep:
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


def losses_at_once(steps: Sequence[ReceiverStep]) -> list[torch.Tensor]:
    """Losses of several batches that one receiver reads, each with its own gradient.

    They are read in one pass, or in several of at most about `PROMPT_TOKENS` and
    `RESPONSE_TOKENS`, each of which forgets what it had to keep before the next begins.

    A value that is no number anywhere makes every loss NaN: masked attention multiplies what it
    does not see by zero, and zero times NaN is NaN, so that no batch can be told to be sound.

    Args:
        steps: Of one receiver, all shareable.

    Returns:
        Scalars whose gradients flow into each step's fused cache and memories, and into nothing
        else.
    """
    losses: list[list[torch.Tensor]] = [[] for _ in steps]
    gradients: list[list[tuple[torch.Tensor, ...]]] = [[] for _ in steps]
    for pieces in _passes(steps):
        found = _one_pass(
            [steps[index].of_rows(rows) for index, rows in pieces.items()],
            [steps[index].weight for index in pieces],
        )
        for index, loss, gradient in zip(pieces, *found, strict=True):
            losses[index].append(loss)
            gradients[index].append(gradient)
    totals = torch.stack([torch.stack(parts).sum() for parts in losses])
    whole = [[_joined(parts) for parts in zip(*of_step, strict=True)] for of_step in gradients]
    norms = torch.stack([torch.linalg.vector_norm(each) for of_step in whole for each in of_step])
    sound = torch.cat([totals, norms]).isfinite().all()
    known = torch.where(sound, totals, torch.nan)
    return [
        _KnownGradient.apply(loss, tuple(of_step), *_learned_from(step.fused).values())
        for step, loss, of_step in zip(steps, known.unbind(), whole, strict=True)
    ]


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat([*parts], dim=2)


def _learned_from(fused: FusedCache) -> dict[int, torch.Tensor]:
    """Of what fusers said, by its place there, what a gradient is wanted of: the cache, if nobody
    says which."""
    said = dict(enumerate(fused.said))
    return {n: each for n, each in said.items() if each.requires_grad} or {0: said[0]}


def _passes(steps: Sequence[ReceiverStep]) -> list[dict[int, range]]:
    """Passes over several batches: of which of them each reads which rows."""
    rows = [(index, row) for index, step in enumerate(steps) for row in range(len(step.last_ids))]

    def sizes(which: tuple[int, int]) -> tuple[int, int]:
        step, row = steps[which[0]], which[1]
        return step.fused.tokens_of(row), len(step.responses[row])

    passes = []
    for portion in portions(rows, sizes, (PROMPT_TOKENS, RESPONSE_TOKENS)):
        pieces: dict[int, range] = {}
        for index, row in portion:
            pieces[index] = range(pieces.get(index, range(row, row)).start, row + 1)
        passes.append(pieces)
    return passes


def _one_pass(
    steps: Sequence[ReceiverStep], weights: Sequence[int]
) -> tuple[list[torch.Tensor], list[tuple[torch.Tensor, ...]]]:
    """Parts of batches in one pass: what each adds to its batch's loss, and its gradients.

    Args:
        steps: The parts.
        weights: Of the whole batch of each.
    """
    leaves = [
        {n: each.detach().requires_grad_() for n, each in _learned_from(step.fused).items()}
        for step in steps
    ]
    logits = response_logits(
        steps[0].model,
        FusedCache.side_by_side(
            [
                step.fused.saying([own.get(n, each) for n, each in enumerate(step.fused.said)])
                for step, own in zip(steps, leaves, strict=True)
            ]
        ),
        [last for step in steps for last in step.last_ids],
        [branches for step in steps for branches in step.branches],
    )
    losses = [
        step.loss_of(part) * (step.weight / weight)
        for part, step, weight in zip(
            logits.split([step.tokens for step in steps]), steps, weights, strict=True
        )
    ]
    flat = [leaf for own in leaves for leaf in own.values()]
    gradients = iter(torch.autograd.grad(torch.stack(losses).sum(), flat))
    return [loss.detach() for loss in losses], [
        tuple(next(gradients) for _ in own) for own in leaves
    ]


class _KnownGradient(torch.autograd.Function):
    """A loss whose gradient is known already."""

    @staticmethod
    def forward(
        ctx: Any, loss: torch.Tensor, gradients: tuple[torch.Tensor, ...], *said: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(*gradients)
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return None, None, *(outer[0] * gradient for gradient in ctx.saved_tensors)


def alone(training: Steps[Ended]) -> Ended:
    """Drive one training to its end; the receiver reads for it alone."""
    try:
        request = next(training)
        while True:
            loss = request.loss()
            del request  # and its cache with it, before the next one is made
            request = training.send(loss)
    except StopIteration as end:
        ended: Ended = end.value
        return ended
