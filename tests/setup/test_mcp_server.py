"""The agents' server through a client in this process."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from c2c_search.host.json_store import JsonStore
from c2c_search.setup.first_files import write_first_files
from c2c_search.setup.wishes import Wishes
from c2c_search.study.layout import StudyFiles
from c2c_search.study.verdicts import KEY
from c2c_search.study.verdicts import verdicts_of


mcp = pytest.importorskip("mcp")


@pytest.fixture
def folder(own_data: Path, tmp_path: Path) -> Path:
    write_first_files(tmp_path, Wishes(train=[own_data], study="mine"))
    return tmp_path


def _ask(
    folder: Path, *calls: tuple[str, dict[str, Any]], stores: tuple[str, ...] = ()
) -> list[Any]:
    from c2c_search.setup.mcp_server import server

    async def ask() -> list[Any]:
        made = server(folder, folder / "mlruns", *stores)
        async with mcp.Client(made) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            assert tools == {"validate", "plan", "study", "status", "explain", "verdict"}
            return [await client.call_tool(name, given) for name, given in calls]

    return asyncio.run(ask())


def _text(answer: Any) -> str:
    return " ".join(part.text for part in answer.content)


def test_a_space_is_validated_and_planned(folder: Path) -> None:
    valid, planned = _ask(
        folder, ("validate", {"space": "space.yaml"}), ("plan", {"space": "space.yaml"})
    )
    assert valid.structured_content["valid"] is True
    assert planned.structured_content["trials"] == 6
    assert planned.structured_content["total_steps"] > 100


def test_a_problem_has_its_line_and_column(folder: Path) -> None:
    space = folder / "space.yaml"
    space.write_text(space.read_text().replace("trials: 6", "trials: none"))
    (found,) = _ask(folder, ("validate", {"space": "space.yaml"}))
    (problem,) = found.structured_content["problems"]
    line = space.read_text().splitlines().index("  trials: none") + 1
    assert (problem["line"], problem["column"], problem["key"]) == (line, 3, "search.trials")


def test_no_row_is_shown_and_no_file_but_yaml_is_read(folder: Path) -> None:
    secret = folder / "secret.jsonl"
    secret.write_text('{"question": "SECRET?", "choices": ["SECRET"], "answer": 0}\n')
    pipeline = folder / "pipeline.yaml"
    text = pipeline.read_text()
    pipeline.write_text(text.replace("  files:\n", "  files:\n    test: [secret.jsonl]\n"))
    outside = folder.parent / "outside.yaml"
    outside.write_text("study: SECRET\n")
    (folder / "led.yaml").write_text("study: a\npipeline: secret.jsonl\n")
    asked = ["space.yaml", "secret.jsonl", "../outside.yaml", "led.yaml", str(outside)]
    answers = _ask(folder, *((tool, {"space": each}) for each in asked for tool in _OF_SPACES))
    assert all("SECRET" not in _text(answer) for answer in answers)
    assert answers[0].structured_content["valid"] is False
    assert "rows are not shown" in _text(answers[0])
    assert all(answer.is_error for answer in answers[1:])


_OF_SPACES = ("validate", "plan", "study")


def test_a_study_goes_on_by_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[list[str]] = []

    def start(command: list[str], **options: Any) -> SimpleNamespace:
        begun.append(command)
        assert options["start_new_session"]
        return SimpleNamespace(pid=7)

    monkeypatch.setattr(subprocess, "Popen", start)
    (answer,) = _ask(folder, ("study", {"space": "space.yaml", "trials": 3}))
    assert answer.structured_content["process"] == 7
    assert begun[0][-4:] == ["--root", str(folder / "mlruns"), "--trials", "3"]
    stores = (f"sqlite:///{folder}/trials.db", "http://localhost:1")
    (_, told) = _ask(folder, ("study", {"space": "space.yaml"}), ("status", {}), stores=stores)
    assert begun[1][-4:] == ["--storage", stores[0], "--tracking-uri", stores[1]]
    assert stores[0] in _text(told)  # where there is no study yet


def test_there_is_no_verdict_before_the_gate(folder: Path) -> None:
    (answer,) = _ask(folder, ("verdict", {"study": "mine"}))
    assert answer.is_error  # there is no such study
    assert "There must be studies under the root." in _text(answer)
    files = StudyFiles(folder / "mlruns", "mine")
    assert verdicts_of(files.root, "mine") == ()
    assert not JsonStore(files.results).path(KEY).exists()
