"""Where time and memory go: by parts of a program, and by torch's operators."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import asdict
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.profiler import ProfilerActivity
from torch.profiler import profile as torch_profile
from torch.profiler import record_function

from c2c_search.evaluation.latency.peak_memory import memory_kind
from c2c_search.evaluation.latency.peak_memory import peak_memory


if TYPE_CHECKING:
    from transformers import PreTrainedModel


Methods = Mapping[str, tuple[type, str]]
"""The class and the name of the method that is each part of a program."""

REST = "everything else"
OPTIMIZER = "optimizer"
_OPERATORS = 10


@dataclass(frozen=True)
class Line:
    """What one part, or one operator, takes.

    Args:
        name: Its name.
        calls: How often it is called in a run.
        seconds: In it, and in no other part (operator) that it calls.
        share: Of all seconds.
        bytes: That it allocates and does not free itself; of a part, with all it calls.
    """

    name: str
    calls: int
    seconds: float
    share: float
    bytes: int


@dataclass(frozen=True)
class Profile:
    """Where time and memory go.

    Args:
        seconds: Of one run, as a whole, under the watch of the parts alone.
        parts: In falling order of their seconds.
        operators: Those that take most; the profiler that sees them slows them down.
        peak: Bytes in use at the peak, above those before.
        peak_of: What the peak counts, in words.
    """

    seconds: float
    parts: list[Line]
    operators: list[Line]
    peak: int
    peak_of: str

    def as_json(self) -> dict[str, Any]:
        """The same as dictionaries."""
        return asdict(self)

    def in_words(self) -> str:
        """Two short tables."""
        peak = f"{self.peak / 2**20:.0f} MiB at the peak ({self.peak_of})"
        lines = [f"{self.seconds:.3f} s a run, {peak}"]
        for title, table in (("part", self.parts), ("operator, alone", self.operators)):
            lines.append(f"  {title:<44}{'calls':>7}{'ms':>10}{'share':>8}{'MiB kept':>10}")
            lines += [
                f"  {line.name[:43]:<44}{line.calls:>7}{1e3 * line.seconds:>10.1f}"
                f"{line.share:>8.1%}{line.bytes / 2**20:>10.1f}"
                for line in table
            ]
        return "\n".join(lines)


def model_parts(*models: PreTrainedModel) -> dict[str, tuple[type, str]]:
    """Trunk and head of language models as parts, by the names of their classes."""
    parts = {}
    for model in models:
        trunk, whole = _defines(type(model.base_model)), _defines(type(model))
        parts[trunk.__name__] = (trunk, "forward")
        parts[f"{whole.__name__}: head"] = (whole, "forward")
    return parts


def _defines(owner: type) -> type:
    """The class from which one has its forward method."""
    return next(each for each in owner.__mro__ if "forward" in vars(each))


def profile(run: Callable[[], object], methods: Methods, device: torch.device) -> Profile:
    """Run something four times: to warm up, and for parts, memory and operators.

    Args:
        run: What is looked at.
        methods: Its parts; what they call counts to the innermost. Optimizer steps, and what
            belongs to no part, are parts of their own.
        device: Where it computes.
    """
    run()
    stack = _Stack(device)
    with _watched(methods, stack):
        stack.push(REST)
        run()
        stack.pop()
    peak = peak_memory(run, device)
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with (
        _watched(methods, _Ranges()),
        torch_profile(activities=activities, profile_memory=True) as profiled,
    ):
        run()
    # Kernels on a device stand under the operator that launched them, and again by themselves.
    events = [each for each in profiled.key_averages() if each.device_type == DeviceType.CPU]
    kept = {event.key: _bytes(event, device, alone=False) for event in events}
    seconds = sum(stack.seconds.values())
    return Profile(
        seconds=seconds,
        parts=sorted(
            (
                Line(name, stack.calls[name], took, took / seconds, kept.get(name, 0))
                for name, took in stack.seconds.items()
            ),
            key=lambda line: -line.seconds,
        ),
        operators=_operators(events, {*methods, OPTIMIZER}, device),
        peak=peak,
        peak_of=memory_kind(device),
    )


def _operators(events: Any, parts: set[str], device: torch.device) -> list[Line]:
    """The operators that take most seconds, on the device where there is one."""
    on_device = device.type == "cuda"
    found = [
        (event, event.self_device_time_total if on_device else event.self_cpu_time_total)
        for event in events
        if event.key not in parts and not event.key.startswith(("ProfilerStep", "Optimizer."))
    ]
    total = sum(took for _, took in found) or 1
    most = sorted(found, key=lambda each: -each[1])[:_OPERATORS]
    return [
        Line(event.key, event.count, took / 1e6, took / total, _bytes(event, device, alone=True))
        for event, took in most
    ]


def _bytes(event: Any, device: torch.device, *, alone: bool) -> int:
    kind = "device" if device.type == "cuda" else "cpu"
    return int(getattr(event, f"{'self_' if alone else ''}{kind}_memory_usage"))


class _Stack:
    """Counts every second to the innermost part that runs."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._running: list[str] = []
        self._last = 0.0
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    def push(self, name: str) -> None:
        self._count()
        self._running.append(name)
        self.calls[name] = self.calls.get(name, 0) + 1

    def pop(self) -> None:
        self._count()
        self._running.pop()

    def _count(self) -> None:
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        now = time.perf_counter()
        if self._running:
            name = self._running[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


class _Ranges:
    """Tells torch's profiler which part runs."""

    def __init__(self) -> None:
        self._open: list[record_function] = []

    def push(self, name: str) -> None:
        self._open.append(record_function(name))
        self._open[-1].__enter__()

    def pop(self) -> None:
        self._open.pop().__exit__(None, None, None)


@contextmanager
def _watched(methods: Methods, listener: _Stack | _Ranges) -> Iterator[None]:
    """Tell a listener whenever one of the methods, or an optimizer's step, begins and ends."""
    own = {where: vars(where[0])[where[1]] for where in methods.values()}

    def wrapped(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*arguments: Any, **named: Any) -> Any:
            listener.push(name)
            try:
                return method(*arguments, **named)
            finally:
                listener.pop()

        return call

    hooks = [
        register_optimizer_step_pre_hook(lambda *_: listener.push(OPTIMIZER)),
        register_optimizer_step_post_hook(lambda *_: listener.pop()),
    ]
    try:
        for name, (owner, method) in methods.items():
            setattr(owner, method, wrapped(name, own[owner, method]))
        yield
    finally:
        for (owner, method), function in own.items():
            setattr(owner, method, function)
        for hook in hooks:
            hook.remove()
