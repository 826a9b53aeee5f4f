"""Packaging: whole or not at all, and never over something else."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from c2c_search.champion import package
from c2c_search.champion.package import build
from c2c_search.champion.package import installed_versions
from c2c_search.errors import IntegrityError
from c2c_search.errors import StoreError
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.manifest import read_manifest
from c2c_search.inference.sums import check_sums


FILES = ["README.md", "SHA256SUMS", "fuser.safetensors", "fuser_config.json", "manifest.json"]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_champion_is_five_files_that_check(
    tmp_path: Path, fuser_dir: Path, manifest: Manifest
) -> None:
    to = tmp_path / "deep" / "champion"
    assert build(to, fuser_dir=fuser_dir, manifest=manifest) == to
    assert _names(to) == FILES
    check_sums(to)
    assert read_manifest(to) == manifest
    assert _names(to.parent) == ["champion"]


def test_the_same_champion_may_be_written_again(
    tmp_path: Path, fuser_dir: Path, manifest: Manifest
) -> None:
    to = build(tmp_path / "champion", fuser_dir=fuser_dir, manifest=manifest)
    renamed = manifest.model_copy(update={"name": "again"})
    build(to, fuser_dir=fuser_dir, manifest=renamed)
    assert read_manifest(to).name == "again"
    assert _names(tmp_path) == ["champion", "fuser"]


def test_another_champion_is_replaced_only_when_asked(
    tmp_path: Path, fuser_dir: Path, other_fuser_dir: Path, manifest: Manifest
) -> None:
    to = build(tmp_path / "champion", fuser_dir=fuser_dir, manifest=manifest)
    before = _content(to)
    with pytest.raises(StoreError, match="only when that is asked for"):
        build(to, fuser_dir=other_fuser_dir, manifest=manifest)
    assert _content(to) == before
    build(to, fuser_dir=other_fuser_dir, manifest=manifest, replace=True)
    assert _content(to)["fuser.safetensors"] != before["fuser.safetensors"]
    assert _names(tmp_path) == ["champion", "fuser", "other_fuser"]


@pytest.mark.parametrize("replace", [False, True])
def test_what_is_no_champion_is_never_written_over(
    tmp_path: Path, fuser_dir: Path, manifest: Manifest, replace: bool
) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter1.tex").write_text("years of work")
    with pytest.raises(StoreError, match="Only an empty folder or a champion"):
        build(folder, fuser_dir=fuser_dir, manifest=manifest, replace=replace)
    with pytest.raises(StoreError, match="into a folder"):
        build(folder / "chapter1.tex", fuser_dir=fuser_dir, manifest=manifest, replace=replace)
    assert _names(folder) == ["chapter1.tex"]


def test_an_empty_folder_is_used(tmp_path: Path, fuser_dir: Path, manifest: Manifest) -> None:
    (tmp_path / "empty").mkdir()
    build(tmp_path / "empty", fuser_dir=fuser_dir, manifest=manifest)
    assert _names(tmp_path / "empty") == FILES


@pytest.mark.parametrize("held", [False, True])
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path,
    fuser_dir: Path,
    manifest: Manifest,
    monkeypatch: pytest.MonkeyPatch,
    held: bool,
) -> None:
    to = tmp_path / "champion"
    before: dict[str, bytes] = {}
    if held:
        before = _content(build(to, fuser_dir=fuser_dir, manifest=manifest))
    copy = shutil.copyfile

    def fills_up(source: Any, target: Path, **kwargs: Any) -> Any:
        if target.name == "fuser.safetensors":
            target.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return copy(source, target, **kwargs)

    monkeypatch.setattr(package.shutil, "copyfile", fills_up)
    with pytest.raises(StoreError, match="more room than the disk has"):
        build(to, fuser_dir=fuser_dir, manifest=manifest)
    assert (_content(to) if held else {}) == before
    assert _names(tmp_path) == (["champion", "fuser"] if held else ["fuser"])


def test_an_interruption_at_the_last_instant_puts_the_old_one_back(
    tmp_path: Path, fuser_dir: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = build(tmp_path / "champion", fuser_dir=fuser_dir, manifest=manifest)
    before, move = _content(to), os.replace

    def interrupted(source: Path, target: Path) -> None:
        if source.name.endswith(".partial"):
            raise KeyboardInterrupt
        move(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(to, fuser_dir=fuser_dir, manifest=manifest.model_copy(update={"name": "new"}))
    assert _content(to) == before
    assert _names(tmp_path) == ["champion", "fuser"]


def test_what_a_killed_process_left_is_cleared(
    tmp_path: Path, fuser_dir: Path, manifest: Manifest
) -> None:
    for name in (".champion.partial", ".champion.replaced"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "junk").write_text("")
    build(tmp_path / "champion", fuser_dir=fuser_dir, manifest=manifest)
    assert _names(tmp_path / "champion") == FILES
    assert _names(tmp_path) == ["champion", "fuser"]


def test_a_missing_fuser_is_named(tmp_path: Path, fuser_dir: Path, manifest: Manifest) -> None:
    (fuser_dir / "fuser.safetensors").unlink()
    with pytest.raises(StoreError, match=r"fuser\.safetensors missing"):
        build(tmp_path / "champion", fuser_dir=fuser_dir, manifest=manifest)
    assert _names(tmp_path) == ["fuser"]


def test_weights_that_are_none_are_refused(
    tmp_path: Path, fuser_dir: Path, manifest: Manifest
) -> None:
    (fuser_dir / "fuser.safetensors").write_bytes(b"pickle")
    with pytest.raises(IntegrityError, match="must be a safetensors file"):
        build(tmp_path / "champion", fuser_dir=fuser_dir, manifest=manifest)
    assert _names(tmp_path) == ["fuser"]


def test_versions_name_what_the_numbers_rest_on() -> None:
    versions = installed_versions()
    assert {"python", "torch", "transformers", "deepspeed"} <= versions.keys()
