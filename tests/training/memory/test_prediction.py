"""What is predicted from configurations is what a real step takes."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch

from c2c_search.config.training import GuardConfig
from c2c_search.data.reconstruction import reconstruction_row
from c2c_search.data.splits import load_splits
from c2c_search.evaluation.scoring import with_fuser
from c2c_search.fuser import cost
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.inference.loading import cache_shape
from c2c_search.inference.model import C2CModel
from c2c_search.models.loading import load
from c2c_search.models.loading import resolve
from c2c_search.tokenization.token_alignment import encode_all
from c2c_search.training import step
from c2c_search.training.calibration import calibrate
from c2c_search.training.engine import TrainingEngine
from c2c_search.training.fuser_training import FuserTraining
from c2c_search.training.harm_guard import HarmGuard
from c2c_search.training.harm_guard import other_rows
from c2c_search.training.loop import TrainingData
from c2c_search.training.memory.allocations import Allocations
from c2c_search.training.memory.heaviest import heaviest_passes
from c2c_search.training.memory.heaviest import heaviest_steps
from c2c_search.training.memory.heaviest import longest_prompts
from c2c_search.training.memory.prediction import Rehearsal
from c2c_search.training.memory.prediction import model_bytes
from c2c_search.training.memory.rows import Rows
from c2c_search.training.memory.trial_memory import TrialMemory
from c2c_search.training.preparation import read_rows
from c2c_search.training.step import alone
from c2c_search.training.step import losses_at_once


FUSERS = {
    "c2c": {"width": 24, "gate": {"granularity": "head", "noise": "gumbel"}, "dropout": 0.1},
    "c2c, huge": {"width": 256, "depth": 4},
    "joint": {"projector": "joint", "width": 8, "lora_rank": 3},
    "linear": {"projector": "linear", "keys": "unrotated", "normalisation": "calibrated"},
    "appended": {"projector": "linear", "injection": "append"},
    "side": {"projector": "linear", "injection": "side", "layer_share": 0.5},
    "side, all": {"injection": "side", "reads_from": "all", "keys": "unrotated", "width": 16},
    "hidden": {"projector": "joint", "width": 8, "source": "hidden", "keys": "unrotated"},
    "slots": {"projector": "linear", "injection": "append", "slots": 4, "keys": "unrotated"},
    "drafted": {"injection": "append", "message": "draft", "draft_tokens": 8, "width": 8},
    "drafted to": {
        "projector": "linear",
        "injection": "append",
        "message": "both",
        "draft_tokens": 64,
    },
    "anchored": {
        "projector": "linear",
        "injection": "append",
        "message": "draft",
        "anchors": "last",
        "anchor_tokens": 20,
    },
    "shared layers": {"layer_share": 0.5, "width": 16, "sharer": "mismatched"},
    "token gate": {"width": 64, "gate": {"granularity": "token", "noise": "logistic"}},
    "refreshed": {"projector": "linear", "injection": "side", "refresh": 1, "keys": "unrotated"},
    "response": {"projector": "linear", "fuse_response": True, "token_alignment": "longest"},
}


@pytest.fixture(scope="module")
def models(tiny_model):
    receiver = tiny_model("qwen3", layers=4, heads=2, head_dim=8, seed=1)
    return receiver, tiny_model("gemma3", layers=3, heads=1, head_dim=12, seed=2)


def bare(loaded, rehearsal):
    """The model without its weights."""
    with rehearsal.without_content():
        model = type(loaded.model)(loaded.model.config)
    return replace(loaded, model=model.eval().requires_grad_(False))


def predict(trial, models, rows, encoded):
    rehearsal = Rehearsal(torch.device("cpu"))
    return rehearsal.step(trial, *(bare(each, rehearsal) for each in models), rows, encoded)


def ready(trial, models, rows, encoded, validation=()):
    pair = C2CModel(*models, None)
    shapes = (
        cache_shape(models[0], adapted=trial.fuser.lora_rank > 0),
        cache_shape(models[1], source=trial.fuser.source),
    )
    model = with_fuser(pair, Fuser(trial.fuser, *shapes))
    prompts = model.cached(encoded)
    data = TrainingData(rows, prompts, validation=validation, validation_prompts=prompts)
    return FuserTraining(trial, model, data, Path(), emit=lambda _: None, go_on=lambda: True)


def measured(trial, models, rows, encoded):
    """Bytes at the peak of a trial's second step."""
    run = ready(trial, models, rows, encoded)
    with TrainingEngine(run.fuser, trial.training) as engine:
        alone(run._train_step(engine))
        with Allocations("cpu") as counted:
            alone(run._train_step(engine))
    tensors = [*run.fuser.state_dict().values()]
    moments = 2 * sum(p.nbytes for p in run.fuser.parameters() if p.requires_grad)
    still = sum(model_bytes(loaded.model) for loaded in models)
    return still + sum(tensor.nbytes for tensor in tensors) + moments + counted.peak


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *((name, {}) for name in FUSERS),
        ("joint", {"gradient_accumulation": 2}),
        ("c2c, huge", {"checkpoint_activations": True}),
        ("token gate", {"checkpoint_activations": True}),
    ],
)
def test_a_step_takes_what_is_predicted(trial, pipeline, models, name, changes):
    training = trial.training.model_copy(update=changes)
    fuser = FuserConfig.model_validate(FUSERS[name])
    trial = trial.model_copy(update={"fuser": fuser, "training": training})
    rows = list(load_splits(pipeline.data).train)[:4]
    tokenizers = [loaded.text_tokenizer for loaded in models]
    questions = [row["messages"] for row in rows]
    encoded = encode_all(questions, "plain", *tokenizers, trial.fuser.token_alignment)
    predicted = predict(trial, models, rows, encoded)
    assert predicted.total == pytest.approx(measured(trial, models, rows, encoded), rel=0.03)
    assert predicted.models == sum(model_bytes(loaded.model) for loaded in models)
    theirs = cache_shape(models[1], source=fuser.source)
    shapes = cache_shape(models[0], adapted=fuser.lora_rank > 0), theirs
    stored, count = cost.tensor_bytes(Fuser(fuser, *shapes)), cost.parameters(fuser, *shapes)
    assert predicted.fuser == stored + 12 * count  # 16 bytes a parameter, and buffers


