"""The worker's process, made fit for DeepSpeed and for long runs on any device."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEEP = 2**31 - 1


def die_with_parent(parent: int) -> None:
    """On Linux, have the kernel kill this process when ``parent`` is gone, however it went."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it went before the call
            os._exit(1)


def keep_freed_memory() -> None:
    """On glibc, keep freed blocks instead of giving them back to the system.

    A training step frees and claims the same tensors again and again; fresh pages cost more
    than the arithmetic (measured on two cores: element-wise operations 2 to 3 times faster).
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_THRESHOLD, _KEEP)
            libc.mallopt(_M_TRIM_THRESHOLD, _KEEP)


def release_memory() -> None:
    """Give back what a finished trial leaves behind."""
    gc.collect()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)


def start_deepspeed() -> ModuleType:
    """Import DeepSpeed and join this process's group (`own_ranks`), once per process.

    Needs neither MPI nor a port nor a compiler: DeepSpeed would look for the first two, and
    build an inference operator with the third (30 to 70 s) that training never calls.
    """
    import torch

    from c2c_search.training.ranks import own_ranks

    cpu = not torch.cuda.is_available()
    if cpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    ranks = own_ranks()
    # Each rank sees its own device alone.
    places = {"RANK": ranks.index, "LOCAL_RANK": 0, "WORLD_SIZE": ranks.count}
    for name, value in places.items():
        os.environ.setdefault(name, str(value))
    warnings.filterwarnings(
        "ignore", r"`torch\.distributed\.\w+` is deprecated", category=FutureWarning
    )
    with _without("mlflow"):  # which its autotuner imports if it can: a second that a worker saves
        import deepspeed

    if cpu:
        deepspeed.ops.__compatible_ops__ = {}
    ranks.connect()
    return deepspeed


@contextmanager
def _without(name: str) -> Iterator[None]:
    """Have a module seem not to be installed within the block, unless it is imported already."""
    hidden = name not in sys.modules
    if hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules[name]
