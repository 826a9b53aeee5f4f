"""A training whose loss is no number any more, told with its step."""

from __future__ import annotations

import math

import torch


class DivergedError(Exception):
    """The loss is not a finite number any more."""


class LossCheck:
    """Looks at the loss of every step: at once on a CPU, one step late on a GPU.

    Reading a number from a GPU waits until everything queued has been computed, and then nothing
    is queued. A step later its copy has arrived, while the GPU computes that next step.
    """

    def __init__(self) -> None:
        self._unread: tuple[int, torch.Tensor, torch.cuda.Event | None] | None = None

    def note(self, step: int, loss: torch.Tensor) -> None:
        """Hand in the loss of a step, a tensor of one number.

        Raises:
            DivergedError: It, or the one before it, is infinite or NaN.
        """
        self.settle()
        if loss.is_cuda:
            copy = torch.empty(loss.shape, dtype=loss.dtype, pin_memory=True)
            copy.copy_(loss, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
            self._unread = step, copy, copied
        else:
            self._unread = step, loss, None
            self.settle()

    def settle(self) -> None:
        """Look at what was handed in last; to be called before anything is kept or told.

        Raises:
            DivergedError: It is infinite or NaN.
        """
        unread, self._unread = self._unread, None
        if unread is None:
            return
        step, loss, copied = unread
        if copied is not None:
            copied.synchronize()
        if not math.isfinite(value := float(loss)):
            raise DivergedError(f"the loss is {value} at step {step}")
