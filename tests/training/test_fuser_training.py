"""A trial's numbers must not depend on where it was interrupted."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from c2c_search.fuser import checkpoint
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.space.objective import Objective
from c2c_search.training import fuser_training
from c2c_search.training import step
from c2c_search.training.divergence import DivergedError
from c2c_search.training.prefetch import Prefetcher
from c2c_search.training.protocol import Notice
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Step
from c2c_search.training.service import WorkerService
from tests.training.stopping import Stop
from tests.training.stopping import checkpointed
from tests.training.stopping import heard
from tests.training.stopping import stopped


@pytest.fixture
def run(pipeline, tmp_path):
    """Run a trial at a service of its own; returns its end and its events."""

    def run(trial, directory, *, go_on=lambda: True, on_event=lambda event: None, **options):
        events = []

        def emit(event):
            events.append(event)
            on_event(event)

        service = WorkerService(pipeline, cache_dir=tmp_path / "cache", emit=emit)
        return service.train(trial, tmp_path / directory, go_on, **options), events

    return run


def losses(events):
    return {event.step: event.loss for event in events if isinstance(event, Step)}


def rungs(events):
    return [
        (e.rung, e.objective, e.accuracy, e.deranged, e.metrics)
        for e in events
        if isinstance(e, Rung)
    ]


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


def test_a_disk_without_room_changes_no_number_and_is_told_what_comes(
    run, trial, tmp_path, monkeypatch
):
    _, stored = run(trial, "stored")
    expected = []
    real = PairPrompts.expect

    def noting(self, rows):
        expected.append([*rows])
        real(self, rows)

    monkeypatch.setattr(PairPrompts, "expect", noting)
    monkeypatch.setenv("C2C_SEARCH_CACHE_BUDGET", "1")
    shutil.rmtree(tmp_path / "cache" / "prompt_caches")
    _, events = run(trial, "unstored")
    assert losses(events) == losses(stored)
    assert rungs(events) == rungs(stored)
    assert not any((tmp_path / "cache" / "prompt_caches").glob("*/*.bin"))
    # Six steps of four examples; two epochs of twelve.
    assert [len(rows) for rows in expected] == [20, 16, 12, 8, 4, 0]
    assert expected[0][4:] == expected[1]


@pytest.mark.parametrize(("stop_at", "lora_rank"), [(1, 0), (2, 2), (3, 0), (5, 2)])
def test_resume_gives_the_same_numbers(run, trial, tmp_path, monkeypatch, stop_at, lora_rank):
    margin = Objective(kind="margin", receiver=0.25, sharer=0.25)
    fuser = trial.fuser.model_copy(update={"lora_rank": lora_rank})
    trial = trial.model_copy(update={"fuser": fuser})
    trial = checkpointed(trial)
    whole, events = run(trial, "whole", objective=margin)
    assert all(deranged is not None for *_, deranged, _ in rungs(events))

    # A driver that is killed too has heard what came before its last answer, perhaps no more.
    told, known, trained = {}, {}, []
    with stopped(monkeypatch, fuser_training.FuserTraining, stop_at):
        run(
            trial,
            "parts",
            objective=margin,
            on_event=lambda event: told.update(losses([event])),
            go_on=lambda: known.update(told) or True,
        )
    real = fuser_training.FuserTraining._train_step

    def noting(self, engine):
        trained.append(self.step + 1)
        yield from real(self, engine)

    monkeypatch.setattr(fuser_training.FuserTraining, "_train_step", noting)
    resumed, rest = run(trial, "parts", objective=margin)
    assert trained == list(range(stop_at + 1, 7))
    assert rungs(rest) == rungs(events)
    assert known | losses(rest) == losses(events)
    assert min(losses(rest)) == heard(trial, stop_at) + 1
    assert (resumed.objective, resumed.deranged) == (whole.objective, whole.deranged)
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
    assert set(ended.seconds) == {"prefill", "train", "evaluate", "derange", "overhead"}
    assert ended.seconds["derange"] > 0
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
    def told(events):
        notices = [event.message for event in events if isinstance(event, Notice)]
        return any("fit the budget" in message for message in notices)

    whole, events = run(trial, "whole")
    assert not told(events)
    shutil.rmtree(tmp_path / "cache" / "prompt_caches")
    monkeypatch.setenv("C2C_SEARCH_CACHE_BUDGET", budget)
    partly, others = run(trial, "partly")
    assert told(others)
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


def answers(monkeypatch, matched, deranged):
    """Let validation's six items be answered so: how many are right at each rung."""
    real, rights = fuser_training.answer, {None: iter(matched), "wrong": iter(deranged)}
    heard = []

    def scripted(*args, partners=None, **options):
        heard.append(partners)
        right = next(rights[None if partners is None else "wrong"])
        return tuple(
            item.model_copy(
                update={
                    "chosen": item.answer if number < right else (item.answer + 1) % 4,
                    "scores": tuple(
                        0.0 if option == (item.answer + (number >= right)) % 4 else -1.0
                        for option in range(4)
                    ),
                }
            )
            for number, item in enumerate(real(*args, partners=partners, **options))
        )

    monkeypatch.setattr(fuser_training, "answer", scripted)
    return heard


