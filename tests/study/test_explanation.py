"""What a study says of its space."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import log10
from pathlib import Path
from random import Random
from typing import Any

import pytest

from c2c_search.errors import DataError
from c2c_search.errors import StoreError
from c2c_search.space import importance
from c2c_search.space.sampling import make_sampler
from c2c_search.space.sampling import suggest
from c2c_search.space.schema import Space
from c2c_search.study import storage
from c2c_search.study.explanation import explain


@pytest.fixture
def study(space_file: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Any]:
    """Makes the study of ``space_file`` with so many trials; the faster, the better."""
    monkeypatch.setattr(importance, "_RESAMPLES", 4)

    def make(trials: int) -> Any:
        space = Space.load(space_file, trials=trials)
        space = space.model_copy(
            update={"search": space.search.model_copy(update={"sampler": "random"})}
        )
        made = storage.open_study(storage.open_storage(root), space.study, space.identity())
        made.sampler, rng = make_sampler(space), Random(0)
        for number in range(trials):
            trial = made.ask()
            config = suggest(space, trial)
            made.tell(trial, log10(config.training.learning_rate) + rng.gauss(0, 0.02))
            assert number == trial.number
        return made

    return make


def test_what_mattered_and_what_to_search_next(study: Any, root: Path) -> None:
    study(60)
    found = explain("tiny", root)
    assert (found.study, found.ended, found.complete, found.indicative) == ("tiny", 60, 60, False)
    rate = next(each for each in found.dimensions if each.name == "training.learning_rate")
    assert rate.fanova is not None
    assert rate.fanova.value > 0.5
    assert (rate.applied, rate.border) == (True, "highest")
    assert "+  training.learning_rate: {float: [0.0001, 0.1], log: true}" in found.diff
    assert {each.name for each in found.dimensions} == {
        "pair",
        "fuser.depth",
        "training.learning_rate",
    }
    assert json.loads(found.model_dump_json())["complete"] == 60


def test_too_few_trials_explain_nothing(study: Any, root: Path) -> None:
    study(3)
    with pytest.raises(DataError, match="at least 10 trials"):
        explain("tiny", root)


def test_a_study_in_a_database_that_is_named(study: Any, root: Path, tmp_path: Path) -> None:
    study(1)
    url = f"sqlite:///{root.resolve() / storage.DATABASE}"
    with pytest.raises(DataError, match="at least"):  # it is found
        explain("tiny", tmp_path / "elsewhere", url=url)


def test_a_study_that_is_not_there(study: Any, root: Path, tmp_path: Path) -> None:
    study(1)
    with pytest.raises(StoreError, match="tiny"):
        explain("tinny", root)
    with pytest.raises(StoreError, match="--root"):
        explain("tiny", tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()
