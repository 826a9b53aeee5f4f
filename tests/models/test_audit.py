"""A deep check reads every byte, whatever inode, size and times say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from c2c_search.models import stamps
from c2c_search.models.audit import audit
from c2c_search.models.cache_dir import silent
from c2c_search.models.loading import resolve


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def _damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_what_no_stamp_shows_is_found(
    folder: Path, tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    gguf = Path(shutil.copy(tiny_gguf, tmp_path / "tiny.gguf"))
    resolve(f"path:{folder}", cache_dir=cache)
    converted = resolve(f"gguf:{gguf}", cache_dir=cache).path
    found = list(audit(cache, silent))
    assert [each.model for each in found] == [f"path:{folder}", f"gguf:{gguf}", str(gguf)]
    assert not any(each.wrong for each in found)

    for path in (folder, converted):
        _damage(path / "model.safetensors")
    _damage(gguf)
    assert not any(each.wrong for each in audit(cache, silent))  # the next start notices
    # As if clock and inode had been set back.
    monkeypatch.setattr(stamps.FileStamp, "__eq__", lambda one, other: True)
    weights, again, file = audit(cache, silent)
    assert weights.wrong == again.wrong == "other weights behind unchanged stamps"
    assert file.wrong == "other content behind an unchanged stamp"


def test_a_model_that_is_gone_is_no_fault(folder: Path, tmp_path: Path) -> None:
    resolve(f"path:{folder}", cache_dir=tmp_path / "cache")
    shutil.rmtree(folder)
    assert [each.wrong for each in audit(tmp_path / "cache", silent)] == [""]
    assert not list(audit(tmp_path / "empty", silent))
