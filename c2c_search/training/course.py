"""Which examples each pass of a training is on, stage after stage."""

from __future__ import annotations

import random
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from c2c_search.config.stages import stage_at
from c2c_search.training.order import Order


if TYPE_CHECKING:
    from c2c_search.config.stages import StageConfig
    from c2c_search.config.stages import StageKind
    from c2c_search.config.training import TrainingConfig


@dataclass(frozen=True)
class Lesson:
    """A stage, and what it learns from.

    Args:
        stage: Its kind, steps and share of replay.
        rows: Its examples, as rows of the training's data.
        blind: The same examples as the receiver reads them without their question, where it does
            so in half of each batch.
    """

    stage: StageConfig
    rows: Sequence[int]
    blind: Sequence[int] | None = None


@dataclass(frozen=True)
class Pass:
    """What one forward and backward pass is on.

    Args:
        stage: Number of the stage whose turn it is, from 0.
        kind: The loss: that of the first stage, where it is repeated.
        replayed: Whether the first stage is repeated.
        rows: Rows of the training's data.
    """

    stage: int
    kind: StageKind
    replayed: bool
    rows: list[int]


class Course:
    """The passes of a training, which follow from its seed and their number.

    Each stage has an order of its own. What repeats the first stage goes on in the first's order,
    with the loss of the first and at the rate of the stage that repeats it.

    Args:
        seed: Of the trial.
        training: Batch size and accumulation.
        lessons: Stages and their examples, in turn.
    """

    def __init__(self, seed: int, training: TrainingConfig, lessons: Sequence[Lesson]) -> None:
        self.lessons = lessons
        self._stages = [lesson.stage for lesson in lessons]
        self.ends = [*accumulate(stage.steps for stage in self._stages)]
        self._seed = seed
        self._accumulation = training.passes
        self._batch = training.batch_size
        self._orders = [
            Order(order_seed(seed, number), len(lesson.rows), self._batch)
            for number, lesson in enumerate(lessons)
        ]

    def at(self, micro_step: int) -> Pass:
        """What a pass, counted from 0 over the whole training, is on."""
        step, part = divmod(micro_step, self._accumulation)
        stage, own = stage_at(self._stages, step)
        repeated = self._stages[stage].replays(own)
        replayed = self._stages[stage].replays(own + 1) > repeated
        source, number = stage, own - repeated
        if replayed:
            earlier = sum(each.replays(each.steps) for each in self._stages[:stage])
            source, number = 0, self.ends[0] + earlier + repeated
        rows = self._rows(source, number * self._accumulation + part, micro_step)
        return Pass(stage, self._stages[source].kind, replayed, rows)

    def passes(self, step: int, parts: range) -> range:
        """A rank's passes of an optimizer step, counted over the whole training.

        Args:
            step: The step.
            parts: The rank's of its passes.
        """
        first = step * self._accumulation
        return range(first + parts.start, first + parts.stop, parts.step)

    def behind(self, micro_step: int, parts: range) -> Iterator[list[int]]:
        """The rows of a rank's passes after one, pass by pass."""
        for step in range(micro_step // self._accumulation, self.ends[-1]):
            for number in self.passes(step, parts):
                if number > micro_step:
                    yield self.at(number).rows

    def dealt(self, stage: int) -> list[list[int]]:
        """Every batch that a stage learns from, those that repeat it included."""
        total = self.ends[-1] * self._accumulation
        passes = map(self.at, range(total))
        return [each.rows for each in passes if (0 if each.replayed else each.stage) == stage]

    def _rows(self, source: int, number: int, micro_step: int) -> list[int]:
        lesson = self.lessons[source]
        chosen = self._orders[source].rows(number)
        if lesson.blind is None:
            return [lesson.rows[row] for row in chosen]
        chance = random.Random(f"{self._seed}/blind/{micro_step}")
        half = (len(chosen) + chance.randrange(2)) // 2  # of an odd batch, either part
        blind = set(chance.sample(range(len(chosen)), half))
        return [
            (lesson.blind if place in blind else lesson.rows)[row]
            for place, row in enumerate(chosen)
        ]


def order_seed(seed: int, stage: int) -> int | str:
    """What a stage's order follows from; the first one's is that of a training without stages."""
    return f"{seed}/stage {stage}" if stage else seed
