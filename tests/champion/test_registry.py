"""The registry: nothing pickled, verified as it lies there, and the alias moves last."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from c2c_search.champion import registry
from c2c_search.champion.package import build
from c2c_search.champion.registry import Leader
from c2c_search.champion.registry import leader
from c2c_search.champion.registry import promote
from c2c_search.champion.registry import register
from c2c_search.errors import IntegrityError
from c2c_search.errors import StoreError
from c2c_search.inference.doubt import Listening
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.manifest import read_manifest
from c2c_search.inference.sums import check_sums
from c2c_search.tracking import ChildRun
from c2c_search.tracking import Tracker
from c2c_search.tracking import open_store
from c2c_search.tracking import relocate


NAME = "c2c-fuser"


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # One place for the whole session: tests/tracking opens the same one.
    root = tmp_path_factory.getbasetemp() / "mlruns-template"
    open_store(root)
    return root


@pytest.fixture
def tracker(template: Path, tmp_path: Path) -> Tracker:
    root = tmp_path / "mlruns"
    root.mkdir()
    shutil.copy(template / "mlflow.db", root)
    relocate(root)
    return Tracker.open(root, "demo")


@pytest.fixture
def run(tracker: Tracker) -> ChildRun:
    return tracker.study("s").trial("trial-007")


@pytest.fixture
def package(tmp_path: Path, fuser_dir: Path, manifest: Manifest) -> Path:
    return build(tmp_path / "champion", fuser_dir=fuser_dir, manifest=manifest)


@pytest.fixture
def successor(tmp_path: Path, fuser_dir: Path, manifest: Manifest) -> Path:
    newer = manifest.model_copy(update={"name": "the next one"})
    return build(tmp_path / "successor", fuser_dir=fuser_dir, manifest=newer)


def right(exported: Path) -> None:
    check_sums(exported)


def wrong(exported: Path) -> None:
    raise IntegrityError("A champion must answer as it did when it was measured.")


def aliases(tracker: Tracker) -> dict[str, str]:
    found = tracker.client.get_registered_model(NAME).aliases
    return {alias: str(version) for alias, version in found.items()}


def versions(tracker: Tracker) -> dict[str, str]:
    found = tracker.client.search_model_versions(f"name='{NAME}'")
    return {str(each.version): each.tags["validation"] for each in found}


def test_a_champion_is_registered_verified_and_promoted(
    tracker: Tracker, run: ChildRun, package: Path
) -> None:
    seen = []
    number = register(tracker, package, NAME, run.run_id, verify=seen.append)
    (exported,) = seen
    check_sums(exported)
    assert (exported / "runtime" / "pyproject.toml").is_file()
    assert exported.is_relative_to(package.parent / "mlruns" / "artifacts")
    assert number == "1"
    assert versions(tracker) == {"1": "passed"}
    assert aliases(tracker) == {"champion": "1"}
    registered = tracker.client.get_model_version(NAME, "1")
    assert registered.run_id == run.run_id
    (output,) = tracker.client.get_run(run.run_id).outputs.model_outputs
    logged = tracker.client.get_logged_model(output.model_id)
    assert logged.artifact_location == registered.source
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": NAME, "version": 1}]


def test_what_is_verified_comes_before_the_alias(
    tracker: Tracker, run: ChildRun, package: Path
) -> None:
    before = []
    register(tracker, package, NAME, run.run_id, verify=lambda _: before.append(aliases(tracker)))
    assert before == [{}]


def test_a_champion_that_answers_otherwise_is_not_promoted(
    tracker: Tracker, run: ChildRun, package: Path, successor: Path
) -> None:
    register(tracker, package, NAME, run.run_id, verify=right)
    with pytest.raises(IntegrityError):
        register(tracker, successor, NAME, run.run_id, verify=wrong)
    assert versions(tracker) == {"1": "passed", "2": "failed"}
    assert aliases(tracker) == {"champion": "1"}


def test_the_previous_champion_is_kept_and_can_come_back(
    tracker: Tracker, run: ChildRun, package: Path, successor: Path
) -> None:
    register(tracker, package, NAME, run.run_id, verify=right)
    assert register(tracker, successor, NAME, run.run_id, verify=right) == "2"
    assert aliases(tracker) == {"champion": "2", "previous_champion": "1"}
    promote(tracker, NAME, "2")
    assert aliases(tracker) == {"champion": "2", "previous_champion": "1"}
    promote(tracker, NAME, "1")
    assert aliases(tracker) == {"champion": "1", "previous_champion": "2"}


def test_a_champion_that_does_not_lead_is_a_version_and_moves_no_alias(
    tracker: Tracker, run: ChildRun, package: Path, successor: Path
) -> None:
    assert leader(tracker, NAME) is None
    register(tracker, package, NAME, run.run_id, verify=right)
    trial_hash = read_manifest(package).trial_hash
    assert leader(tracker, NAME) == Leader("1", trial_hash, "always")
    assert register(tracker, successor, NAME, run.run_id, lead=False, verify=right) == "2"
    assert versions(tracker) == {"1": "passed", "2": "passed"}
    assert aliases(tracker) == {"champion": "1"}
    register(tracker, successor, NAME, run.run_id, forced="it is smaller", verify=right)
    assert aliases(tracker) == {"champion": "2", "previous_champion": "1"}
    assert tracker.client.get_model_version(NAME, "2").tags["c2c.forced"] == "it is smaller"


def test_the_registry_knows_a_champion_that_listens_when_unsure(
    tracker: Tracker, run: ChildRun, tmp_path: Path, fuser_dir: Path, manifest: Manifest
) -> None:
    limits = Listening(choices=0.2, words=0.1, length_normalised=True, skipped=0.3)
    unsure = manifest.model_copy(update={"listening": limits})
    package = build(tmp_path / "unsure", fuser_dir=fuser_dir, manifest=unsure)
    register(tracker, package, NAME, run.run_id, verify=right)
    assert leader(tracker, NAME) == Leader("1", manifest.trial_hash, "confident")


def test_promoting_what_is_not_there_moves_nothing(
    tracker: Tracker, run: ChildRun, package: Path
) -> None:
    register(tracker, package, NAME, run.run_id, verify=right)
    with pytest.raises(StoreError):
        promote(tracker, NAME, "9")
    assert aliases(tracker) == {"champion": "1"}


def test_an_interrupted_registration_goes_on_without_a_second_version(
    tracker: Tracker, run: ChildRun, package: Path
) -> None:
    def interrupted(exported: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        register(tracker, package, NAME, run.run_id, verify=interrupted)
    assert versions(tracker) == {"1": "pending"}
    assert register(tracker, package, NAME, run.run_id, verify=right) == "1"
    assert versions(tracker) == {"1": "passed"}


def test_a_damaged_package_is_not_registered(
    tracker: Tracker, run: ChildRun, package: Path
) -> None:
    (package / "manifest.json").write_text("{}")
    with pytest.raises(IntegrityError):
        register(tracker, package, NAME, run.run_id, verify=right)
    assert not tracker.client.search_registered_models()


def test_an_import_proved_nothing_and_is_not_registered(
    tracker: Tracker, run: ChildRun, tmp_path: Path, fuser_dir: Path, imported: Manifest
) -> None:
    package = build(tmp_path / "imported", fuser_dir=fuser_dir, manifest=imported)
    with pytest.raises(IntegrityError, match="proved itself in a study"):
        register(tracker, package, NAME, run.run_id, verify=right)
    assert tracker.client.search_registered_models() == []


def test_a_failed_upload_leaves_no_version(
    tracker: Tracker, run: ChildRun, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tracker.client._client, "log_model_artifacts", full)
    with pytest.raises(StoreError, match="needs space"):
        register(tracker, package, NAME, run.run_id, verify=right)
    assert not versions(tracker)
    (logged,) = tracker.client.search_logged_models([tracker.experiment_id])
    assert logged.status == "FAILED"


def test_the_registered_model_answers_questions_and_holds_no_pickle(
    tracker: Tracker, run: ChildRun, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.pyfunc

    class Model:
        @classmethod
        def from_pretrained(cls, folder: Path) -> Model:
            check_sums(folder)
            return cls()

        def generate(self, asked: Any, sharer_contexts: Any = None) -> Any:
            if sharer_contexts is None:
                return f"{asked} Yes."
            return [f"{read} {each}" for each, read in zip(asked, sharer_contexts, strict=True)]

    monkeypatch.setattr("c2c_search.C2CModel", Model, raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    seen: list[Path] = []
    register(tracker, package, NAME, run.run_id, verify=seen.append)
    folder = seen[0].parent.parent
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle", ".pt")]
    model = mlflow.pyfunc.load_model(str(folder))
    assert model.predict(["Is it?", "Is she?"]) == ["Is it? Yes.", "Is she? Yes."]
    told = model.predict(["Is it?"], params={"sharer_contexts": ["It is."]})
    assert told == ["It is. Is it?"]
    requirements = (folder / "requirements.txt").read_text().split()
    assert requirements == registry.pip_requirements()


def test_requirements_are_exact_and_on_every_index() -> None:
    requirements = registry.pip_requirements()
    assert all("==" in each and "+" not in each for each in requirements)
    assert {"mlflow", "torch"} <= {each.partition("==")[0] for each in requirements}
