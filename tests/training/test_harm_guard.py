"""The guard's loss is the formula's, one-sided, and the same however a training is interrupted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from c2c_search.config.training import GuardConfig
from c2c_search.data.schema import SplitFiles
from c2c_search.fuser import checkpoint
from c2c_search.fuser.config import FuserConfig
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.inference.scoring import response_logits
from c2c_search.training import fuser_training
from c2c_search.training.harm_guard import OTHER_TOKENS
from c2c_search.training.harm_guard import other_rows
from c2c_search.training.protocol import Step
from c2c_search.training.protocol import Train
from c2c_search.training.service import WorkerService
from c2c_search.training.step import ReceiverStep
from tests.training.stopping import checkpointed
from tests.training.stopping import heard
from tests.training.stopping import stopped


@pytest.fixture(scope="session")
def guarded_pipeline(pipeline, tmp_path_factory):
    """The tiny pipeline with rows of another task, of all three kinds."""
    path = tmp_path_factory.mktemp("guard") / "guard.jsonl"
    long = " ".join(["1234567890"] * 20)
    rows = [
        {"prompt": "Write about the sea.", "answer": long},
        {"prompt": "Say hello.", "answer": "12, 34, 56!"},
        {"messages": [{"role": "user", "content": "Name a day."}, _said("7 8 9 0 1 2")]},
        {"question": "Two and two?", "choices": ["3", "4"], "answer": 1},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {**dict(pipeline.data.files), "guard": (str(path),)}
    data = pipeline.data.model_copy(update={"files": SplitFiles(**files)})
    return pipeline.model_copy(update={"data": data})


def _said(text):
    return {"role": "assistant", "content": text}


@pytest.fixture
def serve(tmp_path):
    """A service for a pipeline; its events are in ``events``."""

    def serve(pipeline):
        events = []
        service = WorkerService(pipeline, cache_dir=tmp_path / "cache", emit=events.append)
        service.events = events
        return service

    return serve


def guarded(trial, data=None, *, training=None, fuser=None, **rules):
    update = {"guard": GuardConfig(**rules), "log_every": 1, **(training or {})}
    return trial.model_copy(
        update={
            "training": trial.training.model_copy(update=update),
            "data": data or trial.data,
            "fuser": FuserConfig(**{**trial.fuser.model_dump(), **(fuser or {})}),
        }
    )


def nll(model, cache, last_ids, responses):
    """Mean negative log-likelihood (nats) of response tokens, computed row after row."""
    branches = [[response] for response in responses]
    logits = response_logits(model.receiver.model, cache, last_ids, branches)
    tokens = torch.tensor([token for response in responses for token in response])
    return -logits.log_softmax(-1).gather(1, tokens[:, None]).mean()


def once(steps):
    """Drive a guard's generator: what it asked for, and what it returned."""
    try:
        request = next(steps)
    except StopIteration as end:
        return None, end.value
    try:
        steps.send(request.loss())
    except StopIteration as end:
        return request, end.value
    raise AssertionError("one request a pass")


def ready(service, trial, tmp_path):
    """A training that has not begun, whose fuser draws no noise and says what does harm."""
    run = service.trial(trial, tmp_path / "trial", lambda: True)
    run.fuser.eval()
    own = [parameter.detach().clone() for parameter in run.fuser.parameters()]
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter, before in zip(run.fuser.parameters(), own, strict=True):
                parameter.copy_(before + torch.randn(before.shape, generator=generator))
        once(run.guard.loss(run.fuser, HARMED, 0))
        if run.guard.excess.pop("deranged") > 0.02:
            return run
    raise AssertionError("no fuser that does harm")


HARMED = [0, 5, 7, 2]
PLAIN = {"gate": {"granularity": "none"}, "dropout": 0.0}


@pytest.mark.parametrize("injection", ["residual", "replace", "append", "side"])
def test_a_wrong_message_costs_what_it_costs_above_the_tolerance(
    serve, pipeline, trial, tmp_path, injection
):
    fuser = PLAIN | {"injection": injection}
    trial = guarded(trial, fuser=fuser, weight=0.5, tolerance=0.0)
    run = ready(serve(pipeline), trial, tmp_path)
    rows, data, model = HARMED, run.data, run.model
    request, found = once(run.guard.loss(run.fuser, rows, 0))
    # No group but one: clusters in a ring, each hears the next (`draw_partners`).
    batch = model.batch(data.train_prompts, rows, [5, 7, 2, 0])
    responses = [run.responses[row] for row in rows]
    heard = nll(model, model.fuse(batch), batch.last_ids, responses)
    own = FusedCache(batch.receiver, batch.lengths)
    alone = nll(model, own, batch.last_ids, responses)
    assert run.guard.metrics == {
        "train/guard_deranged": pytest.approx(float((heard - alone).detach()), abs=1e-5)
    }
    assert float(heard) > float(alone) + 0.01
    expected = 0.5 * torch.relu(heard - alone)
    assert float(found) == pytest.approx(float(expected), abs=1e-5)
    trained = [parameter for parameter in run.fuser.parameters() if parameter.requires_grad]
    for mine, direct in zip(
        torch.autograd.grad(found, trained, allow_unused=True),
        torch.autograd.grad(expected, trained, allow_unused=True),
        strict=True,
    ):
        assert (mine is None) == (direct is None)
        if mine is not None:
            assert torch.allclose(mine, direct, atol=1e-6)
    assert isinstance(request, ReceiverStep)