@pytest.mark.parametrize("name", FUSERS)
def test_a_pass_of_validation_takes_what_is_predicted(trial, pipeline, models, name):
    trial = trial.model_copy(update={"fuser": FuserConfig.model_validate(FUSERS[name])})
    rows = list(load_splits(pipeline.data).validation)[: trial.evaluation.batch_size]
    tokenizers = [loaded.text_tokenizer for loaded in models]
    alignment = trial.fuser.token_alignment
    encoded = encode_all([row["messages"] for row in rows], "plain", *tokenizers, alignment)
    (places,) = heaviest_passes(trial, rows, encoded)
    assert sorted(places) == list(range(len(rows)))  # all of them, in the order of lengths
    rehearsal = Rehearsal(torch.device("cpu"))
    predicted = rehearsal.validation(
        trial,
        *(bare(each, rehearsal) for each in models),
        [rows[row] for row in places],
        [encoded[row] for row in places],
    )
    run = ready(trial, models, rows, encoded, rows)
    with Allocations("cpu") as counted:
        run._answer()
    # Another module stands in for RoPE, whose tensors are large beside those of tiny models.
    assert predicted == pytest.approx(counted.peak, rel=0.1 if "keys" in FUSERS[name] else 0.03)


def shown_prompts(pipeline, models):
    rows = list(load_splits(pipeline.data).train)
    tokenizers = [loaded.text_tokenizer for loaded in models]
    return rows, encode_all([row["messages"] for row in rows], "plain", *tokenizers, "span")


def predict_calibration(trial, models, rows, encoded, fields):
    fuser = FuserConfig.model_validate({"width": 8, **fields})
    rehearsal = Rehearsal(torch.device("cpu"))
    bares = [bare(each, rehearsal) for each in models]
    trial = trial.model_copy(update={"fuser": fuser})
    return trial, rehearsal.calibration(trial, *bares, rows, encoded)


