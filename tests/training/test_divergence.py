"""A loss that is no number must be told with its step, before anything is kept."""

from __future__ import annotations

import pytest
import torch

from c2c_search.training.divergence import DivergedError
from c2c_search.training.divergence import LossCheck


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_step_is_told(value):
    check = LossCheck()
    check.note(1, torch.tensor(1.0))
    with pytest.raises(DivergedError, match=f"the loss is {value} at step 2"):
        check.note(2, torch.tensor(value))
    check.settle()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_it_is_told_a_step_late_or_when_asked():
    check = LossCheck()
    check.note(1, torch.tensor(float("nan"), device="cuda"))
    with pytest.raises(DivergedError, match="at step 1"):
        check.note(2, torch.tensor(1.0, device="cuda"))
    check.note(3, torch.tensor(float("nan"), device="cuda"))
    with pytest.raises(DivergedError, match="at step 3"):
        check.settle()
