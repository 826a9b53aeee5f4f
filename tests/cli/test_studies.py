"""Studies as the command line shows and changes them."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from c2c_search.host import process
from c2c_search.report.state import Doing
from c2c_search.study import storage
from c2c_search.study.layout import StudyFiles
from c2c_search.study.noted_phase import note_phase


Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A study of a trial in each state, and one of none."""
    root = tmp_path_factory.mktemp("root")
    opened = storage.open_storage(root)
    storage.open_study(opened, "empty", {"pairs": {}})
    study = storage.open_study(opened, "tiny", {"pairs": {}})
    study.set_user_attr(storage.TRIALS, 8)
    for number in range(5):
        trial = study.ask()
        trial.suggest_int("fuser.depth", 1, 8)
        trial.report(0.1 * number, 2)
        trial.set_user_attr("trial_hash", f"hash{number}")
        if number < 2:
            study.tell(trial, 0.25 + number / 4)
        elif number == 2:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        elif number == 3:
            trial.set_user_attr("failure", "diverged")
            trial.set_user_attr("failure_message", "the loss is nan")
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
    study.enqueue_trial({"fuser.depth": 4})
    opened.engine.dispose()
    return (root / storage.DATABASE).read_bytes()


@pytest.fixture
def root(database: bytes, tmp_path: Path) -> Path:
    root = tmp_path / "mlruns"
    root.mkdir()
    (root / storage.DATABASE).write_bytes(database)
    return root


@pytest.fixture
def ask(cli: Cli, root: Path) -> Callable[..., Any]:
    """A command's JSON."""

    def ask(*words: str) -> Any:
        status, out, err = cli(*words, "--root", str(root), "--json")
        assert status == 0, err
        return json.loads(out)

    return ask


def drive(root: Path, owner: str | None = None) -> StudyFiles:
    """Pretend that a process drives the study; this one if none is named."""
    files = StudyFiles(root, "tiny")
    files.folder.mkdir(parents=True, exist_ok=True)
    (files.folder / storage.DRIVER).write_text(owner or process.this_process())
    return files


def test_status_of_all_studies(cli: Cli, root: Path, ask: Any) -> None:
    drive(root)
    empty, tiny = ask("status")
    assert (empty["name"], empty["driver"], empty["counts"], empty["best"]) == (
        "empty",
        "none",
        {},
        None,
    )
    assert (tiny["driver"], tiny["process"], tiny["budget"]) == ("running", os.getpid(), 8)
    states = ("complete", "pruned", "failed", "running", "waiting")
    assert tiny["counts"] == dict(zip(states, (2, 1, 1, 1, 1), strict=True))
    assert (tiny["best"]["name"], tiny["best"]["objective"]) == ("trial-001", 0.5)
    assert [(one["name"], one["rungs"]) for one in tiny["now"]] == [("trial-004", {"2": 0.4})]
    out = cli("status", "tiny", "--root", str(root))[1]
    assert out.startswith(f"tiny: runs (process {os.getpid()}); 4 of 8 trials (2 complete, ")
    assert "best 0.5000 (trial-001)\n  trial-004: step 2, 0.4000 at its last rung, depth" in out


def test_status_tells_what_the_driver_is_at(cli: Cli, root: Path, ask: Any) -> None:
    files = drive(root)
    told = ask("status", "tiny")[0]
    assert told["phase"] is None
    note_phase(files, Doing("test", "trial-001", 3, 12, since=0.0, before=0))
    told = ask("status", "tiny")[0]["phase"]
    assert (told["stage"], told["message"], told["done"], told["total"]) == (
        *("test", "trial-001"),
        *(3, 12),
    )
    assert "\n  test trial-001 3/12, for " in cli("status", "tiny", "--root", str(root))[1]
    files.phase.write_text("{")  # by what is no driver of ours
    assert ask("status", "tiny")[0]["phase"] is None
    note_phase(files, Doing("test", "trial-001", 3, 12, since=0.0, before=0))
    (files.folder / storage.DRIVER).unlink()  # it has gone, and its note with it
    assert ask("status", "tiny")[0]["phase"] is None


@pytest.mark.parametrize(
    ("owner", "driver"),
    [("elsewhere/boot/1/2", "elsewhere"), ("nobody", "elsewhere")],
)
def test_a_driver_that_cannot_be_asked_after(
    root: Path, ask: Any, owner: str, driver: str
) -> None:
    drive(root, owner)
    assert ask("status", "tiny")[0]["driver"] == driver


def test_stopping_is_asked_for_and_shown(cli: Cli, root: Path, ask: Any) -> None:
    files = drive(root)
    assert "tiny stops after trial-004." in cli("stop", "--root", str(root))[1]
    assert files.stop.exists()
    assert ask("status", "tiny")[0]["driver"] == "stopping"


