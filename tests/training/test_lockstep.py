"""A trial's numbers must be those that it has alone, whoever trains beside it."""

from __future__ import annotations

import gc
import json
import weakref
from dataclasses import replace
from itertools import islice

import pytest

from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.gate_config import GateConfig
from c2c_search.space.objective import Objective
from c2c_search.training import fuser_training
from c2c_search.training import lockstep
from c2c_search.training.divergence import DivergedError
from c2c_search.training.protocol import OfTrial
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Step
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained
from c2c_search.training.protocol import TrainedTogether
from tests.training.stopping import checkpointed
from tests.training.stopping import stopped


MARGIN = Objective(kind="margin", receiver=0.125, sharer=0.25)


def variant(trial, *, seed=0, training=None, **fuser):
    """The trial with other settings; every step is logged."""
    fields = {**trial.fuser.model_dump(), **fuser}
    return trial.model_copy(
        update={
            "fuser": FuserConfig(**fields),
            "training": trial.training.model_copy(update={"log_every": 1, **(training or {})}),
            "seed": seed,
        }
    )


def together(service, trials, folder, go_on=lambda: True, at_once=None):
    """Train them as a group, so many at once if not all; the events of each."""
    service.events.clear()
    asked = [
        Train(config=one, directory=str(folder / str(n)), objective=MARGIN)
        for n, one in enumerate(trials)
    ]
    first, following = asked[:at_once], iter(asked[len(trials) if at_once is None else at_once :])
    ended = service.train_together(first, go_on, lambda: [*islice(following, 1)])
    assert isinstance(ended, TrainedTogether)
    told = [event for event in service.events if isinstance(event, OfTrial)]
    return [[e.event for e in told if e.index == index] for index in range(len(trials))]


def by_itself(service, trial, folder, go_on=lambda: True):
    service.events.clear()
    ended = service.train(trial, folder, go_on, objective=MARGIN)
    return [*service.events, ended]


def losses(events):
    return {event.step: event.loss for event in events if isinstance(event, Step)}


def norms(events):
    return [e.metrics["train/gradient_norm"] for e in events if isinstance(e, Step)]


def rungs(events):
    return [(e.step, e.objective, e.accuracy, e.deranged) for e in events if isinstance(e, Rung)]


def assert_same(events, others):
    assert losses(events) == pytest.approx(losses(others), abs=1e-5)
    assert norms(events) == pytest.approx(norms(others), rel=1e-3, abs=1e-5)
    assert rungs(events) == rungs(others)
    ends = [one for one in (events[-1], others[-1]) if isinstance(one, Trained)]
    assert ends[0].objective == ends[1].objective
    assert ends[0].pruned == ends[1].pruned


def test_numbers_are_those_of_each_trial_alone(service, trial, tmp_path):
    other_steps = {"steps": 4, "batch_size": 2, "gradient_accumulation": 2, "rungs": (1.0,)}
    trials = [
        variant(trial),
        variant(trial, seed=5, depth=1, projector="linear", gate=GateConfig()),
        variant(
            trial,
            injection="append",
            gate=GateConfig(granularity="none"),
            training={"label_smoothing": 0.1},
        ),
        variant(
            trial,
            injection="append",
            slots=2,
            message="draft",
            draft_tokens=4,
            anchors="first",
            gate=GateConfig(granularity="none"),
        ),
        variant(trial, training=other_steps),
        variant(trial, injection="side", layer_share=0.5),
        variant(trial, injection="side", reads_from="all", seed=2),
        # These two the receiver reads for by themselves.
        variant(trial, lora_rank=2),
        variant(trial, fuse_response=True, layer_alignment="terminal"),
    ]
    grouped = together(service, trials, tmp_path / "together")
    for place, one in enumerate(trials):
        assert_same(grouped[place], by_itself(service, one, tmp_path / f"alone-{place}"))


def test_the_receiver_reads_once_for_all_that_can_share(service, trial, tmp_path, monkeypatch):
    sizes = []
    real = lockstep.losses_at_once
    monkeypatch.setattr(
        lockstep, "losses_at_once", lambda steps: sizes.append(len(steps)) or real(steps)
    )
    trials = [variant(trial), variant(trial, seed=1), variant(trial, lora_rank=2)]
    together(service, trials, tmp_path)
    assert sizes == [2] * 6


def test_a_fit_ends_at_once_in_a_group(service, trial, tmp_path):
    ridge = trial.with_ridge()
    grouped = together(service, [ridge, variant(trial)], tmp_path / "together")
    assert grouped[0][-1].objective == by_itself(service, ridge, tmp_path / "alone")[-1].objective
    assert max(losses(grouped[1])) == 6


def test_a_pruned_trial_leaves_and_the_others_go_on(service, trial, tmp_path):
    trials = [variant(trial), variant(trial, seed=1), variant(trial, seed=2)]
    answers = iter([True, False, True])
    grouped = together(service, trials, tmp_path / "together", lambda: next(answers))
    ends = [events[-1] for events in grouped]
    assert [(end.pruned, end.step) for end in ends] == [(False, 6), (True, 3), (False, 6)]
    assert_same(grouped[2], by_itself(service, trials[2], tmp_path / "alone"))


