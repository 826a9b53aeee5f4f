from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import BaseModel

from c2c_search.errors import StoreError
from c2c_search.host.json_store import JsonStore
from c2c_search.host.json_store import write_atomically


class Piece(BaseModel):
    value: float


def test_round_trip_even_of_what_json_has_no_word_for(tmp_path: Path) -> None:
    ledger = JsonStore(tmp_path / "results")
    assert ledger.load("test/a", Piece) is None
    ledger.save("test/a", Piece(value=float("inf")))
    assert ledger.load("test/a", Piece) == Piece(value=float("inf"))
    ledger.save("test/a", Piece(value=1 / 3))
    assert ledger.load("test/a", Piece) == Piece(value=1 / 3)


@pytest.mark.parametrize("content", ["", "{", '{"value": "x"}', "[]"])
def test_a_damaged_piece_is_told(tmp_path: Path, content: str) -> None:
    ledger = JsonStore(tmp_path)
    ledger.path("a").write_text(content)
    with pytest.raises(StoreError, match="Delete that file"):
        ledger.load("a", Piece)


def test_an_interrupted_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, "before")

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "after")
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]
    assert path.read_text() == "before"


def test_a_full_disk_is_a_store_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        JsonStore(tmp_path).save("a", Piece(value=1))
