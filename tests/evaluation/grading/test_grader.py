"""Which grader judges an answer, and what a missing library says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from c2c_search.errors import ConfigError
from c2c_search.evaluation.grading import Graded
from c2c_search.evaluation.grading import grade
from c2c_search.evaluation.grading.optional import optional
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.task import Task


CHOSEN = Item(id="1", group="g", cluster="1", messages=(), choices=("Paris", "Lyon"), answer=1)
WRITTEN = Item(id="2", group="g", cluster="2", messages=(), references=("Lyon",))


def a_task(grader=None) -> Task:
    return Task("t", reference="none", hub=None, convert=lambda row, id: None, grader=grader)


def test_a_task_judges_by_its_own_grade():
    half = Graded(0.5, "half")
    assert grade(a_task(lambda item, text: half), CHOSEN, "B") is half


def test_choices_are_read_where_a_task_has_no_grade():
    assert grade(a_task(), CHOSEN, "Answer: B") == Graded(1.0, "B")


def test_references_are_matched_where_there_are_no_choices():
    assert grade(a_task(), WRITTEN, "lyon.") == Graded(1.0, "lyon.")


def test_a_missing_library_says_how_to_install_it():
    with pytest.raises(ConfigError, match=r"needs the package nowhere\[x\].*pip install 'nowhere"):
        optional("nowhere_at_all", "nowhere[x]")


def test_a_grader_is_named_by_its_name_or_its_path(outside):
    for name in ("exact_match", "c2c_search.evaluation.grading.matching.exact_match"):
        assert grade(a_task(name), WRITTEN, "lyon.") == Graded(1.0, "lyon.")
    assert grade(a_task("my_graders.first_word"), WRITTEN, "Lyon, says he") == Graded(0.0, "Lyon,")


def test_a_misspelt_grader_is_told_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no such grader.*'exact_mach'.*`exact_match`"):
        grade(a_task("exact_mach"), WRITTEN, "lyon")


@pytest.mark.parametrize("first", ["grading", "tasks.loading"])
def test_graders_and_tasks_are_imported_in_any_order_without_optional_libraries(first):
    code = (
        f"import sys, c2c_search.evaluation.{first}, c2c_search.evaluation.grading\n"
        "late = {'sacrebleu', 'math_verify', 'rouge_score', 'jieba', 'rapidfuzz', 'datasets'}\n"
        "sys.exit(str(late & set(sys.modules)) if late & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
