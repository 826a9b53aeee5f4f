"""LoRA on the receiver: of the fuser's size, the same however interrupted, and gone afterwards."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file

from c2c_search.training import lora_training
from c2c_search.training import receiver_training
from c2c_search.training.lora_training import Adapter
from c2c_search.training.lora_training import LoraTraining
from c2c_search.training.lora_training import attached
from c2c_search.training.lora_training import rank_for
from c2c_search.training.protocol import Evaluate
from tests.training.receiver_trainings import ReceiverTrainingConformance
from tests.training.receiver_trainings import losses
from tests.training.receiver_trainings import rungs
from tests.training.receiver_trainings import same
from tests.training.receiver_trainings import weights
from tests.training.stopping import Stop


PER_RANK = 928
"""Of the tiny receiver: hidden size 32, 4 heads and 2 KV heads of 8, MLP of 48, 2 layers.

A rank costs each map its inputs and its outputs: q and o 32 + 32, k and v 32 + 16, gate, up and
down 32 + 48 each: 2 · 64 + 2 · 48 + 3 · 80 = 464 a layer.
"""


def adapt(service, trial, parameters, directory):
    return service.train(trial, directory, lambda: True, learner="lora", parameters=parameters)


def disturb(adapted):
    """Let an adapter say something: LoRA begins with zeros."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in Adapter(adapted).parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


def plain_logits(model, prompt, response):
    ids = torch.tensor([[*prompt, *response]])
    return model(input_ids=ids).logits[0, len(prompt) - 1 : -1]


@pytest.mark.parametrize(
    ("parameters", "rank"),
    [(1, 1), (PER_RANK, 1), (2 * PER_RANK - 1, 1), (2 * PER_RANK, 2), (9 * PER_RANK + 5, 9)],
)
def test_rank_is_the_largest_that_is_not_above_the_fusers_size(tiny_model, parameters, rank):
    assert rank_for(tiny_model().model, parameters) == rank


def test_every_linear_map_is_adapted_but_the_output_head(tiny_model):
    model = tiny_model().model
    with attached(model, 2) as adapted:
        names = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert len(names) == 2 * 2 * 7  # A and B, two layers, seven maps
    assert not any("lm_head" in name for name in names)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3"])
