"""The training of something on the receiver alone, which reads whole prompts itself.

What a fuser's parameters can learn without any sharer is measured so: by LoRA, by a cartridge.
Each has the examples of the trial, in its order, for its steps.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import ClassVar

import torch

from c2c_search.batching import portions
from c2c_search.config.deepspeed import AUTOCAST
from c2c_search.evaluation.items import Question
from c2c_search.evaluation.scoring import choose_options
from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.host.files import write_text
from c2c_search.inference.model import C2CModel
from c2c_search.inference.packed.context import PackedContext
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.inference.packed.tokens import TRUNK
from c2c_search.inference.packed.tokens import Tokens
from c2c_search.models.geometry import cache_shape
from c2c_search.tokenization.templates import template_of
from c2c_search.training.loop import Training
from c2c_search.training.loop import TrainingData
from c2c_search.training.option_step import OptionLogitsStep
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Trained
from c2c_search.training.step import LogitsStep
from c2c_search.training.step import alone


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.config.training import TrainingConfig
    from c2c_search.config.trial import TrialConfig
    from c2c_search.evaluation.results import ItemResult
    from c2c_search.evaluation.systems import System
    from c2c_search.models.loading import LoadedModel
    from c2c_search.training.engine import Trainable
    from c2c_search.training.engine import TrainingEngine
    from c2c_search.training.step import LossRequest


_PACK_TOKENS = 2048  # a pack's attention mask grows with the square


class ReceiverTraining(Training):
    """Trains something on one receiver, as a trial trains its fuser.

    Examples, their order, stages, steps, schedule, clipping, label smoothing, rungs and seed are
    the trial's; the learning rate is its own. The loss too is the trial's, over the tokens of the
    response and its end, but the whole prompt runs through the receiver.

    Args:
        config: The trial.
        receiver: What reads and answers.
        data: The trial's; the stored prompt caches are not used, since what is trained changes
            them.
        directory: Gets ``checkpoints/``, ``best/`` (a folder that peft loads) and a summary
            (`Trained`), named after the system.
        emit: Called with every event.
        go_on: Called after every rung but the last; False stops the training there.
    """

    learns = "model"
    peak_rate: ClassVar[float]
    """Of the schedule, in place of the trial's, which was found for fusers."""

    def __init__(
        self,
        config: TrialConfig,
        receiver: LoadedModel,
        data: TrainingData,
        directory: Path,
        *,
        emit: Callable[[Event], None],
        go_on: Callable[[], bool],
    ) -> None:
        alone = C2CModel(
            receiver,
            receiver,
            None,
            template=template_of(config.data.template, "receiver"),
            cache_dtype=getattr(torch, config.cache_dtype),
            date=config.data.date,
        )
        super().__init__(config, alone, data, directory, emit=emit, go_on=go_on)
        self.validation = QuestionPrompts(
            alone,
            [Question.of_row(row) for row in data.validation],
            batch_size=config.evaluation.batch_size,
        )
        self.training = at_one_rate(config.training, self.peak_rate)

    @abstractmethod
    def _module(self) -> Trainable:
        """What is trained."""

    @abstractmethod
    def _system(self) -> System:
        """The receiver as it answers by now."""

    @abstractmethod
    def _sizes(self) -> dict[str, float]:
        """Metrics that say how large it is."""

    def run(self) -> Trained:
        """Train to the end, or to the rung where it is stopped.

        Raises:
            DivergedError: The loss became infinite or NaN.
        """
        module = self._module()
        pruned = alone(self._train(module))
        learned = [each for each in module.parameters() if each.requires_grad]
        best = self.best
        ended = Trained(
            step=self.step,
            split=best.split,
            pruned=pruned,
            objective=best.objective,
            accuracy=best.accuracy,
            best_rung=best.rung,
            best_dir=str(self.best_dir),
            parameters=sum(parameter.numel() for parameter in learned),
            bytes=sum(parameter.nbytes for parameter in module.parameters()),
            seconds=self.seconds,
            metrics={**best.metrics, **self._sizes()},
        )
        summary = ended.model_dump_json(indent=2, exclude={"type"}) + "\n"
        if self.ranks.first:
            write_text(self.directory / f"{self.system}.json", summary)
        return ended

    def _request(self, engine: TrainingEngine, rows: list[int]) -> LossRequest:
        prompts = [self.data.train_prompts.encoded[row].receiver_ids for row in rows]
        if self.kind == "task":
            assert self.options is not None
            options = self.options.of_rows(rows)
            # What is trained may change with every token, so each choice has a prompt of its own.
            pairs = [
                (prompt, choice)
                for prompt, own in zip(prompts, options.ids, strict=True)
                for choice in own
            ]
            return OptionLogitsStep(engine(*zip(*pairs, strict=True)), options)
        responses = [self.responses[row] for row in rows]
        return LogitsStep(engine(prompts, responses), responses, self.training.label_smoothing)

    def _answer(self) -> tuple[ItemResult, ...]:
        return choose_options(
            self._system(),
            self.validation,
            length_normalised=self.config.evaluation.length_normalised,
            progress=self._judging,
        )


def at_one_rate(training: TrainingConfig, peak: float) -> TrainingConfig:
    """The same training with another peak rate in all stages: those of a trial are a fuser's."""
    stages = tuple(stage.model_copy(update={"learning_rate": None}) for stage in training.stages)
    changes: dict[str, object] = {"learning_rate": peak, "stages": stages}
    if training.deepspeed is not None:  # 16 bits are for a fuser: the receiver has its own dtype
        kept = {name: each for name, each in training.deepspeed.items() if name != AUTOCAST}
        changes["deepspeed"] = kept
    return training.model_copy(update=changes)


def response_logits(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    entries: torch.Tensor | None = None,
) -> torch.Tensor:
    """Read whole prompts, packed, and give the logits of every response token.

    Args:
        model: What reads; gradients flow into whatever is trained in it.
        prompts: Token ids of each prompt.
        responses: Token ids of each response.
        entries: Cache entries in front of every prompt, ``(2, layers, entries, size)``; gradients
            flow into them too.

    Returns:
        ``(all response tokens, vocabulary)`` in float32.
    """
    if entries is None:
        shape = cache_shape(model)
        entries = torch.zeros(2, shape.layers, 0, shape.size, device=model.device)
    front = entries
    packs = portions(
        range(len(prompts)),
        lambda row: [front.shape[2] + len(prompts[row]) + len(responses[row])],
        [_PACK_TOKENS],
    )
    return torch.cat(
        [
            _of_a_pack(
                model, [prompts[row] for row in pack], [responses[row] for row in pack], front
            )
            for pack in packs
        ]
    )


def _of_a_pack(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    entries: torch.Tensor,
) -> torch.Tensor:
    count = entries.shape[2]
    front = FusedCache(entries.repeat(1, 1, len(prompts), 1), (count,) * len(prompts))
    context = PackedContext(model, front)
    ids: list[int] = []
    owners: list[int] = []
    positions: list[int] = []
    predictors: list[int] = []  # which token predicts each response token
    for number, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        fed = [*prompt, *response[:-1]]
        predictors += range(len(ids) + len(prompt) - 1, len(ids) + len(fed))
        ids += fed
        owners += [number] * len(fed)
        positions += range(count, count + len(fed))
    tokens = Tokens(
        prompt=torch.tensor(owners),
        branch=torch.full((len(ids),), TRUNK),
        position=torch.tensor(positions),
    )
    return context.feed(torch.tensor(ids), tokens, torch.tensor(predictors)).float()
