"""Champions put into use by hand: tested against the one in use, on record, with a way back."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from c2c_search.champion.package import build
from c2c_search.errors import ConfigError
from c2c_search.errors import IntegrityError
from c2c_search.errors import StoreError
from c2c_search.evaluation.results import SystemResult
from c2c_search.host.json_store import JsonStore
from c2c_search.host.strict_json import content_sha256
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.manifest import read_manifest
from c2c_search.inference.sums import check_sums
from c2c_search.study import changeover
from c2c_search.study.changeover import Changeover
from c2c_search.study.changeover import rollback
from c2c_search.tracking import Tracker
from c2c_search.training.protocol import Prepared
from tests.champion.conftest import fuser_dir
from tests.champion.conftest import manifest
from tests.champion.conftest import verdict
from tests.study.conftest import answers


__all__ = ["fuser_dir", "manifest", "verdict"]

NAME = "c2c-fuser"

promote = partial(changeover.promote, verify=check_sums)


@pytest.fixture
def measured(
    root: Path, tmp_path: Path, fuser_dir: Path, manifest: Manifest
) -> Callable[[str, float], str]:
    """A champion's folder, of a trial that a study measured: its accuracy on the test split."""
    tracker = Tracker.open(root, "demo")

    def measured(study: str, accuracy: float) -> str:
        trial = {**(manifest.trial or {}), "seed": study}
        own = manifest.model_copy(
            update={"name": study, "trial": trial, "trial_hash": content_sha256(trial)[:16]}
        )
        run = tracker.study(study).trial("trial-001")
        run.tags({"c2c.trial_hash": own.trial_hash})
        run.flush()
        store = JsonStore(root / "trials" / study / "results")
        store.save("prepared/there", Prepared(models={}, data=dict(own.data), seconds={}))
        result = SystemResult(system=study, split="test", items=answers(accuracy))
        store.save(f"test/{own.trial_hash}", result)
        return str(build(tmp_path / study, fuser_dir=fuser_dir, manifest=own))

    return measured


def moves(root: Path, version: str) -> list[dict[str, Any]]:
    found = Tracker.open(root, "demo").client.get_model_version(NAME, version)
    kept: list[dict[str, Any]] = json.loads(found.tags["c2c.moves"])
    return kept


def aliases(root: Path) -> dict[str, str]:
    found = Tracker.open(root, "demo").client.get_registered_model(NAME).aliases
    return {alias: str(version) for alias, version in found.items()}


def test_the_better_one_takes_over_and_the_one_before_can_come_back(
    root: Path, measured: Callable[[str, float], str]
) -> None:
    weak, strong = measured("weak", 0.3), measured("strong", 0.9)
    assert promote(root, weak, name=NAME) == Changeover(NAME, "1", None)
    assert promote(root, strong, name=NAME) == Changeover(NAME, "2", "1")
    assert aliases(root) == {"champion": "2", "previous_champion": "1"}
    assert promote(root, strong, name=NAME) == Changeover(NAME, "2", "2")
    assert rollback(root, why="it is slow") == Changeover(NAME, "1", "2")
    assert aliases(root) == {"champion": "1", "previous_champion": "2"}
    first, back = moves(root, "1")
    assert (first["from"], first["why"], first["forced"]) == (None, "", False)
    assert (back["from"], back["why"], back["forced"]) == ("2", "it is slow", False)
    assert back["who"]
    assert back["when"] >= first["when"]


def test_one_that_is_not_better_becomes_a_version_and_leads_only_by_force(
    root: Path, measured: Callable[[str, float], str]
) -> None:
    strong, weak = measured("strong", 0.9), measured("weak", 0.3)
    promote(root, strong, name=NAME)
    with pytest.raises(ConfigError, match=r"is version 2 now.*is not beaten \(-"):
        promote(root, weak, name=NAME)
    assert aliases(root) == {"champion": "1"}
    promote(root, weak, name=NAME, force="it is smaller")
    assert aliases(root) == {"champion": "2", "previous_champion": "1"}
    (move,) = moves(root, "2")
    assert (move["why"], move["forced"]) == ("it is smaller", True)


def test_a_champion_is_not_to_beat_itself(
    root: Path, tmp_path: Path, fuser_dir: Path, measured: Callable[[str, float], str]
) -> None:
    first = measured("first", 0.9)
    promote(root, first, name=NAME)
    own = read_manifest(Path(first)).model_copy(update={"name": "exported"})
    again = build(tmp_path / "again", fuser_dir=fuser_dir, manifest=own)
    assert promote(root, str(again), name=NAME) == Changeover(NAME, "2", "1")


def test_one_that_was_asked_other_questions_is_not_compared(
    root: Path, measured: Callable[[str, float], str]
) -> None:
    first, second = measured("first", 0.3), measured("second", 0.9)
    promote(root, first, name=NAME)
    (root / "trials" / "first" / "results" / "prepared" / "there.json").unlink()
    with pytest.raises(ConfigError, match="not measured here on the same test questions"):
        promote(root, second, name=NAME)


def test_one_that_answers_otherwise_is_not_promoted(
    root: Path, measured: Callable[[str, float], str]
) -> None:
    def wrong(exported: Path) -> None:
        raise IntegrityError("A champion must answer as it did when it was measured.")

    with pytest.raises(IntegrityError, match="as it did when"):
        changeover.promote(root, measured("one", 0.9), name=NAME, verify=wrong)
    assert aliases(root) == {}


def test_a_trial_is_named_with_its_study_or_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []

    def load(stores: object, study: str | None) -> None:
        asked.append(study)
        raise StoreError("That is enough.")

    monkeypatch.setattr(changeover.overview, "open_existing", lambda root: None)
    monkeypatch.setattr(changeover.overview, "load", load)
    for target, study in (("demo/trial-1", None), ("trial-1", "demo"), ("trial-1", None)):
        with pytest.raises(StoreError, match="enough"):
            promote(tmp_path, target, study=study)
    assert asked == ["demo", "demo", None]


def test_what_cannot_be_told_is_refused(
    root: Path, measured: Callable[[str, float], str], tmp_path: Path
) -> None:
    folder = measured("one", 0.9)
    with pytest.raises(StoreError, match="No study under this root has promoted"):
        promote(root, folder)
    with pytest.raises(StoreError, match="registered under this root, and none is"):
        rollback(root)
    promote(root, folder, name=NAME)
    with pytest.raises(StoreError, match="in use before the one that is"):
        rollback(root)
    promote(root, folder, name="another")
    with pytest.raises(StoreError, match=r"One registered model must be named\..*another"):
        rollback(root)
    with pytest.raises(StoreError, match="There must be studies"):
        promote(tmp_path / "nowhere", folder)
