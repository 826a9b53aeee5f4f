"""How much memory something takes at its peak, beyond what was in use before."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch


if TYPE_CHECKING:
    import psutil


_SECONDS_BETWEEN_SAMPLES = 0.002


def peak_memory(run: Callable[[], object], device: torch.device) -> int:
    """Bytes in use at the peak of ``run``, less those in use before it; at least 0.

    On CUDA what torch's allocator gave out, exactly. Elsewhere the process's resident set,
    sampled: freed memory that the C library keeps is not seen when it is used again (glibc gives
    it back before), nor is a peak between samples, so that this is a lower bound. What is sampled
    runs slower; do not time it.

    Args:
        run: What is measured.
        device: Where its tensors live.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return max(torch.cuda.max_memory_allocated(device) - before, 0)
    import psutil

    _give_back_freed_memory()
    with _Sampler(psutil.Process()) as sampler:
        run()
    return sampler.peak - sampler.before


def memory_kind(device: torch.device) -> str:
    """What `peak_memory` counts on a device, in words."""
    if device.type == "cuda":
        return "allocated by torch on the GPU, above what was allocated before"
    return "resident set of the process, sampled, above what it was before (a lower bound)"


def _give_back_freed_memory() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


class _Sampler:
    """Looks at a process's resident set again and again, from a thread of its own."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.before = self.peak = 0

    def __enter__(self) -> _Sampler:
        self.before = self.peak = self._resident()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        self.peak = max(self.peak, self._resident())

    def _watch(self) -> None:
        while not self._done.wait(_SECONDS_BETWEEN_SAMPLES):
            self.peak = max(self.peak, self._resident())

    def _resident(self) -> int:
        return int(self._process.memory_info().rss)
