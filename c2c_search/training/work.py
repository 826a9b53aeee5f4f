"""How many tokens a training has learned from, and how many operations that took.

Both follow from its examples' lengths and its steps alone, so that a training which was
interrupted, runs on several ranks or beside others counts what it counts alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import NamedTuple

from c2c_search.models.arithmetic import Fused


if TYPE_CHECKING:
    from c2c_search.config.stages import StageKind
    from c2c_search.evaluation.results import SystemResult
    from c2c_search.fuser.config import FuserConfig
    from c2c_search.prompt_cache.batches import PairPrompts
    from c2c_search.training.course import Course
    from c2c_search.training.option_step import Options


class Work(NamedTuple):
    """What a training has done.

    Args:
        tokens: Of the examples that it learned from, each time that it did: both models' prompts
            and what the receiver reads behind its own.
        flops: Floating-point operations of that, and of judging at the rungs; see
            `models.arithmetic`.
    """

    tokens: int = 0
    flops: float = 0.0


@dataclass(frozen=True)
class WorkMeter:
    """Counts what a fuser's training does; rows to guard are left out.

    Args:
        fused: The receiver and the fuser.
        config: Of the fuser, which says what is heard.
        course: Of the training.
        passes: Of an optimizer step, on all ranks.
        prompts: Of the training's examples.
        responses: Token ids of what is learned.
        options: Choices of the examples, where a stage learns to tell them apart.
    """

    fused: Fused
    config: FuserConfig
    course: Course
    passes: int
    prompts: PairPrompts
    responses: Sequence[Sequence[int]]
    options: Options | None

    def learned(self, steps: range) -> Work:
        """What optimizer steps, counted from 0, have taken."""
        tokens, flops = 0, 0.0
        for micro_step in range(steps.start * self.passes, steps.stop * self.passes):
            now = self.course.at(micro_step)
            for row in now.rows:
                said = self._said(row, now.kind)
                before, heard = self._lengths(self.prompts, row)
                prompt = self.prompts.encoded[row]
                tokens += len(prompt.receiver_ids) + len(prompt.sharer_ids) + sum(said)
                flops += self.fused.learned(said, before, heard)
        return Work(tokens, flops)

    def judged(self, result: SystemResult, prompts: PairPrompts) -> float:
        """Operations of answering validation once.

        Args:
            result: The answers, which know their options' lengths.
            prompts: Of validation, row by row.
        """
        return sum(
            self.fused.answered(item.lengths, *self._lengths(prompts, row))
            for row, item in enumerate(result.items)
        )

    def _said(self, row: int, kind: StageKind) -> list[int]:
        if kind == "task":
            assert self.options is not None
            return [*map(len, self.options.ids[row])]
        return [len(self.responses[row])]

    def _lengths(self, prompts: PairPrompts, row: int) -> tuple[int, int]:
        """Tokens in the receiver's cache, and of the message."""
        prompt = prompts.encoded[row]
        before = len(prompt.receiver_ids) - 1  # the last one is read again
        if self.config.message == "draft":
            return before, prompt.drafted
        return before, len(prompt.sharer_ids) if self.config.stands_beside else before
