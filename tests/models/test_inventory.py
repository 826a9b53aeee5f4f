from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from c2c_search.errors import SourceError
from c2c_search.models.identity import RECORD
from c2c_search.models.identity import ModelIdentity
from c2c_search.models.identity import Record
from c2c_search.models.identity import write_record
from c2c_search.models.inventory import forget_gone
from c2c_search.models.inventory import kept_models
from c2c_search.models.inventory import remove_model


def _record(source: str, folder: Path | None) -> Record:
    identity = ModelIdentity(
        source=source,
        revision="1",
        architecture="Tiny",
        weights_sha256="a",
        tokenizer_sha256="b",
        config_sha256="c",
        licence="MIT",
        licence_url=None,
    )
    return Record(folder=None if folder is None else str(folder), identity=identity, files=())


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with a converted model and one in a folder of the user's."""
    cache, own = tmp_path / "cache", tmp_path / "own"
    for folder in (cache / "models" / "tiny-1", own):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    write_record(cache / "models" / "tiny-1" / RECORD, _record("pypi:tiny", None))
    write_record(cache / "identities" / "x.json", _record(f"path:{own}", None))
    return cache


def test_both_kinds_are_listed(cache: Path, tmp_path: Path) -> None:
    own, converted = kept_models(cache)
    assert (own.source, own.kind, own.size) == (f"path:{tmp_path / 'own'}", "known", 2)
    assert (converted.source, converted.kind, converted.present) == (
        "pypi:tiny",
        "converted",
        True,
    )


def test_a_users_folder_is_forgotten_and_never_removed(cache: Path, tmp_path: Path) -> None:
    for source in (f"path:{tmp_path / 'own'}", "pypi:tiny"):
        remove_model(cache, source, print)
    assert kept_models(cache) == []
    assert (tmp_path / "own" / "config.json").exists()
    assert not (cache / "models" / "tiny-1").exists()


def test_models_whose_folders_are_gone_are_forgotten(cache: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "own")
    assert [each.source for each in forget_gone(cache)] == [f"path:{tmp_path / 'own'}"]
    assert [each.source for each in kept_models(cache)] == ["pypi:tiny"]


def test_an_unknown_model_has_its_nearest(cache: Path) -> None:
    with pytest.raises(SourceError, match="Did you mean `pypi:tiny`"):
        remove_model(cache, "pypi:tine", print)