def test_those_that_join_have_the_numbers_that_they_have_alone(
    service, trial, tmp_path, monkeypatch
):
    at_once, alive = [], weakref.WeakSet()
    real_pass, real_start = lockstep._one_pass, lockstep._Member.__init__

    def one_pass(members):
        at_once.append(len(members))
        real_pass(members)

    def start(member, make):
        gc.collect()
        assert len(alive) < 2  # nothing is left of the one in whose place it begins
        real_start(member, make)
        alive.add(member._run.fuser)

    monkeypatch.setattr(lockstep, "_one_pass", one_pass)
    monkeypatch.setattr(lockstep._Member, "__init__", start)
    short = {"steps": 4, "batch_size": 2, "rungs": (1.0,)}
    trials = [
        variant(trial),
        variant(trial, seed=1, training=short),
        trial.with_ridge(),  # which ends as soon as it has begun
        variant(trial, seed=2, injection="append", gate=GateConfig(granularity="none")),
    ]
    grouped = together(service, trials, tmp_path / "together", at_once=2)
    assert at_once == [2] * 6 + [1] * 4
    for place in (0, 2, 3):
        alone = by_itself(service, trials[place], tmp_path / f"alone-{place}")
        assert_same(grouped[place], alone)


def test_interrupted_after_some_have_joined_each_goes_on(service, trial, tmp_path, monkeypatch):
    trial = checkpointed(trial)
    trials = [variant(trial, seed=seed) for seed in range(3)]
    answers = [True, False, True]
    whole = together(service, trials, tmp_path / "whole", iter(answers).__next__, at_once=2)
    with stopped(monkeypatch, fuser_training.FuserTraining, 2, seed=2):
        together(service, trials, tmp_path / "parts", iter(answers).__next__, at_once=2)
    left = [by_itself(service, trials[n], tmp_path / "parts" / str(n)) for n in (0, 2)]
    for before, after in zip([whole[0], whole[2]], left, strict=True):
        late = {step: loss for step, loss in losses(before).items() if step in losses(after)}
        assert losses(after) == pytest.approx(late, abs=1e-5)
        assert max(losses(after)) == 6
        assert rungs(after) == rungs(before)


def test_interrupted_together_they_go_on_together_or_alone(service, trial, tmp_path, monkeypatch):
    trial = checkpointed(trial)
    trials = [variant(trial), variant(trial, seed=1), variant(trial, seed=2)]
    whole = together(service, trials, tmp_path / "whole")
    with stopped(monkeypatch, fuser_training.FuserTraining, 4, seed=1):
        together(service, trials, tmp_path / "parts")
    rest = together(service, trials[:2], tmp_path / "parts")
    rest.append(by_itself(service, trials[2], tmp_path / "parts" / "2"))
    for before, after in zip(whole, rest, strict=True):
        # Of one a checkpoint stood before its rung's answer, of the others perhaps after it.
        late = {step: loss for step, loss in losses(before).items() if step in losses(after)}
        assert losses(after) == pytest.approx(late, abs=1e-5)
        assert max(losses(after)) == 6
        assert rungs(after) == rungs(before)


def test_a_trial_that_diverges_spoils_no_checkpoint(service, trial, tmp_path, monkeypatch):
    trial = checkpointed(trial)
    sound, broken = variant(trial), variant(trial, seed=1)
    real = fuser_training.FuserTraining._request

    def breaking(self, engine, rows):
        asked = real(self, engine, rows)
        if self.config.seed == 1 and self.step == 3:
            fused = replace(asked.fused, packed=asked.fused.packed * float("nan"))
            return replace(asked, fused=fused)
        return asked

    monkeypatch.setattr(fuser_training.FuserTraining, "_request", breaking)
    with pytest.raises(DivergedError):
        together(service, [sound, broken], tmp_path / "together")
    assert max(losses([e.event for e in service.events if isinstance(e, OfTrial)])) == 3
    for place in ("0", "1"):
        kept = json.loads((tmp_path / "together" / place / "checkpoints/latest.json").read_text())
        assert kept == {"tag": "step-3"}
    # Alone the sound one goes on from there, telling again what stood before the rung's answer,
    # and the other one fails by itself.
    rest = by_itself(service, sound, tmp_path / "together" / "0")
    whole = by_itself(service, sound, tmp_path / "alone")
    assert losses(rest) == pytest.approx(losses(whole), abs=1e-5)
    with pytest.raises(DivergedError, match="step 4"):
        by_itself(service, broken, tmp_path / "together" / "1")


def test_time_is_counted_once(service, trial, tmp_path):
    import time

    trials = [variant(trial, seed=seed) for seed in range(3)]
    service.prepare(trial.pair)
    begun = time.perf_counter()
    grouped = together(service, trials, tmp_path)
    elapsed = time.perf_counter() - begun
    assert sum(sum(events[-1].seconds.values()) for events in grouped) <= elapsed
