"""The pace of a device that is not here: from a study's arithmetic, a peak rate and its use."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from c2c_search.evaluation.systems.registry import SYSTEMS
from c2c_search.models.arithmetic import Fused
from c2c_search.models.arithmetic import ModelSize
from c2c_search.study.pace import TrainingCost
from c2c_search.system_names import TWIN


if TYPE_CHECKING:
    from c2c_search.config.trial import TrialConfig
    from c2c_search.models.pair import PairSpec


UTILISATION = 0.2
"""Of a device's peak; small models and short texts leave most of it unused."""

BETWEEN = 0.1, 0.4
"""Utilisation that is seen at the least, and at the most."""

_START = 60.0  # seconds until models are loaded
_RELAYED = 64  # tokens that a sharer writes for its receiver


@dataclass(frozen=True)
class Lengths:
    """Tokens of an example, on average.

    Args:
        prompt: Of a prompt, the longer one where the models read different ones.
        response: Of what is learned.
        options: Of all options that are compared, together.
        read: Of both models' prompts, together.
    """

    prompt: float
    response: float
    options: float
    read: float


@dataclass(frozen=True)
class CountedPace:
    """How long work takes whose operations are counted; see `Pace`.

    Args:
        rate: Operations a second, as used.
        sizes: Of the models, by their sources.
        lengths: Of the texts.
        parameters: Of a trial's fuser.
        basis: See `Pace`.
    """

    rate: float
    sizes: Mapping[str, ModelSize]
    lengths: Lengths
    parameters: Callable[[TrialConfig], int]
    basis: tuple[str, ...] = ()
    start: float = _START
    spread: tuple[float, float] = (UTILISATION / BETWEEN[1], UTILISATION / BETWEEN[0])
    measured_seconds: float = 0.0
    others: float = 0.0

    def prefill(self, model: str) -> float:
        return self.sizes[model].read(1, self.lengths.prompt / 2) / self.rate

    def training(self, trial: TrialConfig, control: str | None = None) -> TrainingCost:
        lengths, parameters = self.lengths, self.parameters(trial)
        fused = Fused(self.sizes[trial.pair.receiver], parameters)
        example = fused.learned([lengths.response], lengths.prompt, lengths.prompt)
        judged = fused.answered([lengths.options], lengths.prompt, lengths.prompt)
        examples = trial.training.batch_size * trial.training.passes
        times = 1 if control == TWIN else 2  # with another one's message too
        return TrainingCost(
            start=0.0,
            step=examples * example / self.rate,
            judged=times * judged / self.rate,
            parameters=parameters,
        )

    def answer(self, system: str, pair: PairSpec) -> float:
        receiver, sharer = self.sizes[pair.receiver], self.sizes[pair.sharer]
        chosen = self._choosing(sharer if system == "sharer" else receiver)
        if "sharer" in SYSTEMS[system].needs and SYSTEMS[system].kind == "system":
            relayed = self.lengths.prompt + _RELAYED
            chosen += sharer.read(relayed) + sharer.predict(_RELAYED) + receiver.read(relayed)
        return chosen / self.rate

    def _choosing(self, model: ModelSize) -> float:
        options = self.lengths.options
        return model.read(options, self.lengths.prompt) + model.predict(options)
