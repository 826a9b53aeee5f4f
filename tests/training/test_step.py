"""What the receiver reads at once, or in several passes, has the losses that it has in one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.gate_config import GateConfig
from c2c_search.inference.loading import cache_shape
from c2c_search.inference.model import C2CModel
from c2c_search.training import step as room
from c2c_search.training.step import ReceiverStep
from c2c_search.training.step import losses_at_once


@pytest.fixture
def steps(tiny_model):
    """Two batches, of one receiver and two fusers."""
    receiver, sharer = tiny_model("llama"), tiny_model("qwen3", seed=1)
    found = []
    for seed, text in enumerate(("red or green?", "one, two, three: which is it?")):
        torch.manual_seed(seed)
        fuser = Fuser(FuserConfig(width=8), cache_shape(receiver), cache_shape(sharer))
        model = C2CModel(receiver, sharer, fuser)
        prompts = model.prompts([[{"role": "user", "content": text}]])
        batch = model.batch(prompts)
        found.append(
            ReceiverStep(
                receiver.model, model.fuse(batch), batch.last_ids, [[5, 6, 7 + seed]], 0.0
            )
        )
    return found


def test_one_pass_gives_each_its_own_loss_and_gradient(steps):
    once = losses_at_once(steps)
    for step, loss in zip(steps, once, strict=True):
        alone = step.loss()
        assert loss.item() == pytest.approx(alone.item(), abs=1e-5)
        found, expected = (
            torch.autograd.grad(2 * each, step.fused.packed, retain_graph=True)[0]
            for each in (loss, alone)
        )
        assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_makes_every_loss_so(steps, value):
    spoilt = steps[0].fused.packed + torch.tensor(value)
    steps[0] = replace(steps[0], fused=replace(steps[0].fused, packed=spoilt))
    assert all(loss.isnan() for loss in losses_at_once(steps))


@pytest.fixture(params=["residual", "append", "side", "side, all"])
def batches(tiny_model, request):
    """Two batches of several prompts, of unequal lengths."""
    receiver, sharer = tiny_model("llama"), tiny_model("qwen3", seed=1)
    gate = GateConfig(granularity="none")
    found = []
    for seed in range(2):
        torch.manual_seed(seed)
        injection, _, everywhere = request.param.partition(", ")
        reads_from = "all" if everywhere and not seed else "last"  # the two of them together
        config = FuserConfig(
            width=8,
            injection=injection,
            reads_from=reads_from,
            gate=gate,
            initialisation="random",
            layer_share=1.0 if injection != "side" or seed else 0.5,
        )
        fuser = Fuser(config, cache_shape(receiver), cache_shape(sharer))
        model = C2CModel(receiver, sharer, fuser)
        texts = ["red or green?", "1, 2, 3: which?", "a", "is it the one, or is it the other?"]
        prompts = model.prompts([[{"role": "user", "content": text}] for text in texts])
        batch = model.batch(prompts)
        responses = [[5 + row] * (1 + row + seed) for row in range(len(texts))]
        found.append(
            ReceiverStep(receiver.model, model.fuse(batch), batch.last_ids, responses, 0.1 * seed)
        )
    return found


@pytest.mark.parametrize(("prompt", "response"), [(1, 10**6), (10**6, 1), (30, 5), (10**6, 9)])
def test_several_passes_give_the_same_losses_and_gradients(batches, monkeypatch, prompt, response):
    expected = [step.loss() for step in batches]
    monkeypatch.setattr(room, "PROMPT_TOKENS", prompt)
    monkeypatch.setattr(room, "RESPONSE_TOKENS", response)
    assert len(room._passes(batches)) > 1
    for found in (losses_at_once(batches), [step.loss() for step in batches]):
        for step, loss, whole in zip(batches, found, expected, strict=True):
            torch.testing.assert_close(loss, whole)
            said = step.fused.memories[0].packed if step.fused.memories else step.fused.packed
            gradients = (
                torch.autograd.grad(3 * each, said, retain_graph=True)[0] for each in (loss, whole)
            )
            torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_every_pass_is_within_its_bounds_and_every_row_in_one(batches, monkeypatch):
    monkeypatch.setattr(room, "PROMPT_TOKENS", 60)
    monkeypatch.setattr(room, "RESPONSE_TOKENS", 6)
    seen = []
    for pieces in room._passes(batches):
        parts = [batches[index].of_rows(rows) for index, rows in pieces.items()]
        rows = [(index, row) for index, few in pieces.items() for row in few]
        read = sum(
            part.fused.tokens_of(row) for part in parts for row in range(len(part.last_ids))
        )
        assert len(rows) == 1 or (read <= 60 and sum(part.tokens for part in parts) <= 6)
        seen += rows
    assert seen == [(index, row) for index in range(2) for row in range(4)]


def test_where_only_a_memory_learns_no_gradient_goes_to_the_cache(batches):
    step = batches[0]
    if not step.fused.memories:
        return
    (loss,) = losses_at_once([step])
    assert not step.fused.packed.requires_grad
    assert list(room._learned_from(step.fused)) == [1]
    (gradient,) = torch.autograd.grad(loss, step.fused.memories[0].packed)
    assert gradient.abs().sum() > 0
