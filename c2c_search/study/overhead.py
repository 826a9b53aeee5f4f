"""What of the workers' time in a search went neither to prefill, training nor evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from c2c_search.study.overview import TrialRow

WORKER_SECONDS = "worker_seconds"  # user attribute of a trial: [in all, of which work]

_OWN = "overhead"  # part of a training's time that is none of its work


class WorkerClock:
    """One worker's time in the search, cut where its trials end.

    Args:
        now: Seconds of a clock that never goes back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._cut = now()
        self.now = now

    def cut(self, begun: float, work: float) -> tuple[float, float]:
        """The seconds since a trial before has ended, and the work of the one that ends.

        A trial that goes on here has work of before, which is not told apart: here it cannot have
        worked longer than since it began. Of trials that train side by side only sums say how
        much was work.

        Args:
            begun: When the trial began here.
            work: Seconds that it worked, here and before.
        """
        now = self.now()
        spent, self._cut = now - self._cut, now
        return spent, min(work, now - begun)

    def skip(self) -> None:
        """Count nothing since the trial before: what failed does not tell what it worked."""
        self._cut = self.now()


def work_of(seconds: Mapping[str, float]) -> float:
    """The seconds of a training without what it did beside prefill, training and evaluation."""
    return sum(spent for part, spent in seconds.items() if part != _OWN)


@dataclass(frozen=True)
class Overhead:
    """Of the workers in a search.

    Args:
        seconds: That all of them had together.
        share: Of these, the part that was no work, from 0 to 1.
    """

    seconds: float
    share: float

    def __str__(self) -> str:
        return (
            f"{100 * self.share:.1f} % of the workers' {self.seconds / 3600:.2f} hours in the "
            "search went neither to prefill, training nor evaluation."
        )


def overhead_of(trials: Sequence[TrialRow]) -> Overhead | None:
    """The overhead of a search; None as long as no trial has told its time."""
    told = [each.worker_seconds for each in trials if each.worker_seconds is not None]
    seconds = sum(spent for spent, _ in told)
    if seconds <= 0:
        return None
    return Overhead(seconds, max(0.0, 1 - sum(work for _, work in told) / seconds))
