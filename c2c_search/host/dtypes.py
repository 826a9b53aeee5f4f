"""The dtype that the two frozen models compute in: asked for, recorded, or the faster one.

Importing this costs nothing: the driver of a study asks what the user wants, and only the process
that computes imports torch.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING
from typing import NamedTuple
from typing import cast

from c2c_search.errors import ConfigError


if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


VARIABLE = "C2C_SEARCH_DTYPE"
"""Environment variable that chooses: ``float32``, ``bfloat16``, or ``auto`` (as if unset)."""

DTYPES = ("float32", "bfloat16")

# The models must not compute otherwise tomorrow than today on one machine: other load must not
# decide. Processors with bfloat16 instructions gain 2 and more (AVX-512) or 5 and more (AMX);
# those that imitate them lose. Only where nobody can tell which they are is the gain measured,
# and one that other load could turn into a loss left alone.
_WORTH_IT = 1.3
_BEARABLE = 0.5

# A decoder layer's gate or up projection of a small model, reading the tokens of a short batch.
_TOKENS, _INPUTS, _OUTPUTS = 32, 768, 2048
_TURNS = 3  # at least
_SECONDS = 0.1
# Other load, while one measurement lasts, can make float32 look slow: so many more must agree.
_CONFIRMATIONS = 2


def requested() -> str | None:
    """The dtype that `VARIABLE` names; None where the choice is ours.

    Raises:
        ConfigError: It names something else.
    """
    name = os.environ.get(VARIABLE, "").strip() or "auto"
    if name not in (*DTYPES, "auto"):
        raise ConfigError(
            f"{VARIABLE} must be one of {', '.join(DTYPES)} and auto.",
            value=name,
            hint="Unset it to let the machine choose.",
        )
    return None if name == "auto" else name


def name_of(dtype: torch.dtype) -> str:
    """A dtype as it is written down, e.g. ``bfloat16``."""
    return str(dtype).removeprefix("torch.")


class Choice(NamedTuple):
    """What models compute in, and why."""

    dtype: torch.dtype
    reason: str


def choose_dtype(device: torch.device) -> Choice:
    """What models compute in on a device when nobody says otherwise.

    What `VARIABLE` names; else bfloat16 on a GPU, and on a CPU with instructions for it. Of a CPU
    that cannot be asked, the gain is measured: that oneDNN has kernels for it does not say that
    they are fast.

    Raises:
        ConfigError: `VARIABLE` names no dtype.
    """
    import torch

    if (name := requested()) is not None:
        return Choice(getattr(torch, name), "as asked for, or as recorded")
    if device.type != "cpu":
        return Choice(torch.bfloat16, "on a GPU")
    if (native := has_instructions()) is not None:
        having = "has" if native else "has no"
        reason = f"this processor {having} bfloat16 instructions that torch uses"
        return Choice(torch.bfloat16 if native else torch.float32, reason)
    gain = bfloat16_gain()
    dtype = torch.bfloat16 if gain >= _WORTH_IT else torch.float32
    return Choice(dtype, f"this processor multiplies {gain:.1f} times as fast in bfloat16")


def default_dtype(device: torch.device) -> torch.dtype:
    """The dtype of `choose_dtype`."""
    return choose_dtype(device).dtype


def recorded_dtype(
    name: str | None, device: torch.device, notify: Callable[[str], None]
) -> torch.dtype:
    """What models compute in that were measured in a dtype, perhaps on another machine.

    That dtype, unless `VARIABLE` names another one or this CPU would take at least twice as long
    in it as in float32, which is told.

    Args:
        name: What they were measured in; None for the records of versions that always took
            bfloat16 on a GPU and float32 on a CPU.
        device: Where they are to compute.
        notify: Told where it is something else.

    Raises:
        ConfigError: `VARIABLE` names no dtype.
    """
    import torch

    name = name or ("float32" if device.type == "cpu" else "bfloat16")
    chosen = requested() or name
    slow = requested() is None and is_slow(getattr(torch, chosen), device)
    if slow:
        chosen = "float32"
    if chosen != name:
        notify(
            f"The models were measured in {name} and compute in {chosen} here"
            + (f", since this processor is slow in {name}" if slow else f", as {VARIABLE} says")
            + ": log-likelihoods differ in the second decimal, and an answer now and then."
        )
    return cast("torch.dtype", getattr(torch, chosen))


def named_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """A dtype that models can compute in, by itself or by its name; None for ``auto`` and None.

    Raises:
        ConfigError: It is none.
    """
    import torch

    if dtype is None or dtype == "auto":
        return None
    found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ConfigError(
            "dtype must be one that models compute in.",
            value=str(dtype),
            hint="For example torch.float32, 'bfloat16', or 'auto' for as measured.",
        )
    return found


def convert(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Have a model compute in a dtype, in place, as if it had been loaded in it.

    What its weights' file does not hold, such as RoPE's frequencies, stays as exact as it is.
    """
    stored = set(model.state_dict())
    exact = [(name, buffer) for name, buffer in model.named_buffers() if name not in stored]
    model.to(dtype)
    for name, buffer in exact:
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, buffer)


