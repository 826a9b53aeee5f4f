"""Several workers at once: every trial ends once, whatever becomes of driver and workers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from c2c_search.config.trial import TrialConfig
from c2c_search.errors import StudyStoppedError
from c2c_search.study import storage
from c2c_search.study.driver import Outcome
from c2c_search.study.layout import StudyFiles
from c2c_search.training.protocol import Failed
from tests.forked import exit_code


Run = Callable[..., Outcome]


def optuna_trials(root: Path, name: str = "tiny") -> list[Any]:
    import optuna

    return optuna.load_study(study_name=name, storage=storage.open_storage(root)).trials


def ended(root: Path) -> list[Any]:
    trials = optuna_trials(root)
    assert "RUNNING" not in [trial.state.name for trial in trials]
    return [trial for trial in trials if trial.state.name in ("COMPLETE", "PRUNED")]


def real(config: TrialConfig) -> bool:
    return config.fuser.sharer == "real"


def edit(space_file: Path, before: str, after: str) -> None:
    text = space_file.read_text()
    assert before in text
    space_file.write_text(text.replace(before, after))


class Rendezvous:
    """Lets worker threads wait for each other, which they can only if they run side by side."""

    def __init__(self) -> None:
        self.met = 0
        self._both = threading.Barrier(2)

    def __call__(self, number: int) -> None:
        if threading.current_thread() is not threading.main_thread() and not self.met:
            self._both.wait(30)
            self.met = number


def test_two_workers_train_at_the_same_time(quick: Run, root: Path, script: Any) -> None:
    script.at = meeting = Rendezvous()
    outcome = quick(workers=2)
    assert meeting.met
    assert script.starts == 2
    assert len(ended(root)) == len(optuna_trials(root)) == 5
    hashes = [config.hash() for config in script.trained if real(config)]
    assert len(hashes) == len(set(hashes)) == 5
    assert outcome.champion is not None


def test_workers_take_groups_within_the_budget(
    quick: Run, root: Path, script: Any, space_file: Path
) -> None:
    edit(space_file, "seed: 0}", "seed: 0, trials_per_device: 2}")
    quick(workers=2)
    assert len(ended(root)) == len(optuna_trials(root)) == 5
    assert all(len(group) == 2 for group in script.together)


def test_every_worker_measures_and_is_told_what_is_known_of_the_pairs(
    quick: Run, script: Any
) -> None:
    script.date = "2026-01-01"
    quick(workers=3)
    assert script.starts > 1
    assert script.dates == [None] + ["2026-01-01"] * (script.starts - 1)
    assert script.dtypes == [None] + ["float32"] * (script.starts - 1)
    measured = [each.model_dump_json() for each in script.evaluated]
    assert len(measured) == len(set(measured))


def test_chance_suggests_the_same_to_any_number_of_workers(
    quick: Run, root: Path, script: Any, space_file: Path
) -> None:
    edit(space_file, "sampler: auto, pruner: halving", "sampler: random, pruner: none")
    quick()
    edit(space_file, "study: tiny", "study: tiny3")
    script.weights = "others"  # so that nothing is known
    quick(workers=3)
    one, three = (
        [trial.params for trial in optuna_trials(root, name)] for name in ("tiny", "tiny3")
    )
    assert one == three


def test_suggestions_differ_while_others_run(quick: Run, root: Path, space_file: Path) -> None:
    edit(space_file, "sampler: auto", "sampler: tpe")
    quick(workers=3, trials=12)
    settings = {str(sorted(trial.params.items())) for trial in optuna_trials(root)}
    assert len(settings) == 12


def test_settings_queued_twice_are_trained_once(
    quick: Run, root: Path, script: Any, space_file: Path
) -> None:
    edit(space_file, "{pair: back, fuser.depth: 4", "{pair: there, fuser.depth: 4")
    quick(workers=2, trials=2)
    assert sum(map(real, script.trained)) == 1
    values = [trial.values for trial in optuna_trials(root)]
    assert values == [values[0]] * 2


def test_ctrl_c_in_the_middle_of_several_loses_nothing(run: Run, root: Path, script: Any) -> None:
    from tests.study.test_driver import assert_finished_once
    from tests.study.test_driver import runs

    def at(number: int) -> None:
        if number == 20:
            raise KeyboardInterrupt

    script.at = at
    with pytest.raises(KeyboardInterrupt):
        run(workers=2)
    assert all(each.info.status != "RUNNING" for each in runs(root).values())
    assert all(trial.state.name != "RUNNING" for trial in optuna_trials(root))
    script.at = lambda number: None
    run(workers=3)
    assert_finished_once(root)


def test_a_fatal_failure_of_one_leaves_the_others_to_another_start(
    quick: Run, root: Path, script: Any
) -> None:
    def failures(config: TrialConfig) -> Failed | None:
        if real(config) and not script.failed:
            script.failed = True
            return Failed(failure="fatal", message="driver gone")
        if real(config):
            time.sleep(1)
        return None

    script.failed, script.failures = False, failures
    with pytest.raises(StudyStoppedError, match="driver gone"):
        quick(workers=2)
    script.failures = lambda config: None
    quick(workers=2)
    assert len(ended(root)) == 5


def test_three_failures_of_one_class_stop_every_worker(
    quick: Run, root: Path, script: Any
) -> None:
    script.failures = lambda config: (
        Failed(failure="diverged", message="the loss is nan") if real(config) else None
    )
    with pytest.raises(StudyStoppedError, match="3 trials in a row"):
        quick(workers=2)
    failed = [trial for trial in optuna_trials(root) if "failure" in trial.user_attrs]
    assert len(failed) == 3


@pytest.mark.parametrize("point", [10, 17, 30])
def test_a_killed_driver_loses_nothing(quick: Run, root: Path, script: Any, point: int) -> None:
    def killed() -> None:
        script.at = lambda number: os._exit(9) if number == point else None
        quick(workers=2)

    assert exit_code(killed) == 9
    quick(workers=2)
    assert len(ended(root)) == 5


@pytest.mark.parametrize("workers", [1, 2])
def test_a_study_that_is_asked_to_stop_ends_what_has_begun(
    quick: Run, root: Path, script: Any, workers: int
) -> None:
    stop = StudyFiles(root, "tiny").stop
    script.at = lambda number: stop.touch() if number == 20 else None
    with pytest.raises(KeyboardInterrupt):
        quick(workers=workers)
    before = len(ended(root))
    assert len(optuna_trials(root)) == before  # none was cut short
    quick(workers=workers)  # which is no more asked to stop
    assert before < len(ended(root)) == len(optuna_trials(root)) == 5


def test_the_view_says_who_does_what(quick: Run, output: Any) -> None:
    quick(workers=2)
    assert "worker 1: prepare" in output.getvalue()
    assert "trial-001 (worker " in output.getvalue()


@pytest.mark.parametrize("workers", [1, 2])
def test_trials_go_on_while_the_tracking_server_is_away(
    run: Run,
    root: Path,
    script: Any,
    output: Any,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
) -> None:
    from c2c_search.tracking import Tracker
    from c2c_search.tracking import mlflow_store
    from c2c_search.tracking import outbox
    from tests.study.test_driver import runs
    from tests.tracking.test_outbox import Server

    connect, servers = mlflow_store.connect, []

    def connected(uri: str) -> Any:
        servers.append(Server(connect(uri)))
        return servers[-1]

    def at(number: int) -> None:
        servers[-1].away = 15 <= number < 30  # two trials begin and end in that time

    monkeypatch.setattr(mlflow_store, "connect", connected)
    monkeypatch.setattr(outbox, "RETRY_SECONDS", 0.0)
    script.at = at
    run(tracking_uri=mlflow_store.local_uri(root), workers=workers)
    told = output.getvalue()
    assert told.index("server is away") < told.index("server is back")
    assert not StudyFiles(root, "tiny").outbox.exists()
    ids = {trial.user_attrs["mlflow_run_id"] for trial in ended(root)}
    assert len(ids) == 5
    assert any(each.startswith("later-") for each in ids)
    monkeypatch.undo()
    of_trials = [run for run in runs(root).values() if run.data.tags["c2c.kind"] == "trial"]
    assert {run.data.tags.get("c2c.later", run.info.run_id) for run in of_trials} == ids
    assert {run.info.status for run in runs(root).values()} == {"FINISHED"}
    client = Tracker.open(root, "tiny-task").client
    for recorded in of_trials:
        points = client.get_metric_history(recorded.info.run_id, "train/loss")
        steps = [point.step for point in points]
        assert steps == list(range(1, len(steps) + 1))
        assert len(steps) in (2, 4)  # pruned, or to the end
