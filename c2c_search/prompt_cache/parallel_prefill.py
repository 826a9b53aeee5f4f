"""Both models read at the same time, where one of them leaves the device idle."""

from __future__ import annotations

import os
from collections.abc import Callable
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING
from typing import Literal

import torch

from c2c_search.host.threads import usable_cores
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.prefill import BATCH_TOKENS
from c2c_search.prompt_cache.read_on import read_on
from c2c_search.prompt_cache.read_on import unread


if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController
    from transformers import PreTrainedModel

    from c2c_search.fuser.shapes import Source
    from c2c_search.prompt_cache.prefix_cache import PrefixCache


Read = Callable[[], PromptCaches]

_UNEVEN = 1.15
"""How much longer than all threads together the longer of two readings may take, by its work.

Measured on two cores: side by side took 0.68 to 0.94 of the time, the least for short prompts.
"""


def read_both(
    receiver: PreTrainedModel,
    receiver_prompts: Sequence[Sequence[int]],
    sharer: PreTrainedModel,
    sharer_prompts: Sequence[Sequence[int]],
    dtype: torch.dtype,
    source: Source = "kv",
    kept: PrefixCache | None = None,
) -> tuple[PromptCaches, PromptCaches]:
    """The prompt caches of a pair, computed now; up to rounding as one after the other.

    On one GPU each model has a stream of its own. On the CPU each has a thread, whose kernels run
    on all of torch's threads where there is a core for every one of them, and else on a share of
    them, if the work can be shared out evenly: two small jobs on half of the cores each are done
    sooner than one after the other on all. A model that is its own sharer reads once. The caches
    of a few prompts stay on a GPU.

    Args:
        receiver: The model that answers.
        receiver_prompts: Token ids of each prompt.
        sharer: The model that speaks.
        sharer_prompts: Its token ids of each prompt.
        dtype: What the caches are rounded to.
        source: What is kept of the sharer's prompts.
        kept: What was read before, which is not read again; see `read_on`.

    Returns:
        The receiver's caches and the sharer's.

    Raises:
        ConfigError: A prompt is longer than a model's `rope_window`.
    """
    own = partial(_read, receiver, receiver_prompts, dtype, "kv", kept)
    heard = partial(_read, sharer, sharer_prompts, dtype, source, kept)
    if sharer is receiver:
        caches = own()
        same = source == "kv" and [*map(tuple, sharer_prompts)] == [*map(tuple, receiver_prompts)]
        return caches, caches if same else heard()
    if kept is not None:
        receiver_prompts = unread(receiver, receiver_prompts, kept)
        sharer_prompts = unread(sharer, sharer_prompts, kept, source)
    how = parallel(receiver, receiver_prompts, sharer, sharer_prompts)
    if how == "streams":
        return _in_streams(own, heard, receiver.device)
    return (own(), heard()) if how is None else _in_threads(own, heard, *how)


def parallel(
    receiver: PreTrainedModel,
    receiver_prompts: Sequence[Sequence[int]],
    sharer: PreTrainedModel,
    sharer_prompts: Sequence[Sequence[int]],
) -> Literal["streams"] | tuple[int, int] | None:
    """How `read_both` lets two models read at once; its arguments.

    Returns:
        ``streams`` of a GPU; on the CPU the threads of the receiver's kernels and of the
        sharer's; None where one reads after the other, as where threads cannot be shared out
        (threadpoolctl is not installed).
    """
    devices = {receiver.device, sharer.device}
    if len(devices) == 1 and receiver.device.type == "cuda":
        return "streams"
    if devices != {torch.device("cpu")} or find_spec("threadpoolctl") is None:
        return None
    work = _work(receiver, receiver_prompts), _work(sharer, sharer_prompts)
    return _threads(*work, torch.get_num_threads(), usable_cores())


def _work(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> int:
    """Multiplications of reading, about: a token meets every weight but the vocabulary's."""
    weights = sum(weight.numel() for weight in model.base_model.parameters())
    return (weights - model.get_input_embeddings().weight.numel()) * sum(map(len, prompts))


def _threads(receiver: int, sharer: int, threads: int, cores: int) -> tuple[int, int] | None:
    """Threads for the receiver's kernels and for the sharer's; None for one after the other.

    Args:
        receiver: Its work, see `_work`.
        sharer: Its work.
        threads: Of torch.
        cores: That the process may use.
    """
    if 2 * threads <= cores:
        return threads, threads
    # MKL heeds a variable of its own before OpenMP's number, which is what can be shared out.
    if threads < 2 or not receiver + sharer or os.environ.get("MKL_NUM_THREADS"):
        return None
    first = min(max(round(threads * receiver / (receiver + sharer)), 1), threads - 1)
    longer = max(receiver / first, sharer / (threads - first))
    return (first, threads - first) if longer <= _UNEVEN * (receiver + sharer) / threads else None


def _in_threads(
    receiver: Read, sharer: Read, first: int, second: int
) -> tuple[PromptCaches, PromptCaches]:
    # Not `torch.set_num_threads`: MKL, which it tells too, then computes batched LU wrongly in
    # all of the process (torch 2.13). OpenMP's own number is that of the thread that sets it.
    openmp = _openmp()

    def beside() -> PromptCaches:
        torch.get_num_threads()  # which torch makes up for a new thread when it is first asked
        with openmp.limit(limits=second, user_api="openmp"):
            return sharer()

    with ThreadPoolExecutor(1) as pool, openmp.limit(limits=first, user_api="openmp"):
        second_caches = pool.submit(beside)
        return receiver(), second_caches.result()


@lru_cache
def _openmp() -> ThreadpoolController:
    """Finds the process's libraries, which takes a while: once."""
    from threadpoolctl import ThreadpoolController  # which a package of its own does without

    return ThreadpoolController()


def _in_streams(
    receiver: Read, sharer: Read, device: torch.device
) -> tuple[PromptCaches, PromptCaches]:
    here, beside = torch.cuda.current_stream(device), _beside(device)
    beside.wait_stream(here)
    with torch.cuda.stream(beside):
        second = sharer()
    first = receiver()
    here.wait_stream(beside)
    second.read_on(here)
    return first, second


@lru_cache
def _beside(device: torch.device) -> torch.cuda.Stream:
    """Always the same one: the memory that a stream has used is not given to another."""
    return torch.cuda.Stream(device)


def _read(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    dtype: torch.dtype,
    source: Source,
    kept: PrefixCache | None,
) -> PromptCaches:
    if kept is not None:
        return read_on(model, prompts, dtype, kept, source)
    # What one batch of the prefill holds was on the device all at once already.
    few = sum(map(len, prompts)) <= BATCH_TOKENS
    return PromptCaches.compute(model, prompts, dtype, keep_on_device=few, source=source)
