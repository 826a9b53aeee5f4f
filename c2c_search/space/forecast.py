"""What a study takes in time and on the disk, as far as it can be told before it begins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from c2c_search.prompt_cache.budget import LEFT_TO_OTHERS


_JUDGED = ("validation", "test", "guard")


@dataclass(frozen=True)
class Span:
    """Seconds: the least, what is expected, and the most."""

    low: float
    expected: float
    high: float

    @classmethod
    def total(cls, spans: Iterable[Span]) -> Self:
        """All of them, one after the other."""
        each = list(spans)
        return cls(
            sum(span.low for span in each),
            sum(span.expected for span in each),
            sum(span.high for span in each),
        )

    def times(self, count: float) -> Span:
        """So many of the same, one after the other."""
        return Span(self.low * count, self.expected * count, self.high * count)

    def over(self, workers: float) -> Span:
        """The same shared out among so many."""
        return self.times(1 / workers)


@dataclass(frozen=True)
class Phase:
    """One part of a study.

    Args:
        name: What is done.
        of: How much of it.
        seconds: What it takes.
    """

    name: str
    of: str
    seconds: Span


@dataclass(frozen=True)
class Forecast:
    """How long a study takes, all workers at work.

    Args:
        phases: In the order in which they come.
        workers: That train and measure side by side.
        calibration_seconds: What measuring took; 0 where nothing was measured.
        basis: What the numbers rest on, a sentence each.
        others: The share of the processors that other programs took meanwhile.
    """

    phases: tuple[Phase, ...]
    workers: int
    calibration_seconds: float
    basis: tuple[str, ...]
    others: float = 0.0

    @property
    def total(self) -> Span:
        """Of the whole study."""
        return Span.total(phase.seconds for phase in self.phases)


@dataclass(frozen=True)
class CacheList:
    """The prompt caches of one model and one list of prompts.

    Args:
        model: Its source.
        of: The split, or what else is read.
        prompts: How many there are.
        tokens: Of all of them.
        size: Bytes of their caches.
        stored: Bytes of those that are on the disk already.
        missing: Tokens of those that are not.
    """

    model: str
    of: str
    prompts: int
    tokens: int
    size: int
    stored: int
    missing: int


@dataclass(frozen=True)
class CachePlan:
    """The prompt caches that a study reads.

    Args:
        lists: Each once.
        budget: Bytes that those of all studies may take on this disk.
    """

    lists: tuple[CacheList, ...]
    budget: int

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(each.size for each in self.lists)

    @property
    def stored(self) -> int:
        """Bytes that are on the disk already."""
        return sum(each.stored for each in self.lists)

    @property
    def learned(self) -> tuple[CacheList, ...]:
        """Those that trainings learn from."""
        return tuple(each for each in self.lists if each.of not in _JUDGED)

    @property
    def judged_beyond(self) -> float:
        """The share of what is judged by that does not fit the budget; it comes first."""
        judged = self.size - sum(each.size for each in self.learned)
        return max(0.0, 1 - self.budget / judged) if judged else 0.0

    @property
    def learned_beyond(self) -> float:
        """The share of what is learned from that does not fit, and is computed when it is read."""
        learned = sum(each.size for each in self.learned)
        if self.size <= self.budget or not learned:
            return 0.0
        judged = self.size - learned
        return 1 - max(0.0, (1 - LEFT_TO_OTHERS) * self.budget - judged) / learned

    @property
    def beyond(self) -> float:
        """The share of all of them that does not fit."""
        learned = sum(each.size for each in self.learned)
        outside = self.learned_beyond * learned + self.judged_beyond * (self.size - learned)
        return outside / self.size if self.size else 0.0


@dataclass(frozen=True)
class DeviceHours:
    """What a study takes on devices of one kind.

    Args:
        name: Of the device.
        teraflops: Its peak rate, TFLOP/s in bfloat16.
        one: Seconds on one.
        several: Seconds on several, from the beginning to the end.
    """

    name: str
    teraflops: float
    one: Span
    several: Span


@dataclass(frozen=True)
class GpuHours:
    """What a study takes on GPUs, counted and not measured.

    Args:
        devices: Each kind.
        several: How many work side by side.
        basis: What the numbers rest on, a sentence each.
    """

    devices: tuple[DeviceHours, ...]
    several: int
    basis: tuple[str, ...]