def test_stopping_now_is_a_signal(root: Path, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    files = drive(root)
    sent: list[Any] = []
    monkeypatch.setattr(os, "kill", lambda *args: sent.append(args))
    assert ask("stop", "tiny", "--now") == {"study": "tiny", "process": os.getpid(), "now": True}
    assert (os.getpid(), signal.SIGTERM) in sent
    assert not files.stop.exists()


def test_only_what_is_driven_can_be_stopped(cli: Cli, root: Path) -> None:
    for words in (("stop",), ("stop", "tiny"), ("stop", "tiny", "--now")):
        status, _, err = cli(*words, "--root", str(root))
        assert status == 2
        assert "driven now must be named" in err
        assert "Nothing is to stop: no process drives any." in err


def test_studies_and_trials_are_listed_shown_and_exported(
    cli: Cli, root: Path, ask: Any, tmp_path: Path
) -> None:
    assert [row["name"] for row in ask("study", "ls")] == ["empty", "tiny"]
    shown = ask("study", "show", "tiny")
    assert shown["study"]["name"] == "tiny"
    names = [trial["name"] for trial in shown["trials"]]
    assert names == [f"trial-{number:03d}" for number in range(6)]
    assert ask("trial", "ls", "tiny") == shown["trials"]
    assert ask("trial", "show", "tiny", "3") == shown["trials"][3]
    assert shown["trials"][3]["failure"] == "diverged"
    assert shown["trials"][5]["params"] == {"fuser.depth": 4}
    to = tmp_path / "tiny.json"
    cli("study", "export", "tiny", "--to", str(to), "--root", str(root))
    assert json.loads(to.read_text()) == shown
    assert "trial-003  failed" in cli("trial", "ls", "tiny", "--root", str(root))[1]
    shown_here = cli("trial", "show", "tiny", "trial-003", "--root", str(root))[1]
    assert "the loss is nan" in shown_here
    assert "params      fuser.depth " in shown_here
    assert not {"{", "[", "None"} & {*shown_here.split(), *shown_here}


@pytest.mark.parametrize("to", ["", ".", "/", "..", "pipe"])
def test_a_study_is_written_into_a_file_alone(
    cli: Cli, root: Path, to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    status, _, err = cli("study", "export", "tiny", "--to", to, "--root", str(root))
    assert status == 2
    assert "A study is written into a file. Got" in err
    assert not Path(to).is_file()


def test_the_name_of_a_study_is_told_as_it_was_given(cli: Cli, root: Path) -> None:
    status, _, err = cli("study", "show", "", "--root", str(root))
    assert status == 2
    assert "name of a study under the root. Got ''." in err


def test_a_failed_trial_is_tried_again_once(cli: Cli, root: Path, ask: Any) -> None:
    row = ask("trial", "retry", "tiny", "trial-003")
    assert (row["name"], row["state"], row["attempts"]) == ("trial-003", "interrupted", 2)
    assert ask("status", "tiny")[0]["counts"]["interrupted"] == 1
    for trial, state in (("3", "interrupted"), ("0", "complete"), ("4", "running")):
        status, _, err = cli("trial", "retry", "tiny", trial, "--root", str(root))
        assert status == 2
        assert f"trial-00{trial} is {state}" in err


def test_a_study_is_removed_with_all_its_files(
    cli: Cli, root: Path, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    files = drive(root)
    (files.trial("hash0")).mkdir()
    status, _, err = cli("study", "rm", "tiny", "--root", str(root))
    assert status == 2
    assert "--yes" in err
    assert ask("study", "rm", "tiny", "--yes") == {"removed": "tiny"}
    assert not files.folder.exists()
    assert [row["name"] for row in ask("study", "ls")] == ["empty"]


@pytest.mark.parametrize(
    "words", [("study", "show", "nope"), ("trial", "ls", "nope"), ("status", "nope")]
)
def test_a_study_that_is_not_there(cli: Cli, root: Path, words: tuple[str, ...]) -> None:
    status, _, err = cli(*words, "--root", str(root))
    assert status == 2
    assert "nope" in err
    assert "These are there: empty, tiny" in err


def test_a_trial_that_is_not_there(cli: Cli, root: Path) -> None:
    status, _, err = cli("trial", "show", "tiny", "9", "--root", str(root))
    assert status == 2
    assert "must have that trial" in err


def test_a_root_without_studies_stays_without_a_store(cli: Cli, tmp_path: Path) -> None:
    status, _, err = cli("status", "--root", str(tmp_path / "none"))
    assert status == 2
    assert "There must be studies under the root" in err
    assert not (tmp_path / "none").exists()
