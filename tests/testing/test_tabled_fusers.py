"""What is written to a table of fusers is read from it, and nothing else is taken for one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from c2c_search import testing
from c2c_search.errors import DataError
from c2c_search.space.schema import Space
from c2c_search.testing.tabled_fusers import fuser_table
from c2c_search.testing.tabled_fusers import write_table


ALONE = {"kind": "margin", "receiver": 0.3, "sharer": 0.5, "reference": 0.4}
ABOUT = {"format": 1, "rungs": [5, 10], "pairs": {"a": {"validation": ALONE, "test": ALONE}}}


def training(number, seed, **more):
    rung = {"accuracy": 0.5, "deranged": None, "loss": 1.5, "train_loss": 2.0, "gate_open": 1.0}
    return {
        "fuser": number,
        "seed": seed,
        "hash": "0" * 16,
        "params": {"fuser.rank": None, "training.learning_rate": 1e-3},
        "parameters": 12,
        "failure": None,
        "seconds": {"train": 8.0, "overhead": 2.0, "evaluate": 3.0, "derange": 1.0},
        "rungs": [{"step": step, **rung, "blocks": [0.25, 0.5]} for step in (5, 10)],
        "test": {"accuracy": 0.75, "deranged": 0.25},
        **more,
    }


def test_it_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "fusers.parquet"
    failed = training(2, 0, failure="diverged", rungs=[], seconds={}, test=None, parameters=0)
    write_table(path, ABOUT, [failed, training(1, 1), training(1, 0)])
    table = fuser_table(path)
    assert [fuser.number for fuser in table.fusers] == [1, 2]
    assert table.rungs == (5, 10)
    first, second = table.fusers
    assert first.params == {"fuser.rank": None, "training.learning_rate": 1e-3}
    assert [one.seed for one in first.trainings] == [0, 1]
    one = first.trainings[0]
    assert (one.test_accuracy, one.test_deranged, one.parameters) == (0.75, 0.25, 12)
    assert [rung.step for rung in one.rungs] == [5, 10]
    # Half of 8 + 2 s of steps and of 3 + 1 s of questions, and all of both.
    assert [rung.seconds for rung in one.rungs] == [7.0, 14.0]
    assert one.rungs[1].blocks == (0.25, 0.5)
    assert one.rungs[1].deranged is None
    assert second.trainings[0].failure == "diverged"
    assert second.trainings[0].rungs == ()
    assert table.objective("a").value(0.75, 0.25) == 0.25


@pytest.mark.parametrize("content", [b"", b"PAR1 nonsense PAR1"])
def test_another_file_is_no_table(tmp_path, content):
    path = tmp_path / "fusers.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match="Parquet"):
        fuser_table(path)
    with pytest.raises(DataError, match="Parquet"):
        fuser_table(tmp_path / "absent.parquet")


def test_a_table_of_another_format_is_refused(tmp_path):
    path = tmp_path / "fusers.parquet"
    write_table(path, {**ABOUT, "format": 2}, [training(1, 0)])
    with pytest.raises(DataError, match="format 1"):
        fuser_table(path)


def test_the_table_that_comes_along_is_of_the_names_quiz():
    space = Space.load(Path(__file__).parents[2] / "spaces" / "names.yaml")
    table = fuser_table()
    assert set(table.about["pairs"]) == set(space.pairs)
    for fuser in table.fusers:
        assert all(space.dimensions[name].contains(each) for name, each in fuser.params.items())
        for training in fuser.trainings:
            assert tuple(rung.step for rung in training.rungs) == table.rungs


def test_the_loader_needs_neither_pytest_nor_torch():
    code = (
        "import sys; from c2c_search.testing import fuser_table; "
        "sys.exit(any(name in sys.modules for name in ('pytest', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_suite_is_found():
    for name in testing.__all__:
        assert getattr(testing, name).__name__ == name
    assert not hasattr(testing, "absent")
