"""Which grader judges a written answer."""

from __future__ import annotations

from c2c_search.evaluation.grading.choices import choice
from c2c_search.evaluation.grading.matching import exact_match
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.task import Graded
from c2c_search.evaluation.tasks.task import Task


def grade(task: Task, item: Item, text: str) -> Graded:
    """Judge a written answer: as the task says, else by the item's choices or references.

    Raises:
        ConfigError: The task is graded by a library that is not installed.
    """
    if task.grade is not None:
        return task.grade(item, text)
    return choice(item, text) if item.choices else exact_match(item, text)
