"""A study whose driver and worker are killed at random instants ends as the undisturbed one.

Two tiny random models on disk, the real worker process, kill -9. Random models prove nothing, so
the gate is opened by hand: the promotion is a stage that can be killed, too. The environment
variable C2C_SEARCH_KILLS says how many kills of each process there are.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import NamedTuple

import pytest

from c2c_search.host.children import python_command
from c2c_search.models.pair import PairSpec
from c2c_search.space.order import ordinal
from c2c_search.study import resume
from c2c_search.study.layout import StudyFiles
from c2c_search.study.storage import open_storage


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")

KILLS = int(os.environ.get("C2C_SEARCH_KILLS", "2"))
STARTS = 3 * KILLS + 5  # of one study, before the test gives up
TIMES = re.compile(r"^\[[\d:]+\] |[;,]? ?\(for [\d:]+\)$")  # before and behind what is told
LEFT = (".draft", "candidate", "checkpoints")  # of a study that has not ended
SPACE = """\
study: kills
pipeline: pipeline.yaml
pairs:
  only: {receiver: "path:models/a", sharer: "path:models/b"}
search: {trials: 3, sampler: random, pruner: none}
dimensions:
  fuser.projector: {choices: [linear, c2c]}
  training.learning_rate: {float: [0.0001, 0.01], log: true}
"""
PIPELINE = """\
name: kills
data: {source: jsonl, files: {train: data.jsonl}}
training: {steps: 6, batch_size: 4, log_every: 1, rungs: [0.34, 0.67, 1.0]}
caches: {dtype: float32}
champion: {finalists: 1, level: 0.5, resamples: 20, controls: []}
"""
# The command line, with an open gate and without pauses before new attempts.
COMMAND = """\
from c2c_search.cli import main
from c2c_search.study import finalists
from c2c_search.training import retries

