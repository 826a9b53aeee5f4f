"""Peak memory of the process, sampled."""

from __future__ import annotations

import torch

from c2c_search.evaluation.latency.peak_memory import memory_kind
from c2c_search.evaluation.latency.peak_memory import peak_memory


CPU = torch.device("cpu")


def test_a_large_tensor_that_is_freed_again_is_seen() -> None:
    # 64 MB, more than any allocator keeps; at least half of it must be seen.
    found = peak_memory(lambda: torch.ones(16_000_000).sum(), CPU)
    assert 32_000_000 < found < 640_000_000


def test_nothing_takes_no_memory_to_speak_of() -> None:
    assert 0 <= peak_memory(lambda: None, CPU) < 8_000_000


def test_the_lower_bound_says_that_it_is_one() -> None:
    assert "lower bound" in memory_kind(CPU)
    assert "GPU" in memory_kind(torch.device("cuda"))