def test_a_rung_by_hand(run, trial, monkeypatch):
    heard = answers(monkeypatch, matched=[4, 5], deranged=[1, 3])
    objective = Objective(kind="margin", receiver=2 / 6, sharer=1 / 6)
    ended, events = run(trial, "hand", objective=objective)
    first, last = (event for event in events if isinstance(event, Rung))
    # 4 of 6, the receiver 2, a wrong message 1; then 5, and a wrong message 3.
    assert (first.accuracy, first.deranged) == (4 / 6, 1 / 6)
    assert first.objective == pytest.approx(2 / 6)
    assert last.objective == pytest.approx(2 / 6)
    assert last.metrics["validation/accuracy"] == 5 / 6
    assert last.metrics["validation/deranged"] == 3 / 6
    assert last.metrics["validation/pairing_gain"] == pytest.approx(2 / 6)
    assert last.metrics["validation/system_gain"] == pytest.approx(3 / 6)
    assert last.metrics["validation/pairing_share"] == pytest.approx(2 / 3)
    assert (ended.accuracy, ended.deranged, ended.best_rung) == (5 / 6, 3 / 6, 1)
    assert len(first.blocks) == len(last.blocks) > 1
    assert ended.blocks == last.blocks
    assert ended.metrics["validation/pairing_share"] == pytest.approx(2 / 3)
    wrong = heard[1]
    assert heard == [None, wrong, None, wrong]
    assert sorted(wrong) == list(range(6))
    assert all(row != partner for row, partner in enumerate(wrong))


@pytest.mark.parametrize(("kind", "best"), [("accuracy", 1), ("pairing_gain", 0), ("margin", 0)])
def test_the_best_rung_is_that_of_the_objective(run, trial, tmp_path, monkeypatch, kind, best):
    answers(monkeypatch, matched=[4, 5], deranged=[1, 5])
    kept = []
    real = fuser_training.FuserTraining._keep

    def keep(self):
        kept.append(self.step)
        real(self)

    monkeypatch.setattr(fuser_training.FuserTraining, "_keep", keep)
    ended, _ = run(trial, kind, objective=Objective(kind=kind, receiver=0.0, sharer=0.0))
    assert (ended.best_rung, kept[-1]) == (best, (3, 6)[best])
    assert ended.accuracy == (4 / 6, 5 / 6)[best]


def test_a_wrong_message_is_heard(pipeline, trial, tmp_path):
    """The answers are those of the fuser with each item's partner's cache, one at a time."""
    service = WorkerService(pipeline, cache_dir=tmp_path / "cache", emit=lambda event: None)
    training = service.trial(trial, tmp_path / "trial", lambda: True)
    for parameter in training.fuser.parameters():  # it begins by saying nothing
        torch.nn.init.normal_(parameter)
    found = training._answer_deranged()
    for row, partner in enumerate(training.data.derangement):
        prompts, rows = training.data.validation_prompts, training.data.validation
        batch = training.model.batch(prompts, [row], [partner])
        ((likelihoods, lengths),) = training.model.score(batch, [rows[row]["choices"]])
        expected = (likelihoods / torch.tensor(lengths)).tolist()
        assert found[row].id == rows[row]["id"]
        assert list(found[row].scores) == pytest.approx(expected, abs=1e-4)
    assert [item.scores for item in found] != [item.scores for item in training._answer()]


def test_what_hears_nothing_is_not_deranged(run, trial):
    fuser = trial.fuser.model_copy(update={"sharer": "blank"})
    ended, events = run(trial.model_copy(update={"fuser": fuser}), "blank")
    assert [event.deranged for event in events if isinstance(event, Rung)] == [None, None]
    assert ended.deranged is None
    assert ended.objective == ended.accuracy
    assert "validation/deranged" not in ended.metrics


def test_questions_about_one_fact_cannot_be_deranged(pipeline, trial, tmp_path):
    told = []
    service = WorkerService(pipeline, cache_dir=tmp_path / "cache", emit=told.append)
    service.prepare(trial.pair)
    questions = service._prompts[trial.pair, "validation"]
    questions.questions = [
        replace(question, item=replace(question.item, cluster="one"))
        for question in questions.questions
    ]
    margin = Objective(kind="margin", receiver=0.125, sharer=0.0)
    for folder in ("first", "second"):
        ended = service.train(trial, tmp_path / folder, lambda: True, objective=margin)
        assert ended.deranged is None
        assert ended.objective == pytest.approx(ended.accuracy - 0.125)
    said = [each for each in told if isinstance(each, Notice) and "one fact" in each.message]
    assert len(said) == 1


def test_rungs_of_a_version_before_get_the_objective(run, trial, tmp_path, monkeypatch):
    """Its checkpoints know accuracies alone, and what follows is compared with them."""
    answers(monkeypatch, matched=[4, 5], deranged=[1, 1])
    real = fuser_training.FuserTraining._train_step

    def stopping(self, engine):
        if self.step == 3:
            self.rungs = [
                Rung.model_validate(
                    {
                        k: v
                        for k, v in rung.model_dump().items()
                        if k not in ("accuracy", "deranged")
                    }
                    | {"objective": rung.accuracy}
                )
                for rung in self.rungs
            ]
            self._save(engine)
            raise Stop
        yield from real(self, engine)

    gain = Objective(kind="gain", receiver=1 / 6)
    with monkeypatch.context() as patch:
        patch.setattr(fuser_training.FuserTraining, "_train_step", stopping)
        with pytest.raises(Stop):
            run(trial, "before", objective=gain)
    ended, events = run(trial, "before", objective=gain)
    objectives = [event.objective for event in events if isinstance(event, Rung)]
    assert objectives == pytest.approx([3 / 6, 4 / 6])
    assert ended.best_rung == 1
