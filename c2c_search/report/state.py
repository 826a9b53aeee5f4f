"""What is known of a study while it runs, for whatever shows it."""

from __future__ import annotations

import time
from collections import Counter
from collections import deque
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field


HISTORY = 48  # losses that the sparkline keeps
KNOWN_STEPS = 5  # steps and seconds of training from which the time left is told
KNOWN_SECONDS = 10.0

Clock = Callable[[], float]


@dataclass
class Current:
    """A trial (or twin) that trains now; of several workers, in the one of that number."""

    name: str
    settings: Mapping[str, object]
    steps: int
    of_budget: bool = True
    worker: int | None = None
    step: int = 0
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    rungs: list[tuple[int, Score]] = field(default_factory=list)


@dataclass(frozen=True)
class Score:
    """What a fuser answers on validation.

    Args:
        accuracy: With the right message: matched.
        deranged: With another item's; None where that was not measured.
        receiver: Accuracy of its receiver alone; None where that is not known.
        objective: What the search maximises; the accuracy when left out.
    """

    accuracy: float
    deranged: float | None = None
    receiver: float | None = None
    objective: float | None = None

    @property
    def worth(self) -> float:
        """What trials are compared by."""
        return self.accuracy if self.objective is None else self.objective

    def __str__(self) -> str:
        if self.deranged is None:
            return f"{self.accuracy:.3f}"
        pairing = f"P {self.accuracy - self.deranged:+.3f}"
        gain = "" if self.receiver is None else f", G {self.accuracy - self.receiver:+.3f}"
        return f"{self.accuracy:.3f} matched, {self.deranged:.3f} deranged, {pairing}{gain}"


@dataclass(frozen=True)
class Best:
    """The best trial so far, by what the search maximises."""

    name: str
    score: Score
    objective: str = "accuracy"

    def __str__(self) -> str:
        if self.objective in ("accuracy", "pairing_gain"):  # the score says it
            return f"{self.score} ({self.name})"
        return f"{self.score}, {self.objective} {self.score.worth:+.3f} ({self.name})"


@dataclass
class StudyState:
    """Everything the view shows; no rendering in here.

    Args:
        name: The study.
        trials: Its budget of trials.
        steps: Steps of a trial that is not pruned.
        twins: Controls of finalists, twins among them, that are still to be trained in steps, the
            present one included.
        first_rung: Steps of a trial that is pruned at the first occasion; ``steps`` for none.
        objective: Name of what the search maximises.
        clock: Seconds, monotonic.
        workers: What each of several workers does that does not train.
    """

    name: str
    trials: int
    steps: int
    twins: int
    first_rung: int | None = None
    objective: str = "accuracy"
    clock: Clock = time.monotonic
    stage: str = ""
    message: str = ""
    done: int = 0
    total: int = 0
    currents: dict[str, Current] = field(default_factory=dict)
    workers: dict[int, str] = field(default_factory=dict)
    best: Best | None = None
    counts: Counter[str] = field(default_factory=Counter)
    steps_of_finished: list[int] = field(default_factory=list)
    trained_steps: int = 0
    training_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.started = self.clock()
        self._training_since: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since this command started."""
        return self.clock() - self.started

    @property
    def finished(self) -> int:
        """Trials that are over, however they ended."""
        return sum(self.counts.values())

    def begin(
        self,
        name: str,
        settings: Mapping[str, object],
        steps: int,
        of_budget: bool,
        worker: int | None = None,
    ) -> None:
        """A training starts, perhaps beside others."""
        self._in_stage("train")
        if not self.currents:
            self._training_since = self.clock()
        self.currents[name] = Current(name, settings, steps, of_budget, worker)

    def advance(self, name: str, step: int, loss: float) -> None:
        """A training step was logged; a resumed trial's first one counts as no progress."""
        if (current := self.currents.get(name)) is None:
            return
        self._in_stage("train")
        if current.losses:
            self.trained_steps += max(0, step - current.step)
        current.step = step
        current.losses.append(loss)
        self._spend()

    def end(self, name: str) -> None:
        """A training is over."""
        if (current := self.currents.get(name)) is None:
            return
        self._spend()
        if current.of_budget:
            self.steps_of_finished.append(current.step)
        del self.currents[name]
        if not self.currents:
            self._training_since = None

    def seconds_left(self) -> tuple[float, float] | None:
        """Estimate of the training still to do, from the seconds per step so far.

        Trials to come are expected to take as many steps as those before them did on average,
        twins every step. Before the first trial has ended, the estimate is a range: every trial
        pruned at the first occasion, or none. None until enough was measured: the first steps of
        a process are slow, and few.
        """
        measured = self.trained_steps >= KNOWN_STEPS and self.training_seconds >= KNOWN_SECONDS
        if not measured:
            return None
        if self.steps_of_finished:
            mean = sum(self.steps_of_finished) / len(self.steps_of_finished)
            low = high = self._steps_ahead(mean)
        else:
            low = self._steps_ahead(self.first_rung or self.steps)
            high = self._steps_ahead(self.steps)
        each = self.training_seconds / self.trained_steps
        return low * each, high * each

    def _steps_ahead(self, mean: float) -> float:
        """Training steps still to come, if a trial takes so many on average."""
        now = self.currents.values()
        here = sum(current.steps - current.step for current in now)
        trial_now = sum(current.of_budget for current in now)
        twin_now = len(now) - trial_now
        trials = max(0, self.trials - self.finished - trial_now)
        twins = max(0, self.twins - twin_now)
        return here + trials * mean + twins * self.steps

    def rest(self) -> None:
        """What happened since the last step was no training, e.g. a pair was prepared."""
        if self._training_since is not None:
            self._training_since = self.clock()

    def _in_stage(self, stage: str) -> None:
        self.stage, self.done, self.total, self.message = stage, 0, 0, ""

    def _spend(self) -> None:
        now = self.clock()
        if self._training_since is not None:
            self.training_seconds += now - self._training_since
        self._training_since = now
