"""Plug-ins of other packages, forgotten again after a test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from c2c_search import plugins
from c2c_search.evaluation.grading import GRADERS
from c2c_search.evaluation.tasks.task import TASKS
from tests.evaluation.plugin_files import GRADER
from tests.evaluation.plugin_files import SUITES
from tests.evaluation.plugin_files import TASK


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path with ``my_tasks``, ``my_graders`` and their conformance tests."""
    for name, text in (
        ("my_tasks.py", TASK),
        ("my_graders.py", GRADER),
        ("test_mine.py", SUITES),
    ):
        (tmp_path / name).write_text(text.lstrip())
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in ("my_tasks", "my_graders"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    for register in (TASKS, GRADERS):
        for part in ("_entries", "_names", "_plugins"):
            monkeypatch.setattr(register, part, getattr(register, part).copy())
    plugins._import_entry_points.cache_clear()
    yield tmp_path
    plugins._import_entry_points.cache_clear()
    for module in ("my_tasks", "my_graders"):
        sys.modules.pop(module, None)
