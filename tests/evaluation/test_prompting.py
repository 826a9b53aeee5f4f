"""An item is put into words for cloze, letters and writing, alone and behind exemplars."""

from __future__ import annotations

from dataclasses import replace
from string import ascii_uppercase

import pytest

from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.prompting import exemplar
from c2c_search.evaluation.prompting import question
from c2c_search.evaluation.prompting import with_exemplars
from c2c_search.evaluation.tasks.task import Task


TASK = Task(name="made", reference="here", hub=None, convert=lambda row, id: None)
WRITTEN = replace(TASK, methods=("generate",), instruction="Give the number.")
CHOICE = Item(
    id="a",
    group="g",
    cluster="a",
    messages=({"role": "user", "content": "Which is red?"},),
    choices=("sky", "blood"),
    answer=1,
)
OPEN = Item(
    id="b",
    group="g",
    cluster="b",
    messages=({"role": "user", "content": "1 + 1?"},),
    references=("2", "two"),
)
SYSTEM = {"role": "system", "content": "Be brief."}
HEARD = ({"role": "user", "content": "Blood is red."},)


def test_cloze_shows_no_options() -> None:
    asked = question(CHOICE, "cloze", TASK)
    assert asked.messages == CHOICE.messages
    assert asked.options == ("sky", "blood")


def test_letters_stand_before_the_options() -> None:
    asked = question(CHOICE, "letter", TASK)
    assert asked.messages[0]["content"] == "Which is red?\nA. sky\nB. blood"
    assert asked.options == ("A", "B")


def test_a_choice_in_words_asks_for_a_letter() -> None:
    asked = question(CHOICE, "generate", TASK)
    assert asked.messages[0]["content"] == (
        "Answer with the letter of the right option alone.\n\nWhich is red?\nA. sky\nB. blood"
    )
    assert asked.options == ()


def test_a_task_s_own_instruction_comes_first() -> None:
    assert question(OPEN, "generate", WRITTEN).messages[0]["content"] == (
        "Give the number.\n\n1 + 1?"
    )
    plain = replace(WRITTEN, instruction="")
    assert question(OPEN, "generate", plain).messages == OPEN.messages


def test_the_last_turn_alone_is_changed_and_the_sharer_s_not_at_all() -> None:
    item = replace(CHOICE, messages=(SYSTEM, *CHOICE.messages), sharer_messages=HEARD)
    for method in ("cloze", "letter", "generate"):
        asked = question(item, method, TASK)
        assert asked.messages[0] == SYSTEM
        assert asked.sharer_messages == HEARD


@pytest.mark.parametrize(
    ("item", "method", "task", "answer"),
    [
        (CHOICE, "cloze", TASK, "blood"),
        (CHOICE, "letter", TASK, "B"),
        (CHOICE, "generate", TASK, "B"),
        (OPEN, "generate", WRITTEN, "2"),
        (replace(OPEN, facts={"solution": "It is 2."}), "generate", WRITTEN, "It is 2."),
    ],
)
def test_an_exemplar_is_asked_alike_and_answered(item, method, task, answer) -> None:
    asked, answered = exemplar(item, method, task)
    assert asked == question(item, method, task).messages[-1]
    assert answered == {"role": "assistant", "content": answer}


def test_exemplars_stand_between_the_system_and_the_question() -> None:
    item = replace(CHOICE, messages=(SYSTEM, *CHOICE.messages), sharer_messages=HEARD)
    asked = question(item, "letter", TASK)
    turns = exemplar(CHOICE, "letter", TASK)
    shown = with_exemplars(asked, [turns, turns])
    assert shown.messages == (SYSTEM, *turns, *turns, asked.messages[-1])
    assert (shown.options, shown.sharer_messages) == (asked.options, HEARD)
    assert with_exemplars(asked, []) == asked


def test_the_last_letter_is_z() -> None:
    item = replace(CHOICE, choices=tuple(f"option {place}" for place in range(26)))
    assert question(item, "letter", TASK).options == tuple(ascii_uppercase)


@pytest.mark.parametrize("method", ["letter", "generate"])
def test_more_options_than_letters_are_refused(method) -> None:
    item = replace(CHOICE, choices=tuple(f"option {place}" for place in range(27)))
    with pytest.raises(DataError, match=r"At most 26 choices.*27 choices of a.*cloze"):
        question(item, method, TASK)
    assert len(question(item, "cloze", TASK).options) == 27


def test_another_method_than_the_task_s_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"made must be answered by .*generate.*'cloze'"):
        question(OPEN, "cloze", WRITTEN)


def test_an_item_without_choices_is_not_chosen_from() -> None:
    with pytest.raises(DataError, match="Method cloze needs choices"):
        question(OPEN, "cloze", TASK)
