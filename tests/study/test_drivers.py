"""Several drivers on one PostgreSQL: every trial is trained once, and the leader may die."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from c2c_search.cli import studies
from c2c_search.errors import StoreError
from c2c_search.host import process
from c2c_search.host import signals
from c2c_search.host.children import python_command
from c2c_search.host.urls import without_password
from c2c_search.study import drivers
from c2c_search.study import overview
from c2c_search.study import storage
from c2c_search.study import upkeep
from c2c_search.study.driver import Outcome
from c2c_search.study.drivers import DRIVEN_BY
from c2c_search.study.drivers import DRIVER
from c2c_search.study.drivers import SharedDrivers
from c2c_search.study.layout import StudyFiles
from c2c_search.tracking import mlflow_store
from tests.study.postgres import Server
from tests.study.postgres import binaries


BINARIES = binaries()
needs_postgres = pytest.mark.skipif(BINARIES is None, reason="needs PostgreSQL and psycopg")
HERE = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    assert BINARIES is not None
    server = Server(BINARIES)
    yield server
    server.close()


def start(space: Path, root: Path, server: Server, workers: int = 1) -> subprocess.Popen[str]:
    urls = server.url("optuna"), server.url("mlflow")
    return subprocess.Popen(
        python_command(
            "-m",
            "tests.study.scripted_worker",
            "drive",
            str(space),
            str(root),
            str(workers),
            *urls,
        ),
        env={
            **os.environ,
            "PYTHONPATH": str(HERE),
            "PYTHONUNBUFFERED": "1",
            "SCRIPTED_SECONDS": "0.5",  # that a second driver finds something left to do
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until(process: subprocess.Popen[str], words: str) -> str:
    """What it prints up to a line with some words."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(said)


@needs_postgres
def test_drivers_share_a_study_and_one_takes_over_from_leaders_that_died(
    space_file: Path, tmp_path: Path, server: Server
) -> None:
    import optuna

    root = tmp_path / "shared"
    text = space_file.read_text()
    space_file.write_text(text.replace("trials: 5", "trials: 8"))
    leader = start(space_file, root, server)
    said = until(leader, "trial-000")
    helper = start(space_file, root, server)
    heard = until(helper, "takes part in its search")
    heard += until(helper, "trial-00")  # which trains one
    said += until(leader, ": complete")  # and so has this one
    os.kill(leader.pid, signal.SIGKILL)
    both = helper, start(space_file, root, server)
    first, second = in_finale(both, root, server)
    os.kill(first.pid, signal.SIGKILL)
    ends = [each.communicate(timeout=300)[0] for each in (leader, first, second)]
    assert (first.returncode, second.returncode) == (-signal.SIGKILL, 0), ends
    assert "s3cret" not in said + heard + "".join(ends)
    study = optuna.load_study(
        study_name="tiny", storage=storage.open_storage(root, server.url("optuna"))
    )
    ended = [trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]
    assert len(ended) == 8
    assert len({trial.user_attrs["trial_hash"] for trial in ended}) == 8
    assert len({trial.user_attrs[DRIVEN_BY] for trial in ended}) > 1
    assert all(trial.state.is_finished() for trial in study.trials)
    assert_recorded(mlflow_store.open_store(root, uri=server.url("mlflow")), 8)


def in_finale(
    both: tuple[subprocess.Popen[str], subprocess.Popen[str]], root: Path, server: Server
) -> list[subprocess.Popen[str]]:
    """Wait until one of two drivers trains what finalists must beat: that one, and the other."""
    client = mlflow_store.connect(mlflow_store.open_store(root, uri=server.url("mlflow")))
    experiments = [each.experiment_id for each in client.search_experiments()]
    while not client.search_runs(experiments, "tags.`c2c.kind` = 'twin'"):
        assert all(each.poll() is None for each in both)
        threading.Event().wait(0.1)
    leads = process.pid_of((StudyFiles(root, "tiny").folder / DRIVER).read_text().strip())
    return sorted(both, key=lambda each: each.pid != leads)


def assert_recorded(uri: str, trials: int) -> None:
    client = mlflow_store.connect(uri)
    experiments = [each.experiment_id for each in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000)
    assert {run.info.status for run in runs} == {"FINISHED"}
    kinds = [run.data.tags.get("c2c.kind") for run in runs]
    assert kinds.count("trial") == trials
    for run in (run for run, kind in zip(runs, kinds, strict=True) if kind in ("trial", "twin")):
        steps = [each.step for each in client.get_metric_history(run.info.run_id, "train/loss")]
        assert steps == list(range(1, len(steps) + 1))


