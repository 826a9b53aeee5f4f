"""Graders, which judge written answers: what one is, all of them by name, and which is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import TypeVar

from c2c_search.plugins import Register


if TYPE_CHECKING:
    from c2c_search.evaluation.items import Item
    from c2c_search.evaluation.tasks.task import Task


@dataclass(frozen=True)
class Graded:
    """A written answer, judged.

    Args:
        credit: In [0, 1].
        parsed: What was read as the answer; None if nothing was found.
    """

    credit: float
    parsed: str | None


Grade = Callable[["Item", str], Graded]
"""Judges a text that answers an item."""

_Plugin = TypeVar("_Plugin", bound=Grade)


@dataclass(frozen=True)
class Grader:
    """A grader, as `grader` registers it."""

    name: str
    reference: str
    grade: Grade


_HERE = "c2c_search.evaluation.grading"

GRADERS: Register[Grader] = Register(
    "grader",
    {
        "choice": f"{_HERE}.choices",
        "chrf": f"{_HERE}.translations",
        "exact_match": f"{_HERE}.matching",
        "f1": f"{_HERE}.matching",
        "longbench": f"{_HERE}.longbench",
        "math": f"{_HERE}.mathematics",
        "number": f"{_HERE}.numbers",
    },
)
"""Every grader by name; none is imported before it judges."""


def grader(name: str, *, reference: str) -> Callable[[_Plugin], _Plugin]:
    """Register a grader: decorates the function that judges.

    Args:
        name: As a task names it.
        reference: The paper or page it comes from.

    Raises:
        ConfigError: The name is taken.
    """

    def register(judge: _Plugin) -> _Plugin:
        GRADERS.add(name, judge, Grader(name, reference, judge))
        return judge

    return register


def grade(task: Task, item: Item, text: str) -> Graded:
    """Judge a written answer: as the task says, else by the item's choices or references.

    Raises:
        ConfigError: There is no such grader, or it needs a library that is not installed.
    """
    chosen = task.grader or ("choice" if item.choices else "exact_match")
    judge = GRADERS[chosen].grade if isinstance(chosen, str) else chosen
    return judge(item, text)