@pytest.mark.parametrize(
    "fields",
    [
        {"projector": "ridge", "injection": "append", "normalisation": "none"},
        {"projector": "ridge", "injection": "side", "keys": "unrotated"},
        {"projector": "linear", "initialisation": "ridge", "injection": "replace", "rank": 4},
        {"projector": "joint", "initialisation": "ridge", "injection": "replace"},
        {"normalisation": "calibrated"},
    ],
    ids=str,
)
def test_calibration_takes_what_is_predicted(trial, pipeline, models, fields):
    rows, encoded = shown_prompts(pipeline, models)
    trial, predicted = predict_calibration(trial, models, rows, encoded, fields)
    run = ready(trial, models, rows, encoded)
    weights = sum(tensor.nbytes for tensor in run.fuser.state_dict().values())
    with Allocations("cpu") as counted:
        calibrate(run.model, run.data.train_prompts, trial.seed)
    taken = weights + counted.peak
    assert 0.97 * taken <= predicted <= 1.04 * taken  # rather too much than too little


@pytest.mark.parametrize(
    "fields",
    [{"layer_alignment": "similarity"}, {"layers": "attention", "layer_share": 0.5}],
    ids=str,
)
def test_what_numbers_decide_is_left_out(trial, pipeline, models, fields):
    shown = shown_prompts(pipeline, models)
    kept = {name: fields[name] for name in fields if name == "layer_share"}
    _, predicted = predict_calibration(trial, models, *shown, fields)
    _, without = predict_calibration(trial, models, *shown, kept)
    assert predicted == without


def test_calibration_may_be_the_peak(trial, pipeline, models):
    splits = load_splits(pipeline.data)
    rehearsal = Rehearsal(torch.device("cpu"))
    bares = [bare(each, rehearsal) for each in models]
    rows = Rows(splits.train, splits.validation)
    fitted = trial.model_copy(
        update={"fuser": FuserConfig(projector="ridge", injection="replace")}
    )
    shown = [rows.train[row] for row in longest_prompts(rows.train, 200)]
    tokenizers = [loaded.text_tokenizer for loaded in models]
    encoded = encode_all([row["messages"] for row in shown], "plain", *tokenizers, "span")
    taken = rehearsal.calibration(fitted, *bares, shown, encoded)
    peak = rehearsal.trial(fitted, *bares, rows)
    assert peak.total >= peak.models + taken


def test_the_peak_is_that_of_calibration_or_a_step_or_validation():
    step = TrialMemory(models=1000, caches=10, fuser=100, activations=50)
    assert step.with_validation(60) == step
    assert step.with_validation(70).activations == 60
    assert step.with_validation(70).total == 1000 + 100 + 70
    assert step.with_calibration(160) == step
    assert step.with_calibration(170).total == 1000 + 170


def test_a_trial_takes_what_its_heaviest_step_or_validation_takes(trial, pipeline, models):
    splits = load_splits(pipeline.data)
    rehearsal = Rehearsal(torch.device("cpu"))
    bares = [bare(each, rehearsal) for each in models]
    narrow = trial.model_copy(update={"fuser": FuserConfig(width=8, normalisation="rms")})
    few = rehearsal.trial(narrow, *bares, Rows(splits.train, splits.validation))
    # Options as long as these outweigh a step, while which the other trials hold theirs.
    asked = [{**row, "choices": ["very " * 60] * 4} for row in splits.validation]
    rows = Rows(splits.train, asked)
    validated = rehearsal.trial(narrow, *bares, rows)
    assert validated.activations > few.activations
    together = rehearsal.trial(narrow, *bares, rows, together=3)
    assert together.total == validated.total + 2 * (few.total - few.models)


