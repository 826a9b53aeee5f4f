"""Stages: what each learns from, at which rate, and that no interruption changes a number."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
import torch

from c2c_search.config.pipeline import Pipeline
from c2c_search.config.stages import StageConfig
from c2c_search.config.training import TrainingConfig
from c2c_search.data.reconstruction import BLIND_INSTRUCTION
from c2c_search.data.reconstruction import INSTRUCTION
from c2c_search.data.schema import DataConfig
from c2c_search.errors import DataError
from c2c_search.fuser import checkpoint
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.gate_config import GateConfig
from c2c_search.fuser.shapes import CacheShape
from c2c_search.training import fuser_training
from c2c_search.training.course import Course
from c2c_search.training.course import Lesson
from c2c_search.training.engine import TrainingEngine
from c2c_search.training.option_step import OptionStep
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Step
from c2c_search.training.protocol import Train
from c2c_search.training.service import WorkerService
from tests.training.stopping import checkpointed
from tests.training.stopping import heard
from tests.training.stopping import stopped


STAGES = (
    "reconstruction 2 tokens=6 -> answer 2 replay=0.5 -> task 4 replay=0.25 learning_rate=0.02"
)
"""Steps 1 and 2, of which 3 and 5 repeat the first; answers in 4, choices in 6 to 8."""

APPENDS = FuserConfig(projector="linear", injection="append", initialisation="random")


def staged(trial, stages=STAGES, **changes):
    """A trial of these stages, whose fuser appends."""
    training = trial.training.model_dump(exclude={"steps"}) | {"stages": stages, "log_every": 1}
    update = {"training": TrainingConfig.model_validate(training | changes), "fuser": APPENDS}
    return trial.model_copy(update=update)


def _turn(role, content):
    return {"role": role, "content": content}


@pytest.fixture
def texts(pipeline, tmp_path):
    """The pipeline with a file of texts of several kinds."""
    rows = [
        {"text": "one day the red fox met a grey owl and both went on"},
        {"sharer_context": "the blue sea is deep", "prompt": "Which?", "answer": "blue"},
        {"instruction": "Say it.", "context": "a passage of gold", "response": "gold"},
        {
            "messages": [
                {"role": "user", "content": "which plum?"},
                {"role": "assistant", "content": "x"},
            ]
        },
    ]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = pipeline.data.files.model_copy(update={"reconstruction": (str(path),)})
    return pipeline.model_copy(update={"data": pipeline.data.model_copy(update={"files": files})})


@pytest.fixture
def serve(tmp_path):
    def serve(pipeline):
        events = []
        service = WorkerService(pipeline, cache_dir=tmp_path / "cache", emit=events.append)
        service.events = events
        return service

    return serve


def steps_of(service):
    return {event.step: event for event in service.events if isinstance(event, Step)}


# --- Which pass is on what -----------------------------------------------------------------------


def course(stages, rows=20, batch=2, accumulation=1, blind=None):
    training = TrainingConfig(stages=stages, batch_size=batch, gradient_accumulation=accumulation)
    every = range(rows)
    lessons = [Lesson(stage, every, blind) for stage in training.course]
    return Course(3, training, lessons)


def test_every_fifth_step_repeats_the_first_stage():
    found = course("reconstruction 10 -> answer 20 -> task 10 replay=0.2")
    replayed = [step for step in range(40) if found.at(step).replayed]
    assert replayed == [30, 35]
    assert [found.at(step).kind for step in replayed] == ["reconstruction"] * 2
    kinds = [found.at(step).kind for step in range(40)]
    assert kinds[:10] == ["reconstruction"] * 10
    assert kinds[10:30] == ["answer"] * 20
    assert kinds[31:35] == ["task"] * 4
    assert found.at(30).stage == 2


def test_what_is_repeated_goes_on_in_the_first_stages_order():
    found = course("reconstruction 4 -> answer 10 replay=0.2 -> task 5 replay=0.2")
    own = [found.at(step).rows for step in range(4)]
    again = [found.at(step).rows for step in range(19) if found.at(step).replayed]
    plain = course("reconstruction 7 -> answer 1")
    assert own + again == [plain.at(step).rows for step in range(7)]
    assert found.dealt(0) == own + again
    assert len(found.dealt(1)) == 8


def test_a_stages_own_rows_go_on_after_what_was_repeated():
    with_replay = course("answer 4 -> task 10 replay=0.5").dealt(1)
    without = course("answer 4 -> task 5").dealt(1)
    assert with_replay == without


def test_accumulated_passes_are_of_one_stage():
    found = course("answer 2 -> task 4 replay=0.5", accumulation=3)
    for step in range(6):
        assert (
            len({(p.stage, p.replayed) for p in map(found.at, range(3 * step, 3 * step + 3))}) == 1
        )
    dealt = [row for rows in found.dealt(0)[:3] for row in rows]
    assert len(set(dealt)) == 6


@pytest.mark.parametrize("batch", [1, 4, 5])
def test_half_of_a_batch_does_not_see_its_question(batch):
    found = course("answer 40", batch=batch, blind=range(100, 120))
    seeing = course("answer 40", batch=batch)
    blind = []
    for step in range(40):
        rows = found.at(step).rows
        assert [row % 100 for row in rows] == seeing.at(step).rows
        blind.append(sum(row >= 100 for row in rows))
    assert set(blind) <= {batch // 2, (batch + 1) // 2}
    assert 0.3 < sum(blind) / (40 * batch) < 0.7
    assert [found.at(step) for step in range(40)] == [found.at(step) for step in range(40)]


# --- Rates ---------------------------------------------------------------------------------------


def test_each_stage_has_its_own_warm_up_decay_and_rates():
    config = TrainingConfig(
        stages="answer 10 -> task 10 learning_rate=0.001 gate_learning_rate_multiplier=5",
        learning_rate=1e-2,
        warmup=0.2,
    )
    shape = CacheShape(layers=2, heads=1, head_dim=4)
    gate = GateConfig(granularity="head", learning_rate_multiplier=10)
    fuser = Fuser(FuserConfig(width=8, gate=gate), shape, shape)
    seen = []
    with TrainingEngine(fuser, config) as engine:
        for _ in range(20):
            groups = engine._optimizer.param_groups
            (gates,) = [group["lr"] for group in groups if group.get("gates")]
            seen.append((engine.learning_rate, gates))
            cache = torch.ones(2, 2, 3, 4)
            engine.backward_and_step(engine(cache, cache).square().mean())
    share = [0.5, 1.0, *(1 - n / 8 for n in range(8))]
    assert [rate for rate, _ in seen] == pytest.approx(
        [1e-2 * s for s in share] + [1e-3 * s for s in share]
    )
    assert [rate for _, rate in seen] == pytest.approx(
        [1e-1 * s for s in share] + [5e-3 * s for s in share]
    )


# --- The losses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("normalised", [True, False])
def test_the_loss_over_choices_by_hand(serve, pipeline, trial, tmp_path, normalised):
    evaluation = trial.evaluation.model_copy(update={"length_normalised": normalised})
    trial = staged(trial, "task 2").model_copy(update={"evaluation": evaluation})
    run = serve(pipeline).trial(trial, tmp_path / "trial", lambda: True)
    rows = [0, 3, 5, 8]
    request = run._request(run.fuser, rows)
    assert isinstance(request, OptionStep)
    found = request.loss()
    run.fuser.eval()
    batch = run.model.batch(run.data.train_prompts, rows)
    examples = [run.data.train[row] for row in rows]
    expected = []
    for example, (scores, lengths) in zip(
        examples, run.model.score(batch, [each["choices"] for each in examples]), strict=True
    ):
        if normalised:
            scores = scores / torch.tensor(lengths)
        powers = [math.exp(score) for score in scores.tolist()]
        expected.append(-math.log(powers[example["answer"]] / sum(powers)))
    assert float(found.detach()) == pytest.approx(sum(expected) / 4, abs=1e-4)
    gradients = torch.autograd.grad(found, list(run.fuser.parameters()), allow_unused=True)
    assert any(each is not None and each.abs().sum() > 0 for each in gradients)


def test_several_passes_give_the_same_loss_over_choices(
    serve, pipeline, trial, tmp_path, monkeypatch
):
    run = serve(pipeline).trial(staged(trial, "task 2"), tmp_path / "trial", lambda: True)
    trained = [parameter for parameter in run.fuser.parameters() if parameter.requires_grad]
    found = []
    for tokens in (10**6, 9):
        monkeypatch.setattr("c2c_search.training.step.RESPONSE_TOKENS", tokens)
        torch.manual_seed(0)
        loss = run._request(run.fuser, [0, 3, 5, 8]).loss()
        found.append((float(loss.detach()), torch.autograd.grad(loss, trained)))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_text_is_written_from_the_message_alone(serve, texts, trial, tmp_path):
    trial = staged(trial).model_copy(update={"data": texts.data})
    run = serve(texts).trial(trial, tmp_path / "trial", lambda: True)
    first = run.course.lessons[0]
    rows = [run.data.train[row] for row in first.rows]
    assert len(rows) == 4
    assert [row["response"] for row in rows[1:]] == [
        "the blue sea is deep"[: len(rows[1]["response"])],
        "a passage of gold"[: len(rows[2]["response"])],
        "which plum?"[: len(rows[3]["response"])],
    ]
    tokenizer = run.model.receiver.text_tokenizer
    assert "one day".startswith(rows[0]["response"][:4])
    for row, number in zip(rows, first.rows, strict=True):
        prompt = run.data.train_prompts.encoded[number]
        assert INSTRUCTION in prompt.receiver_text.text
        assert row["response"] in prompt.sharer_text.text
        assert row["response"] not in prompt.receiver_text.text
        assert len(tokenizer(row["response"], add_special_tokens=False)["input_ids"]) <= 7
    # The caches are those of these very prompts.
    batch = run.model.batch(run.data.train_prompts, list(first.rows[:2]))
    fresh = run.model.cached([run.data.train_prompts.encoded[row] for row in first.rows[:2]])
    again = run.model.batch(fresh, [0, 1])
    assert torch.equal(batch.receiver, again.receiver)
    assert torch.equal(batch.sharer, again.sharer)


def test_without_files_what_the_sharer_reads_of_train_is_reconstructed(
    serve, pipeline, trial, tmp_path
):
    run = serve(pipeline).trial(staged(trial), tmp_path / "trial", lambda: True)
    first = run.course.lessons[0]
    asked = [row["messages"][-1]["content"] for row in run.data.train[:12]]
    written = [run.data.train[row]["response"] for row in first.rows]
    assert len(written) == len(asked)
    assert all(question.startswith(text) for question, text in zip(asked, written, strict=True))


# --- Whole trainings -----------------------------------------------------------------------------


def test_one_stage_of_answers_is_a_training_without_stages(serve, pipeline, trial, tmp_path):
    found = []
    for name, stages in (("plain", ()), ("one", "answer 6")):
        training = trial.training.model_dump(exclude={"steps"}) | {
            "stages": stages,
            "log_every": 1,
        }
        training |= {} if stages else {"steps": 6}
        service = serve(pipeline)
        config = trial.model_copy(update={"training": TrainingConfig.model_validate(training)})
        service.train(config, tmp_path / name, lambda: True)
        kept = checkpoint.load(tmp_path / name / "best").state_dict()
        found.append(({n: e.loss for n, e in steps_of(service).items()}, kept))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(found[0][1][name], found[1][1][name]) for name in found[0][1])


def test_logs_and_rungs_say_the_stage(serve, texts, trial, tmp_path):
    trial = staged(trial).model_copy(update={"data": texts.data})
    service = serve(texts)
    ended = service.train(trial, tmp_path / "trial", lambda: True)
    assert ended.step == 8
    steps = steps_of(service)
    assert [steps[n].metrics["train/stage"] for n in range(1, 9)] == [1, 1, 2, 2, 3, 3, 3, 3]
    repeated = [n for n in range(1, 9) if "train/replay_loss" in steps[n].metrics]
    assert repeated == [3, 5]
    assert all(("train/loss" in steps[n].metrics) == (n not in repeated) for n in range(1, 9))
    rungs = [event for event in service.events if isinstance(event, Rung)]
    assert [(rung.step, rung.metrics["train/stage"]) for rung in rungs] == [(4, 2), (8, 3)]


@pytest.mark.parametrize("stop_at", [1, 3, 4, 7])
@pytest.mark.parametrize("sees", ["always", "half"])
def test_resume_gives_the_same_numbers(serve, texts, trial, tmp_path, monkeypatch, stop_at, sees):
    guard = {"weight": 1.0, "tolerance": 0.0}
    trial = staged(trial, receiver_sees=sees, guard=guard).model_copy(update={"data": texts.data})
    trial = checkpointed(trial)
    whole = serve(texts)
    whole.train(trial, tmp_path / "whole", lambda: True)
    with stopped(monkeypatch, fuser_training.FuserTraining, stop_at):
        serve(texts).train(trial, tmp_path / "parts", lambda: True)
    resumed = serve(texts)
    resumed.train(trial, tmp_path / "parts", lambda: True)
    known = heard(trial, stop_at)
    expected = {step: event.loss for step, event in steps_of(whole).items() if step > known}
    assert {step: event.loss for step, event in steps_of(resumed).items()} == expected
    kept = [checkpoint.load(tmp_path / name / "best").state_dict() for name in ("whole", "parts")]
    assert all(torch.equal(kept[0][name], kept[1][name]) for name in kept[0])


def test_in_lockstep_the_numbers_are_those_of_each_trial_alone(serve, texts, trial, tmp_path):
    trials = [
        staged(trial, receiver_sees="never").model_copy(update={"data": texts.data}),
        staged(trial, "task 8").model_copy(update={"data": texts.data}),
    ]
    asked = [
        Train(config=one, directory=str(tmp_path / f"together-{number}"))
        for number, one in enumerate(trials)
    ]
    serve(texts).train_together(asked, lambda: True)
    for number, one in enumerate(trials):
        serve(texts).train(one, tmp_path / f"alone-{number}", lambda: True)
        kept = [
            checkpoint.load(tmp_path / f"{how}-{number}" / "best").state_dict()
            for how in ("together", "alone")
        ]
        for name in kept[0]:
            assert torch.allclose(kept[0][name], kept[1][name], atol=1e-4), name


def test_the_guard_is_silent_while_texts_are_reconstructed(serve, texts, trial, tmp_path):
    trial = staged(trial, guard={"weight": 1.0, "tolerance": 0.0})
    service = serve(texts)
    service.train(trial.model_copy(update={"data": texts.data}), tmp_path / "t", lambda: True)
    guarded = [n for n, e in steps_of(service).items() if "train/guard_deranged" in e.metrics]
    assert min(guarded) == 4


@pytest.mark.parametrize("sees", ["half", "never"])
def test_a_blind_receiver_reads_an_instruction(serve, pipeline, trial, tmp_path, sees):
    run = serve(pipeline).trial(
        staged(trial, "answer 6", receiver_sees=sees), tmp_path / "trial", lambda: True
    )
    encoded = run.data.train_prompts.encoded
    for step in range(6):
        rows = run.course.at(step).rows
        blind = [row for row in rows if BLIND_INSTRUCTION in encoded[row].receiver_text.text]
        assert len(blind) == {"half": 2, "never": 4}[sees]
        for row in blind:
            question = run.data.train[row % 12]["messages"][-1]["content"]
            assert question not in encoded[row].receiver_text.text
            assert encoded[row].sharer_ids == encoded[row % 12].sharer_ids
            assert run.responses[row] == run.responses[row % 12]
    # Where it answers, it reads its question.
    for row, prompt in zip(run.data.validation, run.data.validation_prompts.encoded, strict=True):
        assert row["messages"][-1]["content"] in prompt.receiver_text.text


# --- Who hears nobody ----------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["with_blank_sharer", "with_self"])
def test_who_hears_nobody_learns_answers_in_place_of_texts(serve, texts, trial, tmp_path, variant):
    trial = staged(trial, receiver_sees="never").model_copy(update={"data": texts.data})
    run = serve(texts).trial(getattr(trial, variant)(), tmp_path / "twin", lambda: True)
    kinds = [run.course.at(step).kind for step in range(8)]
    assert kinds == ["answer"] * 4 + ["task"] * 4
    assert not any(run.course.at(step).replayed for step in range(8))
    assert len(run.data.train) == 12
    assert run.run().step == 8


@pytest.mark.parametrize("learner", ["lora", "cartridge"])
def test_what_is_trained_on_the_receiver_alone_takes_as_many_steps(
    serve, texts, trial, tmp_path, learner
):
    pytest.importorskip("peft")
    trial = staged(trial).model_copy(update={"data": texts.data})
    service = serve(texts)
    ended = service.train(trial, tmp_path / "l", lambda: True, learner=learner, parameters=2000)
    assert ended.step == 8
    steps = steps_of(service)
    rates = [steps[n].metrics["train/learning_rate"] for n in range(1, 9)]
    assert max(rates[:2]) == max(rates[4:])  # its own peak, in every stage
    assert all(math.isfinite(event.loss) for event in steps.values())


# --- What cannot be ------------------------------------------------------------------------------


def test_rows_without_choices_are_refused_before_anything_begins(serve, pipeline, trial, tmp_path):
    path = tmp_path / "open.jsonl"
    path.write_text(json.dumps({"id": "open", "prompt": "Say it.", "answer": "it"}) + "\n")
    files = pipeline.data.files
    files = files.model_copy(update={"train": (*files.train, str(path))})
    data = DataConfig(source="jsonl", files=files)
    pipeline = Pipeline(
        name="open", data=data, training=TrainingConfig(stages="answer 2 -> task 2")
    )
    with pytest.raises(DataError, match="1 have none"):
        serve(pipeline).prepare(trial.pair)
    named = TrainingConfig(stages='answer 2 -> task 2 files=["train.jsonl"]', batch_size=4)
    pipeline = pipeline.model_copy(update={"training": named})
    service = serve(pipeline)
    service.prepare(trial.pair)
    own = staged(trial, named.stages).model_copy(update={"data": data})
    run = service.trial(own, tmp_path / "named", lambda: True)
    assert [len(lesson.rows) for lesson in run.course.lessons] == [13, 12]


def test_texts_that_are_judged_are_left_out_and_told(serve, pipeline, trial, tmp_path):
    path = tmp_path / "texts.jsonl"
    told = ["test 2: which colour?", "a text of its own"]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in told))
    files = pipeline.data.files.model_copy(update={"reconstruction": (str(path),)})
    data = pipeline.data.model_copy(update={"files": files})
    service = serve(pipeline.model_copy(update={"data": data}))
    prepared = service.prepare(trial.pair)
    said = [event.message for event in service.events if event.type == "notice"]
    assert any("1 of 2 texts to reconstruct overlap with 1 of 6 test items" in one for one in said)
    assert [row["response"] for row in service._texts] == ["a text of its own"]
    assert "reconstruction" in prepared.data
    assert not prepared.private


def test_stages_rise_in_their_number():
    ends = course("answer 2 -> task 3 -> answer 1").ends
    assert ends == [2, 5, 6]
    assert all(low < high for low, high in pairwise(ends))


def test_a_stage_by_itself():
    stage = StageConfig(kind="task", steps=10, replay=0.2)
    assert [stage.replays(n) for n in (0, 1, 5, 6, 10)] == [0, 1, 1, 2, 2]
