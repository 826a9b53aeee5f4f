"""What MLflow has of a study: names made of data, settings, notes, and any folder."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import c2c_search
from c2c_search.host.names import fit
from c2c_search.study import start
from c2c_search.study import storage
from c2c_search.study.driver import Outcome
from c2c_search.study.driver import run_study
from c2c_search.study.figures import log_figures
from c2c_search.tracking import Tracker
from tests.space.conftest import write_space
from tests.study.conftest import fake_promotion


Run = Callable[..., Outcome]


def parent_and_children(root: Path) -> tuple[Any, dict[str, Any]]:
    import optuna

    study = optuna.load_study(study_name="tiny", storage=storage.open_storage(root))
    tracker = Tracker.open(root, "tiny-task")
    run_id = study.user_attrs["mlflow_run_id"]
    children = {run.data.tags["c2c.name"]: run for run in tracker.children(run_id)}
    return tracker.client.get_run(run_id), children


@pytest.mark.parametrize(
    "groups", [("accuracy", "loss"), ("Q&A", "../C++\n"), ("", "x" * 400), ("law", "Law")]
)
def test_groups_may_have_any_name(
    run: Run, root: Path, script: Any, groups: tuple[str, str]
) -> None:
    script.groups = groups
    run(trials=2)
    _, runs = parent_and_children(root)
    metrics = runs["a alone"].data.metrics
    # 40 % of the items are right, those of both groups alike, whatever the groups are called.
    for split in ("validation", "test"):
        assert metrics[f"{split}/accuracy"] == pytest.approx(0.4)
        of_groups = {name for name in metrics if name.startswith(f"{split}/group/")}
        assert len(of_groups) == 2
    assert "validation/loss" not in metrics


def test_models_lie_where_they_like_and_pairs_are_called_as_they_like(
    run: Run, root: Path, script: Any, space_file: Path
) -> None:
    text = space_file.read_text()
    text = text.replace("path:a", "path:/my models/../A").replace("path:b", "path:/x/b")
    space_file.write_text(text.replace("there", "There"))
    script.alone = {"A": 0.4, "b": 0.45}
    outcome = run(trials=2)
    assert {row.name for row in outcome.leaderboard.test} >= {"A alone", "b alone"}
    parent, runs = parent_and_children(root)
    assert {"A alone", "b alone", "There without sharer"} <= runs.keys()
    client = Tracker.open(root, "tiny-task").client
    items = {each.path for each in client.list_artifacts(parent.info.run_id, "items")}
    assert f"items/{fit('A alone')}.json" in items
    everything = {path.relative_to(root).parts[0] for path in root.rglob("*.json")}
    assert everything <= {"trials", "artifacts"}
    run(trials=2)  # goes on from what it has kept under such names
    assert script.starts == 1


@pytest.mark.parametrize("name", ["why? #1 it's", "50% ü"])
def test_a_study_runs_in_any_folder(
    tmp_path: Path, start_worker: Callable[..., Any], name: str, script: Any
) -> None:
    here = tmp_path / name
    here.mkdir()
    for _ in range(2):
        run_study(
            write_space(here),
            root=here / "mlruns",
            trials=2,
            console=Console(file=io.StringIO()),
            worker_factory=start_worker,
            promotion=fake_promotion,
            ready=lambda space, file: None,
        )
    assert script.starts == 1
    assert {path.name for path in tmp_path.iterdir()} == {name}
    stores = {path.name for path in (here / "mlruns").iterdir() if path.suffix == ".db"}
    assert stores == {"mlflow.db", "optuna.db"}
    _, runs = parent_and_children(here / "mlruns")
    client = Tracker.open(here / "mlruns", "tiny-task").client
    trial = next(run for each, run in runs.items() if each == "trial-000")
    assert "trial.yaml" in {each.path for each in client.list_artifacts(trial.info.run_id)}


def test_the_drafts_of_a_trial_are_kept_with_it(run: Run, root: Path, space_file: Path) -> None:
    drafting = "fixed:\n  fuser.injection: append\n  fuser.message: draft\n"
    space_file.write_text(space_file.read_text() + drafting)
    run(trials=1)
    _, runs = parent_and_children(root)
    client = Tracker.open(root, "tiny-task").client
    kept = Path(client.download_artifacts(runs["trial-000"].info.run_id, "drafts.jsonl"))
    assert kept.read_text() == '{"id": "q0", "question": "?", "draft": "!"}\n'


def test_the_parent_run_has_settings_files_data_and_result(
    run: Run, root: Path, space_file: Path
) -> None:
    run(trials=2)
    run()  # another budget: no parameter may change
    parent, _ = parent_and_children(root)
    params, tags, metrics = parent.data.params, parent.data.tags, parent.data.metrics
    assert params["dimensions.fuser.depth.int"] == "[1, 8]"
    assert params["pairs.there.receiver"] == f"path:{space_file.parent / 'a'}"
    assert params["training.steps"] == "4"
    assert tags["c2c.search.trials"] == "5"
    assert tags["c2c.data.test"] == "sha-test"
    assert {each.dataset.digest for each in parent.inputs.dataset_inputs} == {
        "sha-train",
        "sha-validation",
        "sha-test",
    }
    ended = sum(metrics[f"trials/{how}"] for how in ("complete", "pruned", "failed"))
    assert ended == 5
    assert metrics["champion/accuracy"] > 0.5
    assert metrics["time/load"] == 0.0
    client = Tracker.open(root, "tiny-task").client
    kept = Path(client.download_artifacts(parent.info.run_id, "space.yaml"))
    assert kept.read_text() == space_file.read_text()
    kept = Path(client.download_artifacts(parent.info.run_id, "pipeline.yaml"))
    assert kept.read_text() == space_file.with_name("pipeline.yaml").read_text()


def test_the_parent_run_keeps_the_figures_to_look_at_and_to_draw_again(
    run: Run, root: Path, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pio = pytest.importorskip("plotly.io")
    monkeypatch.setattr(start, "log_figures", log_figures)
    run(trials=2)
    parent, _ = parent_and_children(root)
    folder = Path(parent.info.artifact_uri.removeprefix("file://")) / "figures"
    drawn = {"systems-on-test", "pairing-gain-against-accuracy", "size-against-margin"}
    drawn |= {"best-so-far-over-trials", "best-so-far-over-time", "learning-curves"}
    names = {f"{each}.{form}" for each in drawn for form in ("json", "png")}
    assert names <= {path.name for path in folder.iterdir()}
    for path in folder.iterdir():
        if path.suffix == ".json":
            drawn = pio.from_json(path.read_text())
            assert drawn.data
            assert drawn.layout.title.text
        else:
            assert path.read_bytes().startswith(b"\x89PNG")


def test_every_run_says_what_it_is_and_who_made_it(
    run: Run, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run()
    parent, runs = parent_and_children(root)
    for each in (parent, *runs.values()):
        assert each.data.tags["mlflow.note.content"]
        assert each.data.tags["c2c.version"] == c2c_search.__version__
    assert runs["trial-000"].info.run_name == "000 there d4 lr1e-3"
    assert "| depth | 4 |" in runs["trial-000"].data.tags["mlflow.note.content"]
    assert "accuracy on validation" in runs["trial-000"].data.tags["mlflow.note.content"]
    pruned = [each for each in runs.values() if each.data.tags.get("optuna.state") == "PRUNED"]
    assert pruned
    for each in pruned:
        assert each.info.status == "FINISHED"
        assert "Stopped early, at step 2 of 4" in each.data.tags["mlflow.note.content"]