@needs_postgres
def test_a_lost_connection_is_told_before_anybody_else_leads(
    server: Server, tmp_path: Path
) -> None:
    opened = storage.open_storage(tmp_path, server.url("optuna"))
    with SharedDrivers(opened.engine, "lost", tmp_path) as one:
        assert one.lead()
        with SharedDrivers(opened.engine, "lost", tmp_path) as other:
            assert not other.lead()
        server.kill()
        server.start()
        with pytest.raises(StoreError, match="must last"):
            one.check()
        with SharedDrivers(opened.engine, "lost", tmp_path) as other:
            assert other.lead()


@needs_postgres
def test_who_has_lost_its_locks_writes_nothing_into_what_another_goes_on_with(
    run: Callable[..., Outcome], root: Path, script: Any, server: Server
) -> None:
    """PostgreSQL was started anew, and what this driver trains is queued again by another."""
    import optuna

    server.make("anew")
    url, events = server.url("anew"), list[int]()

    def lose(number: int) -> None:
        trials = [config for config in script.trained if config.fuser.sharer == "real"]
        if len(trials) != 2 or len(events) > 2:
            return
        events.append(number)
        if len(events) == 3:  # after two steps of the second trial
            server.kill()
            server.start()
            opened = storage.open_storage(root, url)
            study = optuna.load_study(study_name="tiny", storage=opened)
            with SharedDrivers(opened.engine, "tiny", StudyFiles(root, "tiny").folder) as other:
                assert other.lead()
                assert other.recover(study) == [1]

    script.at = lose
    with pytest.raises(StoreError, match="holds a driver's locks must last"):
        run(storage_url=url)
    assert run(storage_url=url).champion is not None
    assert_recorded(mlflow_store.open_store(root), 5)


@needs_postgres
def test_drivers_are_seen_and_stopped_from_outside(
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, root, sent = server.url("optuna"), tmp_path / "shared", []
    folder = StudyFiles(root, "seen").folder
    opened = storage.open_storage(root, url)
    study = storage.open_study(opened, "seen", {"pairs": {}})
    study.ask()
    folder.mkdir(parents=True)

    def said(root: Path = root) -> str:
        studies.status("seen", root=root, storage=url)
        return capsys.readouterr().out.partition(";")[0]

    assert said() == "seen: not running"
    with pytest.raises(StoreError, match="Nothing is to stop"):
        upkeep.stop(root, "seen", url=url)
    with (
        SharedDrivers(opened.engine, "seen", folder) as leader,
        SharedDrivers(opened.engine, "seen", folder),
    ):
        assert said() == "seen: driven from elsewhere, with 2 drivers in all"  # nobody leads yet
        leader.lead()
        assert said() == f"seen: runs (process {os.getpid()}), with 2 drivers in all"
        assert said(tmp_path / "other").startswith("seen: driven from elsewhere, with 2")
        assert not (tmp_path / "other").exists()
        with pytest.raises(StoreError, match="its folder, which its drivers share"):
            upkeep.stop(tmp_path / "other", "seen", url=url)
        monkeypatch.setattr(os, "kill", lambda *told: sent.append(told))
        upkeep.stop(root, "seen", now=True, url=url)
        assert (os.getpid(), signal.SIGTERM) in sent
        # Nor does another one take the lead then.
        assert said().startswith("seen: stops when what has begun has ended")
    assert said() == "seen: not running"


@needs_postgres
def test_nobody_waits_for_ever_for_a_turn_to_ask(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = storage.open_storage(tmp_path, server.url("optuna"))
    study = storage.open_study(opened, "turns", {"pairs": {}})
    with (
        SharedDrivers(opened.engine, "turns", tmp_path) as stopped,
        SharedDrivers(opened.engine, "turns", tmp_path) as other,
    ):
        with stopped.asking(study):
            monkeypatch.setattr(drivers, "_LONGEST_TURN_SECONDS", 0.1)
            with pytest.raises(StoreError, match="another one keeps its turn"):
                other.recover(study)
            monkeypatch.setattr(signals, "_asked", signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt), other.asking(study):
                """A thread beside the one that got the signal leaves, too."""
        monkeypatch.undo()
        with other.asking(study):
            assert other.lead()


@needs_postgres
def test_a_database_without_studies_stays_without(server: Server, tmp_path: Path) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy import inspect

    server.make("none")
    for url in (server.url("none"), f"sqlite:///{tmp_path}/none.db"):
        with pytest.raises(StoreError, match="must be studies in the store") as told:
            overview.open_existing(tmp_path / "root", url)
        assert "s3cret" not in str(told.value)
    assert not list(tmp_path.iterdir())
    named = server.url("none").replace("postgresql", "postgresql+psycopg")
    assert not inspect(create_engine(named)).get_table_names()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:s3c:ret@db/x", "postgresql://me:***@db/x"),
        ("postgresql://me@db/x?password=s3cret&a=b", "postgresql://me@db/x?password=***&a=b"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
    ],
)
def test_passwords_of_urls_are_not_shown(url: str, shown: str) -> None:
    assert without_password(f"see {url} there") == f"see {shown} there"
