"""Prefill and packed decoding must be what each architecture itself computes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from c2c_search.errors import ConfigError
from c2c_search.inference.packed.context import PackedContext
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.inference.scoring import response_logits
from c2c_search.inference.scoring import score_options
from c2c_search.models.geometry import rope_window
from c2c_search.prompt_cache.prefill import prefill
from tests.architectures import ARCHITECTURES
from tests.architectures import WINDOW
from tests.architectures import packed_prompts
from tests.inference.conftest import ARRANGEMENTS
from tests.inference.greedy import generate


PROMPTS = [[5, 9, 12, 7, 30, 8, 11, 40, 41, 12, 13, 14, 17, 18, 19], [13, 4], [6, 12, 8, 11, 90]]
RESPONSES = [[[7, 7, 12]], [[11], [5, 6]], [[8, 9, 10, 11, 31, 32, 33, 34], [8, 13], [12]]]


def own_logits(model, prompt, response):
    return model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]


@pytest.fixture(params=ARCHITECTURES)
def model(request):
    return ARCHITECTURES[request.param]()


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("attention", ["as loaded", "eager"])
def test_logits_are_the_models_own(model, attention, arrange, arrangement):
    if attention == "eager":
        model.set_attn_implementation("eager")
    with arrange(arrangement):
        logits = response_logits(model, *packed_prompts(model, PROMPTS), RESPONSES)
    expected = [
        own_logits(model, prompt, response)
        for prompt, branches in zip(PROMPTS, RESPONSES, strict=True)
        for response in branches
    ]
    torch.testing.assert_close(logits, torch.cat(expected), atol=1e-4, rtol=1e-4)
    assert logits.std() > 0.01  # not equal for want of a difference


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_generate_is_the_models_own(model, arrange, arrangement):
    with arrange(arrangement):
        together = generate(model, *packed_prompts(model, PROMPTS), stop=set(), max_new_tokens=6)
    for prompt, answer in zip(PROMPTS, together, strict=True):
        ids = torch.tensor([prompt])
        own = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False
        )
        assert answer == own[0, len(prompt) :].tolist()


@pytest.mark.parametrize("name", ["gemma2", "cohere", "opt", "gpt2"])
def test_only_what_predicts_goes_through_the_head(name):
    model = ARCHITECTURES[name]()
    rows = []
    model.get_output_embeddings().register_forward_hook(
        lambda _, inputs, __: rows.append(inputs[0].shape[-2])
    )
    response_logits(model, *packed_prompts(model, PROMPTS), RESPONSES)
    assert rows == [sum(len(response) for branches in RESPONSES for response in branches)]


@pytest.mark.parametrize("name", ["gemma2", "cohere", "opt", "mistral"])
def test_gradients_pass_head_and_masks(name):
    model = ARCHITECTURES[name]()
    fused, last = packed_prompts(model, PROMPTS)
    packed, lengths = fused.packed.requires_grad_(), fused.lengths
    logits = response_logits(model, fused, last, RESPONSES)
    logits[: len(RESPONSES[0][0])].logsumexp(-1).sum().backward()
    per_token = packed.grad.abs().amax(dim=(0, 1, 3))
    assert torch.isfinite(packed.grad).all()
    assert (per_token[lengths[0] :] == 0).all()  # other prompts
    seen = lengths[0] + 1 - WINDOW if name == "mistral" else 0
    assert (per_token[:seen] == 0).all()
    assert (per_token[seen : lengths[0]] > 0).all()


# Positions


def test_entries_may_stand_in_any_order(model):
    fused, last = packed_prompts(model, PROMPTS)
    lengths = fused.lengths
    order = [torch.randperm(length) for length in lengths]
    starts = [sum(lengths[:row]) for row in range(len(lengths))]
    shuffled = torch.cat([start + places for start, places in zip(starts, order, strict=True)])
    other = FusedCache(fused.packed[:, :, shuffled], lengths, tuple(order))
    logits = response_logits(model, other, last, RESPONSES)
    expected = response_logits(model, fused, last, RESPONSES)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_the_next_position_is_not_the_number_of_entries():
    model = ARCHITECTURES["mistral"]()  # every layer forgets what lies outside its window
    fused, last = packed_prompts(model, PROMPTS)
    length = fused.lengths[0]
    far = torch.randn(2, 2, 3, fused.packed.shape[-1])
    near = torch.arange(length - WINDOW + 1, length)
    appended = FusedCache(
        torch.cat([far, fused.packed[:, :, near]], dim=2),
        lengths=(len(near) + 3,),
        positions=(torch.cat([torch.tensor([-3, -2, -1]), near]),),
        next_positions=(length,),
    )
    pack = (model, appended, last[:1])
    logits = response_logits(*pack, RESPONSES[:1])
    expected = own_logits(model, PROMPTS[0], RESPONSES[0][0])
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    (score,) = score_options(*pack, RESPONSES[:1])
    chosen = expected.log_softmax(-1).gather(1, torch.tensor(RESPONSES[0][0])[:, None])
    torch.testing.assert_close(score, chosen.sum()[None], atol=1e-4, rtol=1e-4)
    answer = generate(*pack, stop=set(), max_new_tokens=1)
    assert answer == [[int(expected[0].argmax())]]


def test_entries_at_negative_positions_are_read_like_others():
    model = ARCHITECTURES["llama"]()
    fused, last = packed_prompts(model, PROMPTS)
    lengths = fused.lengths
    appended = FusedCache(
        torch.cat([torch.randn(2, 2, 1, fused.packed.shape[-1]), fused.packed], dim=2),
        lengths=(lengths[0] + 1, *lengths[1:]),
        positions=(torch.arange(-1, lengths[0]), *map(torch.arange, lengths[1:])),
        next_positions=lengths,
    )
    logits = response_logits(model, appended, last, RESPONSES)
    before = response_logits(model, fused, last, RESPONSES)
    first = len(RESPONSES[0][0])
    assert not torch.allclose(logits[:first], before[:first], atol=1e-2)
    torch.testing.assert_close(logits[first:], before[first:], atol=1e-4, rtol=1e-4)


# What a configuration says and the architecture ignores


def test_a_window_that_the_architecture_ignores_is_ignored():
    model = ARCHITECTURES["llama"]()
    expected = response_logits(model, *packed_prompts(model, PROMPTS), RESPONSES)
    model.config.sliding_window = 2
    model.config.layer_types = ["sliding_attention"] * 2
    logits = response_logits(model, *packed_prompts(model, PROMPTS), RESPONSES)
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("name", ["llama, dynamic", "phi3, longrope"])
def test_beyond_the_window_of_its_rope_a_model_is_refused(name):
    model = ARCHITECTURES[name]()
    window = rope_window(model)
    with pytest.raises(ConfigError, match=f"fit into {window} tokens.*position {window}"):
        list(prefill(model, [[1] * (window + 1)]))
    ((_, (cache,)),) = prefill(model, [[1] * (window - 1)])
    pack = FusedCache(cache.permute(1, 2, 0, 3), (window - 1,)), [5]
    assert response_logits(model, *pack, [[[7]]]).shape == (1, 96)
    with pytest.raises(ConfigError, match="neither dynamic nor longrope"):
        response_logits(model, *pack, [[[7, 8]]])


def test_a_context_tells_where_it_goes_on():
    model = ARCHITECTURES["llama"]()
    fused, _ = packed_prompts(model, PROMPTS)
    assert PackedContext(model, fused).next_positions == fused.lengths
    elsewhere = replace(fused, next_positions=(9, 8, 7))
    assert PackedContext(model, elsewhere).next_positions == (9, 8, 7)
