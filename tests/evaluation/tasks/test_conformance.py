"""Conformance suite: every task must pass all of it, on a file in exactly its hub's columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from c2c_search.evaluation.grading import grade
from c2c_search.evaluation.prompting import exemplar
from c2c_search.evaluation.prompting import question
from c2c_search.evaluation.tasks.catalogue import TASKS
from c2c_search.evaluation.tasks.loading import LoadedTask
from c2c_search.evaluation.tasks.loading import load_task
from tests.evaluation.hub_samples import SAMPLES
from tests.evaluation.hub_samples import write


METHODS = ("cloze", "letter", "generate")


@pytest.fixture(params=sorted(TASKS))
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> LoadedTask:
    name = str(request.param)
    if TASKS[name].hub is None:
        return load_task(name, limit=20)
    return load_task(f"{name}={write(tmp_path / 'rows.jsonl', *SAMPLES[name])}")


def test_a_task_says_what_it_is(loaded: LoadedTask) -> None:
    task = loaded.task
    assert TASKS[task.name] is task
    assert len(task.reference) > 5
    assert task.methods
    assert set(task.methods) <= set(METHODS)
    assert len(set(task.methods)) == len(task.methods)
    assert (task.hub is None) or task.hub.columns
    assert task.max_new_tokens > 0


def test_a_task_s_items_are_whole(loaded: LoadedTask) -> None:
    assert loaded.items
    for item in loaded.items:
        assert item.group
        assert item.cluster
        assert item.messages[-1]["role"] == "user"
        assert all(turn["content"].strip() for turn in item.messages)
        if item.choices:
            assert 0 <= item.answer < len(item.choices)
            assert len(item.choices) >= 2
            assert all(choice == choice.strip() != "" for choice in item.choices)
        else:
            assert item.answer == -1
            assert item.references


def test_a_task_s_ids_are_unique(loaded: LoadedTask) -> None:
    assert len({item.id for item in loaded.items}) == len(loaded.items)


def test_a_task_is_read_the_same_twice(loaded: LoadedTask) -> None:
    if loaded.task.hub is None:
        assert load_task(loaded.name, limit=20) == loaded
    else:
        assert load_task(f"{loaded.name}={loaded.source}") == loaded


def test_a_task_is_asked_by_all_its_methods(loaded: LoadedTask) -> None:
    for item in loaded.items:
        for method in loaded.task.methods:
            asked = question(item, method, loaded.task)
            assert asked.item is item
            assert len(asked.options) == (0 if method == "generate" else len(item.choices))
            user, assistant = exemplar(item, method, loaded.task)
            assert user == asked.messages[-1]
            assert assistant["role"] == "assistant"
            assert assistant["content"].strip()


def test_the_right_answer_in_words_is_graded_as_right(loaded: LoadedTask) -> None:
    for item in loaded.items:
        _, right = exemplar(item, loaded.task.methods[-1], loaded.task)
        assert grade(loaded.task, item, right["content"]).credit == pytest.approx(1.0)


def test_no_answer_is_not_graded_as_right(loaded: LoadedTask) -> None:
    for item in loaded.items:
        assert grade(loaded.task, item, "Nobody asked for the weather.").credit < 0.5
