"""LoRA on the receiver alone, the control for what a fuser's parameters can learn.

A fuser adds a few million trained parameters to the receiver, which might help without any
sharer. LoRA (Hu et al. 2021, arXiv 2106.09685) of the same size, trained on the same examples in
the same order for the same steps, shows how much.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from typing import Any

import torch

from c2c_search.evaluation.systems.alone import Adapted
from c2c_search.training.adapters import save
from c2c_search.training.receiver_training import ReceiverTraining
from c2c_search.training.receiver_training import response_logits


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator
    from collections.abc import Sequence
    from pathlib import Path

    from peft import PeftModel
    from transformers import PreTrainedModel

    from c2c_search.config.trial import TrialConfig
    from c2c_search.models.loading import LoadedModel
    from c2c_search.training.loop import TrainingData
    from c2c_search.training.protocol import Event
    from c2c_search.training.protocol import Trained


LEARNING_RATE = 1e-3
"""Peak rate, in place of the trial's, which was found for fusers.

Rank 9 on SmolLM2-135M, 50 steps of 8 on the quickstart's quiz, one seed: a training loss over the
last ten steps of 2.16 at 3e-4, 1.94 at 1e-3 and 1.95 at 3e-3, with 56, 59 and 61 % of 300
validation questions right. 1e-3 is as good as any here and further from rates that diverge.
"""

_ALPHA_PER_RANK = 2


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
        return response_logits(model, prompts, responses)


class LoraTraining(ReceiverTraining):
    """Trains one adapter; see `adapt`."""

    system = "lora"
    peak_rate = LEARNING_RATE

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
        super().__init__(config, receiver, data, directory, emit=emit, go_on=go_on)
        self.adapted = adapted

    def _module(self) -> Adapter:
        return Adapter(self.adapted)

    def _system(self) -> Adapted:
        return Adapted(self.system, self.model, self.model.receiver)

    def _sizes(self) -> dict[str, float]:
        return {"lora/rank": self.adapted.peft_config["default"].r}

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
    """Train LoRA on a receiver, from its checkpoint if there is one; see `ReceiverTraining`.

    Args:
        config: The trial.
        receiver: Unchanged afterwards.
        data: The trial's.
        directory: See `ReceiverTraining`.
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
        return training.run()


def _trained(adapted: PeftModel) -> list[torch.nn.Parameter]:
    return [parameter for parameter in adapted.parameters() if parameter.requires_grad]
