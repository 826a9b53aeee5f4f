"""A task and a grader that are no part of this package, each in a file of its own."""

from __future__ import annotations


GRADER = '''
from c2c_search.evaluation.grading import Graded
from c2c_search.evaluation.grading import grader


@grader("first_word", reference="an example of the tests")
def first_word(item, text):
    """Judges the first word alone."""
    word = (text.split() or [None])[0]
    return Graded(float(word in item.references), word)
'''

TASK = '''
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.task import Hub
from c2c_search.evaluation.tasks.task import task


@task(
    "capitals",
    reference="an example of the tests",
    hub=Hub("nobody/capitals", None, "test", None, frozenset(("country", "capital"))),
    methods=("generate",),
    grader="my_graders.first_word",
)
def capitals(row, fallback_id):
    """One country a row."""
    return Item(
        id=fallback_id,
        group="capitals",
        cluster=row["country"],
        messages=({"role": "user", "content": f"What is the capital of {row['country']}?"},),
        references=(row["capital"],),
    )
'''

ROWS = [{"country": "Peru", "capital": "Lima"}, {"country": "Cuba", "capital": "Havana"}]

SUITES = f"""
from c2c_search.testing import GraderConformance
from c2c_search.testing import TaskConformance


class TestCapitals(TaskConformance):
    plugin = "my_tasks.capitals"
    rows = {ROWS!r}


class TestFirstWord(GraderConformance):
    plugin = "my_graders.first_word"
"""
