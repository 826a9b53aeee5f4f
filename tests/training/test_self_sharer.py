"""The receiver as its own sharer: trained as the trial is, on what the receiver has read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from c2c_search.evaluation.scoring import with_fuser
from c2c_search.fuser.checkpoint import load as load_fuser
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.cost import parameters
from c2c_search.fuser.fuser import Fuser
from c2c_search.inference.loading import cache_shape
from c2c_search.prompt_cache.store import PromptCacheStore
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Step
from c2c_search.training.service import WorkerService


FUSERS = {
    "residual": {},
    "append": {"injection": "append"},
    "unrotated append": {"injection": "append", "keys": "unrotated"},
    "side": {"injection": "side", "keys": "unrotated"},
    "hidden": {"source": "hidden", "keys": "unrotated"},
    "slots": {"injection": "append", "keys": "unrotated", "slots": 3},
    "ridge start": {"projector": "linear", "initialisation": "ridge", "injection": "append"},
    "response": {"fuse_response": True},
    "refreshed": {"injection": "side", "refresh": 1},
    "first": {"token_alignment": "first"},
    "lora": {"lora_rank": 2},
    "layers": {"layer_share": 0.5, "layers": "attention"},
}


@pytest.fixture
def private(pipeline, tmp_path):
    """``private("red")``: a service whose sharer alone reads a passage that says the word."""

    def service(word: str) -> WorkerService:
        folder = tmp_path / word
        folder.mkdir()
        files = {}
        for split, (path,) in pipeline.data.files.model_dump().items():
            rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
            kept = [row | {"sharer_context": f"It says {word} {row['id']}."} for row in rows]
            text = "".join(json.dumps(row) + "\n" for row in kept)
            (folder / f"{split}.jsonl").write_text(text)
            files[split] = (str(folder / f"{split}.jsonl"),)
        of_files = pipeline.data.files.model_copy(update=files)
        data = pipeline.data.model_copy(update={"files": of_files})
        events: list = []
        found = WorkerService(
            pipeline.model_copy(update={"data": data}),
            cache_dir=tmp_path / "cache",
            emit=events.append,
        )
        found.events = events
        return found

    return service


def with_fields(trial, fields):
    return trial.model_copy(update={"fuser": FuserConfig(width=8, **fields)})


def losses(service):
    return {event.step: event.loss for event in service.events if isinstance(event, Step)}


@pytest.mark.parametrize("fields", FUSERS.values(), ids=FUSERS)
def test_it_trains_and_answers_as_at_its_best_rung(fields, service, trial, tmp_path):
    config = with_fields(trial, fields).with_self()
    ended = service.train(config, tmp_path / "self", lambda: True)
    fuser = load_fuser(Path(ended.best_dir))
    pair = service._pairs[trial.pair]
    assert fuser.sharer_shape == cache_shape(pair.receiver, source=config.fuser.source)
    assert ended.step == config.training.steps
    request = Evaluate(
        system="self", pair=trial.pair, split="validation", trained_dir=ended.best_dir
    )
    items = service.evaluate(request).items
    assert sum(item.correct for item in items) / len(items) == ended.objective


def test_what_it_hears_is_the_receivers_own_cache(service, trial, tmp_path):
    config = with_fields(trial, {"injection": "append"}).with_self()
    training = service.trial(config, tmp_path / "self", lambda: True)
    assert training.model.sharer is training.model.receiver
    batch = training._gather([0, 3])
    # Appended, the prompt's last token is heard too, which the receiver reads again itself.
    heard = batch.sharer.split([length + 1 for length in batch.lengths], dim=2)
    own = batch.receiver.split(list(batch.lengths), dim=2)
    for theirs, mine in zip(heard, own, strict=True):
        assert torch.equal(theirs[:, :, :-1], mine)


def test_nothing_is_computed_or_stored_for_it(service, trial, tmp_path, monkeypatch):
    service.prepare(trial.pair)
    asked = []
    real = PromptCacheStore.get
    monkeypatch.setattr(
        PromptCacheStore,
        "get",
        lambda self, loaded, ids, **options: (
            asked.append(loaded.identity.source) or real(self, loaded, ids, **options)
        ),
    )
    config = with_fields(trial, {}).with_self()
    ended = service.train(config, tmp_path / "self", lambda: True)
    service.evaluate(
        Evaluate(system="self", pair=trial.pair, split="test", trained_dir=ended.best_dir)
    )
    assert asked == []


def test_it_does_not_hear_what_the_sharer_alone_has_read(private, trial, tmp_path):
    config = with_fields(trial, {"injection": "append"})
    answers, steps, twice = {}, {}, {}
    for word in ("red", "blue"):
        service = private(word)
        ended = service.train(config.with_self(), tmp_path / f"self-{word}", lambda: True)
        steps[word] = losses(service)
        request = Evaluate(
            system="self", pair=trial.pair, split="test", trained_dir=ended.best_dir
        )
        answers[word] = [item.scores for item in service.evaluate(request).items]
        service.events.clear()
        service.train(config, tmp_path / f"real-{word}", lambda: True)
        twice[word] = losses(service)
    assert steps["red"] == steps["blue"]
    assert answers["red"] == answers["blue"]
    assert twice["red"] != twice["blue"]


def test_it_is_as_large_as_the_fuser(service, trial, tmp_path):
    config = with_fields(trial, {})
    pair = service._ready(trial.pair)
    receiver, sharer = cache_shape(pair.receiver), cache_shape(pair.sharer)
    assert receiver != sharer
    wanted = parameters(config.fuser, receiver, sharer)
    ended = service.train(config.with_self(), tmp_path / "self", lambda: True)
    found = load_fuser(Path(ended.best_dir)).config.width
    off = {
        width: abs(
            parameters(config.fuser.model_copy(update={"width": width}), receiver, receiver)
            - wanted
        )
        for width in range(1, 30)
    }
    assert ended.parameters - wanted in (off[found], -off[found])
    assert off[found] == min(off.values())


def test_same_examples_and_resumption(service, trial, tmp_path):
    """The checkpoint of one start is taken up by the next: it is a training like any other."""
    config = with_fields(trial, {}).with_self()
    whole = service.train(config, tmp_path / "whole", lambda: True)
    answers = iter([False])
    service.train(config, tmp_path / "parts", lambda: next(answers))
    resumed = service.train(config, tmp_path / "parts", lambda: True)
    assert resumed.metrics == whole.metrics
    one, other = (load_fuser(Path(each.best_dir)).state_dict() for each in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_fuser_of_its_own_kind_is_joined_with_the_receiver_alone(service, trial):
    pair = service._ready(trial.pair)
    shape = cache_shape(pair.receiver)
    model = with_fuser(pair, Fuser(FuserConfig(width=8, sharer="self"), shape, shape))
    assert model.sharer is pair.receiver
    question = "Which colour?"
    assert model.sharer_alone(question) == model.receiver_alone(question)
