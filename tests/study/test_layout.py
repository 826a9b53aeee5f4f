from __future__ import annotations

from pathlib import Path

import pytest

from c2c_search.errors import StoreError
from c2c_search.study.layout import StudyFiles
from c2c_search.study.layout import champion_folder
from c2c_search.study.layout import refuse_namesake


def test_the_only_champion_needs_no_name(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="must have promoted"):
        champion_folder(tmp_path, None)
    one = StudyFiles(tmp_path, "one").champion
    one.mkdir(parents=True)
    (one.parent / ".one.partial").mkdir()
    assert champion_folder(tmp_path, None) == one
    assert champion_folder(tmp_path, "one") == one


def test_one_of_several_is_named(tmp_path: Path) -> None:
    for name in ("one", "two"):
        StudyFiles(tmp_path, name).champion.mkdir(parents=True)
    with pytest.raises(StoreError, match="--study"):
        champion_folder(tmp_path, None)
    with pytest.raises(StoreError, match="one, two"):
        champion_folder(tmp_path, "three")
    assert champion_folder(tmp_path, "two") == StudyFiles(tmp_path, "two").champion


def test_studies_that_differ_by_capitals_alone_would_share_a_folder(tmp_path: Path) -> None:
    refuse_namesake(StudyFiles(tmp_path, "tiny"))
    StudyFiles(tmp_path, "tiny").folder.mkdir(parents=True)
    refuse_namesake(StudyFiles(tmp_path, "tiny"))
    refuse_namesake(StudyFiles(tmp_path, "tiny2"))
    with pytest.raises(StoreError, match="capital letters"):
        refuse_namesake(StudyFiles(tmp_path, "Tiny"))
