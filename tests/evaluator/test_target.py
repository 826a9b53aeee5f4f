from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from c2c_search.errors import ConfigError
from c2c_search.errors import StoreError
from c2c_search.evaluator.target import find_subject
from c2c_search.host import dtypes
from c2c_search.host.json_store import JsonStore
from c2c_search.training.protocol import Prepared
from c2c_search.training.protocol import Trained


def test_a_trial_is_found_by_hash_by_the_beginning_of_it_by_name_and_by_folder(
    trial, trained_root
) -> None:
    folder = trained_root / "trials" / "tiny" / trial.hash()
    for target in (trial.hash(), trial.hash()[:6], "trial-007", str(folder)):
        subject = find_subject(target, root=trained_root)
        assert subject.trial == trial
        assert subject.fuser_dir == folder / "best"
        assert subject.receiver == trial.pair.receiver


def test_an_unknown_target_lists_the_trials_there_are(trial, trained_root) -> None:
    with pytest.raises(ConfigError, match=f"trial-007 = {trial.hash()}"):
        find_subject("trial-008", root=trained_root)


def test_a_trial_without_a_fuser_is_refused(trial, tmp_path: Path) -> None:
    (tmp_path / "trial.yaml").write_text(trial.to_yaml())
    with pytest.raises(StoreError, match="first rung"):
        find_subject(str(tmp_path), root=tmp_path)


def test_a_folder_that_is_neither_champion_nor_trial_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"manifest\.json"):
        find_subject(str(tmp_path), root=tmp_path)


def test_models_alone_and_a_pair_without_a_fuser(tmp_path: Path) -> None:
    alone = find_subject("path:a", root=tmp_path, template="chat")
    assert (alone.receiver, alone.sharer, alone.template) == ("path:a", None, "chat")
    assert find_subject("path:a", root=tmp_path, sharer="path:b").name == "b to a"


def test_a_fuser_brings_its_own_sharer(trial, trained_root) -> None:
    with pytest.raises(ConfigError, match="--sharer"):
        find_subject(trial.hash(), root=trained_root, sharer="path:b")


def test_the_identity_changes_with_the_fuser(trial, trained_root, tmp_path: Path) -> None:
    subject = find_subject(trial.hash(), root=trained_root)
    assert subject.identity() == find_subject("trial-007", root=trained_root).identity()
    assert subject.fuser_dir is not None
    other = tmp_path / "best"
    other.mkdir()
    for path in subject.fuser_dir.iterdir():
        (other / path.name).write_bytes(path.read_bytes() + b" ")
    (tmp_path / "trial.yaml").write_text(trial.to_yaml())
    assert find_subject(str(tmp_path), root=tmp_path).identity() != subject.identity()


def test_a_trial_is_examined_in_the_dtype_it_was_trained_in(
    trial, trained_root, tmp_path, monkeypatch
) -> None:
    monkeypatch.delenv("C2C_SEARCH_DTYPE")
    monkeypatch.setattr(dtypes, "bfloat16_gain", lambda: 2.0)
    shutil.copytree(trained_root / "trials" / "tiny", tmp_path / "trials" / "tiny")
    # Of a version that did not record it, and took float32.
    before = find_subject(trial.hash(), root=tmp_path)
    assert before.dtype == "float32"
    ledger = JsonStore(tmp_path / "trials" / "tiny" / "results")
    for dtype in ("float32", "bfloat16"):
        ledger.save("prepared/pair", Prepared(models={}, data={}, seconds={}, dtype=dtype))
        subject = find_subject(trial.hash(), root=tmp_path)
        assert subject.dtype == dtype
    assert subject.identity() != before.identity()
    assert find_subject("path:a", root=tmp_path).dtype == "bfloat16"


def test_a_trial_that_was_not_trained_to_its_end_is_told(trial, trained_root, tmp_path) -> None:
    assert find_subject(trial.hash(), root=trained_root).notes == ()
    studies = tmp_path / "trials" / "tiny"
    shutil.copytree(trained_root / "trials" / "tiny", studies)
    ledger = JsonStore(studies / "results")
    key = f"trained/{trial.hash()}"
    ended = ledger.load(key, Trained)
    assert ended is not None
    ledger.save(key, ended.model_copy(update={"pruned": True, "step": 2}))
    (note,) = find_subject(trial.hash(), root=tmp_path).notes
    assert "was pruned at 2 of 4 steps" in note
