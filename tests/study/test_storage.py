from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_search.errors import StoreError
from c2c_search.space import Space
from c2c_search.space.declaration import Limits
from c2c_search.study import storage
from tests.forked import exit_code


def test_sqlite_writes_ahead_and_takes_the_write_lock_at_the_start(root: Path) -> None:
    opened = storage.open_storage(root)
    with opened.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        with (
            closing(sqlite3.connect(root / storage.DATABASE, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("BEGIN IMMEDIATE")


def test_what_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / storage.DATABASE).write_text("not a database at all, but long enough to be one")
    with pytest.raises(StoreError, match="readable and writable"):
        storage.open_storage(tmp_path)


def test_another_url_is_used_and_its_password_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(storage.URL_VARIABLE, "postgresql+nodriver://me:secret@nowhere/optuna")
    with pytest.raises(StoreError, match="nowhere") as error:
        storage.open_storage(tmp_path)
    assert "secret" not in str(error.value)


def test_a_study_is_bound_to_its_space(root: Path) -> None:
    opened = storage.open_storage(root)
    first = storage.open_study(opened, "a", {"x": {"y": 1}})
    again = storage.open_study(opened, "a", {"x": {"y": 1}})
    assert again._study_id == first._study_id
    assert first.user_attrs[storage.SPACE] == '{"x": {"y": 1}}'


def test_a_study_without_trials_takes_other_objectives(root: Path) -> None:
    opened = storage.open_storage(root)
    for objectives in (["margin", "parameters"], ["margin", "gain"]):
        space = {"objectives": objectives}
        study = storage.open_study(opened, "a", space)
    assert [each.name for each in study.directions] == ["MAXIMIZE", "MAXIMIZE"]
    assert storage.open_study(opened, "a", space)._study_id == study._study_id


SPACE = """\
study: tiny
pipeline: pipeline.yaml
pairs:
  only: {receiver: "hf:tiny/a", sharer: "hf:tiny/b"}
search: {trials: 5, pruner: halving, seed: 0}
dimensions:
  fuser.depth: {int: [1, 8]}
  fuser.gate.granularity: {choices: [none, layer]}
limits: {max_parameters: 1000}
"""
PIPELINE = """\
name: tiny
data: {source: jsonl, files: {train: train.jsonl}}
training: {steps: 4, rungs: [0.5, 1.0]}
"""


def _space(folder: Path, space: tuple[str, str] = ("", ""), pipe: tuple[str, str] = ("", "")):
    folder.mkdir(exist_ok=True)
    (folder / "train.jsonl").touch()
    (folder / "pipeline.yaml").write_text(PIPELINE.replace(*pipe))
    (folder / "space.yaml").write_text(SPACE.replace(*space))
    return Space.load(folder / "space.yaml")


@pytest.mark.parametrize(
    ("space", "pipe", "lines"),
    [
        (
            ("seed: 0", "seed: 1, sampler: random, reduction_factor: 2"),
            ("steps: 4", "steps: 8"),
            ["seed: was 0, is 1", "training.steps: was 4, is 8"],
        ),
        (
            ("limits: {max_parameters: 1000}", "fixed: {fuser.width: 8}"),
            ("steps: 4", "steps: 4, log_every: 1"),
            ["fixed.fuser.width: is new, 8", "training.log_every: was 10, is 1"],
        ),
        (
            ("[none, layer]}", "[none, layer], when: {fuser.depth: 1}}"),
            ("name: tiny", "name: tiny\nchampion: {finalists: 1}\ncaches: {dtype: float32}"),
            [
                'cache_dtype: was "bfloat16", is "float32"',
                "dimensions.fuser.gate.granularity.when.fuser.depth: is new, [1]",
            ],
        ),
    ],
)
def test_exactly_what_changed_is_listed(
    tmp_path: Path, space: tuple[str, str], pipe: tuple[str, str], lines: list[str]
) -> None:
    before = _space(tmp_path / "here")
    # Other folders, limits, trials and rules of the champion are no other space.
    after = _space(tmp_path / "there", space, pipe)
    assert storage.differences(before.identity(), after.identity()) == lines


def test_a_study_goes_on_elsewhere_with_other_limits_and_trials(tmp_path: Path) -> None:
    opened = storage.open_storage(tmp_path / "root")
    before = _space(tmp_path / "here")
    study = storage.open_study(opened, "tiny", before.identity())
    assert study.user_attrs[storage.SPACE_HASH] == before.space_hash()
    changed = ("trials: 5, pruner: halving", "trials: 9, pruner: none")
    champion = ("name: tiny", "name: tiny\nchampion: {finalists: 1, level: 0.05}")
    after = _space(tmp_path / "there", changed, champion)
    assert after.limits == before.limits
    after = after.model_copy(update={"limits": Limits()})
    storage.open_study(opened, "tiny", after.identity())


def test_one_driver_at_a_time(root: Path) -> None:
    opened = storage.open_storage(root)
    with storage.sole_driver(root, "a", opened):
        with (
            pytest.raises(StoreError, match=f"process {os.getpid()} on .* drives 'a' now"),
            storage.sole_driver(root, "a", opened),
        ):
            pass
        with storage.sole_driver(root, "b", opened):
            pass
    with storage.sole_driver(root, "a", opened):
        pass


def test_the_lock_goes_with_its_process(root: Path) -> None:
    opened = storage.open_storage(root)

    def killed() -> None:
        with storage.sole_driver(root, "a", opened):
            os._exit(9)

    assert exit_code(killed) == 9
    with storage.sole_driver(root, "a", opened):
        pass


def test_differences_name_every_change() -> None:
    before = {"a": {"b": 1, "gone": [1, 2]}, "same": True}
    after = {"a": {"b": 2, "new": None}, "same": True}
    assert storage.differences({"a": {}, "b": {"c": 1}}, {"a": {"x.y": 1}, "b": {}}) == [
        "a.x.y: is new, 1",
        "b.c: was 1, is gone",
    ]
    assert storage.differences(before, after) == [
        "a.b: was 1, is 2",
        "a.gone: was [1, 2], is gone",
        "a.new: is new, null",
    ]


NESTED = st.recursive(
    st.integers() | st.booleans() | st.none() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(st.text("abc", min_size=1, max_size=2), NESTED, max_size=3)


@given(MAPPINGS)
def test_nothing_differs_from_itself(content: dict[str, object]) -> None:
    assert storage.differences(content, content) == []
