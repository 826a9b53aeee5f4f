"""What every task must do, as tests to inherit.

from c2c_search.testing import TaskConformance

class TestMine(TaskConformance):
    plugin = "my_package.my_module.my_task"
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar
from typing import get_args

import pytest

from c2c_search.evaluation.grading import grade
from c2c_search.evaluation.items import Method
from c2c_search.evaluation.prompting import exemplar
from c2c_search.evaluation.prompting import question
from c2c_search.evaluation.tasks.loading import LoadedTask
from c2c_search.evaluation.tasks.loading import load_task
from c2c_search.evaluation.tasks.task import TASKS
from c2c_search.evaluation.tasks.task import HubRow


_LIMIT = 20


class TaskConformance:
    """What an evaluation asks of a task; inherit from it and name yours."""

    plugin: ClassVar[str]
    """Name or dotted path, as in ``--tasks``."""

    rows: ClassVar[Sequence[HubRow]] = ()
    """A few rows in exactly its data set's columns; without them they come from the hub."""

    @pytest.fixture
    def spec(self, tmp_path: Path) -> str:
        """As in ``--tasks``."""
        if not self.rows:
            return self.plugin
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in self.rows), encoding="utf-8")
        return f"{self.plugin}={path}"

    @pytest.fixture
    def loaded(self, spec: str) -> LoadedTask:
        """The task with a few items."""
        return load_task(spec, limit=_LIMIT)

    def test_it_says_what_it_is(self, loaded: LoadedTask) -> None:
        task = loaded.task
        assert TASKS[task.name] is TASKS[self.plugin] is task
        assert re.fullmatch(r"\w+", task.name), "a name stands before = and between commas"
        assert len(task.reference) > 5
        assert task.methods
        assert set(task.methods) <= set(get_args(Method))
        assert len(set(task.methods)) == len(task.methods)
        assert (task.hub is None) or task.hub.columns
        assert task.max_new_tokens > 0

    def test_its_items_are_whole(self, loaded: LoadedTask) -> None:
        assert loaded.items
        for item in loaded.items:
            assert item.group
            assert item.cluster
            assert item.messages[-1]["role"] == "user"
            assert all(turn["content"].strip() for turn in item.messages)
            assert item.sharer_messages or not loaded.task.split_evidence
            if item.choices:
                assert 0 <= item.answer < len(item.choices)
                assert len(item.choices) >= 2
                assert all(choice == choice.strip() != "" for choice in item.choices)
            else:
                assert item.answer == -1
                assert item.references

    def test_its_ids_are_unique(self, loaded: LoadedTask) -> None:
        assert len({item.id for item in loaded.items}) == len(loaded.items)

    def test_it_is_read_the_same_twice(self, loaded: LoadedTask, spec: str) -> None:
        assert load_task(spec, limit=_LIMIT) == loaded

    def test_it_is_asked_by_all_its_methods(self, loaded: LoadedTask) -> None:
        for item in loaded.items:
            for method in loaded.task.methods:
                asked = question(item, method, loaded.task)
                assert asked.item is item
                assert len(asked.options) == (0 if method == "generate" else len(item.choices))
                user, assistant = exemplar(item, method, loaded.task)
                assert user == asked.messages[-1]
                assert assistant["role"] == "assistant"
                assert assistant["content"].strip()

    def test_the_right_answer_in_words_is_graded_as_right(self, loaded: LoadedTask) -> None:
        for item in loaded.items:
            _, right = exemplar(item, loaded.task.methods[-1], loaded.task)
            assert grade(loaded.task, item, right["content"]).credit == pytest.approx(1.0)

    def test_no_answer_is_not_graded_as_right(self, loaded: LoadedTask) -> None:
        for item in loaded.items:
            assert grade(loaded.task, item, "Nobody asked for the weather.").credit < 0.5
