"""The worker's service: every system through the register, with the numbers of the plain loop."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
import torch

from c2c_search.errors import ConfigError
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.scoring import with_fuser
from c2c_search.evaluation.systems import partners
from c2c_search.evaluation.systems.prompts import batches
from c2c_search.fuser.checkpoint import load as load_fuser
from c2c_search.fuser.config import FuserConfig
from c2c_search.inference.model import model_alone
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.store import PromptCacheStore
from c2c_search.tokenization.token_alignment import encode_all
from c2c_search.training import lockstep
from c2c_search.training.protocol import Cost
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Notice
from c2c_search.training.protocol import OfTrial
from c2c_search.training.protocol import Pace
from c2c_search.training.protocol import Progress
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Step
from c2c_search.training.service import WorkerService


FUSERS = {
    "residual": {},
    "replace": {"injection": "replace"},
    "append": {"injection": "append"},
    "side": {"injection": "side"},
    "side, all": {"injection": "side", "reads_from": "all"},
    "first": {"token_alignment": "first"},
    "unrotated": {"keys": "unrotated"},
    "response": {"fuse_response": True},
    "refreshed": {"injection": "side", "refresh": 1},
}


@pytest.fixture(params=FUSERS.values(), ids=FUSERS)
def trained(request, service, trial, tmp_path):
    """A fuser that says something, in a folder."""
    config = trial.model_copy(update={"fuser": FuserConfig(width=8, **request.param)})
    return service.train(config, tmp_path / "trial", lambda: True).best_dir


def plainly(service, spec, fuser, system):
    """What a system answers to the test split, without the register: pack, score, choose."""
    pair, rows = service._pairs[spec], service._rows["test"]
    config = service.pipeline.evaluation
    encoded = encode_all(
        [row["messages"] for row in rows],
        pair.template,
        pair.receiver.text_tokenizer,
        pair.sharer.text_tokenizer,
        fuser.config.token_alignment if system in ("c2c", "deranged") else "span",
        sharer_conversations=[row["sharer_messages"] for row in rows],
    )
    prompts = PairPrompts(
        encoded,
        service.reader.caches.get(pair.receiver, [one.receiver_ids for one in encoded]),
        service.reader.caches.get(pair.sharer, [one.sharer_ids for one in encoded]),
    )
    if system == "sharer":
        model, prompts = model_alone(pair, pair.sharer, "sharer"), prompts.of_sharer()
    else:
        model = with_fuser(pair, None if system == "receiver" else fuser)
    if system == "deranged":
        spans = encode_all(
            [row["messages"] for row in rows],
            pair.template,
            pair.receiver.text_tokenizer,
            pair.sharer.text_tokenizer,
        )
        facts = [(row["group"], row["cluster"]) for row in rows]
        lengths = [len(one.sharer_ids) for one in spans]
        return [
            scored(model, prompts, rows, config, others)
            for others in partners.draw_partners(facts, lengths, config.derangements)
        ]
    return [scored(model, prompts, rows, config, None)]


def scored(model, prompts, rows, config, others):
    found = {}
    lengths = [len(one.receiver_ids) for one in prompts.encoded]
    for chosen in batches(lengths, [row["choices"] for row in rows], config.batch_size):
        heard = None if others is None else [others[row] for row in chosen]
        scored = model.score(
            model.batch(prompts, chosen, heard), [rows[row]["choices"] for row in chosen]
        )
        for row, (likelihoods, tokens) in zip(chosen, scored, strict=True):
            pairs = zip(likelihoods.tolist(), tokens, strict=True)
            found[row] = tuple(likelihood / count for likelihood, count in pairs)
    return [(Item.of_row(row).id, found[number]) for number, row in enumerate(rows)]


def test_answers_are_bit_for_bit_those_of_the_plain_loop(service, trial, trained):
    fuser = load_fuser(Path(trained))
    for system in ("receiver", "sharer", "c2c", "deranged"):
        request = Evaluate(system=system, pair=trial.pair, split="test", fuser_dir=trained)
        items = service.evaluate(request).items
        expected = plainly(service, trial.pair, fuser, system)
        times = zip(*(item.repeats or (item,) for item in items), strict=True)
        assert [[(item.id, item.scores) for item in once] for once in times] == expected


def test_a_trained_fuser_is_asked_for_what_it_costs(service, trial, trained):
    costs = service.cost(Cost(pair=trial.pair, fuser_dir=trained))
    assert costs.latency_ms > 0
    assert costs.peak_memory_mb >= 0


def test_progress_is_told_as_items_are_answered(service, trial):
    service.prepare(trial.pair)
    service.events.clear()
    service.evaluate(Evaluate(system="receiver", pair=trial.pair, split="test"))
    told = [event for event in service.events if isinstance(event, Progress)]
    assert [(event.stage, event.done, event.total) for event in told] == [
        ("evaluate", 4, 6),
        ("evaluate", 6, 6),
    ]


def test_a_split_is_read_from_the_store_once(service, trial, monkeypatch):
    read = []
    get = PromptCacheStore.get

    def noting(self, loaded, ids, **options):
        read.append(loaded.identity.source)
        return get(self, loaded, ids, **options)

    monkeypatch.setattr(PromptCacheStore, "get", noting)
    service.prepare(trial.pair)
    assert len(read) == 2 * 3
    for system in ("receiver", "sharer", "receiver"):
        service.evaluate(Evaluate(system=system, pair=trial.pair, split="test"))
    assert len(read) == 2 * 3


def test_caches_lie_near_the_device_that_reads_them(service, trial, monkeypatch):
    asked = []
    monkeypatch.setattr(
        PromptCaches, "near", lambda self, device: asked.append(device.type) or self
    )
    service.prepare(trial.pair)
    assert asked == ["cpu"] * 6


def test_a_control_answers_with_what_was_trained_for_it(service, trial, tmp_path):
    ended = service.train(trial.with_ridge(), tmp_path / "ridge", lambda: True)
    for system in ("ridge", "no_sharer"):
        request = Evaluate(
            system=system, pair=trial.pair, split="test", trained_dir=ended.best_dir
        )
        as_fuser = Evaluate(system="c2c", pair=trial.pair, split="test", fuser_dir=ended.best_dir)
        assert service.evaluate(request).items == service.evaluate(as_fuser).items


def test_an_unknown_system_is_told_with_the_nearest(service, trial):
    with pytest.raises(ConfigError, match=r"no such system.*`receiver`"):
        service.evaluate(Evaluate(system="reciever", pair=trial.pair, split="test"))


def test_rungs_of_whatever_learns_may_stop_it(service, trial, tmp_path):
    ended = service.train(trial, tmp_path / "lora", lambda: False, learner="lora", parameters=2000)
    assert (ended.pruned, ended.step, ended.best_rung) == (True, 3, 0)


@pytest.mark.parametrize("injection", ["residual", "append"])
def test_a_task_of_harm_is_answered_as_a_split_is(
    service, trial, tmp_path: Path, injection: str
) -> None:
    """The sharer reads the task's questions itself; what was learned from is left out."""
    rows = [
        {"id": f"t{n}", "question": f"task {n}?", "choices": ["red", "blue"], "answer": n % 2}
        for n in range(6)
    ]
    train = service.pipeline.data.files.train[0]
    seen = json.loads(Path(train).read_text().splitlines()[0])
    guarded = {"id": "g", "question": "guarded?", "choices": ["red", "blue"], "answer": 0}
    (tmp_path / "guard.jsonl").write_text(json.dumps(guarded) + "\n")
    asked_there = [*rows, seen, guarded]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked_there))
    spec = f"arc_easy={tmp_path}"
    champion = service.pipeline.champion.model_copy(update={"harmless_on": (spec,)})
    files = service.pipeline.data.files.model_copy(
        update={"guard": (str(tmp_path / "guard.jsonl"),)}
    )
    data = service.pipeline.data.model_copy(update={"files": files})
    pipeline = service.pipeline.model_copy(update={"champion": champion, "data": data})
    told: list[Event] = []
    asked = WorkerService(pipeline, cache_dir=service.cache_dir, emit=told.append)
    config = trial.model_copy(update={"fuser": FuserConfig(width=8, injection=injection)})
    best = asked.train(config, tmp_path / "trial", lambda: True).best_dir
    request = Evaluate(system="c2c", pair=trial.pair, split="test", fuser_dir=best, task=spec)
    fused = asked.evaluate(request)
    assert [item.id for item in fused.items] == [row["id"] for row in rows]
    assert any(isinstance(each, Notice) and "arc_easy" in each.message for each in told)
    alone = asked.evaluate(request.model_copy(update={"system": "receiver", "fuser_dir": None}))
    pairs = zip(fused.items, alone.items, strict=True)
    assert any(mine.scores != theirs.scores for mine, theirs in pairs)


def test_trainings_in_lockstep_are_timed_and_leave_nothing(service, trial, tmp_path, monkeypatch):
    passes = []
    real = lockstep._one_pass
    monkeypatch.setattr(lockstep, "_one_pass", lambda all: passes.append(len(all)) or real(all))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", None)
    before = torch.random.get_rng_state()
    found = service.pace(Pace(config=trial, together=3))
    assert found.seconds > 0
    assert found.free > 0
    assert passes == [3] * (trial.training.steps - 1)  # the last step ends in a validation
    assert not [event for event in service.events if isinstance(event, (Step, Rung, OfTrial))]
    assert [*(tmp_path / "temporary").iterdir()] == []
    assert torch.equal(torch.random.get_rng_state(), before)
