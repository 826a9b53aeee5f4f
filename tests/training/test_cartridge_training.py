"""A cartridge on the receiver: of the fuser's size, peft's own numbers, however interrupted."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from c2c_search.errors import IntegrityError
from c2c_search.evaluation.items import Question
from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluation.systems import Materials
from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.inference.model import C2CModel
from c2c_search.models.geometry import cache_shape
from c2c_search.prompt_cache.prefill import prefill
from c2c_search.tokenization.continuations import response_ids
from c2c_search.training import adapters
from c2c_search.training import receiver_training
from c2c_search.training.cartridge_training import Cartridge
from c2c_search.training.cartridge_training import CartridgeTraining
from c2c_search.training.cartridge_training import trained_entries
from c2c_search.training.protocol import Evaluate
from tests.training.receiver_trainings import ReceiverTrainingConformance
from tests.training.receiver_trainings import losses
from tests.training.receiver_trainings import rungs
from tests.training.receiver_trainings import weights


PER_ENTRY = 64
"""Numbers of an entry of the tiny receiver: keys and values, 2 layers, 2 KV heads of 8."""


def train(service, trial, parameters, directory):
    return service.train(
        trial, directory, lambda: True, learner="cartridge", parameters=parameters
    )


def random_entries(model, count):
    shape = cache_shape(model)
    return torch.randn(
        2, shape.layers, count, shape.size, generator=torch.Generator().manual_seed(1)
    )


def saved(loaded, entries, folder):
    """A cartridge in a folder, as training leaves it."""
    cartridge = Cartridge(loaded.model, entries)
    adapters.save_cartridge(
        cartridge.config, cartridge.encoder.weight, loaded.identity.source, folder
    )
    return folder


def through_peft(loaded, folder, prompt, response):
    """Logits of the response, through peft's own forward pass of what is in the folder."""
    model = PeftModel.from_pretrained(copy.deepcopy(loaded.model), str(folder)).eval()
    ids = torch.tensor([[*prompt, *response]])
    mask = torch.ones_like(ids)
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask).logits[0, len(prompt) - 1 : -1]


@pytest.mark.parametrize(
    ("parameters", "entries"),
    [(1, 1), (PER_ENTRY, 1), (95, 1), (97, 2), (9 * PER_ENTRY + 31, 9), (10 * PER_ENTRY - 31, 10)],
)
def test_entries_come_as_near_as_can_be_to_the_fusers_size(tiny_model, parameters, entries):
    assert trained_entries(tiny_model().model, parameters) == entries


