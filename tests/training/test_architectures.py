"""Every kind of fuser goes through a whole trial: calibrated, trained, judged, stored."""

from __future__ import annotations

import json

import pytest
import torch

from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import SplitFiles
from c2c_search.errors import ConfigError
from c2c_search.fuser import checkpoint
from c2c_search.fuser.config import FuserConfig
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Step
from c2c_search.training.service import WorkerService


FIELDS = [
    {"projector": "joint", "rank": 4, "keys": "unrotated"},
    {"projector": "linear", "initialisation": "ridge", "injection": "replace"},
    {"projector": "joint", "initialisation": "ridge", "injection": "append"},
    {"projector": "linear", "initialisation": "ridge", "injection": "side", "layer_share": 0.5},
    {
        "injection": "side",
        "reads_from": "all",
        "initialisation": "random",
        "gate": {"granularity": "head", "rule": "tanh"},
    },
    {"injection": "append", "gate": {"granularity": "value"}},
    {"layer_share": 0.5, "layers": "attention"},
    {"sources_per_layer": 2, "source_combination": "learned", "layer_alignment": "similarity"},
    {"token_alignment": "first"},
    {"token_alignment": "longest", "fuse_response": True},
    {"fuse_response": True, "keys": "unrotated", "projector": "joint"},
    {"gate": {"granularity": "layer", "noise": "logistic", "rule": "hard", "sparsity": 0.1}},
    {"lora_rank": 2, "gate": {"granularity": "layer", "rule": "hard"}},
    {"lora_rank": 2, "fuse_response": True},
    {"injection": "append", "refresh": 1},
    {"lora_rank": 2, "projector": "ridge", "injection": "replace"},
]


ROLES = ("query", "value", "output")


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_what_is_stored_answers_as_it_was_judged(service, trial, tmp_path, fields):
    fuser = FuserConfig.model_validate({"width": 8, **fields})
    trial = trial.model_copy(update={"fuser": fuser})
    run = service.trial(trial, tmp_path / "trial", lambda: True)
    trained = run.run()
    assert any(isinstance(event, Step) for event in service.events)
    asked = Evaluate(system="c2c", pair=trial.pair, split="validation", fuser_dir=trained.best_dir)
    result = service.evaluate(asked)
    accuracy = sum(item.correct for item in result.items) / len(result.items)
    assert accuracy == trained.objective
    if trained.best_rung == 1:
        assert result.items == run.answers.items


def test_a_ridge_map_is_fitted_and_judged_once(service, trial, tmp_path):
    fuser = FuserConfig(projector="ridge", injection="replace")
    trained = service.train(
        trial.model_copy(update={"fuser": fuser}), tmp_path / "trial", lambda: pytest.fail("asked")
    )
    rungs = [event for event in service.events if isinstance(event, Rung)]
    assert [(rung.rung, rung.step) for rung in rungs] == [(1, trial.training.steps)]
    assert not any(isinstance(event, Step) for event in service.events)
    assert not trained.pruned
    assert trained.parameters > 0


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_lora_is_trained_with_the_fuser_or_beside_a_fitted_map(service, trial, tmp_path, stage):
    training = trial.training.model_copy(update={"zero_stage": stage})
    for fields in ({"width": 8}, {"projector": "ridge", "injection": "replace"}):
        fuser = FuserConfig.model_validate({"lora_rank": 2, **fields})
        asked = trial.model_copy(update={"fuser": fuser, "training": training})
        run = service.trial(asked, tmp_path / f"{len(fields)}", lambda: True)
        before = {name: one.clone() for name, one in run.fuser.state_dict().items()}
        run.run()
        moved = {n for n, one in run.fuser.state_dict().items() if not torch.equal(one, before[n])}
        factors = {f"lora.{part}.{role}.weight" for part in ("down", "up") for role in ROLES}
        assert factors <= moved
        assert (moved == factors) == ("injection" in fields)


def test_layers_that_stay_shut_are_not_stored(service, trial, tmp_path):
    gate = {"granularity": "layer", "rule": "hard", "initial_logit": -5.0}
    fuser = FuserConfig.model_validate({"width": 8, "gate": gate})
    run = service.trial(
        trial.model_copy(update={"fuser": fuser}), tmp_path / "trial", lambda: True
    )
    trained = run.run()
    stored = checkpoint.load(tmp_path / "trial" / "best")
    assert len(stored.layers) == 1 < len(run.fuser.layers)
    assert trained.parameters == sum(p.numel() for p in stored.parameters())


def test_sparsity_is_paid_for_in_training(service, trial, tmp_path):
    gate = {"granularity": "layer", "noise": "logistic", "rule": "hard"}
    shares = []
    for sparsity in (0.0, 50.0):
        fuser = FuserConfig.model_validate({"width": 8, "gate": {**gate, "sparsity": sparsity}})
        run = service.trial(
            trial.model_copy(update={"fuser": fuser}), tmp_path / str(sparsity), lambda: True
        )
        run.run()
        shares.append(run.fuser.open_share()["train"])
    assert shares[1] < shares[0] - 0.05


@pytest.fixture
def two_contexts(pipeline, tmp_path) -> DataConfig:
    """The question for the receiver, the fact for the sharer."""
    files = {}
    for split in ("train", "validation", "test"):
        rows = [
            {
                "question": f"{split} {number}: which colour?",
                "sharer_context": f"The colour of {split} {number} is red, not blue.",
                "choices": ["red", "blue"],
                "answer": 0,
            }
            for number in range(4)
        ]
        path = tmp_path / f"{split}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        files[split] = (str(path),)
    return DataConfig(source="jsonl", files=SplitFiles(**files))


def test_a_sharer_may_read_another_context(pipeline, trial, tmp_path, two_contexts):
    pipeline = pipeline.model_copy(update={"data": two_contexts})
    service = WorkerService(pipeline, cache_dir=tmp_path / "cache", emit=lambda event: None)
    fuser = FuserConfig(width=8, injection="append")
    trial = trial.model_copy(update={"fuser": fuser, "data": two_contexts})
    trained = service.train(trial, tmp_path / "trial", lambda: True)
    asked = Evaluate(system="deranged", pair=trial.pair, split="test", fuser_dir=trained.best_dir)
    assert len(service.evaluate(asked).items) == 4
    refused = trial.model_copy(update={"fuser": FuserConfig(width=8)})
    with pytest.raises(ConfigError, match=r"sharer_context need fuser\.injection append"):
        service.train(refused, tmp_path / "refused", lambda: True)
