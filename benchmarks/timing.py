"""Ways of doing the same, timed turn by turn in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

import torch


Times = dict[str, list[float]]
"""Seconds of each turn, by the name of what was timed."""


class Watch:
    """Takes the time of parts of something, each when all of its arithmetic is done."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._last = self._now()
        self.parts: dict[str, float] = {}

    def lap(self, part: str) -> None:
        """Count the seconds since the last lap to a part."""
        now = self._now()
        self.parts[part] = self.parts.get(part, 0.0) + now - self._last
        self._last = now

    @property
    def seconds(self) -> float:
        """Of all laps."""
        return sum(self.parts.values())

    def _now(self) -> float:
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        return time.perf_counter()


def take_turns(
    ways: Mapping[str, Callable[[int], object]], turns: int, device: torch.device
) -> Times:
    """Every way does every turn, after one that only warms up.

    Args:
        ways: Called with the number of the turn, from 0 (the warm-up) on.
        turns: Those that are timed.
        device: Where they compute.
    """
    times: Times = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            watch = Watch(device)
            way(turn)
            watch.lap(name)
            if turn:
                times[name].append(watch.seconds)
    return times


def medians(times: Times) -> dict[str, float]:
    """Median seconds of a turn."""
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def ratio(slow: Sequence[float], fast: Sequence[float]) -> dict[str, float]:
    """How many times as long one way takes: of the medians, and the furthest of single turns."""
    by_turn = [one / other for one, other in zip(slow, fast, strict=True)]
    return {
        "ratio": statistics.median(slow) / statistics.median(fast),
        "lowest": min(by_turn),
        "highest": max(by_turn),
    }


def in_words(name: str, seconds: Sequence[float]) -> str:
    """One line: the median of some turns and how far they are apart."""
    median = statistics.median(seconds)
    return f"{name:>28}: {median:8.3f} s (median; {min(seconds):.3f} to {max(seconds):.3f})"


def ratio_in_words(name: str, found: Mapping[str, float]) -> str:
    """One line of what `ratio` found."""
    spread = f"single turns {found['lowest']:.2f} to {found['highest']:.2f}"
    return f"{found['ratio']:8.2f}x  {name} ({spread})"
