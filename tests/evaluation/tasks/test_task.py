"""The register of tasks: built-in names, dotted paths, and tasks of other packages."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from c2c_search import plugins
from c2c_search.errors import ConfigError
from c2c_search.evaluation.grading import grade
from c2c_search.evaluation.tasks.loading import load_task
from c2c_search.evaluation.tasks.task import TASKS
from c2c_search.evaluator.request import Request
from c2c_search.evaluator.target import Target
from c2c_search.evaluator.tasks import choose
from tests.evaluation.hub_samples import write
from tests.evaluation.plugin_files import ROWS


def test_a_name_is_checked_without_its_task_graders_and_data_sets() -> None:
    code = (
        "import sys\n"
        "from c2c_search.evaluation.tasks.task import TASKS\n"
        "assert TASKS.check('gsm8k') and 'translation' in TASKS\n"
        "found = [m for m in sys.modules if m.startswith(('datasets', 'torch', 'sacrebleu'))]\n"
        "ours = 'c2c_search.evaluation.'\n"
        "print(found, sorted(m.removeprefix(ours) for m in sys.modules if m.startswith(ours)))\n"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == (
        "[] ['grading', 'grading.grader', 'items', 'tasks', 'tasks.task']\n"
    )


def test_built_in_names_are_those_that_their_files_register() -> None:
    assert all(TASKS[name].name == name for name in TASKS)


def test_a_dotted_path_names_a_task_with_a_local_copy(outside: Path) -> None:
    rows = write(outside / "rows.jsonl", *ROWS)
    loaded = load_task(f"my_tasks.capitals={rows}")
    assert (loaded.name, [item.references for item in loaded.items]) == (
        "capitals",
        [("Lima",), ("Havana",)],
    )
    # Its own name does, once it has been imported.
    assert load_task(f"capitals={rows}") == loaded
    # By its grader the first word counts alone.
    assert grade(loaded.task, loaded.items[0], "Lima it is").credit == 1
    assert grade(loaded.task, loaded.items[0], "It is Lima").credit == 0


def test_an_evaluation_takes_a_task_from_outside(outside: Path) -> None:
    spec = f"my_tasks.capitals={write(outside / 'rows.jsonl', *ROWS)}"
    (chosen,) = choose(Request(target="", tasks=(spec,)), Target("model", "path:a"))
    assert (chosen.loaded.name, chosen.method) == ("capitals", "generate")


def test_an_entry_point_brings_a_task_by_its_name(
    outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [EntryPoint("mine", "my_tasks", plugins.ENTRY_POINTS)]
    monkeypatch.setattr(plugins, "entry_points", lambda group: found)
    assert load_task(f"capitals={write(outside / 'rows.jsonl', *ROWS)}").name == "capitals"
    with pytest.raises(ConfigError, match="Did you mean capitals"):
        load_task("capitls")


@pytest.mark.parametrize("named", ["my_tasks.capitls", "my_taks.capitals"])
def test_a_dotted_path_to_nothing_is_told(outside: Path, named: str) -> None:
    for spec in (named, f"{named}={write(outside / 'rows.jsonl', *ROWS)}"):
        with pytest.raises(ConfigError, match=r"of a task must be importable|must name a task"):
            load_task(spec)


def test_tasks_and_graders_from_outside_pass_their_suites_in_three_lines(outside: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    paths = os.pathsep.join([str(outside), *sys.path])
    done = subprocess.run(
        [*command, "--rootdir", str(outside), str(outside / "test_mine.py")],
        capture_output=True,
        text=True,
        cwd=outside,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
