"""Training room: one trial, from its first step to the fuser of its best rung."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.scoring import answer
from c2c_search.fuser import checkpoint
from c2c_search.fuser.selection import without_shut_layers
from c2c_search.inference.layer_scores import attention_cosine
from c2c_search.inference.scoring import response_logits
from c2c_search.training.engine import FuserEngine
from c2c_search.training.protocol import CHECKPOINTS
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Progress
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Step
from c2c_search.training.protocol import Trained


if TYPE_CHECKING:
    from c2c_search.data.schema import Row
    from c2c_search.fuser.fuser import Fuser
    from c2c_search.inference.model import C2CModel
    from c2c_search.pair.batches import PairPrompts
    from c2c_search.trial import TrialConfig


_SECONDS_BETWEEN_CHECKPOINTS = 30.0
_CALIBRATION_PROMPTS = 200


class DivergedError(Exception):
    """The loss is not a finite number any more."""


@dataclass(frozen=True)
class TrainingData:
    """What a trial learns from and is validated on, with both models' caches."""

    train: Sequence[Row]
    train_prompts: PairPrompts
    validation: Sequence[Row]
    validation_prompts: PairPrompts


class TrialRun:
    """Trains one fuser.

    Interrupted at any instant, it goes on from its last checkpoint and ends with the same
    numbers: the order of examples follows from the seed and the step, and the checkpoint holds
    optimizer, schedule and random state.

    Args:
        config: What to train, how and on what.
        model: The pair, with the trial's (untrained) fuser in it.
        data: Training and validation examples.
        directory: Checkpoints go to ``checkpoints/``, the best rung's fuser to ``best/``.
        emit: Called with every event.
        go_on: Called after every rung but the last; False stops the trial there.
    """

    def __init__(
        self,
        config: TrialConfig,
        model: C2CModel,
        data: TrainingData,
        directory: Path,
        *,
        emit: Callable[[Event], None],
        go_on: Callable[[], bool],
    ) -> None:
        assert model.fuser is not None
        self.config = config
        self.training = config.training
        self.model = model
        self.fuser: Fuser = model.fuser
        self.data = data
        self.directory = directory
        self.emit = emit
        self.go_on = go_on
        self.step = 0
        self.rungs: list[Rung] = []
        self.answers: SystemResult | None = None  # of the last rung that was judged
        self.seconds = {"prefill": 0.0, "train": 0.0, "evaluate": 0.0, "overhead": 0.0}
        self.responses = [self._response(row) for row in data.train]
        self._epoch = -1
        self._order: list[int] = []

    def run(self) -> Trained:
        """Train to the end, or to the rung where the trial is pruned.

        Raises:
            DivergedError: The loss became infinite or NaN.
        """
        begun = time.perf_counter()
        before = sum(self.seconds.values())
        if self.fuser.trainable:
            with FuserEngine(self.fuser, self.training) as engine:
                self._resume(engine)
                before = sum(self.seconds.values())
                pruned = self._to_the_end(engine)
        else:  # a fit needs no steps: it stands where the others end
            pruned, self.step = False, self.training.steps
            self._judge(len(self.training.rungs) - 1)
        busy = sum(self.seconds.values()) - before
        self.seconds["overhead"] += max(0.0, time.perf_counter() - begun - busy)
        best = max(self.rungs, key=lambda rung: (rung.objective, rung.rung))
        kept = checkpoint.load(self.directory / "best")
        tensors = kept.state_dict().values()
        return Trained(
            step=self.step,
            pruned=pruned,
            objective=best.objective,
            best_rung=best.rung,
            best_dir=str(self.directory / "best"),
            parameters=sum(parameter.numel() for parameter in kept.parameters()),
            bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
            seconds=self.seconds,
            metrics=best.metrics,
        )

    def _to_the_end(self, engine: FuserEngine) -> bool:
        """Train and judge rung after rung; True when the trial was pruned."""
        saved = time.perf_counter()
        for number, rung_step in enumerate(self.training.rung_steps):
            while self.step < rung_step:
                self._train_step(engine)
                if time.perf_counter() - saved > _SECONDS_BETWEEN_CHECKPOINTS:
                    self._save(engine)
                    saved = time.perf_counter()
            if number >= len(self.rungs):
                self._judge(number)
                self._save(engine)
                saved = time.perf_counter()
            else:
                self.emit(self.rungs[number])  # judged before the interruption
            last = number == len(self.training.rungs) - 1
            if not last and not self.go_on():
                return True
        return False

    def _train_step(self, engine: FuserEngine) -> None:
        begun = time.perf_counter()
        config = self.training
        self.fuser.train()
        self.fuser.anneal(self.step / config.steps)
        rate = engine.learning_rate
        losses = []
        for micro in range(config.gradient_accumulation):
            loss = self._loss(engine, self._rows(self.step * config.gradient_accumulation + micro))
            penalty = self.fuser.penalty()
            engine.backward_and_step(loss if penalty is None else loss + penalty)
            losses.append(loss.detach())
        self.step += 1
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            raise DivergedError(f"the loss is {mean} at step {self.step}")
        self.seconds["train"] += time.perf_counter() - begun
        if self.step % config.log_every == 0 or self.step in (1, config.steps):
            self.emit(self._report(mean, engine.gradient_norm, rate))

    def _loss(self, engine: FuserEngine, rows: list[int]) -> torch.Tensor:
        """Mean next-token loss (nats) over the response tokens of a batch."""
        batch = self.model.batch(self.data.train_prompts, rows, self._partners(rows))
        fused = self.model.fuse(batch, through=engine)
        responses = [self.responses[row] for row in rows]
        logits = response_logits(
            self.model.receiver.model,
            fused,
            batch.last_ids,
            [[response] for response in responses],
        )
        targets = torch.tensor(
            [token for response in responses for token in response], device=logits.device
        )
        return torch.nn.functional.cross_entropy(
            logits, targets, label_smoothing=self.training.label_smoothing
        )

    def _partners(self, rows: list[int]) -> list[int] | None:
        """Whose sharer each row hears: its own, or (ablation) its neighbour's in the batch."""
        if self.config.fuser.sharer != "mismatched":
            return None
        return rows[1:] + rows[:1]

    def _rows(self, micro_step: int) -> list[int]:
        """The examples of a micro-step: epoch after epoch, each in an order of its own."""
        size, total = self.training.batch_size, len(self.data.train)
        rows = []
        for place in range(micro_step * size, (micro_step + 1) * size):
            epoch, within = divmod(place, total)
            rows.append(self._epoch_order(epoch)[within])
        return rows

    def _epoch_order(self, epoch: int) -> list[int]:
        if self._epoch != epoch:
            self._epoch, self._order = epoch, list(range(len(self.data.train)))
            random.Random(f"{self.config.seed}/{epoch}").shuffle(self._order)
        return self._order

    def _judge(self, number: int) -> None:
        """Validate; keep the fuser if it is the trial's best so far."""
        begun = time.perf_counter()
        self.fuser.eval()
        share = self.fuser.open_share()
        items = answer(
            self.model,
            self.data.validation,
            self.data.validation_prompts,
            self.config.evaluation,
            progress=lambda done, total: self.emit(
                Progress(stage="evaluate", done=done, total=total)
            ),
        )
        result = SystemResult(system="c2c", split="validation", items=items)
        self.answers = result
        if not math.isfinite(result.loss):
            raise DivergedError(f"the validation loss is {result.loss} at step {self.step}")
        metrics = {
            "validation/accuracy": result.accuracy,
            "validation/loss": result.loss,
            **{f"gate/open_{reading}": opened for reading, opened in share.items()},
        }
        for group, accuracy in result.accuracy_by_group().items():
            metrics[f"validation/{group}"] = accuracy
        rung = Rung(rung=number, step=self.step, objective=result.accuracy, metrics=metrics)
        if all(rung.objective >= earlier.objective for earlier in self.rungs):
            checkpoint.save(without_shut_layers(self.fuser), self.directory / "best")
        self.rungs.append(rung)
        self.seconds["evaluate"] += time.perf_counter() - begun
        self.emit(rung)

    def _report(self, loss: float, gradient_norm: float, rate: float) -> Step:
        share = self.fuser.open_share()
        metrics = {
            "train/loss": loss,
            "train/learning_rate": rate,
            **{f"gate/open_{reading}": opened for reading, opened in share.items()},
        }
        if math.isfinite(gradient_norm):
            metrics["train/gradient_norm"] = gradient_norm
        return Step(step=self.step, steps=self.training.steps, loss=loss, metrics=metrics)

    def _response(self, row: Row) -> list[int]:
        """A training response and its end, so that generation learns to stop."""
        return [
            *self.model.response_ids(row["response"]),
            self.model.receiver.text_tokenizer.eos_token_id,
        ]

    def _save(self, engine: FuserEngine) -> None:
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "rungs": [rung.model_dump_json() for rung in self.rungs],
        }
        engine.save(self.directory / CHECKPOINTS, self.step, state)

    def _resume(self, engine: FuserEngine) -> None:
        state = engine.resume(self.directory / CHECKPOINTS)
        if state is not None:
            self.step = state["step"]
            self.seconds = dict(state["seconds"])
            self.rungs = [Rung(**json.loads(rung)) for rung in state["rungs"]]


def calibrate(model: C2CModel, prompts: PairPrompts, seed: int) -> None:
    """Show a model's fuser the pair's caches of a few training prompts; see `Fuser.calibrate`."""
    fuser = model.fuser
    assert fuser is not None
    count = min(_CALIBRATION_PROMPTS, len(prompts))
    rows = sorted(random.Random(seed).sample(range(len(prompts)), count))
    # Aligned token by token also where entries will be appended: a map needs pairs to fit.
    batch = prompts.batch(rows).to(model.device)
    rotations = None
    if model.rotaries is not None:
        rotations = model.rotaries.of(batch, appended=False).to(model.device)
    scores = None
    if fuser.config.layer_choice == "attention" and fuser.config.layer_share < 1:
        scores = attention_cosine(model, batch, rotations)
    fuser.calibrate(batch.receiver, batch.sharer, rotations, layer_scores=scores)
