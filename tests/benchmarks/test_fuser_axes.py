"""The table of axes grows from run to run, seed after seed, and is told from what is on record."""

from __future__ import annotations

import pytest

from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult
from tests.training.conftest import pipeline


__all__ = ["pipeline"]


@pytest.fixture(scope="module")
def axes(program):
    return program("fuser_axes")


@pytest.fixture(scope="module")
def axes_record(program):
    return program("axes_record")


@pytest.fixture
def run(axes, tiny_pair, pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr(axes, "PAIR", tiny_pair)
    monkeypatch.setattr(axes, "load_pipeline", lambda path: pipeline)
    monkeypatch.setitem(
        axes.SETS,
        "private",
        [
            axes.Variant("base", "linear", "here", {"projector": "linear"}),
            axes.Variant("private depth", "1", "here", {"depth": 1, "width": 8}),
        ],
    )
    monkeypatch.setenv("C2C_SEARCH_CACHE", str(tmp_path / "cache"))
    record, page = tmp_path / "record.parquet", tmp_path / "axes.md"

    def run(seeds: int, *more: str) -> str:
        given = f"fuser_axes.py --tables private:2:private --seeds {seeds} --record {record}"
        monkeypatch.setattr("sys.argv", [*given.split(), "--markdown", str(page), *more])
        axes.main()
        return page.read_text(encoding="utf-8")

    run.record = record
    return run


def test_what_is_on_record_is_not_trained_again(run, axes, axes_record, monkeypatch):
    first = run(1)
    assert "| base | linear | here |" in first
    assert "| depth | 1 | here |" in first
    known = axes_record.read(run.record)
    assert len(known) == 2
    for one in known.values():
        assert len(one.right) == len(one.wrong) == len(one.alone) == len(one.items)
        assert one.seconds > 0
    with monkeypatch.context() as patch:
        patch.setattr(axes, "train", None)
        assert run(1) == first
        assert run(2, "--table-only") == first.replace("--seeds 1", "--seeds 2")
    run(2)
    both = axes_record.read(run.record)
    assert len(both) == 4
    assert all(both[trial] == one for trial, one in known.items())


def test_other_steps_are_another_training(axes):
    few, many = (axes.Table("private", steps, ("private",)) for steps in (2, 3))
    assert not {one.hash() for one in few.missing((), 2)} & {
        one.hash() for one in many.missing((), 2)
    }
    with pytest.raises(ValueError, match="sets are"):
        axes.Table.parse("private:2:nothing")


def _result(*credits: float) -> SystemResult:
    items = tuple(
        ItemResult(id=f"item-{number}", group="", cluster=f"fact-{number // 2}", graded=credit)
        for number, credit in enumerate(credits)
    )
    return SystemResult(system="c2c", split="validation", items=items)


def test_answers_come_back_from_the_record_by_item_and_fact(axes_record, tmp_path):
    right, wrong, alone = _result(1, 0, 1), _result(0.5, 0, 0), _result(0, 0, 1)
    shuffled = wrong.model_copy(update={"items": wrong.items[::-1]})
    made = axes_record.Training.of("abc", 2.5, right, shuffled, alone)
    path = tmp_path / "new" / "record.parquet"
    assert axes_record.read(path) == {}
    axes_record.write(path, [made])
    assert axes_record.read(path) == {"abc": made}
    pooled = axes_record.answered([made, made], "wrong")
    assert [(one.id, one.cluster, one.credit) for one in pooled.items[:2]] == [
        ("item-0#0", "fact-0", 0.5),
        ("item-1#0", "fact-0", 0.0),
    ]
    assert pooled.items[3].id == "item-0#1"