def test_half_of_the_context_is_left_to_the_prompts(tiny_model):
    model = tiny_model().model
    model.config.max_position_embeddings = 100
    assert trained_entries(model, 1000 * PER_ENTRY) == 49  # and the one that is not trained


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3"])
@pytest.mark.parametrize("pack", [1, 30, 2048])
def test_packed_logits_are_pefts_own_for_each_prompt(
    tiny_model, monkeypatch, tmp_path, family, pack
):
    monkeypatch.setattr(receiver_training, "_PACK_TOKENS", pack)
    # A head size that peft could not guess from the hidden size.
    loaded = tiny_model(family, heads=2, head_dim=12)
    prompts = [list(range(5, 17)), list(range(40, 49)), list(range(90, 104))]
    responses = [[1, 2, 3], [4], [5, 6]]
    entries = random_entries(loaded.model, 5)
    folder = saved(loaded, entries, tmp_path)
    with torch.no_grad():
        packed = Cartridge(loaded.model, entries)(prompts, responses)
    alone = [through_peft(loaded, folder, *one) for one in zip(prompts, responses, strict=True)]
    torch.testing.assert_close(packed, torch.cat(alone), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3"])
def test_the_system_scores_as_pefts_own_forward_pass(tiny_model, tmp_path, family):
    from c2c_search.testing import systems

    loaded = tiny_model(family, layers=3)
    entries = random_entries(loaded.model, 4)
    folder = saved(loaded, entries, tmp_path)
    pair = C2CModel(loaded, tiny_model(seed=9), None, cache_dtype=torch.float32)
    found = adapters.load_trained("cartridge", loaded, folder)
    torch.testing.assert_close(found, entries, atol=0, rtol=0)
    questions: tuple[Question, ...] = systems.make_questions()
    prompts = QuestionPrompts(pair, questions)
    system = SYSTEMS["cartridge"].build(Materials(pair, trained=found))
    for scores, encoded, question in zip(
        system.choose(prompts), prompts.encoded(), questions, strict=True
    ):
        (options,) = response_ids(
            [encoded.receiver_text], [question.options], "plain", loaded.text_tokenizer
        )
        for likelihood, option in zip(scores.likelihoods, options, strict=True):
            logits = through_peft(loaded, folder, encoded.receiver_ids, option)
            likely = logits.log_softmax(-1)[range(len(option)), option].sum()
            assert likelihood == pytest.approx(float(likely), abs=1e-3)
    alone = SYSTEMS["receiver"].build(Materials(pair)).choose(prompts)
    assert system.choose(prompts) != alone


def test_it_begins_as_the_receivers_cache_of_training_examples(service, trial, tmp_path):
    pair = service._ready(trial.pair)
    data = service._data_of(trial, hears=False)
    training = CartridgeTraining(
        trial,
        pair.receiver,
        data,
        tmp_path,
        count=90,
        emit=service.emit,
        go_on=lambda: True,
    )
    text = [
        token
        for row in range(12)
        for token in (*data.train_prompts.encoded[row].receiver_ids, *training.responses[row])
    ]
    (_, (cache,)) = next(prefill(pair.receiver.model, [text[:90]]))
    expected = cache.permute(1, 2, 0, 3)
    torch.testing.assert_close(training.cartridge.entries, expected, atol=1e-6, rtol=1e-6)


def test_more_entries_than_there_is_text_begin_it_again(service, trial, tmp_path):
    service._ready(trial.pair)
    ended = train(service, trial, 1500 * PER_ENTRY, tmp_path / "cartridge")
    assert ended.metrics["cartridge/entries"] == min(
        1500, service._ready(trial.pair).receiver.model.config.max_position_embeddings // 2 - 1
    )


def test_the_first_entry_is_not_trained_and_the_others_are(service, trial, tmp_path):
    ended = train(service, trial, 3 * PER_ENTRY, tmp_path / "cartridge")
    kept = weights(tmp_path / "cartridge")["prompt_embeddings"]
    training = CartridgeTraining(
        trial,
        service._ready(trial.pair).receiver,
        service._data_of(trial, hears=False),
        tmp_path / "again",
        count=4,
        emit=service.emit,
        go_on=lambda: True,
    )
    before = training.cartridge.encoder.weight
    assert torch.equal(kept[0], before[0])
    assert all(not torch.equal(kept[row], before[row]) for row in (1, 2, 3))
    assert ended.parameters == 3 * PER_ENTRY


def test_entries_are_learned_in_float32_whatever_the_model_is_in(tiny_model):
    model = tiny_model(seed=5).model.to(torch.bfloat16)
    cartridge = Cartridge(model, random_entries(model, 3))
    cartridge([[5, 6, 7], [8, 9]], [[1, 2], [3]]).logsumexp(-1).sum().backward()
    assert {parameter.dtype for parameter in cartridge.parameters()} == {torch.float32}
    assert cartridge.encoder.trainable_embedding.grad.any()
    assert cartridge.encoder.frozen_embedding.grad is None


def test_checkpoint_holds_the_entries_alone(service, trial, tmp_path):
    train(service, trial, 2 * PER_ENTRY, tmp_path / "cartridge")
    state = load_file(tmp_path / "cartridge" / "checkpoints" / "step-6" / "state.safetensors")
    kept = [tensor for name, tensor in state.items() if name.startswith("module.")]
    assert sum(tensor.numel() for tensor in kept) == 3 * PER_ENTRY


def test_loss_falls_where_there_is_little_to_learn(service, trial, tmp_path):
    training = trial.training.model_copy(update={"steps": 60, "log_every": 1, "rungs": (1.0,)})
    # A random head is too flat to be sure of any token, whatever it is given.
    service._load(trial.pair.receiver).model.lm_head.weight.data.mul_(20)
    config = trial.model_copy(update={"training": training})
    train(service, config, 40 * PER_ENTRY, tmp_path / "cartridge")
    by_step = losses(service.events)
    first = sum(by_step[step] for step in range(1, 6))
    last = sum(by_step[step] for step in range(56, 61))
    assert last < 0.9 * first


def test_result_says_what_was_trained(service, trial, tmp_path):
    ended = train(service, trial, 3 * PER_ENTRY + 1, tmp_path / "cartridge")
    assert (ended.metrics["cartridge/entries"], ended.parameters) == (3, 3 * PER_ENTRY)
    assert ended.bytes == 4 * 4 * PER_ENTRY  # the first entry is kept beside those three
    assert ended.objective == max(objective for _, objective, _ in rungs(service.events))
    written = json.loads((tmp_path / "cartridge" / "cartridge.json").read_text())
    assert written == ended.model_dump(exclude={"type"})
    config = json.loads((tmp_path / "cartridge" / "best" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["num_virtual_tokens"]) == ("CARTRIDGE", 4)
    assert config["num_frozen_tokens"] == 1
    assert config["base_model_name_or_path"] == trial.pair.receiver


def test_evaluation_is_that_of_the_best_rung_and_fills_no_store(
    service, trial, tiny_pair, tmp_path
):
    ended = train(service, trial, 4 * PER_ENTRY, tmp_path / "cartridge")
    request = Evaluate(
        system="cartridge", pair=tiny_pair, split="validation", trained_dir=ended.best_dir
    )
    stored = sorted((tmp_path / "cache" / "prompt_caches").iterdir())
    result = service.evaluate(request)
    assert sorted((tmp_path / "cache" / "prompt_caches").iterdir()) == stored
    assert sum(item.correct for item in result.items) / len(result.items) == ended.objective


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_half_a_cartridge_is_refused(tiny_model, tmp_path, missing):
    receiver = tiny_model()
    saved(receiver, random_entries(receiver.model, 2), tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(IntegrityError, match=missing):
        adapters.load_trained("cartridge", receiver, tmp_path)


class TestCartridgeTraining(ReceiverTrainingConformance):
    learner = "cartridge"
    kind = CartridgeTraining
    least = PER_ENTRY
