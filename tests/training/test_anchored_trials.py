"""Trials whose receiver reads words of the message: trained, judged, and compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from c2c_search.config.training import GuardConfig
from c2c_search.fuser.checkpoint import load as load_fuser
from c2c_search.fuser.config import FuserConfig
from c2c_search.training import service as services
from c2c_search.training.lengths import anchor_notices
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Step


FIELDS = {
    "injection": "side",
    "projector": "linear",
    "message": "draft",
    "draft_tokens": 8,
    "anchors": "first",
    "anchor_tokens": 6,
}
FUSERS = {
    "side": {},
    "append, both": {"injection": "append", "message": "both", "anchors": "last"},
    "mismatched": {"sharer": "mismatched"},
}


def anchoring(trial, guard=False, **fields):
    rules = GuardConfig(weight=1.0, tolerance=0.0) if guard else None
    # All rows in every step, so that their losses can be compared.
    training = trial.training.model_copy(update={"guard": rules, "batch_size": 12})
    fuser = FuserConfig(**{**FIELDS, **fields})
    return trial.model_copy(update={"fuser": fuser, "training": training})


def evaluated(service, trial, system, **folder):
    return service.evaluate(Evaluate(system=system, pair=trial.pair, split="validation", **folder))


@pytest.mark.parametrize("fields", FUSERS.values(), ids=FUSERS)
def test_it_learns_and_answers_as_at_its_best_rung(fields, service, trial, tmp_path):
    config = anchoring(trial, guard=not fields, **fields)
    ended = service.train(config, tmp_path / "trial", lambda: True)
    assert load_fuser(Path(ended.best_dir)).config == config.fuser
    found = evaluated(service, trial, "c2c", fuser_dir=ended.best_dir)
    assert sum(item.credit for item in found.items) / len(found.items) == pytest.approx(
        ended.accuracy
    )
    losses = [event.loss for event in service.events if isinstance(event, Step)]
    assert losses[-1] < losses[0]  # of each step's rows, which are all rows
    read = service._prompts_of(trial.pair, "train").read(config.fuser)
    assert all(prompt.anchors for prompt in read.encoded)
    if not fields:
        for control in ("deranged", "anchors", "noise", "shut"):
            evaluated(service, trial, control, fuser_dir=ended.best_dir)


def test_who_hears_nobody_reads_no_words(service, trial, tmp_path, monkeypatch):
    config = anchoring(trial)
    twin = config.with_blank_sharer()
    assert not twin.fuser.anchored
    assert twin.fuser.message == "draft"
    for variant in (config.with_self(), config.with_ridge()):
        assert (variant.fuser.anchors, variant.fuser.anchor_tokens) == ("first", 6)
    seen = []

    def adapt(config, receiver, data, *rest, **more):
        seen.append(data)

    monkeypatch.setattr(services, "adapt", adapt)
    service.train(config, tmp_path / "lora", lambda: True, learner="lora", parameters=100)
    for prompts in (seen[0].train_prompts, seen[0].validation_prompts):
        assert not any(prompt.anchors for prompt in prompts.encoded)


def test_what_is_calibrated_is_measured_on_prompts_without_them(
    service, trial, tmp_path, monkeypatch
):
    shown = []
    calibrate = services.calibrate

    def noted(model, prompts, seed):
        shown.append(prompts.encoded)
        calibrate(model, prompts, seed)

    monkeypatch.setattr(services, "calibrate", noted)
    run = service.trial(anchoring(trial, initialisation="ridge"), tmp_path / "trial", lambda: True)
    assert not any(prompt.anchors for prompt in shown[0])
    assert all(prompt.anchors for prompt in run.data.train_prompts.encoded)


def test_words_that_the_receiver_was_not_made_for_are_told(service, trial, tmp_path):
    service.prepare(trial.pair)
    receiver = service._pairs[trial.pair].receiver
    length = receiver.model.config.max_position_embeddings
    encoded = service._prompts_of(trial.pair, "train").encoded()
    longest = max(len(prompt.receiver_ids) for prompt in encoded)
    assert not [*anchor_notices(receiver, length - longest, {"train": encoded})]
    (told,) = anchor_notices(receiver, length - longest + 1, {"train": encoded})
    assert "train examples with their anchors have more tokens" in told


def test_the_guards_receiver_alone_reads_none(service, trial, tmp_path):
    run = service.trial(anchoring(trial, guard=True), tmp_path / "trial", lambda: True)
    guarded = run.guard.deranged([0, 1, 2, 3])
    assert all(stop > start for start, stop in guarded.batch.anchored)
    alone = run.guard.alone(guarded)
    plain = service._prompts_of(trial.pair, "train").encoded()
    read = {tuple(prompt.receiver_ids[:-1]) for prompt in plain}
    assert set(alone.fused.lengths) <= {len(ids) for ids in read}
    assert sum(alone.fused.lengths) < sum(guarded.batch.lengths)
