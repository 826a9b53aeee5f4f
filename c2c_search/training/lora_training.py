"""LoRA on the receiver alone, the control for what a fuser's parameters can learn.

A fuser adds a few million trained parameters to the receiver, which might help without any
sharer. LoRA (Hu et al. 2021, arXiv 2106.09685) of the same size, trained on the same examples in
the same order for the same steps, shows how much.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import torch

from c2c_search.batching import portions
from c2c_search.evaluation.items import Question
from c2c_search.evaluation.scoring import choose_options
from c2c_search.evaluation.systems.alone import Adapted
from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.host.files import write_text
from c2c_search.inference.model import C2CModel
from c2c_search.inference.packed.context import PackedContext
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.inference.packed.tokens import TRUNK
from c2c_search.inference.packed.tokens import Tokens
from c2c_search.models.geometry import cache_shape
from c2c_search.models.loading import LoadedModel
from c2c_search.training.adapters import save
from c2c_search.training.loop import Training
from c2c_search.training.loop import TrainingData
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Trained
from c2c_search.training.step import LogitsStep
from c2c_search.training.step import alone


if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    from c2c_search.config.trial import TrialConfig
    from c2c_search.evaluation.results import ItemResult
    from c2c_search.training.engine import TrainingEngine


LEARNING_RATE = 1e-3
"""Peak rate, in place of the trial's, which was found for fusers.

Rank 9 on SmolLM2-135M, 50 steps of 8 on the quickstart's quiz, one seed: a training loss over the
last ten steps of 2.16 at 3e-4, 1.94 at 1e-3 and 1.95 at 3e-3, with 56, 59 and 61 % of 300
validation questions right. 1e-3 is as good as any here and further from rates that diverge.
"""

SUMMARY = "lora.json"
"""File in the training's directory that says how it ended (`Trained`)."""

_ALPHA_PER_RANK = 2
_PACK_TOKENS = 2048  # a pack's attention mask grows with the square


