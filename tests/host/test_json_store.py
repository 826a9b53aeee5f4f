"""Finished pieces of work as JSON: written, read back, damaged, and on a full disk."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from pydantic import BaseModel

from c2c_search.errors import StoreError
from c2c_search.host.json_store import JsonStore


class Piece(BaseModel):
    value: float


def test_round_trip_even_of_what_json_has_no_word_for(tmp_path: Path) -> None:
    store = JsonStore(tmp_path / "results")
    assert store.load("test/a", Piece) is None
    store.save("test/a", Piece(value=float("inf")))
    assert store.load("test/a", Piece) == Piece(value=float("inf"))
    store.save("test/a", Piece(value=1 / 3))
    assert store.load("test/a", Piece) == Piece(value=1 / 3)


@pytest.mark.parametrize("content", ["", "{", '{"value": "x"}', "[]"])
def test_a_damaged_piece_is_told(tmp_path: Path, content: str) -> None:
    store = JsonStore(tmp_path)
    store.path("a").write_text(content)
    with pytest.raises(StoreError, match="Delete that file"):
        store.load("a", Piece)


def test_an_interrupted_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JsonStore(tmp_path)
    path = store.save("a", Piece(value=1))

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.save("a", Piece(value=2))
    assert list(tmp_path.iterdir()) == [path] == [store.path("a")]
    assert store.load("a", Piece) == Piece(value=1)


def test_nan_comes_back_as_nan(tmp_path: Path) -> None:
    store = JsonStore(tmp_path)
    store.save("a", Piece(value=float("nan")))
    found = store.load("a", Piece)
    assert found is not None
    assert math.isnan(found.value)


def test_a_piece_of_another_kind_is_told(tmp_path: Path) -> None:
    class Other(BaseModel):
        name: str

    store = JsonStore(tmp_path)
    store.save("a", Piece(value=1))
    with pytest.raises(StoreError, match="as this version wrote"):
        store.load("a", Other)


def test_a_full_disk_is_a_store_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        JsonStore(tmp_path).save("a", Piece(value=1))


@pytest.mark.parametrize("key", ["../out", "a//b", "/a", "prepared/..", "nul", "a\0b"])
def test_a_key_that_could_leave_the_folder_is_a_mistake(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="fit names"):
        JsonStore(tmp_path).path(key)
