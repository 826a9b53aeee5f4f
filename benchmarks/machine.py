"""What a benchmark ran on, so that its numbers can be read elsewhere."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING
from typing import Any

import psutil
import torch
import transformers

from c2c_search.host.description import processor
from c2c_search.host.dtypes import name_of
from c2c_search.host.threads import usable_cores


if TYPE_CHECKING:
    from c2c_search.models.loading import LoadedModel


def describe(*models: LoadedModel) -> dict[str, Any]:
    """Processor, memory, device, libraries, and the dtype in which each model computes.

    Args:
        models: Those that the benchmark runs; none where other processes load them.
    """
    cuda = torch.cuda.is_available()
    described: dict[str, Any] = {
        "processor": processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "system": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    if models:
        described["models"] = {
            model.identity.source: name_of(model.model.dtype) for model in models
        }
    return described


def in_words(described: dict[str, Any]) -> str:
    """One line of what `describe` found."""
    models = "".join(
        f", {source} in {dtype}" for source, dtype in described.get("models", {}).items()
    )
    device = "" if described["device"] == "cpu" else f", {described['device']}"
    return (
        f"{described['processor']} ({described['instructions']}), {described['cores']} cores, "
        f"{described['threads']} threads, {described['memory_gib']} GiB{device}, "
        f"torch {described['torch']}{models}"
    )
