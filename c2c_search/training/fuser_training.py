"""The training of a fuser, from its first step to the fuser of its best rung."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import torch

from c2c_search.evaluation.scoring import answer
from c2c_search.fuser import checkpoint
from c2c_search.fuser.cost import as_large
from c2c_search.fuser.cost import tensor_bytes
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.selection import without_shut_layers
from c2c_search.inference.loading import cache_shape
from c2c_search.models.arithmetic import Fused
from c2c_search.models.arithmetic import ModelSize
from c2c_search.space.objective import PLAIN_ACCURACY
from c2c_search.space.objective import Objective
from c2c_search.training.harm_guard import HarmGuard
from c2c_search.training.loop import Training
from c2c_search.training.loop import TrainingData
from c2c_search.training.option_step import OptionStep
from c2c_search.training.prefetch import Prefetcher
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Step
from c2c_search.training.protocol import Trained
from c2c_search.training.step import ReceiverStep
from c2c_search.training.step import alone
from c2c_search.training.work import WorkMeter


if TYPE_CHECKING:
    from c2c_search.config.trial import TrialConfig
    from c2c_search.evaluation.results import ItemResult
    from c2c_search.evaluation.results import SystemResult
    from c2c_search.fuser.config import FuserConfig
    from c2c_search.inference.model import C2CModel
    from c2c_search.prompt_cache.batches import PairBatch
    from c2c_search.training.course import Pass
    from c2c_search.training.engine import TrainingEngine
    from c2c_search.training.step import Steps


class FuserTraining(Training):
    """Trains one fuser.

    Args:
        config: What to train, how and on what.
        model: The pair, with the trial's (untrained) fuser in it.
        data: Training and validation examples.
        directory: Checkpoints go to ``checkpoints/``, the best rung's fuser to ``best/``.
        emit: Called with every event.
        go_on: Called after every rung but the last; False stops the trial there.
        objective: What the best rung is chosen by.
    """

    system = "c2c"
    learns = "fuser"

    def __init__(
        self,
        config: TrialConfig,
        model: C2CModel,
        data: TrainingData,
        directory: Path,
        *,
        emit: Callable[[Event], None],
        go_on: Callable[[], bool],
        objective: Objective = PLAIN_ACCURACY,
    ) -> None:
        assert model.fuser is not None
        super().__init__(
            config, model, data, directory, emit=emit, go_on=go_on, objective=objective
        )
        self.fuser: Fuser = model.fuser
        self.fuser.recomputes = config.training.checkpoint_activations
        self.guard: HarmGuard | None = None
        if self.training.guard is not None:
            self.guard = HarmGuard(config, model, data, self.responses)
        self.meter = WorkMeter(
            Fused(
                ModelSize.of_model(model.receiver.model),
                sum(parameter.numel() for parameter in self.fuser.parameters()),
            ),
            config.fuser,
            self.course,
            config.training.passes,
            data.train_prompts,
            self.responses,
            self.options,
        )
        # Where caches are computed again, the models run, and they run for one thread at a time.
        # On the CPU gathering is less than a hundredth of a step, and a thread would slow that.
        runs = config.fuser.anchored and config.fuser.sharer == "mismatched"
        ahead = data.train_prompts.ready and not runs and model.device.type != "cpu"
        self.batches = Prefetcher(self._gather, background=ahead)

    def run(self) -> Trained:
        """Train to the end, or to the rung where the trial is pruned.

        Raises:
            DivergedError: The loss became infinite or NaN.
        """
        return alone(self.steps())

    def steps(self) -> Steps[Trained]:
        """The same as `run`, for whoever computes its losses; see `training.step`."""
        if self.fuser.trainable:
            with self.batches:
                pruned = yield from self._train(self.fuser)
        else:  # a fit needs no steps: it stands where the others end
            pruned, self.step = False, self.training.steps
            self._judge(len(self.training.rungs) - 1)
        best, last = self.best, self.rungs[-1]
        kept = checkpoint.load(self.best_dir)
        return Trained(
            step=self.step,
            split=best.split,
            pruned=pruned,
            objective=best.objective,
            accuracy=best.accuracy,
            deranged=best.deranged,
            blocks=best.blocks,
            best_rung=best.rung,
            best_dir=str(self.best_dir),
            parameters=sum(parameter.numel() for parameter in kept.parameters()),
            bytes=tensor_bytes(kept),
            seconds=self.seconds,
            metrics=best.metrics,
            tokens=last.tokens,
            flops=last.flops,
        )

    def _penalty(self) -> torch.Tensor | None:
        return self.fuser.penalty()

    def _metrics(self) -> dict[str, float]:
        share = self.fuser.open_share()
        return {f"gate/open_{mode}": opened for mode, opened in share.items()}

    def _of_rung(self, result: SystemResult, times: int) -> dict[str, Any]:
        since = self.rungs[-1] if self.rungs else None
        first = 0 if since is None else since.step
        # A fit takes no steps.
        learned = self.meter.learned(range(first, self.step if self.fuser.trainable else first))
        judged = times * self.meter.judged(result, self.data.validation_prompts)
        return {
            "parameters": self.meter.fused.parameters,
            "tokens": learned.tokens + (0 if since is None else since.tokens),
            "flops": learned.flops + judged + (0.0 if since is None else since.flops),
        }

    def _request(self, engine: TrainingEngine, rows: list[int]) -> ReceiverStep:
        self.fuser.train()
        self.fuser.anneal(self.step / self.training.steps)
        batch = self.batches.take(rows, self.upcoming)
        model, fused = self.model.receiver.model, self.model.fuse(batch, through=engine)
        if self.kind == "task":
            assert self.options is not None
            options = self.options.of_rows(rows)
            return OptionStep.of(model, fused, batch.last_ids, options)
        responses = [self.responses[row] for row in rows]
        return ReceiverStep(model, fused, batch.last_ids, responses, self.training.label_smoothing)

    def _guarded(
        self, engine: TrainingEngine, rows: list[int], micro_step: int
    ) -> Steps[torch.Tensor | None]:
        if self.guard is None or self.kind == "reconstruction":
            return None
        return (yield from self.guard.loss(engine, rows, micro_step))

    def _report(self, now: Pass, loss: float, gradient_norm: float, rate: float) -> Step:
        found = super()._report(now, loss, gradient_norm, rate)
        guarded = {} if self.guard is None else self.guard.metrics
        return found.model_copy(update={"metrics": found.metrics | guarded})

    def _gather(self, rows: list[int]) -> PairBatch:
        batch = self.model.batch(self.data.train_prompts, rows, self._partners(rows))
        return batch.pinned() if self.model.device.type == "cuda" else batch

    def _partners(self, rows: list[int]) -> list[int] | None:
        """Whose sharer each row hears: its own, or (ablation) its neighbour's in the batch."""
        if self.config.fuser.sharer != "mismatched":
            return None
        return rows[1:] + rows[:1]

    def _answer(self) -> tuple[ItemResult, ...]:
        return self._answer_hearing(None)

    def _answer_deranged(self) -> tuple[ItemResult, ...] | None:
        if self.data.derangement is None or self.fuser.config.sharer == "blank":
            return None
        return self._answer_hearing(self.data.derangement)

    def _answer_hearing(self, partners: Sequence[int] | None) -> tuple[ItemResult, ...]:
        self.fuser.eval()
        return answer(
            self.model,
            self.data.validation,
            self.data.validation_prompts,
            self.config.evaluation,
            partners=partners,
            progress=self._judging,
        )

    def _keep(self) -> None:
        checkpoint.save(without_shut_layers(self.fuser), self.best_dir)


def untrained(config: FuserConfig, pair: C2CModel) -> Fuser:
    """A fuser for a pair; for the receiver alone, where that is its own sharer."""
    receiver = cache_shape(pair.receiver, adapted=config.lora_rank > 0)
    sharer = cache_shape(pair.sharer, source=config.source)
    if config.sharer == "self":
        itself = cache_shape(pair.receiver, source=config.source)
        config, sharer = as_large(config, receiver, sharer, itself), itself
    return Fuser(config, receiver, sharer)
