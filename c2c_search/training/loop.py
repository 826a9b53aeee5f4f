"""Steps, rungs and checkpoints of a training, whatever it is that learns."""

from __future__ import annotations

import time
from abc import ABC
from abc import abstractmethod
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import ClassVar

import torch
from pydantic import ValidationError

from c2c_search.config.stages import stage_at
from c2c_search.errors import NotFiniteError
from c2c_search.evaluation.blocks import by_block
from c2c_search.evaluation.guard import SELECTION
from c2c_search.evaluation.guard import refuse_report_split
from c2c_search.evaluation.results import SystemResult
from c2c_search.host.names import fit_path
from c2c_search.space.objective import PLAIN_ACCURACY
from c2c_search.space.objective import Objective
from c2c_search.training.checkpoint import POINTER
from c2c_search.training.checkpoint import Position
from c2c_search.training.checkpoint import refused
from c2c_search.training.course import Course
from c2c_search.training.course import Lesson
from c2c_search.training.course import Pass
from c2c_search.training.divergence import DivergedError
from c2c_search.training.divergence import LossCheck
from c2c_search.training.engine import TrainingEngine
from c2c_search.training.protocol import CHECKPOINTS
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Progress
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Step
from c2c_search.training.ranks import own_ranks
from c2c_search.training.spoken import options_of
from c2c_search.training.spoken import responses_of


if TYPE_CHECKING:
    from c2c_search.config.trial import TrialConfig
    from c2c_search.data.schema import Row
    from c2c_search.evaluation.results import ItemResult
    from c2c_search.inference.model import C2CModel
    from c2c_search.prompt_cache.batches import PairPrompts
    from c2c_search.training.engine import Trainable
    from c2c_search.training.option_step import Options
    from c2c_search.training.step import LossRequest
    from c2c_search.training.step import Steps


SECONDS = ("prefill", "train", "evaluate", "derange", "overhead")
"""Parts of a training's time; ``derange`` is `evaluate` once more, with the wrong messages."""

_EXPECTED = 64  # examples to come that prompt caches which are not stored are told of


@dataclass(frozen=True)
class TrainingData:
    """What is learned from, validated on and guarded, with both models' caches.

    ``train`` holds the examples of all stages, and ``lessons`` says which are whose; without any,
    all of them are of every stage. ``derangement`` is, for each row of validation, whose sharer
    it hears when it hears the wrong one; None where nobody is about something else.
    """

    train: Sequence[Row]
    train_prompts: PairPrompts
    validation: Sequence[Row]
    validation_prompts: PairPrompts
    guard: Sequence[Row] = ()
    guard_prompts: PairPrompts | None = None
    derangement: Sequence[int] | None = None
    lessons: tuple[Lesson, ...] = ()