def test_below_the_tolerance_nothing_is_added(serve, pipeline, trial, tmp_path):
    trial = guarded(trial, fuser=PLAIN, tolerance=100.0)
    run = ready(serve(pipeline), trial, tmp_path)
    request, found = once(run.guard.loss(run.fuser, [0, 1, 2, 3], 0))
    assert request is not None
    assert found is None


def test_weight_0_measures_alone(serve, pipeline, trial, tmp_path):
    run = ready(serve(pipeline), guarded(trial, fuser=PLAIN, weight=0.0, tolerance=0.0), tmp_path)
    assert once(run.guard.loss(run.fuser, [0, 1, 2, 3], 0))[1] is None
    assert list(run.guard.metrics) == ["train/guard_deranged"]


def test_rows_of_other_tasks_hear_their_own_message_in_turn(
    serve, guarded_pipeline, trial, tmp_path
):
    data = guarded_pipeline.data
    trial = guarded(trial, data, fuser=PLAIN, weight=0.5, tolerance=0.0)
    run = ready(serve(guarded_pipeline), trial, tmp_path)
    rows = [0, 1, 2, 3]
    once(run.guard.loss(run.fuser, rows, 0))
    assert list(run.guard.metrics) == ["train/guard_deranged"]
    request, found = once(run.guard.loss(run.fuser, rows, 1))
    assert len(request.responses) == other_rows(4) == 1
    assert all(len(response) <= OTHER_TOKENS for response in request.responses)
    # Its rows, by what they end with: a prompt's last token and the response.
    model, prompts = run.model, run.data.guard_prompts
    others = run.guard._order.rows(0)
    batch = model.batch(prompts, others)
    heard = nll(model, model.fuse(batch), batch.last_ids, request.responses)
    own = FusedCache(batch.receiver, batch.lengths)
    excess = float(heard - nll(model, own, batch.last_ids, request.responses))
    assert run.guard.metrics["train/guard_other"] == pytest.approx(excess, abs=1e-5)
    # In turn, so with twice the weight.
    added = 0.0 if found is None else float(found)
    assert added == pytest.approx(2 * 0.5 * max(excess, 0.0), abs=1e-5)


def test_other_tasks_hear_examples_where_a_fuser_speaks_of_contexts_alone(
    serve, guarded_pipeline, trial, tmp_path
):
    """Of its own accord it would say nothing of them, and guard nothing."""
    files = guarded_pipeline.data.files.model_dump()
    for split in ("train", "validation", "test"):
        (path,) = files[split]
        rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
        told = [row | {"sharer_context": f"It says {row['id']}."} for row in rows]
        files[split] = (str(tmp_path / f"{split}.jsonl"),)
        Path(files[split][0]).write_text("".join(json.dumps(row) + "\n" for row in told))
    data = guarded_pipeline.data.model_copy(update={"files": SplitFiles(**files)})
    private = guarded_pipeline.model_copy(update={"data": data})
    fuser = PLAIN | {"injection": "side"}
    trial = guarded(trial, data, fuser=fuser, weight=0.5, tolerance=0.0)
    run = serve(private).trial(trial, tmp_path / "trial", lambda: True)
    assert run.model.fuser.contexts_only
    found = run.guard.other([0, 1], [5, 7, 2])
    theirs = [len(run.data.train_prompts.encoded[row].sharer_ids) for row in (5, 7)]
    assert [len(positions) for positions in found.batch.sharer_positions] == theirs
    mine = [run.data.guard_prompts.encoded[row].receiver_ids for row in (0, 1)]
    assert list(found.batch.receiver_ids) == mine


def test_a_step_in_so_many_is_guarded(serve, pipeline, trial, tmp_path):
    training = {"gradient_accumulation": 2}
    trial = guarded(trial, fuser=PLAIN, training=training, every=3, tolerance=0.0)
    run = ready(serve(pipeline), trial, tmp_path)
    asked = [
        once(run.guard.loss(run.fuser, [0, 1, 2, 3], micro_step))[0] is not None
        for micro_step in range(10)
    ]
    assert asked == [True, True, False, False, False, False, True, True, False, False]


