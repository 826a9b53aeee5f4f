"""How much of a device's memory a process may still take."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

from c2c_search.host.memory_shortage import memory_limit


def free_memory(device: torch.device, root: Path = Path("/")) -> int:
    """Bytes that are left, on a CPU within the limit of this process's cgroup.

    Args:
        device: The device.
        root: Where ``proc`` and ``sys`` lie.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free, limit = psutil.virtual_memory().available, memory_limit(root)
    if limit is None:
        return free
    return max(0, min(free, limit - psutil.Process().memory_info().rss))
