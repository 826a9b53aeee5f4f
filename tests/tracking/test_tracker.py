from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from c2c_search.errors import StoreError
from c2c_search.tracking import ChildRun
from c2c_search.tracking import StudyRun
from c2c_search.tracking import Tracker


@pytest.fixture
def study(tracker: Tracker) -> StudyRun:
    return tracker.study("quickstart", description="**Two** models.")


def run_of(tracker: Tracker, run: ChildRun | StudyRun):
    return tracker.client.get_run(run.run_id)


def steps(tracker: Tracker, run: ChildRun, metric: str) -> list[int]:
    return [point.step for point in tracker.client.get_metric_history(run.run_id, metric)]


def artifact(tracker: Tracker, run: ChildRun | StudyRun, name: str) -> str:
    folder = run_of(tracker, run).info.artifact_uri.removeprefix("file://")
    return (Path(folder) / name).read_text()


def test_nothing_global_is_touched(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    run = Tracker.open(root, "demo").study("s").trial("t")
    run.finish("FINISHED")
    assert mlflow.active_run() is None
    assert mlflow.get_tracking_uri() == before
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert os.listdir(tmp_path) == ["mlruns"]


def test_a_study_is_a_parent_with_description_and_source(
    tracker: Tracker, study: StudyRun
) -> None:
    run = run_of(tracker, study)
    assert run.info.run_name == "study: quickstart"
    assert run.info.status == "RUNNING"
    assert run.data.tags["mlflow.note.content"] == "**Two** models."
    assert run.data.tags["c2c.kind"] == "study"
    assert run.data.tags["optuna.study_name"] == "quickstart"
    assert run.data.tags["mlflow.source.name"] == "c2c-search"
    assert run.data.tags["mlflow.user"]


def test_a_long_description_ends_with_a_whole_line(tracker: Tracker, study: StudyRun) -> None:
    study.note("| trial | 0.5 |\n" * 1000)
    shown = run_of(tracker, study).data.tags["mlflow.note.content"]
    assert len(shown) <= 8000
    assert shown.endswith("| trial | 0.5 |\n\n…")


def test_the_experiment_explains_itself(tracker: Tracker) -> None:
    experiment = tracker.client.get_experiment(tracker.experiment_id)
    assert "parent run" in experiment.tags["mlflow.note.content"]
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


@pytest.mark.parametrize("kind", ["trial", "control", "twin"])
def test_children_lie_below_their_study(tracker: Tracker, study: StudyRun, kind: str) -> None:
    run = study.trial("child", kind=kind, tags={"optuna.trial_number": 7})
    (child,) = tracker.children(study.run_id)
    assert child.info.run_id == run.run_id
    assert child.data.tags["c2c.kind"] == kind
    assert child.data.tags["optuna.study_name"] == "quickstart"
    assert child.data.tags["optuna.trial_number"] == "7"


def test_two_studies_do_not_mix(tracker: Tracker, study: StudyRun) -> None:
    other = tracker.study("other")
    study.trial("a")
    run = other.trial("b")
    assert [child.info.run_id for child in tracker.children(other.run_id)] == [run.run_id]


def test_metrics_are_batched_and_written_at_flush(tracker: Tracker, study: StudyRun) -> None:
    run = study.trial("t")
    for step in range(3):
        run.metrics(step, {"train/loss": 1.0, "train/lr": 0.1})
    assert steps(tracker, run, "train/loss") == []
    run.flush()
    assert steps(tracker, run, "train/loss") == [0, 1, 2]
    run.metrics(3, {"train/loss": float("nan")})
    run.finish("FINISHED")
    assert steps(tracker, run, "train/loss") == [0, 1, 2, 3]


def test_more_metrics_than_one_batch_holds(tracker: Tracker, study: StudyRun) -> None:
    run = study.trial("t")
    for step in range(1100):
        run.metrics(step, {"train/loss": 1.0})
    run.finish("FINISHED")
    assert steps(tracker, run, "train/loss") == list(range(1100))


def test_old_metrics_are_written_without_being_asked(
    tracker: Tracker, study: StudyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = study.trial("t")
    monkeypatch.setattr("c2c_search.tracking.tracker.FLUSH_SECONDS", -1.0)
    run.metrics(0, {"train/loss": 1.0})
    assert steps(tracker, run, "train/loss") == [0]


def test_a_resumed_run_goes_on_and_never_doubles_a_step(tracker: Tracker, study: StudyRun) -> None:
    first = study.trial("trial-000", tags={"optuna.trial_number": 0})
    first.params({"fuser": {"depth": 3}})
    for step in range(5):
        first.metrics(step, {"train/loss": 1.0})
    first.finish("KILLED", state="INTERRUPTED")
    again = study.trial("trial-001", run_id=first.run_id, tags={"optuna.trial_number": 1})
    assert again.run_id == first.run_id
    assert run_of(tracker, again).info.status == "RUNNING"
    again.params({"fuser": {"depth": 3}})
    for step in range(3, 8):
        again.metrics(step, {"train/loss": 1.0})
        again.metrics(step, {"train/loss": 1.0})
    again.finish("FINISHED", state="COMPLETE")
    assert steps(tracker, again, "train/loss") == list(range(8))
    run = run_of(tracker, again)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "trial-001")
    assert run.data.tags["optuna.trial_number"] == "1"
    assert run.data.tags["optuna.state"] == "COMPLETE"


def test_an_interrupted_study_is_opened_again(tracker: Tracker, study: StudyRun) -> None:
    study.finish("KILLED")
    again = tracker.study("quickstart", run_id=study.run_id)
    assert again.run_id == study.run_id
    assert run_of(tracker, again).info.status == "RUNNING"
    assert run_of(tracker, again).data.tags["mlflow.note.content"] == "**Two** models."


def test_a_run_that_is_not_there_any_more_is_made_anew(tracker: Tracker, study: StudyRun) -> None:
    deleted = study.trial("t")
    tracker.client.delete_run(deleted.run_id)
    assert study.trial("t", run_id=deleted.run_id).run_id != deleted.run_id
    assert tracker.study("quickstart", run_id="0" * 32).run_id != study.run_id


def test_a_changed_parameter_of_a_resumed_run_is_a_mistake(study: StudyRun) -> None:
    from mlflow.exceptions import MlflowException

    run = study.trial("t")
    run.params({"fuser": {"depth": 3}})
    run.flush()
    run.params({"fuser": {"depth": 4}})
    with pytest.raises(MlflowException, match=r"fuser\.depth"):
        run.flush()


def test_many_parameters_and_tags_are_split_over_calls(tracker: Tracker, study: StudyRun) -> None:
    run = study.trial("t")
    run.params({f"p{i}": i for i in range(250)})
    run.tags({f"t{i}": i for i in range(250)})
    run.flush()
    data = run_of(tracker, run).data
    assert sum(name.startswith("p") for name in data.params) == 250
    assert data.tags["t249"] == "249"


def test_what_is_recorded_between_two_rungs_is_one_call(
    tracker: Tracker, study: StudyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = study.trial("t")
    calls: list[set[str]] = []
    real = tracker.client.log_batch

    def log_batch(run_id: str, **given: Any) -> None:
        calls.append(set(given))
        real(run_id, **given)

    monkeypatch.setattr(run, "_client", SimpleNamespace(log_batch=log_batch))
    run.note("A trial.")
    run.params({"depth": 1})
    run.metrics(1, {"train/loss": 1.0})
    run.tags({"a": 1})
    run.tags({"a": 2})
    run.objective(0.5)
    assert calls == []
    run.flush()
    run.flush()
    assert calls == [{"metrics", "params", "tags"}]
    data = run_of(tracker, run).data
    assert data.tags["a"] == "2"
    assert data.metrics["objective"] == 0.5


def test_numbers_that_a_run_has_once(tracker: Tracker, study: StudyRun) -> None:
    run = study.trial("t")
    for _ in range(2):
        run.cost({"train": 2.5, "prefill": 0.5}, parameters=1000, size=4000)
        run.objective(0.625)
        run.flush()
    again = study.trial("t", run_id=run.run_id)
    again.objective(0.625)
    again.flush()
    assert steps(tracker, run, "objective") == [0]
    assert run_of(tracker, run).data.metrics == {
        "time/train": 2.5,
        "time/prefill": 0.5,
        "fuser/parameters": 1000.0,
        "fuser/bytes": 4000.0,
        "objective": 0.625,
    }


def test_a_curve_gets_no_false_point_from_a_final_number(
    tracker: Tracker, study: StudyRun
) -> None:
    run = study.trial("t")
    run.metrics(100, {"validation/accuracy": 0.5})
    run.summary({"validation/accuracy": 0.6})
    run.finish("FINISHED")
    again = study.trial("t", run_id=run.run_id)
    again.summary({"validation/accuracy": 0.7})
    assert steps(tracker, run, "validation/accuracy") == [100]


def test_a_trial_config_is_logged_whole(tracker: Tracker, study: StudyRun) -> None:
    config = SimpleNamespace(
        model_dump=lambda **_: {"fuser": {"depth": 3}, "training": {"learning_rate": 1e-3}},
        hash=lambda: "0123456789abcdef",
        training=SimpleNamespace(learning_rate=1e-3),
    )
    run = study.trial("t")
    run.config(config, "fuser: {depth: 3}\n")
    run.flush()
    data = run_of(tracker, run).data
    assert data.params == {"fuser.depth": "3", "training.learning_rate": "0.001"}
    assert data.metrics == {"hp/log10_learning_rate": -3.0}
    assert data.tags["c2c.trial_hash"] == "0123456789abcdef"
    assert artifact(tracker, run, "trial.yaml") == "fuser: {depth: 3}\n"


def test_a_dataset_is_an_input_with_its_whole_hash(tracker: Tracker, study: StudyRun) -> None:
    run = study.trial("t")
    for _ in range(2):
        run.dataset("quiz", "ab" * 32, "built in", "train", rows=1500)
        run.flush()
    run.dataset("quiz", "cd" * 32, "built in", "validation")
    run.flush()
    logged = run_of(tracker, run).inputs.dataset_inputs
    assert sorted(each.dataset.digest for each in logged) == ["ab" * 8, "cd" * 8]
    tags = {tag.key: tag.value for each in logged for tag in each.tags if "ab" in tag.value}
    assert tags == {"sha256": "ab" * 32}
    assert run_of(tracker, run).data.tags["c2c.data.train"] == "ab" * 32


def test_artifacts(tracker: Tracker, study: StudyRun, tmp_path: Path) -> None:
    folder = tmp_path / "best"
    folder.mkdir()
    (folder / "fuser_config.json").write_text("{}")
    run = study.trial("t")
    run.artifact_dir(folder, "fuser")
    assert artifact(tracker, run, "fuser/fuser_config.json") == "{}"
    study.text("summary.md", "# Done")
    study.log_dict("trials.json", {"Länder": [1]})
    assert artifact(tracker, study, "summary.md") == "# Done"
    assert "Länder" in artifact(tracker, study, "trials.json")


def test_a_deleted_experiment_is_said_with_the_way_back(root: Path) -> None:
    tracker = Tracker.open(root, "demo")
    tracker.client.delete_experiment(tracker.experiment_id)
    with pytest.raises(StoreError, match="restore --experiment-id"):
        Tracker.open(root, "demo")


def test_a_store_that_fails_midway_is_a_store_error(
    tracker: Tracker, study: StudyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    def full(*args: object, **kwargs: object) -> None:
        raise MlflowException("(sqlite3.OperationalError) database or disk is full")

    run = study.trial("t")
    monkeypatch.setattr(tracker.client._client, "log_batch", full)
    run.metrics(0, {"train/loss": 1.0})
    with pytest.raises(StoreError, match="needs space"):
        run.flush()
