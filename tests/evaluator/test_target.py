from __future__ import annotations

import shutil
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from c2c_search.errors import ConfigError
from c2c_search.errors import IntegrityError
from c2c_search.errors import StoreError
from c2c_search.evaluator import target as target_module
from c2c_search.evaluator.target import find_target
from c2c_search.host import dtypes
from c2c_search.host.json_store import JsonStore
from c2c_search.training.protocol import Prepared
from c2c_search.training.protocol import Trained


def test_a_trial_is_found_by_hash_by_the_beginning_of_it_by_name_and_by_folder(
    trial, trained_root
) -> None:
    folder = trained_root / "trials" / "tiny" / trial.hash()
    by_study = (f"tiny/{trial.hash()[:6]}", "tiny/trial-007")
    for named in (trial.hash(), trial.hash()[:6], "trial-007", *by_study, str(folder)):
        target = find_target(named, root=trained_root)
        assert target.trial == trial
        assert target.fuser_dir == folder / "best"
        assert target.receiver == trial.pair.receiver


def test_an_unknown_target_lists_the_trials_there_are(trial, trained_root) -> None:
    for named in ("trial-008", "tiny/trial-008", "other/trial-007"):
        with pytest.raises(ConfigError, match=f"tiny/trial-007 = {trial.hash()}") as caught:
            find_target(named, root=trained_root)
        assert f"Got '{named}'" in str(caught.value)


def test_a_trial_without_a_fuser_is_refused(trial, tmp_path: Path) -> None:
    (tmp_path / "trial.yaml").write_text(trial.to_yaml())
    with pytest.raises(StoreError, match="first rung"):
        find_target(str(tmp_path), root=tmp_path)


def test_a_folder_that_is_neither_champion_nor_trial_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"manifest\.json"):
        find_target(str(tmp_path), root=tmp_path)


def test_models_alone_and_a_pair_without_a_fuser(tmp_path: Path) -> None:
    alone = find_target("path:a", root=tmp_path, template="chat")
    assert (alone.receiver, alone.sharer, alone.template) == ("path:a", None, "chat")
    assert find_target("path:a", root=tmp_path, sharer="path:b").name == "b to a"


def test_a_fuser_brings_its_own_sharer(trial, trained_root) -> None:
    with pytest.raises(ConfigError, match="--sharer"):
        find_target(trial.hash(), root=trained_root, sharer="path:b")


def test_the_identity_changes_with_the_fuser(trial, trained_root, tmp_path: Path) -> None:
    target = find_target(trial.hash(), root=trained_root)
    assert target.identity() == find_target("trial-007", root=trained_root).identity()
    assert target.fuser_dir is not None
    other = tmp_path / "best"
    other.mkdir()
    for path in target.fuser_dir.iterdir():
        (other / path.name).write_bytes(path.read_bytes() + b" ")
    (tmp_path / "trial.yaml").write_text(trial.to_yaml())
    assert find_target(str(tmp_path), root=tmp_path).identity() != target.identity()


def test_a_trial_is_evaluated_in_the_dtype_it_was_trained_in(
    trial, trained_root, tmp_path, monkeypatch
) -> None:
    monkeypatch.delenv("C2C_SEARCH_DTYPE")
    monkeypatch.setattr(dtypes, "has_instructions", lambda: None)
    monkeypatch.setattr(dtypes, "bfloat16_gain", lambda: 2.0)
    shutil.copytree(trained_root / "trials" / "tiny", tmp_path / "trials" / "tiny")
    # Of a version that did not record it, and took float32.
    before = find_target(trial.hash(), root=tmp_path)
    assert before.dtype == "float32"
    store = JsonStore(tmp_path / "trials" / "tiny" / "results")
    for dtype in ("float32", "bfloat16"):
        store.save("prepared/pair", Prepared(models={}, data={}, seconds={}, dtype=dtype))
        target = find_target(trial.hash(), root=tmp_path)
        assert target.dtype == dtype
    assert target.identity() != before.identity()
    assert find_target("path:a", root=tmp_path).dtype == "bfloat16"


def test_a_trial_that_was_not_trained_to_its_end_is_told(trial, trained_root, tmp_path) -> None:
    assert find_target(trial.hash(), root=trained_root).notes == ()
    studies = tmp_path / "trials" / "tiny"
    shutil.copytree(trained_root / "trials" / "tiny", studies)
    store = JsonStore(studies / "results")
    key = f"trained/{trial.hash()}"
    ended = store.load(key, Trained)
    assert ended is not None
    store.save(key, ended.model_copy(update={"pruned": True, "step": 2}))
    (note,) = find_target(trial.hash(), root=tmp_path).notes
    assert "was pruned at 2 of 4 steps" in note


def test_a_strangers_champion_imports_nothing_unasked(
    trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stranger_in_a_manifest.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    content = trial.model_dump(mode="json", by_alias=True)
    content["fuser"]["projector"] = "stranger_in_a_manifest.Projector"
    (tmp_path / target_module.MANIFEST).write_text("")
    checked = MagicMock(manifest=MagicMock(trial=content))
    monkeypatch.setattr(target_module, "read_champion", lambda folder: checked)
    monkeypatch.setattr(target_module, "load_fuser", lambda folder: None)
    with pytest.raises(IntegrityError, match=r"stranger_in_a_manifest.*C2C_SEARCH_PLUGINS"):
        find_target(str(tmp_path), root=tmp_path)
    assert "stranger_in_a_manifest" not in sys.modules
