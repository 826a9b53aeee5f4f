"""Bytes that a trial takes, by what takes them."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace


@dataclass(frozen=True)
class TrialMemory:
    """Bytes on the training device at the peak of a trial: of calibration, step, or validation.

    Args:
        models: Weights of both models, in the dtype that they are loaded in.
        caches: The batch's prompt caches, and those of the next batch where it is gathered ahead.
        fuser: Its tensors, their gradients and the optimizer's moments.
        activations: All else: what the forward pass keeps, and what the backward pass needs.
    """

    models: int
    caches: int
    fuser: int
    activations: int

    @property
    def total(self) -> int:
        return self.models + self.caches + self.fuser + self.activations

    def in_lockstep(self, trials: int) -> TrialMemory:
        """As much for each of several trials that train in lockstep on the same models."""
        return TrialMemory(
            self.models, self.caches * trials, self.fuser * trials, self.activations * trials
        )

    def with_validation(self, taken: int) -> TrialMemory:
        """The same where a pass of validation takes so much beside models and fuser."""
        return replace(self, activations=max(self.activations, taken - self.caches))

    def with_calibration(self, taken: int) -> TrialMemory:
        """The same where calibration takes so much beside the models."""
        return self.with_validation(taken - self.fuser)