def rank_for(model: PreTrainedModel, parameters: int) -> int:
    """The largest rank at which LoRA has at most so many parameters; 1 if there is none.

    Args:
        model: What is adapted: all linear layers, save the output head.
        parameters: The fuser's.
    """
    with attached(model, 1) as adapted:
        per_rank = sum(parameter.numel() for parameter in _trained(adapted))
    return max(1, parameters // per_rank)


@contextmanager
def attached(model: PreTrainedModel, rank: int) -> Iterator[PeftModel]:
    """Put an untrained adapter into a model, and take it out again at the end.

    The model itself answers with the adapter in between; its own weights are never touched.

    Args:
        model: A frozen model.
        rank: Of the adapter.
    """
    from peft import LoraConfig
    from peft import get_peft_model

    config = LoraConfig(
        r=rank,
        lora_alpha=_ALPHA_PER_RANK * rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config).eval()
    try:
        yield adapted
    finally:
        adapted.unload()


class Adapter(torch.nn.Module):
    """The parameters that LoRA adds to a model, and the model's answers with them.

    Args:
        adapted: The model with its adapter.
    """

    def __init__(self, adapted: PeftModel) -> None:
        super().__init__()
        self.added = torch.nn.ParameterList(_trained(adapted))
        # In a tuple it is no child: the engine sees, and a checkpoint holds, the adapter alone.
        self._model: tuple[PreTrainedModel] = (adapted.get_base_model(),)

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Optimizer groups: a single one, of matrices."""
        parameters = list(self.added)
        return [{"params": parameters, "lr": learning_rate, "weight_decay": weight_decay}]

    def forward(
        self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """Read whole prompts and give the logits of every response token.

        Args:
            prompts: Token ids of each prompt.
            responses: Token ids of each response.

        Returns:
            ``(all response tokens, vocabulary)`` in float32.
        """
        (model,) = self._model
        packs = portions(
            range(len(prompts)),
            lambda row: [len(prompts[row]) + len(responses[row])],
            [_PACK_TOKENS],
        )
        return torch.cat(
            [
                _response_logits(
                    model, [prompts[row] for row in pack], [responses[row] for row in pack]
                )
                for pack in packs
            ]
        )


class LoraTraining(Training):
    """Trains one adapter; see `adapt`."""

    system = "lora"
    learns = "model"

    def __init__(
        self,
        config: TrialConfig,
        receiver: LoadedModel,
        adapted: PeftModel,
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
            template=config.data.template,
            cache_dtype=getattr(torch, config.cache_dtype),
            date=config.data.date,
        )
        super().__init__(config, alone, data, directory, emit=emit, go_on=go_on)
        self.validation = QuestionPrompts(
            alone,
            [Question.of_row(row) for row in data.validation],
            batch_size=config.evaluation.batch_size,
        )
        self.training = config.training.model_copy(update={"learning_rate": LEARNING_RATE})
        self.adapted = adapted

    def run(self) -> Trained:
        """Train to the end, or to the rung where it is stopped.

        Raises:
            DivergedError: The loss became infinite or NaN.
        """
        adapter = Adapter(self.adapted)
        pruned = alone(self._train(adapter))
        best = self.best
        return Trained(
            step=self.step,
            split=best.split,
            pruned=pruned,
            objective=best.objective,
            accuracy=best.accuracy,
            best_rung=best.rung,
            best_dir=str(self.best_dir),
            parameters=sum(parameter.numel() for parameter in adapter.parameters()),
            bytes=sum(parameter.nbytes for parameter in adapter.parameters()),
            seconds=self.seconds,
            metrics={**best.metrics, "lora/rank": self.adapted.peft_config["default"].r},
        )

    def _request(self, engine: TrainingEngine, rows: list[int]) -> LogitsStep:
        prompts = [self.data.train_prompts.encoded[row].receiver_ids for row in rows]
        responses = [self.responses[row] for row in rows]
        return LogitsStep(engine(prompts, responses), responses, self.training.label_smoothing)

    def _answer(self) -> tuple[ItemResult, ...]:
        return choose_options(
            Adapted(self.system, self.model, self.model.receiver),
            self.validation,
            length_normalised=self.config.evaluation.length_normalised,
            progress=self._judging,
        )

    def _keep(self) -> None:
        save(self.adapted, self.model.receiver.identity.source, self.best_dir)


def adapt(
    config: TrialConfig,
    receiver: LoadedModel,
    data: TrainingData,
    directory: Path,
    *,
    parameters: int,
    emit: Callable[[Event], None],
    go_on: Callable[[], bool],
) -> Trained:
    """Train LoRA on a receiver as a trial trains its fuser, from its checkpoint if there is one.

    Examples, their order, steps, schedule, clipping, label smoothing, rungs and seed are the
    trial's; the learning rate is `LEARNING_RATE`. The loss too is the trial's, over the tokens of
    the response and its end, but the whole prompt runs through the adapted receiver.

    Args:
        config: The trial.
        receiver: Unchanged afterwards.
        data: The trial's; the stored prompt caches are not used, since LoRA changes them.
        directory: Gets ``checkpoints/``, ``best/`` (a folder that peft loads) and `SUMMARY`.
        parameters: The fuser's, for `rank_for`.
        emit: Called with every event.
        go_on: Called after every rung but the last; False stops it there.

    Raises:
        DivergedError: The loss became infinite or NaN.
    """
    rank = rank_for(receiver.model, parameters)
    torch.manual_seed(config.seed)
    with attached(receiver.model, rank) as adapted:
        training = LoraTraining(config, receiver, adapted, data, directory, emit=emit, go_on=go_on)
        ended = training.run()
    write_text(directory / SUMMARY, ended.model_dump_json(indent=2, exclude={"type"}) + "\n")
    return ended


def _trained(adapted: PeftModel) -> list[torch.nn.Parameter]:
    return [parameter for parameter in adapted.parameters() if parameter.requires_grad]


def _response_logits(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Logits of response tokens; prompts and responses are packed, on top of empty caches."""
    shape = cache_shape(model)
    empty = torch.zeros(2, shape.layers, 0, shape.size, device=model.device)
    context = PackedContext(model, FusedCache(empty, (0,) * len(prompts)))
    ids: list[int] = []
    owners: list[int] = []
    positions: list[int] = []
    predictors: list[int] = []  # which token predicts each response token
    for number, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        fed = [*prompt, *response[:-1]]
        predictors += range(len(ids) + len(prompt) - 1, len(ids) + len(fed))
        ids += fed
        owners += [number] * len(fed)
        positions += range(len(fed))
    tokens = Tokens(
        prompt=torch.tensor(owners),
        branch=torch.full((len(ids),), TRUNK),
        position=torch.tensor(positions),
    )
    return context.feed(torch.tensor(ids), tokens, torch.tensor(predictors)).float()
