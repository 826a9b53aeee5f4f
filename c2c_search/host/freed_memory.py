"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
import sys


def give_back_memory() -> None:
    """Have the C library return what it keeps of freed memory, where it can (glibc).

    Tensors of ever new sizes leave holes, which it keeps for itself: in a process that runs for
    long, more and more.
    """
    if not sys.platform.startswith("linux"):
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
