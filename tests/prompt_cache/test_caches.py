"""Packs must hold the tokens asked for, from whatever shard they come."""

from __future__ import annotations

import pytest
import torch

from c2c_search.errors import ConfigError
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.caches import rounded


pytestmark = pytest.mark.usefixtures("a_batch_for_each_length")

PROMPTS = [[1, 2, 3], [1, 5], [1, 2, 9, 9], [1, 7], [1, 2, 8]]


def test_packed_takes_chosen_tokens(tiny_model):
    caches = PromptCaches.compute(tiny_model().model, PROMPTS)
    # By length: prompt 2, then 0 and 4, then 1 and 3.
    assert caches.locations == ((1, 0), (2, 0), (0, 0), (2, 2), (1, 3))
    packed = caches.packed(
        [2, 0, 4], [torch.tensor([0, 3, 3]), torch.tensor([1]), torch.arange(2)]
    )
    assert packed.shape == (2, 2, 6, 16)
    assert packed.dtype == torch.float32
    assert packed.is_contiguous()
    assert torch.equal(packed[:, :, 1], caches.shards[0][3].float())
    assert torch.equal(packed[:, :, 2], caches.shards[0][3].float())
    assert torch.equal(packed[:, :, 3], caches.shards[1][1].float())
    assert torch.equal(packed[:, :, 5], caches.shards[1][4].float())


def test_on_the_cpu_nothing_moves(tiny_model):
    caches = PromptCaches.compute(tiny_model().model, PROMPTS)
    assert caches.near(torch.device("cpu")) is caches


def test_float16_refuses_what_it_cannot_hold():
    with pytest.raises(ConfigError, match=r"65,504.* Got 70000\.0"):
        rounded(torch.full((1, 2, 1, 1), 70_000.0), torch.float16)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_packs_are_the_same(tiny_model):
    caches = PromptCaches.compute(tiny_model().model, PROMPTS)
    near = caches.near(torch.device("cuda"))
    asked = [4, 2, 0], [torch.arange(3), torch.tensor([3, 0]), torch.arange(2)]
    assert near.packed(*asked).is_cuda
    assert torch.equal(near.packed(*asked).cpu(), caches.packed(*asked))