@pytest.mark.parametrize("pack", [1, 30, 2048])
def test_packed_logits_are_those_of_each_prompt_alone(tiny_model, monkeypatch, family, pack):
    monkeypatch.setattr(receiver_training, "_PACK_TOKENS", pack)
    model = tiny_model(family).model
    prompts = [list(range(5, 17)), list(range(40, 49)), list(range(90, 104))]
    responses = [[1, 2, 3], [4], [5, 6]]
    with attached(model, 2) as adapted, torch.no_grad():
        disturb(adapted)
        packed = Adapter(adapted)(prompts, responses)
        alone = [plain_logits(model, *one) for one in zip(prompts, responses, strict=True)]
    torch.testing.assert_close(packed, torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_adapter_learns_in_float32_whatever_the_model_is_in(tiny_model):
    model = tiny_model(seed=5).model.to(torch.bfloat16)
    with attached(model, 2) as adapted:
        adapter = Adapter(adapted)
        adapter([[5, 6, 7], [8, 9]], [[1, 2], [3]]).logsumexp(-1).sum().backward()
        assert {parameter.dtype for parameter in adapter.parameters()} == {torch.float32}
        assert any(parameter.grad.any() for parameter in adapter.parameters())


def test_frozen_receiver_is_bit_identical_afterwards(tiny_model):
    model = tiny_model().model
    ids = torch.arange(12)[None]
    before = model(input_ids=ids).logits
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = model.config.to_dict()
    modules = [(name, id(module)) for name, module in model.named_modules()]
    with attached(model, 3) as adapted:
        disturb(adapted)
        assert not torch.equal(model(input_ids=ids).logits, before)
    assert torch.equal(model(input_ids=ids).logits, before)
    assert same(dict(model.state_dict()), state)
    assert model.config.to_dict() == config
    assert [(name, id(module)) for name, module in model.named_modules()] == modules
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(module.training for module in model.modules())


def test_adapter_is_taken_out_after_an_error_too(tiny_model):
    model = tiny_model().model
    names = list(model.state_dict())
    with pytest.raises(Stop), attached(model, 1):
        raise Stop
    assert list(model.state_dict()) == names
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # peft warns where it finds an adapter
        with attached(model, 1):
            pass


def test_checkpoint_holds_the_adapter_alone(service, trial, tmp_path):
    ended = adapt(service, trial, 2 * PER_RANK, tmp_path / "lora")
    saved = load_file(tmp_path / "lora" / "checkpoints" / "step-6" / "state.safetensors")
    weights = [tensor for name, tensor in saved.items() if name.startswith("module.")]
    assert sum(tensor.numel() for tensor in weights) == ended.parameters


def test_loss_falls_where_there_is_little_to_learn(service, trial, tmp_path):
    training = trial.training.model_copy(update={"steps": 60, "log_every": 1, "rungs": (1.0,)})
    # A random head is too flat to be sure of any token, whatever it is given.
    service._load(trial.pair.receiver).model.lm_head.weight.data.mul_(20)
    adapt(
        service, trial.model_copy(update={"training": training}), 8 * PER_RANK, tmp_path / "lora"
    )
    by_step = losses(service.events)
    first = sum(by_step[step] for step in range(1, 6))
    last = sum(by_step[step] for step in range(56, 61))
    assert last < 0.7 * first


def test_result_says_what_was_trained(service, trial, tmp_path):
    ended = adapt(service, trial, 3 * PER_RANK + 1, tmp_path / "lora")
    assert (ended.metrics["lora/rank"], ended.parameters) == (3, 3 * PER_RANK)
    assert ended.bytes == 4 * ended.parameters
    assert ended.objective == max(objective for _, objective, _ in rungs(service.events))
    assert len(rungs(service.events)) == 2
    written = json.loads((tmp_path / "lora" / "lora.json").read_text())
    assert written == ended.model_dump(exclude={"type"})
    config = json.loads((tmp_path / "lora" / "best" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (3, 6, 0.0)
    assert config["base_model_name_or_path"] == trial.pair.receiver
    assert sum(tensor.numel() for tensor in weights(tmp_path / "lora").values()) == 3 * PER_RANK


def test_best_rung_is_kept_not_the_last(service, trial, tmp_path, monkeypatch):
    saved = []
    results = iter([1, 0])  # the share that the first and the second rung have right
    real = receiver_training.choose_options

    def graded(*args, **kwargs):
        right = next(results)
        items = real(*args, **kwargs)
        return tuple(
            item.model_copy(update={"chosen": item.answer if right else (item.answer + 1) % 4})
            for item in items
        )

    monkeypatch.setattr(receiver_training, "choose_options", graded)
    monkeypatch.setattr(lora_training, "save", lambda *args: saved.append(args))
    ended = adapt(service, trial, PER_RANK, tmp_path / "lora")
    assert (ended.best_rung, ended.objective, len(saved)) == (0, 1.0, 1)


def test_evaluation_of_an_adapter_fills_no_store(service, trial, tiny_pair, tmp_path):
    ended = adapt(service, trial, 4 * PER_RANK, tmp_path / "lora")
    request = Evaluate(
        system="lora", pair=tiny_pair, split="validation", trained_dir=ended.best_dir
    )
    stored = sorted((tmp_path / "cache" / "prompt_caches").iterdir())
    result = service.evaluate(request)
    assert sorted((tmp_path / "cache" / "prompt_caches").iterdir()) == stored
    accuracy = sum(item.correct for item in result.items) / len(result.items)
    assert accuracy == ended.objective
    assert [item.id for item in result.items] == [f"validation-{number}" for number in range(6)]


class TestLoraTraining(ReceiverTrainingConformance):
    learner = "lora"
    kind = LoraTraining
    least = PER_RANK