class Training(ABC):
    """Trains something on a trial's examples, in a trial's order, for a trial's stages and steps.

    Interrupted at any instant, it goes on from its last checkpoint and ends with the same
    numbers: the order of examples follows from seed, stage and step, and the checkpoint holds
    optimizer, schedule and random state. What a driver that was killed may not have heard is
    told again: all rungs, and reports of steps since the last rung that was answered.

    Where several ranks train together, each makes its part of a step's passes. The first one
    validates, writes and asks whether to go on; the others hear of it what they need.

    Args:
        config: How and on what to train.
        model: What answers at the rungs.
        data: Training and validation examples.
        directory: Checkpoints go to ``checkpoints/``, the best rung's result to ``best/``.
        emit: Called with every event.
        go_on: Called after every rung but the last; False stops the training there.
        objective: What the best rung is chosen by.
    """

    system: ClassVar[str]
    """What the answers at the rungs are recorded as."""

    learns: ClassVar[str]
    """Whose numbers are the training's own fault; see `NotFiniteError`."""

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
        self.config = config
        self.training = config.training
        self.model = model
        self.data = data
        self.directory = directory
        self.emit = emit
        self.go_on = go_on
        self.objective = objective
        self.ranks = own_ranks()
        self.parts = self.ranks.parts(self.training.passes)
        self.step = 0
        self.rungs: list[Rung] = []
        self.reports: list[Step] = []  # since the last rung that was answered
        self.answers: SystemResult | None = None  # of the last rung that was judged
        self.seconds = dict.fromkeys(SECONDS, 0.0)
        self.responses = responses_of(model, data.train, data.train_prompts)
        self.upcoming: list[int] | None = None  # the rows after those that are learned from now
        self.waited = 0.0  # seconds that went to other trainings of a group
        self._losses = LossCheck()
        everything = range(len(data.train))
        lessons = data.lessons or [Lesson(each, everything) for each in config.training.course]
        self.course = Course(config.seed, config.training, lessons)
        self.kind = lessons[0].stage.kind  # of what is learned from now
        self.options: Options | None = None
        if any(lesson.stage.kind == "task" for lesson in lessons):
            normalised = config.evaluation.length_normalised
            self.options = options_of(
                model, data.train, data.train_prompts, length_normalised=normalised
            )

    @property
    def best(self) -> Rung:
        """The rung whose result is in ``best/``: the highest objective, the last of equals."""
        return max(self.rungs, key=lambda rung: (rung.objective, rung.rung))

    @property
    def best_dir(self) -> Path:
        """Where the best rung's result is kept."""
        return self.directory / "best"

    @abstractmethod
    def _request(self, engine: TrainingEngine, rows: list[int]) -> LossRequest:
        """What gives the loss over these examples' responses."""

    @abstractmethod
    def _answer(self) -> tuple[ItemResult, ...]:
        """The answers on validation as things stand."""

    def _answer_deranged(self) -> tuple[ItemResult, ...] | None:
        """The same with another item's message each; None for what hears none."""
        return None

    @abstractmethod
    def _keep(self) -> None:
        """Write what has been learned into ``best/``."""

    def _penalty(self) -> torch.Tensor | None:
        """What is minimised beside the loss."""
        return None

    def _guarded(
        self, engine: TrainingEngine, rows: list[int], micro_step: int
    ) -> Steps[torch.Tensor | None]:
        """The same, where the receiver must read for it; of these examples, in this pass."""
        yield from ()
        return None

    def _metrics(self) -> dict[str, float]:
        """Metrics of what is trained itself, logged with steps and rungs."""
        return {}

    def _of_rung(self, result: SystemResult, times: int) -> dict[str, Any]:
        """Of a fuser that is trained, its size and what it took; it answered so many times."""
        return {}

    def _train(self, module: Trainable) -> Steps[bool]:
        """Train and judge rung after rung; returns True if it was stopped before the end.

        Raises:
            DivergedError: The loss became infinite or NaN.
        """
        begun = time.perf_counter()
        with TrainingEngine(module, self.training) as engine:
            self._resume(engine)
            before = sum(self.seconds.values())
            pruned = yield from self._to_the_end(engine)
        busy = sum(self.seconds.values()) - before + self.waited
        self.seconds["overhead"] += max(0.0, time.perf_counter() - begun - busy)
        return pruned

    def _to_the_end(self, engine: TrainingEngine) -> Steps[bool]:
        saved = time.perf_counter()
        for number, rung_step in enumerate(self.training.rung_steps):
            for report in self.reports:  # of before an interruption
                if report.step <= rung_step:
                    self.emit(report)
            while self.step < rung_step:
                yield from self._train_step(engine)
                if self.step < rung_step and self._is_due(saved):
                    self._save(engine)
                    saved = time.perf_counter()
            if number >= len(self.rungs):
                self._judge(number)
                self._save(engine)
                saved = time.perf_counter()
            else:
                self.emit(self.rungs[number])  # judged before the interruption
            last = number == len(self.training.rungs) - 1
            if not last and not self.ranks.agree(self.go_on):
                return True
            # Whoever answers has heard what was told before.
            self.reports = [report for report in self.reports if report.step > rung_step]
        return False

    def _is_due(self, saved: float) -> bool:
        """Whether the last checkpoint, of that time, is so old that there is to be another."""
        rest = self.training.checkpoint_seconds
        return self.ranks.agree(lambda: time.perf_counter() - saved > rest)

    def _train_step(self, engine: TrainingEngine) -> Steps[None]:
        begun, waited = time.perf_counter(), self.waited
        config = self.training
        rate = engine.learning_rate
        losses = []
        now = self.course.at(self.step * config.passes)
        for micro_step in self.course.passes(self.step, self.parts):
            now = self.course.at(micro_step)
            rows, self.kind = now.rows, now.kind
            self.upcoming = next(self.course.behind(micro_step, self.parts), None)
            if not self.data.train_prompts.ready:
                soon = chain.from_iterable(self.course.behind(micro_step, self.parts))
                self.data.train_prompts.expect([*islice(soon, _EXPECTED)])
            loss = yield self._request(engine, rows)
            losses.append(loss.detach())
            for more in (self._penalty(), (yield from self._guarded(engine, rows, micro_step))):
                loss = loss if more is None else loss + more
            engine.backward_and_step(loss)
        self.step += 1
        mean = self.ranks.losses(torch.stack(losses)).mean()
        self._losses.note(self.step, mean)
        self.seconds["train"] += time.perf_counter() - begun - (self.waited - waited)
        if self.step % config.log_every == 0 or self.step in (1, *self.course.ends):
            self._losses.settle()
            self.reports.append(self._report(now, float(mean), engine.gradient_norm, rate))
            self.emit(self.reports[-1])

    def _judge(self, number: int) -> None:
        """Validate; keep what was learned if it is the best so far."""
        self._losses.settle()
        rung = self._judged(number) if self.ranks.first else None
        told = self.ranks.share(lambda: "" if rung is None else rung.model_dump_json())
        self.rungs.append(rung or Rung.model_validate_json(told))
        self.emit(self.rungs[-1])

    def _judged(self, number: int) -> Rung:
        result = self._measure("evaluate", self._answer)
        assert result is not None
        self.answers = result
        if not isfinite(result.loss):
            raise DivergedError(f"the validation loss is {result.loss} at step {self.step}")
        wrong = self._measure("derange", self._answer_deranged)
        begun = time.perf_counter()
        deranged = None if wrong is None else wrong.accuracy
        known = self.objective.metrics(result.accuracy, deranged)
        metrics = {f"validation/{name}": value for name, value in known.items()}
        metrics |= {
            "validation/loss": result.loss,
            **self._metrics(),
            **self._stage(),
        }
        for group, accuracy in result.accuracy_by_group().items():
            metrics[f"validation/group/{fit_path(group)}"] = accuracy
        rung = Rung(
            rung=number,
            step=self.step,
            split=SELECTION,
            objective=self.objective.value(result.accuracy, deranged),
            accuracy=result.accuracy,
            deranged=deranged,
            blocks=by_block(result, wrong, self.objective.value),
            metrics=metrics,
            **self._of_rung(result, 1 if wrong is None else 2),
        )
        if all(rung.objective >= earlier.objective for earlier in self.rungs):
            self._keep()
        self.seconds["evaluate"] += time.perf_counter() - begun
        return rung

    def _measure(
        self, part: str, answer: Callable[[], tuple[ItemResult, ...] | None]
    ) -> SystemResult | None:
        """Answers on validation, whose time goes to a part of `SECONDS`.

        Raises:
            DivergedError: What is trained gives no numbers.
        """
        begun = time.perf_counter()
        try:
            items = answer()
        except NotFiniteError as error:  # models that are no numbers are no fault of the trial
            if error.role != self.learns:
                raise
            raise DivergedError(f"the validation loss is nan at step {self.step}") from error
        self.seconds[part] += time.perf_counter() - begun
        if items is None:
            return None
        result = SystemResult(system=self.system, split=SELECTION, items=items)
        refuse_report_split(result)  # a rung decides what is kept, pruned and tried next
        return result

    def _judging(self, done: int, total: int) -> None:
        self.emit(Progress(stage="evaluate", done=done, total=total))

    def _stage(self) -> dict[str, float]:
        """Number of the last step's stage, from 1, as it is logged; nothing without stages."""
        if not self.training.stages:
            return {}
        return {"train/stage": 1.0 + stage_at(self.training.stages, self.step - 1)[0]}

    def _report(self, now: Pass, loss: float, gradient_norm: float, rate: float) -> Step:
        name = "train/replay_loss" if now.replayed else "train/loss"
        metrics = {name: loss, "train/learning_rate": rate, **self._metrics()}
        metrics |= self._stage()
        if isfinite(gradient_norm):
            metrics["train/gradient_norm"] = gradient_norm
        return Step(step=self.step, steps=self.training.steps, loss=loss, metrics=metrics)

    def _save(self, engine: TrainingEngine) -> None:
        self._losses.settle()
        position = Position(
            step=self.step,
            seconds=self.seconds,
            rungs=[rung.model_dump_json() for rung in self.rungs],
            reports=[report.model_dump_json() for report in self.reports],
        )
        engine.save(self.directory / CHECKPOINTS, self._checkpointed, position)

    def _resume(self, engine: TrainingEngine) -> None:
        checkpoints = self.directory / CHECKPOINTS
        position = engine.resume(checkpoints, self._checkpointed, seed=self.config.seed)
        if position is None:
            return
        try:
            rungs = [Rung.model_validate_json(rung) for rung in position.rungs]
            self.reports = [Step.model_validate_json(each) for each in position.reports]
        except ValidationError as error:
            raise refused(checkpoints / POINTER, str(error)) from None
        done = sum(step <= position.step for step in self.training.rung_steps)
        if (
            position.step > self.training.steps
            or [rung.rung for rung in rungs] != list(range(len(rungs)))
            or len(rungs) not in (done, done - 1)
        ):
            rule = f"{len(rungs)} rungs by step {position.step} of {self.training.steps}"
            raise refused(checkpoints / POINTER, rule)
        # Of a version before, a rung's objective was its accuracy.
        self.rungs = [self._scored(rung) for rung in rungs]
        self.step = position.step
        # Of this start, only what came before its first step.
        self.seconds = {
            part: position.seconds.get(part, 0.0) + spent for part, spent in self.seconds.items()
        }

    def _scored(self, rung: Rung) -> Rung:
        value = self.objective.value(rung.accuracy, rung.deranged)
        return rung.model_copy(update={"objective": value})

    @property
    def _checkpointed(self) -> str:
        """What a checkpoint is of: a trial's LoRA is not its fuser."""
        return f"{self.system} of trial {self.config.hash()}"
