"""Packing a pair's prompts."""

from __future__ import annotations

from itertools import accumulate

import pytest
import torch

from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.tokenization.token_alignment import EncodedPrompt


@pytest.fixture
def prompts():
    """Caches whose only number is the token's place in its store."""

    def caches(lengths: list[int]) -> PromptCaches:
        starts = [0, *accumulate(lengths)]
        tokens = torch.arange(starts[-1]).to(torch.bfloat16)[:, None, None, None]
        shard = tokens.expand(-1, 2, 1, 1).contiguous()
        return PromptCaches((shard,), tuple((0, start) for start in starts[:-1]))

    encoded = (
        EncodedPrompt((10, 11, 12), (20, 21), (0, 0, 1)),
        EncodedPrompt((13, 14, 15, 16, 17), (22, 23, 24, 25), (0, 1, 2, 2, 3)),
    )
    return PairPrompts(encoded, caches([3, 5]), caches([2, 4]))


def test_last_token_is_left_out(prompts):
    batch = prompts.batch([1, 0])
    assert batch.lengths == (4, 2)
    assert batch.last_ids == (17, 12)
    assert batch.receiver[0, 0, :, 0].tolist() == [3, 4, 5, 6, 0, 1]
    assert batch.sharer[0, 0, :, 0].tolist() == [2, 3, 4, 4, 0, 0]


def test_partner_is_matched_from_both_ends(prompts):
    batch = prompts.batch([1], partners=[0])
    assert batch.lengths == (4,)
    # Prompt 0 has two aligned tokens: the first half from its start, the rest from its end.
    assert batch.sharer[0, 0, :, 0].tolist() == [0, 0, 0, 0]
    batch = prompts.batch([0], partners=[1])
    assert batch.sharer[0, 0, :, 0].tolist() == [2, 4]


def test_sharer_alone_answers_from_its_own_caches(prompts):
    alone = prompts.of_sharer().batch([0, 1])
    assert alone.lengths == (1, 3)
    assert alone.last_ids == (21, 25)
    assert alone.receiver[0, 0, :, 0].tolist() == [0, 2, 3, 4]
    assert torch.equal(alone.receiver, alone.sharer)


def test_a_model_alone_hears_itself(prompts):
    batch = PairPrompts.alone([[20, 21], [22, 23, 24, 25]], prompts.sharer).batch([1])
    assert (batch.lengths, batch.last_ids) == ((3,), (25,))
    assert batch.receiver[0, 0, :, 0].tolist() == batch.sharer[0, 0, :, 0].tolist() == [2, 3, 4]
