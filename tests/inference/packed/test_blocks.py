"""Where attention runs in blocks, it is the attention of one sequence."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.inference.decoding import go_on
from c2c_search.inference.packed.blocks import _CPU
from c2c_search.inference.packed.blocks import Blocks
from c2c_search.inference.packed.blocks import _grouped
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.inference.packed.tokens import TRUNK
from c2c_search.inference.packed.tokens import Tokens
from c2c_search.inference.scoring import response_logits
from tests.architectures import ARCHITECTURES
from tests.architectures import WINDOW
from tests.architectures import packed_prompts
from tests.inference.conftest import ARRANGEMENTS


ON_CPU = (torch.device("cpu"), torch.float32)
PROMPTS = [[7], [1 + n * 7 % 90 for n in range(WINDOW * 7)], [4, 8, 15], [16, 23, 42, 5, 9]]
RESPONSES = [[[7, 7, 12]], [[11], [5, 6]], [[8, 9, 10, 31, 32, 33], [8, 13], [12]], [[3, 2]]]
IN_BLOCKS = ARRANGEMENTS[1:]


def packed(model):
    """Prompts of one token to some forty; nothing is read of the first but its last token."""
    fused, last = packed_prompts(model, PROMPTS[1:])
    return FusedCache(fused.packed, (0, *fused.lengths)), [PROMPTS[0][0], *last]


def tokens(*counts):
    prompt = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return Tokens(prompt, torch.full_like(prompt, TRUNK), torch.arange(len(prompt)))


def logits_and_gradient(model, fused, last):
    leaf = fused.packed.clone().requires_grad_()
    other = FusedCache(leaf, fused.lengths, fused.positions, fused.next_positions)
    logits = response_logits(model, other, last, RESPONSES)
    weights = torch.sin(torch.arange(logits.numel())).view_as(logits)
    (logits * weights).sum().backward()
    return logits.detach(), leaf.grad


@pytest.mark.parametrize("arrangement", IN_BLOCKS)
@pytest.mark.parametrize("attention", ["as loaded", "eager"])
@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3", "gemma2", "gpt_oss", "llama4"])
def test_logits_and_gradients_are_those_of_one_sequence(arrange, name, attention, arrangement):
    model = ARCHITECTURES[name]()
    if attention == "eager":
        model.set_attn_implementation("eager")
    with arrange("one sequence"):
        expected, gradient = logits_and_gradient(model, *packed(model))
    with arrange(arrangement):
        logits, found = logits_and_gradient(model, *packed(model))
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found, gradient, atol=1e-3, rtol=1e-3)
    assert found.abs().max() > 0.01


@pytest.mark.parametrize("arrangement", IN_BLOCKS)
def test_appended_entries_are_read_like_others(arrange, arrangement):
    model = ARCHITECTURES["mistral"]()
    fused, last = packed(model)
    further = torch.randn(2, 2, 3, fused.packed.shape[-1])
    first, *others = fused.lengths
    appended = FusedCache(
        torch.cat([further, fused.packed], dim=2),
        (first + 3, *others),
        (torch.arange(-3, 0), *map(torch.arange, others)),
        fused.lengths,
    )
    with arrange("one sequence"):
        expected, gradient = logits_and_gradient(model, appended, last)
    with arrange(arrangement):
        logits, found = logits_and_gradient(model, appended, last)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found, gradient, atol=1e-3, rtol=1e-3)
    assert found[:, :, :3].abs().max() > 0


@pytest.mark.parametrize("arrangement", IN_BLOCKS)
@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt_oss"])
def test_prompts_that_end_early_leave_the_blocks(arrange, name, arrangement):
    model = ARCHITECTURES[name]()

    def answers():
        return go_on(
            model,
            *packed(model),
            choose=lambda _, logits: logits.argmax(dim=-1).tolist(),
            ended=lambda _, ids: len(ids) >= 2 + ids[0] % 7,
            max_new_tokens=8,
        )

    with arrange("one sequence"):
        expected = answers()
    with arrange(arrangement):
        assert answers() == expected
    assert len({len(answer) for answer in expected}) > 1


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(lengths=st.lists(st.integers(2, 20), min_size=1, max_size=6), data=st.data())
def test_what_a_prompt_hears_does_not_depend_on_the_pack(arrange, shared_model, lengths, data):
    model = shared_model
    ids = st.lists(st.integers(1, 90), min_size=1, max_size=7)
    prompts = [[1 + (n * length) % 90 for n in range(length)] for length in lengths]
    responses = [data.draw(st.lists(ids, min_size=1, max_size=3)) for _ in prompts]
    alone = [
        response_logits(model, *packed_prompts(model, [prompt]), [response])
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    with arrange(data.draw(st.sampled_from(ARRANGEMENTS))):
        together = response_logits(model, *packed_prompts(model, prompts), responses)
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def shared_model():
    return ARCHITECTURES["gemma3"]()


def test_no_number_of_one_prompt_reaches_another(arrange):
    model = ARCHITECTURES["llama"]()
    fused, last = packed(model)
    fused.packed[:, :, -1] = torch.nan  # of the last prompt
    with arrange("blocks of equals"):
        logits = response_logits(model, fused, last, RESPONSES)
    others = sum(len(response) for branches in RESPONSES[:-1] for response in branches)
    assert logits[:others].isfinite().all()
    assert logits[others:].isnan().all()


# When blocks pay


@pytest.mark.parametrize(
    ("fed", "read", "pays"),
    [
        ((40,), (1000,), False),  # a prompt alone
        ((1,) * 8, (30,) * 8, False),  # a few short questions, a token each
        ((3,) * 8, (25,) * 8, False),
        ((1,) * 32, (200,) * 32, True),
        ((3,) * 32, (25,) * 32, True),
        ((50,) * 8, (500,) * 8, True),
    ],
)
def test_blocks_are_for_many_tokens_of_many_prompts(fed, read, pays):
    more = tokens(*fed)
    assert (Blocks.of(more, tokens(*read).then(more), *ON_CPU) is not None) == pays


@pytest.mark.parametrize(
    ("device", "dtype", "pays"),
    [
        ("cpu", torch.float32, True),
        ("cpu", torch.bfloat16, False),
        ("meta", torch.float32, False),
    ],
)
def test_it_takes_more_where_a_pair_costs_less_than_a_block(device, dtype, pays):
    more = tokens(*[3] * 32)
    read = tokens(*[25] * 32).then(more)
    assert (Blocks.of(more, read, torch.device(device), dtype) is not None) == pays


def test_prompts_of_similar_size_share_a_block():
    rows, cost = _grouped([3, 200, 3, 200, 0, 4], [40, 2090, 50, 2100, 9, 45], _CPU)
    assert rows == [[3, 1], [2, 5, 0]]
    assert cost == (2 * 2100 * 216 + 4096) + (3 * 50 * 20 + 4096)


def test_padding_must_cost_less_than_a_further_block():
    rows, _ = _grouped([200, 200], [2000, 2100], _CPU)
    assert rows == [[1], [0]]


def test_a_block_is_padded_with_its_own_prompts_first_token():
    read, more = tokens(2, 60, 56), tokens(0, 95, 100)
    blocks = Blocks.of(more, read.then(more), *ON_CPU)
    (group,) = blocks.groups
    assert group.lengths.tolist() == [156, 155]
    assert group.fed.shape == (2, 100)
    assert group.fed[1].tolist() == [*range(95), *[0] * 5]
    assert group.read[1].tolist() == [*range(2, 62), *range(118, 213), 2]
    assert not blocks.read.complete  # the first prompt has no token that attends
    assert blocks.fed.complete
