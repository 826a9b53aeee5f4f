"""A trial's numbers must not depend on where it was interrupted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from c2c_search.fuser import checkpoint
from c2c_search.training import fuser_training
from c2c_search.training import loop as training_run
from c2c_search.training import step
from c2c_search.training.loop import DivergedError
from c2c_search.training.prefetch import Prefetcher
from c2c_search.training.protocol import Notice
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Step
from c2c_search.training.service import WorkerService


class Stop(BaseException):
    """An interruption, at any instant."""


@pytest.fixture
def run(pipeline, tmp_path):
    """Run a trial at a service of its own; returns its end and its events."""

    def run(trial, directory, *, go_on=lambda: True, on_event=lambda event: None):
        events = []

        def emit(event):
            events.append(event)
            on_event(event)

        service = WorkerService(pipeline, cache_dir=tmp_path / "cache", emit=emit)
        return service.train(trial, tmp_path / directory, go_on), events

    return run


def losses(events):
    return {event.step: event.loss for event in events if isinstance(event, Step)}


def rungs(events):
    return [(e.rung, e.objective, e.metrics) for e in events if isinstance(e, Rung)]


@pytest.mark.parametrize("stage", [0, 2])
@pytest.mark.parametrize("fields", [{"dropout": 0.2}, {"lora_rank": 2}, {"fuse_response": True}])
def test_activations_computed_again_give_the_same_numbers(run, trial, fields, stage):
    found = []
    for again in (False, True):
        update = {"checkpoint_activations": again, "zero_stage": stage, "log_every": 1}
        config = trial.model_copy(
            update={
                "fuser": trial.fuser.model_copy(update=fields),
                "training": trial.training.model_copy(update=update),
            }
        )
        _, events = run(config, f"trial-{again}")
        found.append((losses(events), rungs(events)))
    assert found[0] == found[1]


@pytest.mark.parametrize(("stop_at", "lora_rank"), [(1, 0), (2, 2), (3, 0), (5, 2)])
def test_resume_gives_the_same_numbers(run, trial, tmp_path, monkeypatch, stop_at, lora_rank):
    fuser = trial.fuser.model_copy(update={"lora_rank": lora_rank})
    trial = trial.model_copy(update={"fuser": fuser})
    monkeypatch.setattr(training_run, "_SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    whole, events = run(trial, "whole")

    real = fuser_training.FuserTraining._train_step

    def stopping(self, engine):
        if self.step == stop_at:
            raise Stop
        yield from real(self, engine)

    with monkeypatch.context() as patch:
        patch.setattr(fuser_training.FuserTraining, "_train_step", stopping)
        with pytest.raises(Stop):
            run(trial, "parts")
    resumed, rest = run(trial, "parts")
    assert rungs(rest) == rungs(events)
    assert losses(rest) == {k: v for k, v in losses(events).items() if k > stop_at}
    assert resumed.objective == whole.objective
    kept = [checkpoint.load(tmp_path / name / "best").state_dict() for name in ("whole", "parts")]
    assert all(torch.equal(kept[0][name], kept[1][name]) for name in kept[0])


def test_training_lowers_the_loss(run, trial):
    training = trial.training.model_copy(update={"steps": 40, "log_every": 1})
    _, events = run(trial.model_copy(update={"training": training}), "long")
    by_step = losses(events)
    first = sum(by_step[step] for step in range(1, 6))
    last = sum(by_step[step] for step in range(36, 41))
    assert last < first


def test_pruned_after_a_rung(run, trial):
    ended, events = run(trial, "pruned", go_on=lambda: False)
    assert ended.pruned
    assert ended.step == 3
    assert len(rungs(events)) == 1


def test_last_rung_asks_nothing(run, trial):
    asked = []
    ended, _ = run(trial, "asked", go_on=lambda: asked.append(1) or True)
    assert not ended.pruned
    assert len(asked) == 1  # two rungs, one question


def test_report_says_what_is_needed(run, trial):
    ended, events = run(trial, "report")
    step = next(event for event in events if isinstance(event, Step))
    assert {"train/loss", "train/learning_rate", "train/gradient_norm"} <= set(step.metrics)
    assert {"gate/open_train", "gate/open_eval"} <= set(step.metrics)
    assert set(ended.seconds) == {"prefill", "train", "evaluate", "overhead"}
    assert ended.seconds["prefill"] > 0
    assert {"validation/accuracy", "validation/loss"} <= set(ended.metrics)
    groups = {name for name in ended.metrics if name.startswith("validation/group/")}
    # Rows without a category are of the group that their folder is called.
    folder = Path(trial.data.files.validation[0]).parent.name
    assert groups == {f"validation/group/{folder}"}
    assert ended.parameters > 0
    assert ended.bytes > 4 * ended.parameters - 1


def test_divergence_is_told_from_other_failures(run, trial, monkeypatch):
    monkeypatch.setattr(step, "response_loss", lambda logits, *rest: logits.sum() * torch.nan)
    with pytest.raises(DivergedError, match="step 1"):
        run(trial, "diverged")


@pytest.mark.parametrize("sharer", ["blank", "mismatched"])
def test_ablations_are_configuration(run, trial, sharer):
    fuser = trial.fuser.model_copy(update={"sharer": sharer})
    ended, _ = run(trial.model_copy(update={"fuser": fuser}), sharer)
    assert not ended.pruned


@pytest.mark.parametrize("accumulation", [1, 2])
def test_accumulation_of_equal_batches_is_one_large_batch(run, trial, accumulation):
    plain = trial.fuser.model_copy(update={"dropout": 0.0, "gate": type(trial.fuser.gate)()})
    training = trial.training.model_copy(
        update={"batch_size": 4 // accumulation, "gradient_accumulation": accumulation}
    )
    ended, events = run(
        trial.model_copy(update={"fuser": plain, "training": training}),
        f"accumulate{accumulation}",
    )
    assert ended.step == 6
    assert max(losses(events)) == 6


def test_validation_that_is_no_number_is_divergence(run, trial, monkeypatch):
    real = fuser_training.answer

    def broken(*args, **kwargs):
        items = real(*args, **kwargs)
        nothing = (float("nan"),) * len(items[0].scores)
        return (items[0].model_copy(update={"scores": nothing}), *items[1:])

    monkeypatch.setattr(fuser_training, "answer", broken)
    with pytest.raises(DivergedError, match="validation loss is nan"):
        run(trial, "nan")


@pytest.mark.parametrize("budget", ["0", "3kB"])
def test_a_budget_too_small_for_the_data_changes_no_number(
    run, trial, tmp_path, monkeypatch, budget
):
    whole, events = run(trial, "whole")
    assert not any(isinstance(event, Notice) for event in events)
    shutil.rmtree(tmp_path / "cache" / "prompt_caches")
    monkeypatch.setenv("C2C_SEARCH_CACHE_BUDGET", budget)
    partly, others = run(trial, "partly")
    assert any("fit the budget" in event.message for event in others if isinstance(event, Notice))
    assert losses(others) == losses(events)
    assert rungs(others) == rungs(events)
    assert partly.objective == whole.objective


def test_gathering_ahead_changes_no_number(run, trial, monkeypatch):
    _, events = run(trial, "in turn")
    monkeypatch.setattr(
        fuser_training,
        "Prefetcher",
        lambda gather, background: Prefetcher(gather, background=True),
    )
    _, others = run(trial, "beside")
    assert losses(others) == losses(events)


def test_caches_are_rounded_as_the_pipeline_says(pipeline, trial, tmp_path):
    found = {}
    for dtype in ("bfloat16", "float32"):
        caches = pipeline.caches.model_copy(update={"dtype": dtype})
        service = WorkerService(
            pipeline.model_copy(update={"caches": caches}),
            cache_dir=tmp_path / "cache",
            emit=lambda event: None,
        )
        run = service.trial(trial, tmp_path / dtype, lambda: True)
        assert run.model.cache_dtype == getattr(torch, dtype)
        found[dtype] = run.data.train_prompts.batch([0]).receiver
    assert torch.equal(found["float32"].bfloat16().float(), found["bfloat16"])
    assert not torch.equal(found["float32"], found["bfloat16"])
