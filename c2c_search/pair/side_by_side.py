"""Pair room: both models read at the same time, where one of them leaves the device idle."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from functools import partial
from typing import TYPE_CHECKING

import torch

from c2c_search.pair.caches import PromptCaches
from c2c_search.pair.cores import usable_cores
from c2c_search.pair.prefill import BATCH_TOKENS


if TYPE_CHECKING:
    from transformers import PreTrainedModel


Read = Callable[[], PromptCaches]


def read_both(
    receiver: PreTrainedModel,
    receiver_prompts: Sequence[Sequence[int]],
    sharer: PreTrainedModel,
    sharer_prompts: Sequence[Sequence[int]],
    dtype: torch.dtype,
) -> tuple[PromptCaches, PromptCaches]:
    """The prompt caches of a pair, computed now; the same as one after the other.

    On one GPU each model has a stream of its own. On the CPU each has a thread, if the kernels
    of both together (`torch.get_num_threads` each) have a core for every thread. A model that
    is its own sharer reads once. The caches of a few prompts stay on a GPU.

    Args:
        receiver: The model that answers.
        receiver_prompts: Token ids of each prompt.
        sharer: The model that speaks.
        sharer_prompts: Its token ids of each prompt.
        dtype: What the caches are rounded to.

    Returns:
        The receiver's caches and the sharer's.

    Raises:
        ConfigError: A prompt is longer than a model's `rope_window`.
    """
    own = partial(_read, receiver, receiver_prompts, dtype)
    heard = partial(_read, sharer, sharer_prompts, dtype)
    if sharer is receiver:
        caches = own()
        same = [*map(tuple, sharer_prompts)] == [*map(tuple, receiver_prompts)]
        return caches, caches if same else heard()
    devices = {receiver.device, sharer.device}
    if len(devices) == 1 and receiver.device.type == "cuda":
        return _in_streams(own, heard, receiver.device)
    if devices == {torch.device("cpu")} and 2 * torch.get_num_threads() <= usable_cores():
        with ThreadPoolExecutor(1) as pool:
            beside = pool.submit(heard)
            return own(), beside.result()
    return own(), heard()


def _in_streams(own: Read, heard: Read, device: torch.device) -> tuple[PromptCaches, PromptCaches]:
    here, beside = torch.cuda.current_stream(device), _beside(device)
    beside.wait_stream(here)
    with torch.cuda.stream(beside):
        second = heard()
    first = own()
    here.wait_stream(beside)
    second.read_on(here)
    return first, second


@lru_cache
def _beside(device: torch.device) -> torch.cuda.Stream:
    """Always the same one: the memory that a stream has used is not given to another."""
    return torch.cuda.Stream(device)


def _read(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], dtype: torch.dtype
) -> PromptCaches:
    # What one batch of the prefill holds was on the device all at once already.
    few = sum(map(len, prompts)) <= BATCH_TOKENS
    return PromptCaches.compute(model, prompts, dtype, keep_on_device=few)
