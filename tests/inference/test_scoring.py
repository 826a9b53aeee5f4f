"""Packed scoring must be what the model itself computes, prompt by prompt."""

from __future__ import annotations

import pytest
import torch

from c2c_search.inference.scoring import response_logits
from c2c_search.inference.scoring import score_options
from tests.architectures import packed_prompts


PROMPTS = [[5, 9, 2, 7, 30, 8, 1, 40, 41, 12, 13, 14], [3, 4, 9], [6, 2, 8, 11, 90, 3]]
FAMILIES = ["llama", "gemma3", "qwen3"]


@pytest.mark.parametrize("family", FAMILIES)
def test_response_logits_are_the_models_own(tiny_model, family):
    # gemma3 has a sliding window of 8, shorter than the first prompt.
    model = tiny_model(family, layers=6 if family == "gemma3" else 2).model
    responses = [[[7, 7, 2]], [[1], [5, 6]], [[8, 9, 10, 11], [8, 9, 3], [2]]]
    logits = response_logits(model, *packed_prompts(model, PROMPTS), responses)
    expected = []
    for prompt, branches in zip(PROMPTS, responses, strict=True):
        for response in branches:
            whole = model(torch.tensor([prompt + response])).logits[0]
            expected.append(whole[len(prompt) - 1 : -1])
    torch.testing.assert_close(logits, torch.cat(expected), atol=1e-4, rtol=1e-4)


def test_score_options_sums_log_probabilities(tiny_model):
    model = tiny_model().model
    options = [[[7, 7], [2]], [[1], [1, 1]], [[3], [4]]]
    scores = score_options(model, *packed_prompts(model, PROMPTS), options)
    first = model(torch.tensor([[*PROMPTS[0], 7]])).logits[0].log_softmax(-1)
    last = len(PROMPTS[0]) - 1
    assert float(scores[0][0]) == pytest.approx(
        float(first[last, 7] + first[last + 1, 7]), abs=1e-4
    )
    assert [len(score) for score in scores] == [2, 2, 2]


def test_gradients_flow_back_into_the_packed_cache(tiny_model):
    model = tiny_model().model
    fused, last = packed_prompts(model, PROMPTS)
    packed = fused.packed.requires_grad_()
    response_logits(model, fused, last, [[[1, 2]]] * 3).logsumexp(-1).sum().backward()
    assert torch.isfinite(packed.grad).all()
    # Every layer's keys and values of every prompt token matter.
    assert (packed.grad.abs().amax(dim=(2, 3)) > 0).all()
