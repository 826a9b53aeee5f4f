"""A folder of shards: what counts as there, whatever a killed process or a damage has left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from c2c_search.host.files import PARTIAL
from c2c_search.prompt_cache.entries import FORMAT
from c2c_search.prompt_cache.entries import Entry
from c2c_search.prompt_cache.entries import Meta
from c2c_search.prompt_cache.entries import entries
from c2c_search.prompt_cache.entries import sweep


META = Meta(
    format=FORMAT, model="tiny", dtype="float32", prompts=3, token=(2, 1, 1), shards=(1, 2)
)
SHARDS = (b"12345678", b"0123456789abcdef")


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    """An entry of two shards, both there."""
    folder = tmp_path / ("0" * 32)
    folder.mkdir()
    entry = Entry(folder, META)
    entry.write_meta()
    for number, content in enumerate(SHARDS):
        entry.write(number, memoryview(content))
    return entry


def again(entry: Entry) -> Entry:
    return Entry.read(entry.folder)


def test_what_was_written_is_there(entry: Entry) -> None:
    assert again(entry).meta == META
    assert again(entry).complete
    assert [again(entry).damage(number) for number in (0, 1)] == ["", ""]
    assert list(entries(entry.folder.parent)) == [again(entry)]
    assert sorted(path.name for path in entry.folder.iterdir()) == [
        *("000000.bin", "000001.bin", "meta.json", "shards.jsonl")
    ]


def test_an_interrupted_shard_leaves_the_one_before(
    entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        entry.write(0, memoryview(b"another!"))
    assert again(entry).damage(0) == ""
    assert not list(entry.folder.glob(f"*{PARTIAL}"))


@pytest.mark.parametrize("kept", [0, 1, 30])
def test_a_line_that_was_cut_short_is_no_shard(entry: Entry, kept: int) -> None:
    journal = entry.folder / "shards.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-1]) + lines[-1][:kept])
    assert again(entry).there == {0}
    assert again(entry).wanted == [1]
    entry.write(1, memoryview(SHARDS[1]))
    assert again(entry).complete


def test_damage_is_told(entry: Entry) -> None:
    entry.path(0).write_bytes(b"another!")
    entry.path(1).write_bytes(b"short")
    assert again(entry).damage(0) == "its checksum does not hold"
    assert again(entry).damage(1) == "5 bytes instead of 16"
    entry.path(1).unlink()
    assert again(entry).damage(1) == "missing"
    assert again(entry).there == {0}


def test_what_is_forgotten_is_wanted_again(entry: Entry) -> None:
    entry.forget([0])
    assert again(entry).wanted == [0]
    assert not entry.path(0).exists()
    assert again(entry).claimed == again(entry).size + len(SHARDS[0])


def test_leftovers_of_this_version_and_of_earlier_ones_are_cleaned(entry: Entry) -> None:
    for name in (f"000001.bin{PARTIAL}", f".000001.bin+host+boot+1+2{PARTIAL}"):
        (entry.folder / name).touch()
    entry.clean()
    assert not list(entry.folder.glob(f"*{PARTIAL}"))
    assert again(entry).complete


def test_a_removal_that_was_interrupted_is_finished(entry: Entry) -> None:
    trash = entry.folder.with_name(".trash-0")
    entry.folder.rename(trash)
    assert list(entries(trash.parent)) == []
    sweep(trash.parent)
    assert not trash.exists()


def test_another_format_is_not_read(entry: Entry) -> None:
    Entry(entry.folder, META.model_copy(update={"format": FORMAT - 1})).write_meta()
    assert again(entry).meta is None
    assert not again(entry).complete
    assert again(entry).claimed == again(entry).size
