"""A tracking server that goes away and comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from requests.exceptions import ConnectionError as Refused

from c2c_search.errors import StoreError
from c2c_search.tracking import Tracker
from c2c_search.tracking import mlflow_store
from c2c_search.tracking import outbox
from c2c_search.tracking.outbox import LATER
from c2c_search.tracking.outbox import Outbox


class Server:
    """A store that can be away, or fall over after so many more calls."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.away = False
        self.left = -1
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **given: Any) -> Any:
            if self.left == 0:
                self.away = True
            if self.away:
                error = StoreError("The tracking store must be reachable.")
                raise error from Refused("refused")
            self.left -= 1
            self.calls.append(name)
            return getattr(self.client, name)(*args, **given)

        return call


@pytest.fixture
def server(tracker: Tracker) -> Server:
    return Server(tracker.client)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "outbox.jsonl"


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def away_tracker(
    tracker: Tracker, server: Server, kept: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> Tracker:
    """The tracker behind an outbox that tries again at once."""
    monkeypatch.setattr(outbox, "RETRY_SECONDS", 0.0)
    tracker.client = Outbox(server, kept, notify=told.append)  # type: ignore[arg-type]
    return tracker


def losses(tracker: Tracker, run_id: str) -> list[tuple[int, float]]:
    points = tracker.client.get_metric_history(tracker.own_id(run_id), "train/loss")
    return [(point.step, point.value) for point in points]


def test_what_cannot_be_delivered_is_kept_and_delivered_in_order(
    away_tracker: Tracker, server: Server, kept: Path, told: list[str]
) -> None:
    run = away_tracker.study("demo").trial("trial-000")
    run.metrics(1, {"train/loss": 3.0})
    run.flush()
    server.away = True
    for step in (2, 3):
        run.metrics(step, {"train/loss": 3.0 - step})
        run.flush()
    run.note("While it was away.")
    run.dataset("quiz", "0" * 64, "quiz", "train", rows=4)
    run.finish("FINISHED", state="COMPLETE")
    assert len(kept.read_text().splitlines()) == 5
    server.away = False
    server.calls.clear()
    assert losses(away_tracker, run.run_id) == [(1, 3.0), (2, 1.0), (3, 0.0)]
    assert server.calls[:2] == ["log_batch", "log_batch"]
    found = away_tracker.client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.tags["mlflow.note.content"] == "While it was away."
    assert found.inputs.dataset_inputs[0].dataset.name == "quiz"
    assert not kept.exists()
    assert [text.split(";")[0] for text in told] == [
        "The tracking server is away",
        "The tracking server is back",
    ]


def test_a_run_may_begin_and_end_while_it_is_away(
    away_tracker: Tracker, server: Server, tmp_path: Path
) -> None:
    study = away_tracker.study("demo")
    folder = tmp_path / "best"
    folder.mkdir()
    (folder / "fuser.txt").write_text("a fuser")
    server.away = True
    run = study.trial("trial-000", tags={"optuna.trial_number": 0})
    run.metrics(1, {"train/loss": 2.0})
    run.text("trial.yaml", "seed: 0\n")
    run.artifact_dir(folder, "fuser")
    run.finish("FINISHED", state="COMPLETE")
    server.away = False
    (child,) = away_tracker.children(study.run_id)
    assert run.run_id.startswith("later-")
    assert child.info.run_id == away_tracker.own_id(run.run_id)
    assert (child.info.status, child.data.tags["c2c.name"]) == ("FINISHED", "trial-000")
    assert losses(away_tracker, run.run_id) == [(1, 2.0)]
    files = away_tracker.client.list_artifacts(child.info.run_id)
    assert {file.path for file in files} == {"trial.yaml", "fuser"}
    # A later start, which knows the run by the id that it began with, goes on in it.
    again = study.trial("trial-000", run_id=run.run_id)
    assert again.run_id == child.info.run_id


@pytest.mark.parametrize("calls", [0, 1, 2, 4])
def test_a_killed_driver_delivers_at_its_next_start_and_doubles_nothing(
    away_tracker: Tracker, server: Server, kept: Path, calls: int
) -> None:
    study = away_tracker.study("demo")
    server.away = True
    run = study.trial("trial-000")
    for step in (1, 2, 3):
        run.metrics(step, {"train/loss": 1 / step})
        run.flush()
    with kept.open("a") as stream:
        stream.write('["log_batch", "cut o')  # by the kill
    server.away, server.left = False, calls
    assert not away_tracker.client.deliver(now=True)
    server.away, server.left = False, -1
    away_tracker.client = Outbox(server, kept)  # type: ignore[arg-type]
    (child,) = away_tracker.children(study.run_id)
    assert child.data.tags[LATER] == run.run_id
    assert losses(away_tracker, run.run_id) == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]


def test_what_the_server_refuses_is_not_kept(
    away_tracker: Tracker, kept: Path, server: Server
) -> None:
    run = away_tracker.study("demo").trial("trial-000")
    run.params({"depth": 1})
    run.flush()
    run.params({"depth": 2})
    with pytest.raises(Exception, match="depth"):
        run.flush()
    assert not kept.exists()


def test_what_it_refuses_later_keeps_nothing_back(
    away_tracker: Tracker, server: Server, kept: Path, told: list[str]
) -> None:
    study = away_tracker.study("demo")
    run = study.trial("trial-000")
    run.params({"depth": 1})
    run.flush()
    server.away = True
    run.params({"depth": 2})
    run.flush()
    run.metrics(1, {"train/loss": 2.0})
    run.flush()
    server.away = False
    assert losses(away_tracker, run.run_id) == [(1, 2.0)]
    assert f"refuses a record (log_batch) of {run.run_id}" in "\n".join(told)
    assert not kept.exists()


def test_a_study_begins_only_with_its_server(
    root: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = mlflow_store.connect

    def away(uri: str) -> Any:
        server = Server(connect(uri))
        server.away = True
        return server

    monkeypatch.setattr(mlflow_store, "connect", away)
    with pytest.raises(StoreError, match="reachable"):
        Tracker.open(root, "demo", uri=mlflow_store.local_uri(root), outbox=kept)


def test_reading_waits_until_it_is_back(tracker: Tracker, server: Server, kept: Path) -> None:
    def sleep(seconds: float) -> None:
        server.away = False

    tracker.client = Outbox(server, kept, sleep=sleep)  # type: ignore[arg-type]
    server.away = True
    assert tracker.client.get_experiment_by_name("demo").name == "demo"
