from __future__ import annotations

import torch

from c2c_search.training.memory.allocations import Allocations
from c2c_search.training.memory.prediction import Rehearsal


def test_only_what_is_alive_counts():
    with Allocations("cpu") as counted:
        kept = torch.zeros(1000)
        view = kept[10:].reshape(-1, 2)
        passing = torch.zeros(500)
        del passing
        another = torch.zeros(100)
        kept.add_(1)
    assert counted.peak == 4 * 1500
    assert counted.live == 4 * 1100
    del kept
    assert counted.live == 4 * 1100
    del view, another
    assert counted.live == 0


def test_tensors_made_before_do_not_count():
    before = torch.zeros(1000)
    with Allocations("cpu") as counted:
        before.view(10, 100).mul_(2)
        assert before[:5].sum() == 0
    assert counted.peak <= 16  # the sum and the comparison


def test_attention_without_content_takes_the_kernel_of_its_device():
    def peak():
        inputs = [torch.empty(1, 4, 64, 16, requires_grad=True) for _ in range(3)]
        mask = torch.zeros(1, 1, 64, 64)
        with Allocations("cpu") as counted:
            attended = torch.nn.functional.scaled_dot_product_attention(*inputs, mask)
            attended.sum().backward()
        return counted.peak

    with Rehearsal(torch.device("cpu")).without_content():
        rehearsed = peak()
    assert rehearsed == peak()
