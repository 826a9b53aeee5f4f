"""The pace of a device that is not here: from a study's arithmetic, a peak rate and its use."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

from c2c_search.evaluation.systems.registry import SYSTEMS
from c2c_search.models.attention_maps import skeleton_of
from c2c_search.models.geometry import geometry
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
        prompt: Of a prompt.
        response: Of what is learned.
        options: Of all options that are compared, together.
    """

    prompt: float
    response: float
    options: float


@dataclass(frozen=True)
class ModelSize:
    """What of a model its arithmetic depends on.

    Args:
        body: Weights of the maps in its layers.
        head: Weights of the map to the vocabulary.
        attended: Numbers of a token's queries, over all layers and heads.
    """

    body: int
    head: int
    attended: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> ModelSize:
        """From a configuration; the model is built without content.

        Raises:
            ConfigError: It is none that can be fused.
        """
        found, model = geometry(config), skeleton_of(config)
        head = found.hidden_size * found.vocab_size
        maps = {id(one): one.numel() for one in model.parameters() if one.dim() > 1}
        embedded = {id(model.get_input_embeddings().weight), id(model.lm_head.weight)}
        body = sum(size for number, size in maps.items() if number not in embedded)
        queries = model.config.num_attention_heads * found.head_dim
        return cls(body, head, found.layers * queries)

    def read(self, tokens: float, before: float = 0.0) -> float:
        """Floating-point operations of reading tokens behind others, all of which they see."""
        return 2 * self.body * tokens + 4 * self.attended * tokens * (before + tokens / 2)

    def predict(self, tokens: float) -> float:
        """The same of predicting what follows each of so many tokens."""
        return 2 * self.head * tokens


@dataclass(frozen=True)
class CountedPace:
    """How long work takes whose operations are counted; see `Pace`.

    A step reads the responses behind caches that are there, and goes back through the frozen
    receiver to the fuser: as much again for the receiver, twice as much again for the fuser.

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
        receiver, lengths = self.sizes[trial.pair.receiver], self.lengths
        parameters = self.parameters(trial)
        response = receiver.read(lengths.response, lengths.prompt)
        response += receiver.predict(lengths.response)
        example = 2 * response + 6 * parameters * lengths.prompt
        examples = trial.training.batch_size * trial.training.passes
        judged = self._choosing(receiver) + 2 * parameters * lengths.prompt
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
