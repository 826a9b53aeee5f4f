"""The table's program on tiny models: it goes on wherever it was stopped."""

from __future__ import annotations

import json
import shutil

import pytest

from c2c_search.space.schema import Space
from c2c_search.testing.tabled_fusers import fuser_table
from c2c_search.training.divergence import DivergedError
from c2c_search.training.service import WorkerService
from tests.training.conftest import pipeline


__all__ = ["pipeline"]


@pytest.fixture(scope="module")
def make(program):
    return program("fuser_table.make")


@pytest.fixture
def space(tiny_pair, pipeline) -> Space:
    return Space.model_validate(
        {
            "study": "tiny",
            "pipeline": pipeline,
            "pairs": {"one": tiny_pair},
            "search": {"trials": 4},
            "dimensions": {
                "fuser.projector": {"choices": ["linear", "c2c"]},
                "fuser.depth": {"int": [1, 2], "when": {"fuser.projector": "c2c"}},
                "training.learning_rate": {"float": [1e-3, 1e-2], "log": True},
            },
        }
    )


@pytest.fixture
def run(make, space, tmp_path, monkeypatch):
    monkeypatch.setattr(make.Space, "load", lambda path: space)
    monkeypatch.setenv("C2C_SEARCH_CACHE", str(tmp_path / "cache"))
    results = tmp_path / "results"

    def run(fusers, *more):
        arguments = f"make.py --fusers {fusers} --steps 4 --rungs 0.5 1 --validation 6 --test 6"
        monkeypatch.setattr("sys.argv", [*arguments.split(), "--results", str(results), *more])
        make.main()
        return [json.loads(line) for line in (results / "trainings.jsonl").open()]

    run.results = results
    return run


def test_draws_follow_from_the_number_and_tenth_fusers_have_three_seeds(make, space):
    few, many = (make.to_do(space, count, set()) for count in (2, 21))
    assert few == many[: len(few)]
    assert [(task.number, task.seed) for task in many[:4]] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert [task.number for task in many if task.seed == 2] == [0, 10, 20]
    assert len({task.config.hash() for task in many}) == len(many)
    assert make.to_do(space, 2, {(0, 1), (1, 0)}) == [few[0], few[2]]


def test_groups_are_of_one_pair_and_lose_nobody(make, space):
    tasks = make.to_do(space, 7, set())
    found = list(make.groups(tasks, 4))
    assert [len(group) for group in found] == [4, 4, 1]
    assert [task for group in found for task in group] == tasks


def test_a_torn_line_is_cut_off(make, tmp_path):
    log = tmp_path / "log"
    make.append(log, {"fuser": 1})
    with log.open("ab") as file:
        file.write(b'{"fuser": 2, "se')
    assert make.read(log) == [{"fuser": 1}]
    make.mend(log)
    make.append(log, {"fuser": 3})
    assert make.read(log) == [{"fuser": 1}, {"fuser": 3}]


def test_one_process_trains_into_a_folder(make, tmp_path):
    with (
        make.sole(tmp_path),
        pytest.raises(SystemExit, match="another process"),
        make.sole(tmp_path),
    ):
        pass


def test_it_trains_what_is_missing_and_writes_the_table(run, make, tmp_path):
    path = tmp_path / "fusers.parquet"
    first = run(1, "--together", "3")
    assert [(one["fuser"], one["seed"]) for one in first] == [(0, 0), (0, 1), (0, 2)]
    both = run(2, "--parquet", str(path))
    assert both[:3] == first
    table = fuser_table(path)
    assert [len(fuser.trainings) for fuser in table.fusers] == [3, 1]
    training = table.fusers[1].trainings[0]
    assert [rung.step for rung in training.rungs] == [2, 4] == list(table.rungs)
    assert training.parameters > 0
    assert 0 <= training.test_accuracy <= 1
    assert 0 <= table.objective("one", "test").receiver <= 1
    assert list((run.results / "running").iterdir()) == []


def test_a_stop_in_the_middle_changes_no_number(run, make, monkeypatch):
    whole = run(1)
    (run.results / "trainings.jsonl").unlink()
    measured = WorkerService.evaluate

    def stops(self, request):
        if request.split == "test":  # trained, but not yet written down
            raise KeyboardInterrupt
        return measured(self, request)

    monkeypatch.setattr(WorkerService, "evaluate", stops)
    with pytest.raises(KeyboardInterrupt):
        run(1)
    monkeypatch.setattr(WorkerService, "evaluate", measured)
    timeless = [{**one, "seconds": None} for one in run(1)]
    for one in (*whole, *timeless):
        one["seconds"] = None
        for rung in one["rungs"]:
            rung["train_loss"] = None
    assert timeless == whole


def test_what_diverges_is_a_failure_and_the_others_go_on(run, make, monkeypatch):
    trained = WorkerService.trial

    def diverges(self, config, *more, **options):
        if config.seed == 1:
            raise DivergedError("the loss is nan")
        return trained(self, config, *more, **options)

    monkeypatch.setattr(WorkerService, "trial", diverges)
    found = run(1, "--together", "2")
    assert {one["seed"]: one["failure"] for one in found} == {0: None, 1: "diverged", 2: None}


def test_a_folder_of_another_budget_is_refused(make, space, tmp_path):
    for options in (make.parse([]), make.parse([])):
        make.claim(tmp_path, make.shortened(space, options))
    with pytest.raises(SystemExit, match="another space or budget"):
        make.claim(tmp_path, make.shortened(space, make.parse(["--steps", "8"])))


def test_a_table_grows_where_its_trainings_are_not_at_hand(run, make, space, tmp_path):
    path = tmp_path / "fusers.parquet"
    run(1, "--parquet", str(path))
    known = fuser_table(path)
    shutil.rmtree(run.results)
    new = run(2, "--extend", str(path), "--parquet", str(path))
    assert [(one["fuser"], one["seed"]) for one in new] == [(1, 0)]
    grown = fuser_table(path)
    assert grown.about == known.about
    assert grown.fusers[:1] == known.fusers
    assert [fuser.number for fuser in grown.fusers] == [0, 1]
    with pytest.raises(SystemExit, match="another space or budget"):
        make.rows_of(path, tmp_path, make.shortened(space, make.parse(["--steps", "8"])))