def is_slow(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether a device takes at least twice as long in a dtype as in float32."""
    import torch

    if dtype != torch.bfloat16 or device.type != "cpu":
        return False
    return not has_instructions() and bfloat16_gain() < _BEARABLE


def has_instructions() -> bool | None:
    """Whether torch multiplies bfloat16 by this CPU's own instructions; None if nobody can tell.

    On x86 torch knows which there are: AVX-512 BF16, or AMX tiles. No public function says so.
    """
    import torch

    if not _has_kernels():
        return False
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return None
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    answers = [getattr(torch.cpu, name, lambda: None)() for name in names]
    return None if None in answers and True not in answers else any(answers)


@lru_cache(maxsize=1)
def bfloat16_gain() -> float:
    """How many times as fast as in float32 this CPU multiplies matrices in bfloat16.

    0 without measuring where torch has no kernels for it and would multiply element by element,
    a hundred times slower. Measured once per process, in about 100 ms; where it seems worth it,
    again, and the least counts.
    """
    if not _has_kernels():
        return 0.0
    gain = _measured_gain()
    for _ in range(_CONFIRMATIONS):
        if gain < _WORTH_IT:
            break
        gain = min(gain, _measured_gain())
    return gain


def _has_kernels() -> bool:
    """Whether oneDNN (or, on ARM, the Compute Library below it) multiplies bfloat16."""
    import torch

    if not torch.backends.mkldnn.is_available():
        return False
    # No public function asks this. A version without it keeps to float32, which is always right.
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return supported is not None and bool(supported())


def _measured_gain() -> float:
    """Time in float32 over time in bfloat16, each the least of several turns, turn by turn."""
    import torch

    products = {name: _products(getattr(torch, name)) for name in DTYPES}
    times: dict[str, list[float]] = {name: [] for name in DTYPES}
    begun = time.perf_counter()
    with torch.no_grad():
        # Many short turns: other processes disturb some of them, and the best of each is compared.
        while len(times["float32"]) < _TURNS or time.perf_counter() - begun < _SECONDS:
            for name, product in products.items():
                start = time.perf_counter()
                product()
                times[name].append(time.perf_counter() - start)
    return min(times["float32"]) / min(times["bfloat16"])


def _products(dtype: torch.dtype) -> Callable[[], None]:
    """A linear map, the product that takes its gradient back, and the map of a single token.

    The last costs little, unless it has no kernel: then writing would be slow.
    """
    import torch

    # Not random: the global generator belongs to the caller's seed.
    features = torch.linspace(-1, 1, _TOKENS * _INPUTS).view(_TOKENS, _INPUTS).to(dtype)
    weight = torch.linspace(-1, 1, _OUTPUTS * _INPUTS).view(_OUTPUTS, _INPUTS).to(dtype)

    def product() -> None:
        output = torch.nn.functional.linear(features, weight)
        torch.mm(output, weight)
        torch.nn.functional.linear(features[:1], weight)

    return product
