"""The machine that an evaluation ran on, in words."""

from __future__ import annotations

import platform
from pathlib import Path

import torch


def machine(dtype: str) -> str:
    """Processor, threads that torch uses, accelerators, system, and what the models compute in."""
    parts = [processor(), f"{torch.get_num_threads()} threads"]
    if torch.cuda.is_available():
        parts += [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    parts += [f"{platform.system()} {platform.machine()}", f"models in {dtype}"]
    return ", ".join(parts)


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
