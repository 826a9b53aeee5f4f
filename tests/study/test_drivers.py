"""Several drivers on one PostgreSQL: every trial is trained once, and the leader may die."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from c2c_search.errors import StoreError
from c2c_search.host.children import python_command
from c2c_search.host.urls import without_password
from c2c_search.study import storage
from c2c_search.study.drivers import DRIVEN_BY
from c2c_search.study.drivers import SharedDrivers
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
            "SCRIPTED_SECONDS": "1",  # that a second driver finds something left to do
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
def test_drivers_share_a_study_and_one_takes_over_from_a_leader_that_died(
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
    os.kill(leader.pid, signal.SIGKILL)
    third = start(space_file, root, server)
    ends = [each.communicate(timeout=300)[0] for each in (helper, third)]
    leader.communicate()
    assert (helper.returncode, third.returncode) == (0, 0), ends
    assert "s3cret" not in said + heard + "".join(ends)
    study = optuna.load_study(
        study_name="tiny", storage=storage.open_storage(root, server.url("optuna"))
    )
    ended = [trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]
    assert len(ended) == 8
    assert len({trial.user_attrs["trial_hash"] for trial in ended}) == 8
    assert len({trial.user_attrs[DRIVEN_BY] for trial in ended}) > 1
    assert all(trial.state.is_finished() for trial in study.trials)
    assert_recorded(server, root, 8)


def assert_recorded(server: Server, root: Path, trials: int) -> None:
    from c2c_search.tracking import mlflow_store

    client = mlflow_store.connect(mlflow_store.open_store(root, uri=server.url("mlflow")))
    experiments = [each.experiment_id for each in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000)
    assert {run.info.status for run in runs} == {"FINISHED"}
    named = [run for run in runs if run.data.tags.get("c2c.kind") == "trial"]
    assert len(named) == trials
    for run in named:
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
