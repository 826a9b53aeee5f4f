"""Systems are trained once, here or by a study, as their rows say."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import pytest

from c2c_search.errors import C2CError
from c2c_search.evaluator import controls
from c2c_search.evaluator.controls import Trainer
from c2c_search.host.json_store import JsonStore
from c2c_search.space.objective import PLAIN_ACCURACY
from c2c_search.space.objective import Objective
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained


class Scripted:
    """A worker that trains nothing, and writes down what it was asked."""

    asked: list[Train]
    answered: list[bool]
    failed: Failed | None = None

    def __init__(self, pipeline: object, **options: object) -> None:
        pass

    def __enter__(self) -> Scripted:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def answer(self, go_on: bool) -> None:
        self.answered.append(go_on)

    def ask(self, train: Train) -> Iterator[Event]:
        self.asked.append(train)
        if self.failed is not None:
            yield self.failed
            return
        for rung, step in enumerate(train.config.training.rung_steps):
            yield Rung(rung=rung, step=step, split="validation", objective=0.5, metrics={})
        yield ended(Path(train.directory) / "best")


def ended(best: Path | str) -> Trained:
    return Trained(
        step=4,
        split="validation",
        pruned=False,
        objective=0.5,
        best_rung=0,
        best_dir=str(best),
        parameters=1,
        bytes=4,
        seconds={},
        metrics={},
    )


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> type[Scripted]:
    fresh = type("Scripted", (Scripted,), {"asked": [], "answered": []})
    monkeypatch.setattr(controls, "Worker", fresh)
    return fresh


@pytest.fixture
def trainer(trial, tmp_path: Path) -> Trainer:
    training = trial.training.model_copy(update={"rungs": (0.5, 1.0)})
    trial = trial.model_copy(update={"training": training})
    return Trainer(trial, 1234, tmp_path / "trained", tmp_path, lambda *told: None)


def test_a_row_says_how_it_is_trained(trainer, trial, worker) -> None:
    of_trial = trainer.trial
    expected = {
        "c2c": (of_trial, "fuser"),
        "no_sharer": (of_trial.with_blank_sharer(), "fuser"),
        "self": (of_trial.with_self(), "fuser"),
        "ridge": (of_trial.with_ridge(), "fuser"),
        "lora": (of_trial, "lora"),
        "cartridge": (of_trial, "cartridge"),
    }
    for system, (config, learner) in expected.items():
        folder = trainer.folder_of(system, seed=2)
        train = worker.asked[-1]
        assert train.config == config.model_copy(update={"seed": of_trial.seed + 2})
        assert (train.learner, train.parameters) == (learner, 1234)
        assert folder == trainer.folder / train.name / "best"
        # `eval` finds trials by this file.
        assert (folder.parent / "trial.yaml").exists() == (learner == "fuser")
    assert len({train.name for train in worker.asked}) == 6
    assert worker.answered == [True] * 6  # after every rung but the last


def test_another_seed_chooses_its_best_rung_as_the_study_did(trainer, tmp_path: Path) -> None:
    """A control is what answers best, whatever the search maximised."""
    assert trainer.request("c2c", seed=1).objective == PLAIN_ACCURACY
    margin = Objective(kind="margin", receiver=0.3, sharer=0.5)
    folder = tmp_path / "trials" / "tiny" / trainer.trial.hash()
    folder.mkdir(parents=True)
    (folder / "objective.json").write_text(margin.model_dump_json())
    again = replace(trainer)
    assert again.request("c2c", seed=1).objective == margin
    assert again.request("no_sharer").objective == PLAIN_ACCURACY


def test_what_is_trained_is_not_trained_again(trainer, worker) -> None:
    first = trainer.folder_of("lora")
    assert trainer.folder_of("lora") == first
    assert len(worker.asked) == 1


def test_what_a_study_has_trained_is_taken_from_there(trainer, worker, tmp_path: Path) -> None:
    train = trainer.request("ridge")
    folder = tmp_path / "trials" / "tiny" / train.name
    (folder / "best").mkdir(parents=True)
    results = JsonStore(tmp_path / "trials" / "tiny" / "results")
    results.save(f"trained/{train.name}", ended("best"))
    assert trainer.folder_of("ridge") == folder / "best"
    assert worker.asked == []
    shutil.rmtree(folder / "best")
    trainer.folder_of("ridge")
    assert len(worker.asked) == 1


def test_what_cannot_be_trained_is_told(trainer, worker) -> None:
    worker.failed = Failed(failure="diverged", message="the loss is nan")
    with pytest.raises(C2CError, match=r"training ridge failed \(diverged\): the loss is nan"):
        trainer.folder_of("ridge")