def test_several_passes_bound_what_a_long_batch_takes(trial, pipeline, models, monkeypatch):
    trial = trial.model_copy(update={"fuser": FuserConfig(width=8)})
    rows = [{**row, "response": "very " * 30} for row in load_splits(pipeline.data).train][:4]
    tokenizers = [loaded.text_tokenizer for loaded in models]
    encoded = encode_all([row["messages"] for row in rows], "plain", *tokenizers, "span")
    at_once = predict(trial, models, rows, encoded)
    monkeypatch.setattr(step, "RESPONSE_TOKENS", 1)
    one_by_one = predict(trial, models, rows, encoded)
    assert one_by_one.activations < at_once.activations / 2
    assert one_by_one.total == pytest.approx(measured(trial, models, rows, encoded), rel=0.03)


def test_trials_at_once_take_what_each_takes(trial, pipeline, models):
    trial = trial.model_copy(update={"fuser": FuserConfig(width=24)})
    rows = list(load_splits(pipeline.data).train)[:4]
    tokenizers = [loaded.text_tokenizer for loaded in models]
    encoded = encode_all([row["messages"] for row in rows], "plain", *tokenizers, "span")
    runs = [ready(trial, models, rows, encoded) for _ in range(3)]
    with Allocations("cpu") as counted:
        asked = [run._request(run.fuser, [0, 1, 2, 3]) for run in runs]
        losses = losses_at_once(asked)
        del asked
        while losses:
            losses.pop().backward()
    one = predict(trial, models, rows, encoded)
    predicted = one.in_lockstep(3)
    # Weights and moments were there before; gradients are counted.
    still = predicted.fuser - 3 * sum(p.nbytes for p in runs[0].fuser.parameters())
    assert predicted.models == one.models
    assert predicted.total == pytest.approx(predicted.models + still + counted.peak, rel=0.15)


def test_a_model_without_weights_is_the_model(tiny_pair):
    loaded, rehearsal = load(tiny_pair.sharer), Rehearsal(torch.device("cpu"))
    made, half = (
        rehearsal.model(resolve(tiny_pair.sharer), dtype)
        for dtype in (torch.float32, torch.bfloat16)
    )
    shapes = [
        {name: each.shape for name, each in one.model.state_dict().items()}
        for one in (loaded, made)
    ]
    assert shapes[0] == shapes[1]
    assert model_bytes(loaded.model) == model_bytes(made.model)
    assert model_bytes(half.model) == pytest.approx(model_bytes(made.model) / 2, rel=0.01)


@pytest.mark.parametrize(
    ("name", "with_others"),
    [*product(("c2c", "appended", "response"), (False, True)), ("anchored", True)],
)
def test_a_guarded_step_takes_what_is_predicted(trial, pipeline, models, name, with_others):
    """A guard that is never content, so that nothing is skipped."""
    rules = GuardConfig.model_construct(weight=0.1, tolerance=-99.0, every=1)
    training = trial.training.model_copy(update={"guard": rules})
    fuser = FuserConfig.model_validate(FUSERS[name])
    trial = trial.model_copy(update={"fuser": fuser, "training": training})
    rows = list(load_splits(pipeline.data).train)[:4]
    tokenizers = [loaded.text_tokenizer for loaded in models]
    long = [{"role": "user", "content": "a long question " * 20}]
    others = [{**row, "messages": long, "response": "a b c d e f g h"} for row in rows[:2]]
    encoded, guarded = (
        encode_all([row["messages"] for row in each], "plain", *tokenizers, fuser.token_alignment)
        for each in (rows, others)
    )
    rehearsal = Rehearsal(torch.device("cpu"))
    bares = [bare(each, rehearsal) for each in models]
    given = others[: other_rows(training.batch_size)] if with_others else []
    predicted = rehearsal.step(trial, *bares, rows, encoded, given)
    run = ready(trial, models, rows, encoded)
    if with_others:
        run.guard = HarmGuard(
            trial,
            run.model,
            replace(run.data, guard=others, guard_prompts=run.model.cached(guarded)),
            run.responses,
        )
    peaks = []
    with TrainingEngine(run.fuser, trial.training) as engine:
        alone(run._train_step(engine))
        for _ in range(2):
            with Allocations("cpu") as counted:
                alone(run._train_step(engine))
            peaks.append(counted.peak)
    taken = predicted.caches + predicted.activations + gradients(run.fuser)
    assert taken == pytest.approx(max(peaks), rel=0.03)
    plain = rehearsal.step(without_guard(trial), *bares, rows, encoded)
    assert predicted.activations > 1.2 * plain.activations


