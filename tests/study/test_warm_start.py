"""A study learns from the trials of earlier ones that it could have tried itself."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from c2c_search.errors import ConfigError
from c2c_search.fuser.config import FuserConfig
from c2c_search.space.sampling import make_sampler
from c2c_search.space.shown import EarlierTrial
from c2c_search.space.shown import distributions
from c2c_search.space.shown import show_earlier
from c2c_search.space.shown import suggested
from c2c_search.study.driver import Outcome
from c2c_search.study.storage import open_storage
from tests.space.conftest import make_space


__all__ = ["make_space"]


Run = Callable[..., Outcome]


def _edit(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def _again(quick: Run, space_file: Path, *changes: tuple[str, str]) -> None:
    """A study, and another one that is told to learn from it."""
    quick()
    _edit(space_file, ("study: tiny", "study: second"), *changes)
    quick(warm_start=("tiny",))


def _study(root: Path, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=open_storage(root))


def _text(output: io.StringIO) -> str:
    return " ".join(output.getvalue().split())


def test_all_trials_of_the_same_space_teach(
    quick: Run, root: Path, space_file: Path, output: io.StringIO
) -> None:
    _again(quick, space_file, ("seed: 0", "seed: 5"))
    assert "Warm start: 5 of 5 trials of tiny fit." in _text(output)
    study, first = _study(root, "second"), _study(root, "tiny")
    shown = suggested(study, but=-1)
    assert len(shown) == 5 + len(study.trials)  # no trial of its own
    for mine, theirs in zip(shown, first.trials, strict=False):
        assert mine.params == theirs.params
        assert mine.state == theirs.state
        assert mine.last_step == theirs.last_step
        if theirs.values:
            assert mine.values == pytest.approx(theirs.values)


def test_what_does_not_fit_is_named_with_the_reason(
    quick: Run, root: Path, space_file: Path, output: io.StringIO
) -> None:
    _again(
        quick,
        space_file,
        ("fuser.depth: {int: [1, 8]}", "fuser.depth: {int: [1, 2]}"),
        ("fuser.depth: 4", "fuser.depth: 2"),
    )
    first = _study(root, "tiny")
    deep = [trial.number for trial in first.trials if trial.params["fuser.depth"] > 2]
    assert f"Warm start: {5 - len(deep)} of 5 trials of tiny fit." in _text(output)
    assert "trial-0" in _text(output)
    assert "fuser.depth 4 is not among 1 to 2" in _text(output)


def test_a_dimension_that_is_new_takes_what_the_trial_had(
    quick: Run, root: Path, space_file: Path
) -> None:
    new = "dimensions:\n  fuser.width: {choices: [32, 64, 128, 1024]}"
    _again(quick, space_file, ("dimensions:", new))
    shown = suggested(_study(root, "second"), but=-1)[:5]
    assert {trial.params["fuser.width"] for trial in shown} == {FuserConfig().width}
    assert len(shown) == 5


def test_another_training_is_another_trial(
    quick: Run, root: Path, space_file: Path, output: io.StringIO
) -> None:
    pipeline = space_file.parent / "pipeline.yaml"
    quick()
    _edit(space_file, ("study: tiny", "study: second"))
    _edit(pipeline, ("steps: 4", "steps: 8"))
    quick(warm_start=("tiny",))
    assert "Warm start: 0 of 5 trials of tiny fit." in _text(output)
    assert "training.steps: was 4, is 8" in _text(output)


@pytest.mark.parametrize("name", ["absent", "tiny"])
def test_only_other_studies_teach(quick: Run, name: str, root: Path) -> None:
    with pytest.raises(ConfigError, match="other studies of the same store"):
        quick(warm_start=(name,))
    assert not (root / "trials" / "tiny" / "results").exists()


@pytest.mark.parametrize("name", ["auto", "tpe", "tpe_hierarchical", "nsga2"])
def test_samplers_learn_from_what_they_are_shown(name: str, make_space: Any) -> None:
    space = make_space(search={"trials": 20, "sampler": name, "startup_trials": None})
    known = distributions(space.dimensions)
    study = optuna.create_study(direction="maximize", sampler=make_sampler(space))
    study.ask()
    told = study.sampler.sample_relative(study, study.trials[0], known)
    show_earlier(study, known, [])
    assert suggested(study, but=0) == []
    taught = [
        EarlierTrial(
            {
                "pair": "there",
                "fuser.depth": 1 + number % 2,
                "fuser.width": 200 + number,
                "fuser.gate.granularity": "none",
                "training.learning_rate": 1e-3 * (1 + number / 100),
            },
            1 - number / 100,
            90,
            False,
        )
        for number in range(30)
    ]
    show_earlier(study, known, taught)
    now = study.sampler.sample_relative(study, study.trials[0], known)
    assert now != told
    assert now == make_sampler(space).sample_relative(study, study.trials[0], known)
