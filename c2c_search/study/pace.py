"""How long a machine takes for a token, a training step, an answer."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING
from typing import Protocol

from c2c_search.evaluation.systems.registry import SYSTEMS


if TYPE_CHECKING:
    from c2c_search.config.trial import TrialConfig
    from c2c_search.models.pair import PairSpec


@dataclass(frozen=True)
class TrainingCost:
    """What a training takes, in seconds.

    Args:
        start: Before its first step and after its last one, but for judging.
        step: Of an optimizer step, on average over its stages.
        judged: Of a question at a rung, hearing the right message and another one.
        parameters: Of what was trained.
    """

    start: float
    step: float
    judged: float
    parameters: int = 0


class Pace(Protocol):
    """How long each kind of work takes."""

    @property
    def start(self) -> float:
        """Seconds of a worker until its models are loaded."""

    @property
    def spread(self) -> tuple[float, float]:
        """What times may be multiplied by, at the least and at the most."""

    @property
    def measured_seconds(self) -> float:
        """What measuring took."""

    @property
    def others(self) -> float:
        """The share of the processors that other programs took while it was measured."""

    @property
    def basis(self) -> tuple[str, ...]:
        """What it rests on, a sentence each."""

    def prefill(self, model: str) -> float:
        """Seconds of a token that a model, named by its source, reads."""

    def training(self, trial: TrialConfig, control: str | None = None) -> TrainingCost:
        """Of a trial's fuser, or of what a control has trained for it."""

    def answer(self, system: str, pair: PairSpec) -> float:
        """Seconds of a question that a system answers."""


@dataclass(frozen=True)
class MeasuredPace:
    """What was measured.

    Args:
        start: See `Pace`, as for the others.
        spread: See `Pace`.
        measured_seconds: See `Pace`.
        others: See `Pace`.
        basis: See `Pace`.
        tokens: Seconds of a token, by the model's source.
        trainings: Of fusers by their pair, each with its trial.
        controls: Of what controls have trained for the first of them, by pair and control.
        answers: Seconds of a question, by pair and system.
        parameters: Of a trial's fuser.
    """

    start: float
    spread: tuple[float, float]
    measured_seconds: float
    others: float
    basis: tuple[str, ...]
    tokens: Mapping[str, float]
    trainings: Mapping[PairSpec, Sequence[tuple[TrialConfig, TrainingCost]]]
    controls: Mapping[PairSpec, Mapping[str, TrainingCost]]
    answers: Mapping[PairSpec, Mapping[str, float]]
    parameters: Callable[[TrialConfig], int]

    def prefill(self, model: str) -> float:
        return self.tokens[model]

    def training(self, trial: TrialConfig, control: str | None = None) -> TrainingCost:
        """As `Pace` says; a fuser between two that were measured takes between what they took.

        A control that trains a fuser of the trial's kind takes as many times what was measured of
        it as the trial takes of the one that it was measured for.
        """
        if control is not None:
            return self._control(trial, control)
        known = self.trainings[trial.pair]
        for measured, cost in known:
            if measured == trial:
                return cost
        costs = sorted((cost for _, cost in _most_alike(known, trial)), key=_size)
        return between(costs, self.parameters(trial))

    def _control(self, trial: TrialConfig, control: str) -> TrainingCost:
        own = self.training(trial)
        pair = trial.pair if trial.pair in self.controls else next(iter(self.controls), None)
        if pair is None or control not in self.controls[pair]:
            return own
        found, (_, first) = self.controls[pair][control], self.trainings[pair][0]
        recipe = SYSTEMS[control].recipe
        if recipe is None or recipe.learner != "fuser" or not first.step:
            return found
        return replace(found, step=found.step * (own.step / first.step))

    def answer(self, system: str, pair: PairSpec) -> float:
        for known in (self.answers.get(pair, {}), *self.answers.values()):
            if system in known:
                return known[system]
        _, first = self.trainings[pair][0]
        return first.judged / 2  # with one message of the two


def between(known: Sequence[TrainingCost], parameters: int) -> TrainingCost:
    """What a fuser of so many parameters takes, in proportion between those next to it.

    Args:
        known: Measured ones, the smallest first.
        parameters: Beyond their ends, it takes as much as the one at that end.
    """
    for low, high in pairwise(known):
        if low.parameters <= parameters <= high.parameters and low.parameters < high.parameters:
            share = (parameters - low.parameters) / (high.parameters - low.parameters)
            return TrainingCost(
                low.start + share * (high.start - low.start),
                low.step + share * (high.step - low.step),
                low.judged + share * (high.judged - low.judged),
                parameters,
            )
    return known[0] if parameters < known[0].parameters else known[-1]


def _most_alike(
    known: Sequence[tuple[TrialConfig, TrainingCost]], trial: TrialConfig
) -> Sequence[tuple[TrialConfig, TrainingCost]]:
    """Those whose message reaches the receiver in the same way, and by the same projector."""
    for alike in (("injection", "projector"), ("injection",)):
        wanted = [getattr(trial.fuser, name) for name in alike]
        found = [
            each for each in known if [getattr(each[0].fuser, name) for name in alike] == wanted
        ]
        if found:
            return found
    return known


def _size(cost: TrainingCost) -> int:
    return cost.parameters
