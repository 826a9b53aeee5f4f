"""``plan`` on models that are at hand, and ``study`` that asks before it spends."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from c2c_search.study import planning
from tests.study.test_estimate import Clock


Cli = Callable[..., tuple[int, str, str]]

SPACE = """\
study: tiny
pipeline: pipeline.yaml
pairs:
  there: {{receiver: "{receiver}", sharer: "{sharer}"}}
search: {{trials: 3, pruner: none}}
dimensions:
  fuser.width: {{choices: [8, 16]}}
limits: {{max_parameters: 5000}}
"""
PIPELINE = """\
name: tiny
data: {source: jsonl, files: {train: [mine.jsonl]}}
training: {steps: 20, batch_size: 2}
champion: {finalists: 1}
"""


@pytest.fixture
def space(tiny_pair, tmp_path: Path) -> str:
    lines = [
        json.dumps({"question": f"Which is {n}?", "choices": list("abc"), "answer": n % 3})
        for n in range(60)
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines))
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    (tmp_path / "space.yaml").write_text(SPACE.format(**tiny_pair.model_dump()))
    return str(tmp_path / "space.yaml")


def test_plan_tells_sizes_disk_and_time(
    cli: Cli, space: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("C2C_SEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(planning, "measure_pace", lambda *_, **__: Clock())
    status, out, err = cli("plan", "--space", space, "--json")
    assert status == 0
    assert "Reading the prompts ..." in err
    planned: dict[str, Any] = json.loads(out)
    assert planned["time"]["total"]["expected"] == pytest.approx(
        sum(phase["seconds"]["expected"] for phase in planned["time"]["phases"])
    )
    assert planned["caches"]["size"] > planned["caches"]["stored"] == 0
    assert {one["of"] for one in planned["caches"]["lists"]} == {"train", "validation", "test"}
    assert sum(each["share"] for each in planned["sizes"]["histogram"]) == pytest.approx(1)
    # The wider of the two fusers is beyond the limit.
    assert planned["sizes"]["fitting"] == pytest.approx(
        1 - planned["sizes"]["refused"]["max_parameters"]
    )
    assert (planned["finalists"], planned["to_fetch"]) == (1, [])

    status, out, _ = cli("plan", "--space", space, "--quick", "--trials", "2")
    assert status == 0
    for part in ("prompt caches", "beyond limits.max_parameters", "must beat", "█"):
        assert part in out
    assert "in all" in out.split("must beat")[0]  # steps
    assert "expected" not in out  # no time


def test_plan_counts_gpu_hours_where_models_and_data_are_missing(
    cli: Cli, space: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("C2C_SEARCH_CACHE", str(tmp_path / "cache"))
    file = Path(space)
    text = file.read_text()
    pair = '{receiver: "hf:Qwen/Qwen3-0.6B", sharer: "hf:Qwen/Qwen2.5-0.5B-Instruct"}'
    there = next(line for line in text.splitlines() if "there:" in line)
    file.write_text(text.replace(there, f"  there: {pair}").replace("5000", "50000000"))
    status, out, _ = cli("plan", "--space", space)
    assert status == 0
    assert "GPU hours" in out
    assert "To fetch: hf:Qwen/Qwen3-0.6B, hf:Qwen/Qwen2.5-0.5B-Instruct." in out
    assert "A token is taken to be 4 bytes of text." in out
    (tmp_path / "mine.jsonl").unlink()
    planned = json.loads(cli("plan", "--space", space, "--json")[1])
    assert len(planned["gpus"]["devices"]) > 1
    assert (planned["time"], len(planned["to_fetch"])) == (None, 2)
    assert "data.files.train: A data file must exist" in planned["notices"][0]
    # What is wrong beside that is told, and nothing else is.
    file.write_text(file.read_text().replace("fuser.width", "fuser.widht"))
    status, out, err = cli("plan", "--space", space)
    assert (status, out, "fuser.widht" in err) == (2, "", True)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The studies that began."""
    from c2c_search.study import driver

    found: list[Path] = []
    monkeypatch.setattr(driver, "run_study", lambda path, **_: found.append(path))
    return found


def _takes(
    monkeypatch: pytest.MonkeyPatch, hours: float | None, status: int = 0
) -> list[list[str]]:
    """Let a plan say how long a study takes; the commands that are asked."""
    asked: list[list[str]] = []
    span = None if hours is None else dict.fromkeys(("low", "expected", "high"), 3600 * hours)
    notices = [] if span else ["No time was measured, as the study's own work fails: so it is."]
    told = json.dumps({"time": span and {"total": span}, "notices": notices})

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        asked.append(command)
        return SimpleNamespace(returncode=status, stdout=told.encode())

    monkeypatch.setattr(subprocess, "run", run)
    return asked


def test_a_study_that_may_take_so_long_begins_unasked(
    cli: Cli, space: str, begun: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _takes(monkeypatch, 1.9)
    study = ("study", "--space", space, "--max-hours", "2", "--trials", "2")
    assert cli(*study)[0] == 0
    assert asked[0][-2:] == ["--trials", "2"]
    assert len(begun) == 1
    _takes(monkeypatch, 30)
    assert cli(*study, "--yes")[0] == 0
    assert len(begun) == 2


def test_a_study_that_takes_longer_does_not_begin_where_nobody_can_be_asked(
    cli: Cli, space: str, begun: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    study = ("study", "--space", space, "--max-hours", "2")
    _takes(monkeypatch, 3)
    status, _, err = cli(*study)
    assert (status, "expected to take about 3 h" in err, "--yes" in err) == (2, True, True)
    _takes(monkeypatch, None)
    status, _, err = cli(*study)
    assert (status, "own work fails: so it is" in err) == (2, True)
    _takes(monkeypatch, 1, status=130)
    assert cli(*study)[0] == 130
    assert begun == []


@pytest.mark.parametrize("answer", [True, False])
def test_on_a_terminal_it_asks(
    cli: Cli, space: str, begun: list[Path], monkeypatch: pytest.MonkeyPatch, answer: bool
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    questions: list[str] = []
    monkeypatch.setattr("typer.confirm", lambda text: questions.append(text) or answer)
    _takes(monkeypatch, 3)
    status = cli("study", "--space", space, "--max-hours", "2")[0]
    assert (status == 0, len(begun)) == (answer, int(answer))
    assert "more than 2 h. Begin?" in questions[0]