def gradients(fuser):
    return sum(parameter.nbytes for parameter in fuser.parameters() if parameter.requires_grad)


def without_guard(trial):
    return trial.model_copy(update={"training": trial.training.model_copy(update={"guard": None})})


def test_a_trial_counts_what_it_guards(trial, pipeline, models):
    splits = load_splits(pipeline.data)
    rehearsal = Rehearsal(torch.device("cpu"))
    bares = [bare(each, rehearsal) for each in models]
    plain = trial.model_copy(update={"fuser": FuserConfig(width=8)})
    training = trial.training.model_copy(update={"guard": GuardConfig()})
    guarded = plain.model_copy(update={"training": training})
    others = [{**row, "response": "many words " * 8} for row in splits.train]
    rows = Rows(splits.train, splits.validation, others)
    alone_, heard = (rehearsal.trial(each, *bares, rows) for each in (plain, guarded))
    assert heard.activations > alone_.activations


@pytest.mark.parametrize("stages", ["task 4", "reconstruction 4 tokens=16"])
def test_a_stages_step_takes_what_is_predicted(trial, pipeline, models, stages):
    fuser = FuserConfig.model_validate(FUSERS["appended"])
    training = trial.training.model_dump(exclude={"steps"}) | {"stages": stages}
    training = type(trial.training).model_validate(training)
    trial = trial.model_copy(update={"fuser": fuser, "training": training})
    rehearsal = Rehearsal(torch.device("cpu"))
    bares = [bare(each, rehearsal) for each in models]
    rows = list(load_splits(pipeline.data).train)
    (_, batch), *_ = heaviest_steps(trial, rows, (), models[0].text_tokenizer)
    encoded = read_rows(*models, trial.data, batch, date=None)
    predicted = rehearsal.step(trial, *bares, batch, encoded)
    assert predicted.total == pytest.approx(measured(trial, models, batch, encoded), rel=0.03)


def test_a_trial_takes_what_its_heaviest_stage_takes(trial, pipeline, models):
    splits = load_splits(pipeline.data)
    rehearsal = Rehearsal(torch.device("cpu"))
    bares = [bare(each, rehearsal) for each in models]
    texts = [reconstruction_row("t", "many words and more " * 40)]
    rows = Rows(splits.train, splits.validation, (), texts)
    found = []
    for stages in ("answer 6", "reconstruction 3 tokens=500 -> answer 3"):
        fields = trial.training.model_dump(exclude={"steps"}) | {"stages": stages}
        changes = {
            "training": type(trial.training).model_validate(fields),
            "fuser": FuserConfig.model_validate(FUSERS["appended"]),
        }
        config = trial.model_copy(update=changes)
        for each in (config, config.with_blank_sharer()):
            found.append(rehearsal.trial(each, *bares, rows).activations)
    plain, plain_twin, staged, staged_twin = found
    assert staged > 1.2 * plain
    assert staged_twin == pytest.approx(plain_twin, rel=0.2)  # other batches, of answers alone


def test_a_draft_that_is_written_takes_its_own_length(trial, pipeline, models):
    """However short the text is that the sharer has read."""
    rows = list(load_splits(pipeline.data).train)
    texts, tokenizer = [reconstruction_row("t", "few words")], models[0].text_tokenizer
    fields = trial.training.model_dump(exclude={"steps"}) | {"stages": "reconstruction 4"}
    training = type(trial.training).model_validate(fields)
    found = []
    for message in ("draft", "both"):
        fuser = FuserConfig(width=8, injection="append", message=message, draft_tokens=40)
        config = trial.model_copy(update={"fuser": fuser, "training": training})
        ((_, batch), *_) = heaviest_steps(config, rows, texts, tokenizer)
        found.append(len(tokenizer(batch[0]["response"], add_special_tokens=False)["input_ids"]))
    assert found[0] == pytest.approx(40, abs=1)
    assert found[1] < 15
