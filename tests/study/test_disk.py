"""Room on the disk before a trial begins."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from c2c_search.errors import ConfigError
from c2c_search.errors import StoreError
from c2c_search.study import disk
from c2c_search.study.disk import FREE_VARIABLE
from c2c_search.study.disk import make_room
from c2c_search.study.layout import StudyFiles
from c2c_search.study.resume import FAILURE
from c2c_search.study.resume import HASH


Usage = namedtuple("Usage", ["free"])


@pytest.fixture
def files(tmp_path: Path) -> StudyFiles:
    files = StudyFiles(tmp_path, "tiny")
    for name in ("lost", "running", "both"):
        (files.trial(name) / "checkpoints").mkdir(parents=True)
    return files


@pytest.fixture
def study() -> Any:
    study = optuna.create_study()
    for name, failed in (("lost", True), ("running", False), ("both", True), ("both", False)):
        trial = study.ask()
        trial.set_user_attr(HASH, name)
        if failed:
            trial.set_user_attr(FAILURE, "diverged")
    return study


def left(files: StudyFiles) -> set[str]:
    return {path.parent.name for path in files.folder.glob("*/checkpoints")}


def bytes_free(files: StudyFiles, gigabytes: Callable[[int], float]) -> Callable[..., Usage]:
    """A disk whose room depends on how many checkpoints are left on it."""
    return lambda folder: Usage(gigabytes(len(left(files))) * 1e9)


def test_nothing_is_removed_where_there_is_room(
    files: StudyFiles, study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", bytes_free(files, lambda n: 1.0))
    make_room(files, study)
    assert left(files) == {"lost", "running", "both"}


def test_checkpoints_that_nothing_goes_on_from_make_room(
    files: StudyFiles, study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", bytes_free(files, lambda n: 3.5 - n))
    make_room(files, study)
    assert left(files) == {"running", "both"}


def test_a_full_disk_begins_no_trial(
    files: StudyFiles, study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", bytes_free(files, lambda n: 0.5))
    with pytest.raises(StoreError, match=r"only with 1 GB free.*0\.50 GB"):
        make_room(files, study)
    monkeypatch.setenv(FREE_VARIABLE, "0.25")
    make_room(files, study)


@pytest.mark.parametrize("text", ["much", "-1", "nan"])
def test_the_room_asked_for_is_a_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FREE_VARIABLE, text)
    with pytest.raises(ConfigError, match="number of gigabytes"):
        disk.least_free()
