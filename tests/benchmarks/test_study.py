"""A study and the runs of the published kind train the same trials."""

from __future__ import annotations

import pytest

from c2c_search.config.pipeline import CacheConfig
from c2c_search.config.pipeline import Pipeline
from c2c_search.config.training import TrainingConfig
from c2c_search.config.trial import TrialConfig
from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import SplitLimits
from c2c_search.data.splits import load_splits
from c2c_search.fuser.config import FuserConfig
from c2c_search.models.loading import load
from c2c_search.training.protocol import Step
from c2c_search.training.service import WorkerService


@pytest.fixture(scope="module")
def study(program):
    return program("study")


@pytest.fixture(scope="module")
def trial(tiny_pair) -> TrialConfig:
    return TrialConfig(
        pair=tiny_pair,
        fuser=FuserConfig(width=8, initialisation="random", normalisation="rms"),
        # More steps than an epoch has: the next one has an order of its own.
        training=TrainingConfig(steps=5, batch_size=4, learning_rate=1e-2, log_every=1),
        data=DataConfig(limit=SplitLimits(train=12, validation=4, test=1)),
        evaluation=Pipeline(name="tiny").evaluation,
        cache_dtype="float32",
        seed=3,
    )


def test_a_reference_run_trains_as_a_trial_does(program, trial, tmp_path):
    steps = {}

    def emit(event):
        if isinstance(event, Step):
            steps[event.step] = event.loss

    pipeline = Pipeline(
        name="tiny",
        data=trial.data,
        training=trial.training,
        evaluation=trial.evaluation,
        caches=CacheConfig(dtype="float32"),
    )
    service = WorkerService(pipeline, cache_dir=tmp_path / "cache", emit=emit)
    trained = service.train(trial, tmp_path / "trial", lambda: True)
    splits = load_splits(trial.data)
    receiver, sharer = (
        load(source, cache_dir=tmp_path / "cache", device="cpu")
        for source in (trial.pair.receiver, trial.pair.sharer)
    )
    found = program("reference_run").run(
        trial, receiver, sharer, list(splits.train), list(splits.validation)
    )
    assert found["losses"] == pytest.approx([steps[n] for n in range(1, 6)], rel=1e-3)
    assert found["accuracy"] == pytest.approx(trained.objective)
    assert set(found["seconds"]) == {"train", "evaluate"}


@pytest.fixture(scope="module")
def theirs(study, trial):
    """A run of the published kind, in a process of its own."""
    return study.reference_runs([trial])


@pytest.mark.parametrize("together", [1, 2])
def test_both_sides_run_in_processes_of_their_own(study, trial, theirs, together):
    configs = [trial, trial.model_copy(update={"seed": 4})]
    ours = study.study(configs, together)
    study.check(ours, theirs)
    found = study.summary(ours, theirs)
    assert found["trials"] == 2
    assert found["seconds"]["reference"] == pytest.approx(2 * theirs.total)
    assert sum(ours.parts.values()) == pytest.approx(ours.total)
    assert {"load", "prefill", "train", "evaluate", "start processes"} <= set(ours.parts)
    assert {"load", "train", "evaluate", "start processes"} == set(theirs.parts)


def test_few_reference_runs_stand_for_all(study):
    ours = study.Run(10.0, {"evaluate": 1.0}, [{1: 2.0, 5: 1.0}] * 8, [0.5] * 8)
    theirs = study.Run(
        30.0, {"train": 20.0, "evaluate": 12.0}, [{1: 2.0, 5: 1.0}] * 2, [0.25, 0.75]
    )
    found = study.summary(ours, theirs)
    assert found["ratio"] == pytest.approx(12.0)
    assert found["ratio_without_validation"] == pytest.approx(8.0)
    assert found["parts"]["one reference run"] == {"train": 10.0, "evaluate": 6.0}
    assert found["trials_per_hour"]["study"] == pytest.approx(2880)


def test_trials_that_differ_are_told(study):
    ours, theirs = study.Run(losses=[{1: 2.0}]), study.Run(losses=[{1: 2.5}])
    with pytest.raises(AssertionError, match="trial 0"):
        study.check(ours, theirs)


def test_trials_differ_in_their_seeds(study):
    configs = study.trials(study.parse(["--steps", "7"]), 8)
    assert len({config.hash() for config in configs}) == 8
    assert {config.training.steps for config in configs} == {7}
