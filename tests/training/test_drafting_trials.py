"""Trials whose sharer drafts: trained, interrupted, judged, and drafted for once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from c2c_search.config.training import GuardConfig
from c2c_search.fuser.checkpoint import load as load_fuser
from c2c_search.fuser.config import FuserConfig
from c2c_search.inference.drafting import Drafter
from c2c_search.training.protocol import DRAFTS
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Step
from c2c_search.training.service import WorkerService
from tests.training.stopping import Stop


APPEND = {"injection": "append", "draft_tokens": 8}
FUSERS = {
    "draft": {"message": "draft"},
    "both": {"message": "both"},
    "unrotated": {"message": "draft", "keys": "unrotated"},
    "ridge": {"message": "draft", "projector": "ridge"},
    "ridge start": {"message": "both", "projector": "linear", "initialisation": "ridge"},
    "lora": {"message": "draft", "lora_rank": 2},
    "mismatched": {"message": "draft", "sharer": "mismatched"},
}


def drafting(trial, training=None, **fields):
    fuser = FuserConfig(width=8, **{**APPEND, "message": "draft", **fields})
    more = {} if training is None else {"training": trial.training.model_copy(update=training)}
    return trial.model_copy(update={"fuser": fuser, **more})


def losses(service):
    return [event.loss for event in service.events if isinstance(event, Step)]


def accuracy(found):
    return pytest.approx(sum(item.credit for item in found.items) / len(found.items))


@pytest.fixture
def asked(monkeypatch):
    """Prompts that are drafted for, batch by batch."""
    found = []
    draft = Drafter.draft

    def counted(self, prompts, caches, rows):
        found.append(len(rows))
        return draft(self, prompts, caches, rows)

    monkeypatch.setattr(Drafter, "draft", counted)
    return found


@pytest.mark.parametrize("fields", FUSERS.values(), ids=FUSERS)
def test_it_trains_and_answers_as_at_its_best_rung(fields, service, trial, tmp_path):
    config = drafting(trial, **fields)
    ended = service.train(config, tmp_path / "trial", lambda: True)
    assert load_fuser(Path(ended.best_dir)).config == config.fuser
    request = Evaluate(system="c2c", pair=trial.pair, split="validation", fuser_dir=ended.best_dir)
    answered = service.evaluate(request)
    assert accuracy(answered) == ended.accuracy
    assert all(item.heard is not None for item in answered.items)


@pytest.mark.parametrize("control", ["deranged", "zeroed", "noise", "random", "shut"])
def test_controls_answer_what_it_answers(control, service, trial, tmp_path):
    ended = service.train(drafting(trial), tmp_path / "trial", lambda: True)
    found = service.evaluate(
        Evaluate(system=control, pair=trial.pair, split="validation", fuser_dir=ended.best_dir)
    )
    assert len(found.items) == len(service._rows["validation"])


@pytest.mark.parametrize("system", ["no_sharer", "self", "ridge"])
def test_what_it_is_compared_with_is_trained_as_it_is(system, service, trial, tmp_path):
    config = drafting(trial)
    variants = {
        "no_sharer": config.with_blank_sharer(),
        "self": config.with_self(),
        "ridge": config.with_ridge(),
    }
    ended = service.train(variants[system], tmp_path / system, lambda: True)
    found = service.evaluate(
        Evaluate(system=system, pair=trial.pair, split="validation", trained_dir=ended.best_dir)
    )
    assert accuracy(found) == ended.accuracy
    assert (found.items[0].heard is None) is (system == "no_sharer")


def test_what_is_drafted_is_drafted_once_for_trials_of_any_length(
    service, pipeline, trial, tmp_path, asked
):
    service.train(drafting(trial, draft_tokens=12), tmp_path / "long", lambda: True)
    first = sum(asked)
    assert first == sum(len(service._rows[split]) for split in ("train", "validation"))
    for tokens, message in ((12, "both"), (8, "draft"), (4, "both")):
        again = WorkerService(pipeline, cache_dir=tmp_path / "cache", emit=lambda event: None)
        config = drafting(trial, draft_tokens=tokens, message=message)
        again.train(config, tmp_path / f"{tokens}-{message}", lambda: True)
    assert sum(asked) == first
    service.train(drafting(trial, draft_tokens=16), tmp_path / "longer", lambda: True)
    assert sum(asked) == 2 * first


def test_a_shorter_draft_trains_the_same_whatever_was_drafted_before(pipeline, trial, tmp_path):
    found = []
    for name, before in (("fresh", ()), ("after", (16,))):
        events = []
        service = WorkerService(pipeline, cache_dir=tmp_path / name, emit=events.append)
        service.events = events
        for tokens in before:
            service.train(
                drafting(trial, draft_tokens=tokens), tmp_path / name / "b", lambda: True
            )
            events.clear()
        service.train(drafting(trial, draft_tokens=6), tmp_path / name / "t", lambda: True)
        found.append(losses(service))
    assert found[0] == found[1] != []


def test_an_interrupted_trial_ends_with_the_same_numbers(pipeline, trial, tmp_path, monkeypatch):
    config = drafting(trial, training={"log_every": 1, "checkpoint_seconds": 0.0})

    def serve(name, emit):
        service = WorkerService(pipeline, cache_dir=tmp_path / name, emit=emit)
        service.events = []
        return service

    whole = serve("whole", lambda event: None)
    straight = whole.train(config, tmp_path / "whole" / "trial", lambda: True)

    def stops(event):
        if isinstance(event, Step) and event.step == 4:
            raise Stop

    with pytest.raises(Stop):
        serve("cut", stops).train(config, tmp_path / "cut" / "trial", lambda: True)
    resumed = serve("cut", lambda event: None)
    ended = resumed.train(config, tmp_path / "cut" / "trial", lambda: True)
    assert ended.metrics == straight.metrics
    assert ended.objective == straight.objective


def test_the_guard_guards_wrong_drafts(service, trial, tmp_path):
    config = drafting(trial, training={"guard": GuardConfig(), "log_every": 1})
    service.train(config, tmp_path / "trial", lambda: True)
    steps = [event for event in service.events if isinstance(event, Step)]
    assert all("train/guard_deranged" in step.metrics for step in steps)


def test_drafts_are_written_down_for_people(service, trial, tmp_path):
    config = drafting(trial)
    service.train(config, tmp_path / "trial", lambda: True)
    text = (tmp_path / "trial" / DRAFTS).read_text(encoding="utf-8")
    assert text.isascii()  # whatever a model says: no line separator, no escape sequence
    lines = [json.loads(line) for line in text.splitlines()]
    rows = service._rows["validation"]
    assert [line["id"] for line in lines] == [row["id"] for row in rows]
    assert lines[0]["question"] == rows[0]["messages"][-1]["content"]
    drafter = Drafter(service._pairs[trial.pair].sharer, "plain", 8)
    read = service._prompts_of(trial.pair, "validation").read(config.fuser)
    assert [line["draft"] for line in lines] == [drafter.text(one) for one in read.encoded]


def test_a_fuser_that_hears_prompts_has_no_drafts(service, trial, tmp_path, asked):
    service.train(trial, tmp_path / "trial", lambda: True)
    assert not asked
    assert not (tmp_path / "trial" / DRAFTS).exists()


def test_drafts_of_the_data_are_trained_on(pipeline, trial, tmp_path, asked):
    files = {}
    for split, (path,) in pipeline.data.files.model_dump().items():
        rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
        kept = [row | {"draft": row["choices"][row["answer"]]} for row in rows]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
        files[split] = (str(tmp_path / f"{split}.jsonl"),)
    data = pipeline.data.model_copy(update={"files": pipeline.data.files.model_copy(update=files)})
    service = WorkerService(
        pipeline.model_copy(update={"data": data}),
        cache_dir=tmp_path / "cache",
        emit=lambda event: None,
    )
    service.train(drafting(trial), tmp_path / "trial", lambda: True)
    assert not asked
    lines = (tmp_path / "trial" / DRAFTS).read_text().splitlines()
    row = service._rows["validation"][0]
    assert json.loads(lines[0])["draft"] == row["choices"][row["answer"]][:7]
