"""GSM8K: a row in the hub's columns as an item, and its answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from c2c_search.evaluation.grading import grade
from c2c_search.evaluation.prompting import exemplar
from c2c_search.evaluation.prompting import question
from c2c_search.evaluation.tasks.gsm8k import convert
from c2c_search.evaluation.tasks.loading import load_task
from c2c_search.evaluation.tasks.task import TASKS
from tests.evaluation.hub_samples import write
from tests.evaluation.written_samples import GSM8K


SHARED = Path(__file__).parents[4] / "shared" / "data" / "gsm8k" / "train.jsonl"


def test_the_answer_is_the_number_behind_the_mark():
    first, second = (convert(row, f"id{place}") for place, row in enumerate(GSM8K))
    assert (first.id, first.references) == ("id0", ("10",))
    assert second.references == ("1,200",)
    assert first.messages[0]["content"] == GSM8K[0]["question"]


def test_the_working_is_kept_without_the_calculator_s_notes():
    item = convert(GSM8K[0], "id")
    assert item.facts["solution"] == ("Ann has 3*4 = 12 pens.\nThen 12-2 = 10 are left.\n#### 10")


def test_answers_are_judged_by_their_number():
    item = convert(GSM8K[1], "id")
    assert grade(TASKS["gsm8k"], item, "1000 * 1.2 is 1200, so #### 1200").credit == 1.0
    assert grade(TASKS["gsm8k"], item, "The answer is $1,200.00.").credit == 1.0
    assert grade(TASKS["gsm8k"], item, "#### 1000").credit == 0.0


def test_the_instruction_asks_for_steps_and_the_mark():
    (message,) = question(convert(GSM8K[0], "id"), "generate", TASKS["gsm8k"]).messages
    instruction, _, asked = message["content"].partition("\n\n")
    assert "step by step" in instruction
    assert "####" in instruction
    assert asked == GSM8K[0]["question"]


def test_a_row_without_the_mark_does_not_fit():
    with pytest.raises(ValueError, match="answer must end in ####"):
        convert({"question": "How many?", "answer": "Ten."}, "id")


def test_own_rows_with_a_solution_show_it_with_the_mark(tmp_path):
    row = {"prompt": "How many are 2 and 2?", "answer": "4", "solution": "2 and 2 are 4."}
    loaded = load_task(f"gsm8k={write(tmp_path / 'rows.jsonl', row)}")
    _, shown = exemplar(loaded.items[0], "generate", loaded.task)
    assert shown["content"] == "2 and 2 are 4.\n#### 4"


@pytest.mark.skipif(not SHARED.exists(), reason="shared data is not here")
def test_every_worked_solution_of_the_real_file_is_graded_as_right():
    loaded = load_task(f"gsm8k={SHARED}", limit=500)
    for item in loaded.items:
        _, shown = exemplar(item, "generate", loaded.task)
        assert grade(loaded.task, item, shown["content"]).credit == 1.0