def test_rows_about_one_fact_have_nothing_else_to_hear(serve, pipeline, trial, tmp_path):
    run = ready(serve(pipeline), guarded(trial, fuser=PLAIN), tmp_path)
    assert run.guard.deranged([3, 3]) is None
    assert len(run.guard.deranged([3, 3, 4]).responses) == 2


def steps_of(service):
    return [event for event in service.events if isinstance(event, Step)]


def test_a_trial_without_a_guard_is_what_it_was(
    serve, pipeline, guarded_pipeline, trial, tmp_path
):
    """Rows that nobody guards change no bit; a guard does."""
    found = []
    for name, each, config in (
        ("without", pipeline, trial),
        ("unused", guarded_pipeline, trial.model_copy(update={"data": guarded_pipeline.data})),
        ("guarded", pipeline, guarded(trial, weight=10.0, tolerance=0.0)),
    ):
        serve(each).train(config, tmp_path / name, lambda: True)
        found.append(checkpoint.load(tmp_path / name / "best").state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not all(torch.equal(found[0][name], found[2][name]) for name in found[0])


@pytest.mark.parametrize("stop_at", [1, 2, 5])
def test_resume_gives_the_same_numbers(
    serve, guarded_pipeline, trial, tmp_path, monkeypatch, stop_at
):
    trial = guarded(trial, guarded_pipeline.data, weight=1.0, tolerance=0.0)
    trial = checkpointed(trial)
    whole = serve(guarded_pipeline)
    whole.train(trial, tmp_path / "whole", lambda: True)
    with stopped(monkeypatch, fuser_training.FuserTraining, stop_at):
        serve(guarded_pipeline).train(trial, tmp_path / "parts", lambda: True)
    resumed = serve(guarded_pipeline)
    resumed.train(trial, tmp_path / "parts", lambda: True)
    known = heard(trial, stop_at)
    expected = {event.step: event.loss for event in steps_of(whole) if event.step > known}
    assert {event.step: event.loss for event in steps_of(resumed)} == expected
    kept = [checkpoint.load(tmp_path / name / "best").state_dict() for name in ("whole", "parts")]
    assert all(torch.equal(kept[0][name], kept[1][name]) for name in kept[0])
    assert steps_of(whole)[-1].metrics.keys() >= {"train/guard_deranged", "train/guard_other"}


def test_in_lockstep_the_numbers_are_those_of_each_trial_alone(
    serve, guarded_pipeline, trial, tmp_path
):
    data = guarded_pipeline.data
    trials = [
        guarded(trial, data, weight=1.0, tolerance=0.0),
        guarded(trial, data, weight=1.0, tolerance=0.0, every=2, fuser={"width": 4}),
        trial.model_copy(update={"data": data}),
    ]
    service = serve(guarded_pipeline)
    asked = [
        Train(config=one, directory=str(tmp_path / f"together-{number}"))
        for number, one in enumerate(trials)
    ]
    service.train_together(asked, lambda: True)
    for number, one in enumerate(trials):
        alone = serve(guarded_pipeline)
        alone.train(one, tmp_path / f"alone-{number}", lambda: True)
        kept = [
            checkpoint.load(tmp_path / f"{how}-{number}" / "best").state_dict()
            for how in ("together", "alone")
        ]
        for name in kept[0]:
            assert torch.allclose(kept[0][name], kept[1][name], atol=1e-4), name


@pytest.mark.parametrize("stage", [0, 2])
@pytest.mark.parametrize("fields", [{"lora_rank": 2}, {"fuse_response": True}])
def test_the_guard_holds_its_own_loss_down(
    serve, guarded_pipeline, trial, tmp_path, stage, fields
):
    """A guard that is never content lowers what it guards, whatever the engine."""
    ends = []
    for weight in (0.0, 30.0):
        config = guarded(
            trial,
            guarded_pipeline.data,
            training={"steps": 40, "zero_stage": stage},
            fuser=PLAIN | fields,
        )
        # Tiny models that know nothing are never worse than alone.
        rules = GuardConfig.model_construct(weight=weight, tolerance=-9.0, every=1)
        training = config.training.model_copy(update={"guard": rules})
        config = config.model_copy(update={"training": training})
        service = serve(guarded_pipeline)
        service.train(config, tmp_path / f"{weight}", lambda: True)
        last = [event.metrics for event in steps_of(service)[-6:]]
        ends.append(sum(one["train/guard_other"] for one in last))
    assert ends[1] < ends[0] - 0.1