judge = finalists.judge
finalists.judge = lambda *a, **k: judge(*a, **k).model_copy(update={"passed": True})
retries.BACK_OFF = {failure: (0.0,) * len(each) for failure, each in retries.BACK_OFF.items()}
main()
"""


class Line(NamedTuple):
    """What a study printed, and how many seconds after its start."""

    text: str
    at: float


class Instant(NamedTuple):
    """When to kill: so many seconds after a line of the undisturbed study; -1 is its start."""

    line: int
    delay: float
    target: str


@dataclass
class Command:
    """``c2c-search study`` in a folder, on stores under ``root``."""

    folder: Path
    root: Path

    def start(self) -> subprocess.Popen[str]:
        cache = self.root.with_name(f"{self.root.name}-cache")
        arguments = "study", "--space", "space.yaml", "--root", str(self.root)
        return subprocess.Popen(
            python_command("-c", COMMAND, *arguments),
            cwd=self.folder,
            env={
                **os.environ,
                "C2C_SEARCH_CACHE": str(cache),
                "PYTHONUNBUFFERED": "1",
                "TMPDIR": str(self.folder),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def lines(self, process: subprocess.Popen[str]) -> Iterator[Line]:
        """What it prints, as it prints it."""
        begun = time.monotonic()
        assert process.stdout is not None
        for line in process.stdout:
            text = TIMES.sub("", line.strip().replace(str(self.root), "ROOT"))
            yield Line(text, time.monotonic() - begun)


@pytest.fixture
def folder(tiny_pair: PairSpec, tmp_path: Path) -> Path:
    for name, source in zip("ab", (tiny_pair.receiver, tiny_pair.sharer), strict=True):
        shutil.copytree(source.removeprefix("path:"), tmp_path / "models" / name)
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    rows = [
        {"question": f"{i} is which?", "choices": [f"{i} {c}" for c in "wxyz"], "answer": i % 4}
        for i in range(40)
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_a_study_that_is_killed_again_and_again_ends_as_the_undisturbed_one(
    folder: Path,
) -> None:
    undisturbed, killed = (Command(folder, folder / name) for name in ("undisturbed", "killed"))
    process = undisturbed.start()
    printed = list(undisturbed.lines(process))
    assert process.wait() == 0, printed
    hits = kill_and_go_on(killed, printed, instants(printed, random.Random(14)))
    counts = Counter(target for target, _ in hits)
    print(f"kills: {dict(counts)}", *hits, sep="\n")
    # An instant may find the study's end, or no worker, but most find what they look for.
    assert all(2 * counts[target] >= KILLS for target in ("driver", "worker"))
    assert record(killed.root) == record(undisturbed.root)
    assert left_over(folder) == []


def instants(printed: list[Line], chance: random.Random) -> list[Instant]:
    """In the order of the undisturbed study: half spread over its time, half over its lines."""
    lines = [-1, *(index for index, line in enumerate(printed) if once(printed, line.text))]
    starts = [0.0 if index < 0 else printed[index].at for index in lines]
    gaps = [end - start for start, end in zip(starts, [*starts[1:], printed[-1].at], strict=True)]
    prepare, evaluated = (
        [index for index, line in enumerate(printed) if line.text.startswith(word)]
        for word in ("prepare", "evaluate")
    )
    found = []
    for target in ("driver", "worker"):
        of_worker = target == "worker"
        first, last = (prepare[0], evaluated[-1] - 1) if of_worker else (-1, len(printed))
        places = [place for place, index in enumerate(lines) if first <= index <= last]
        for kill in range(KILLS):
            share = (kill + chance.random()) / KILLS
            if kill % 2:
                place = places[int(share * len(places))]
            else:
                end = starts[places[-1]] + gaps[places[-1]]
                at = starts[places[0]] + share * (end - starts[places[0]])
                place = max(place for place in places if starts[place] <= at)
            found.append(Instant(lines[place], chance.random() * gaps[place], target))
    return sorted(found)


def once(printed: list[Line], text: str) -> bool:
    return sum(line.text == text for line in printed) == 1


def kill_and_go_on(
    command: Command, printed: list[Line], due: list[Instant]
) -> list[tuple[str, str]]:
    """Start a study until it has ended; which kills found their process, after which lines."""
    known = {line.text: at for at, line in enumerate(printed) if once(printed, line.text)}
    hits: list[tuple[str, str]] = []
    due = list(due)
    for _ in range(STARTS):
        process = command.start()
        seen, output = -1, []
        if due and due[0].line < 0:
            hits += kill(process, due.pop(0), "start")
        for line in command.lines(process):
            output.append(line.text)
            seen = max(seen, known.get(line.text, -1))
            while due and due[0].line <= seen and process.poll() is None:
                hits += kill(process, due.pop(0), line.text)
        if process.wait() == 0:
            del due[:1]  # the study was quicker; it must bear kills after its end, too
            if not due:
                return hits
            continue
        # Stopped by a kill, or since a worker that was killed again and again is not waited for.
        assert process.returncode in (-signal.SIGKILL, 4), "\n".join(output)
    raise AssertionError(f"not done after {STARTS} starts")


def kill(process: subprocess.Popen[str], instant: Instant, after: str) -> list[tuple[str, str]]:
    """Kill the driver or its worker after the instant's delay, and let no child outlive it."""
    time.sleep(instant.delay)
    workers = children(process.pid)
    victims = [process.pid] if instant.target == "driver" else workers
    if process.poll() is not None or not victims:
        return []
    os.kill(victims[0], signal.SIGKILL)
    if instant.target == "driver":
        process.wait()
        # The kernel ends the worker; a package that is being asked ends when it has answered.
        deadline = time.monotonic() + 60
        while any(map(lives, workers)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(map(lives, workers)), "a child outlives its driver"
    return [(instant.target, after)]


def children(pid: int) -> list[int]:
    """Processes that a process started itself, from any of its threads."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for each in lists for child in each.read_text().split()]


def lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def record(root: Path) -> dict[str, Any]:
    """All that a study found out, without times, ids and the number of attempts."""
    results = StudyFiles(root, "kills").results
    return {
        "suggestions": suggestions(root),
        "runs": runs(root),
        "champion": registered(root),
        "results": {
            str(path.relative_to(results)): timeless(path, root)
            for path in sorted(results.rglob("*.json"))
        },
        "verdicts": [timeless(path, root) for path in (root / "artifacts").rglob("verdict.json")],
        "fusers": {
            str(path.relative_to(root)): path.read_bytes()
            for folder in ("trials", "champions")
            for path in sorted((root / folder).rglob("fuser.safetensors"))
        },
    }


def timeless(path: Path, root: Path) -> Any:
    kept = json.loads(path.read_text().replace(str(root), "ROOT"))
    if isinstance(kept, dict):
        kept.pop("seconds", None)
    return kept


def suggestions(root: Path) -> list[tuple[Any, ...]]:
    """What became of each suggestion, in order; a retry must be the one it goes on with."""
    import optuna

    study = optuna.load_study(study_name="kills", storage=open_storage(root))
    trials = study.trials
    first: dict[int, dict[str, Any]] = {}
    for trial in trials:
        number = ordinal(trials, trial.number)
        assert trial.params.items() >= first.setdefault(number, trial.params).items()
        first[number] = trial.params
    return [
        (
            ordinal(trials, trial.number),
            trial.params,
            trial.state,
            trial.values,
            trial.intermediate_values,
        )
        for trial in sorted(resume.ended(trials), key=lambda one: ordinal(trials, one.number))
    ]


def runs(root: Path) -> dict[str, Any]:
    """The finished runs by name, with accuracies and every step's loss; none runs on."""
    with sqlite3.connect(root / "mlflow.db") as store:
        kept = store.execute("SELECT run_uuid, name, status FROM runs").fetchall()
        assert {status for _, _, status in kept} <= {"FINISHED", "KILLED"}
        finished = {run: name for run, name, status in kept if status == "FINISHED"}
        assert len(set(finished.values())) == len(finished)
        found: dict[str, Any] = {name: {} for name in finished.values()}
        query = "SELECT run_uuid, key, step, value FROM metrics ORDER BY step, timestamp"
        for run, key, step, value in store.execute(query):
            if run in finished and key.startswith(("train/", "validation/", "objective")):
                found[finished[run]].setdefault((key, step), []).append(value)
    return found


def registered(root: Path) -> list[tuple[Any, ...]]:
    """The registered versions, and which of them the aliases name."""
    with sqlite3.connect(root / "mlflow.db") as store:
        versions = store.execute("SELECT name, version FROM model_versions").fetchall()
        query = "SELECT name, alias, version FROM registered_model_aliases"
        return sorted(versions) + sorted(store.execute(query).fetchall())


def left_over(folder: Path) -> list[str]:
    """What a killed process was writing."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if ".partial" in path.name or path.name in LEFT or path.name.endswith(".replaced")
    )
