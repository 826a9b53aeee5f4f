"""What is known of a study while it runs, for whatever shows it."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections import deque
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field


HISTORY = 48  # losses that the sparkline keeps

Clock = Callable[[], float]

_OF_TRAINING = ("train", "calibrate", "evaluate")  # stages whose time a trial costs


@dataclass(frozen=True)
class Score:
    """What a fuser answers on validation.

    Args:
        accuracy: With the right message: matched.
        deranged: With another item's; None where that was not measured.
        receiver: Accuracy of its receiver alone; None where that is not known.
        objective: What the search maximises; the accuracy when left out.
        beyond: Whether the fuser is beyond a bound of the search, and can be no champion.
    """

    accuracy: float
    deranged: float | None = None
    receiver: float | None = None
    objective: float | None = None
    beyond: bool = False

    @property
    def worth(self) -> float:
        """What trials are compared by."""
        return self.accuracy if self.objective is None else self.objective

    @property
    def pairing_gain(self) -> float | None:
        """P, matched minus deranged."""
        return None if self.deranged is None else self.accuracy - self.deranged

    @property
    def system_gain(self) -> float | None:
        """G, matched minus the receiver alone."""
        return None if self.receiver is None else self.accuracy - self.receiver

    @property
    def short(self) -> str:
        """Accuracy, and how much of it is communication: ``0.625 P +0.125``."""
        known = self.pairing_gain
        return f"{self.accuracy:.3f}" + ("" if known is None else f" P {known:+.3f}")

    def __str__(self) -> str:
        if self.deranged is None:
            return f"{self.accuracy:.3f}"
        gain = "" if self.system_gain is None else f", G {self.system_gain:+.3f}"
        pairing = f"P {self.pairing_gain:+.3f}"
        return f"{self.accuracy:.3f} matched, {self.deranged:.3f} deranged, {pairing}{gain}"


@dataclass(frozen=True)
class Spent:
    """How much of a limit of the search is spent.

    Args:
        spent: By the trials that have ended.
        limit: After which no more begin.
        least: Of a trial that took any.
        most: Of one trial.
    """

    spent: float
    limit: float
    least: float = 0.0
    most: float = 0.0

    @property
    def trials_left(self) -> tuple[int, int] | None:
        """How many more begin until it is spent, at least and at most; None before one ended."""
        if not self.least:
            return None
        left = max(0.0, self.limit - self.spent)
        return math.ceil(left / self.most), math.ceil(left / self.least)


@dataclass(frozen=True)
class Best:
    """The best trial so far within the search's bounds, by what it maximises."""

    name: str
    score: Score
    objective: str = "accuracy"

    def __str__(self) -> str:
        if self.objective in ("accuracy", "pairing_gain"):  # the score says it
            return f"{self.score} ({self.name})"
        return f"{self.score}, {self.objective} {self.score.worth:+.3f} ({self.name})"


@dataclass(frozen=True)
class Doing:
    """What the driver, or a worker, is at.

    Args:
        stage: In one word.
        message: What of.
        done: How much of it.
        total: How much there is; 0 when unknown.
        since: When it began.
        before: How much was done by then.
    """

    stage: str
    message: str
    done: int
    total: int
    since: float
    before: int

    def seconds_left(self, now: float) -> float | None:
        """What the rest takes, as fast as it went so far; None until that is known."""
        known = self.done - self.before
        if self.done >= self.total or known < max(2, self.total // 50) or now <= self.since:
            return None
        return (now - self.since) / known * (self.total - self.done)


@dataclass
class Current:
    """A training that goes on now.

    Args:
        name: Of the trial or twin.
        settings: Of it.
        steps: That it takes at most.
        of_budget: Whether it is one of the study's trials.
        worker: Number of the worker that trains it; None where there is one alone.
        marked: Until when its time is counted.
        seconds: That it has taken so far.
        first: The first step that was heard of; None before that.
        stepped: Its seconds at the last step that was heard of.
    """

    name: str
    settings: Mapping[str, object]
    steps: int
    of_budget: bool
    worker: int | None
    marked: float
    seconds: float = 0.0
    step: int = 0
    first: int | None = None
    stepped: float = 0.0
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    rungs: list[tuple[int, Score]] = field(default_factory=list)

    @property
    def resumed(self) -> bool:
        """Whether most of it was trained in an earlier start."""
        return self.first is not None and 2 * self.first > self.step


@dataclass(frozen=True)
class Ended:
    """A training that is over.

    Args:
        name: Of the trial or twin.
        how: ``complete``, ``pruned`` or ``failed``.
        of_budget: Whether it was one of the study's trials.
        seconds: That it took here.
        resumed: Whether most of it was trained in an earlier start.
        score: On validation; None if it failed.
        why: It was pruned, or failed.
    """

    name: str
    how: str
    of_budget: bool
    seconds: float
    resumed: bool
    score: Score | None
    why: str


@dataclass
class StudyState:
    """Everything the view shows; no rendering in here.

    Args:
        name: The study.
        trials: Its budget of trials.
        steps: Steps of a trial that is not pruned.
        twins: Controls of finalists, twins among them, that are still to be trained in steps, the
            present one included.
        first_rung: Steps of a trial that is pruned at the first occasion; None if none is.
        objective: Name of what the search maximises.
        clock: Seconds, monotonic.
        seconds_of_search: That may still go to trials; None without such a limit.
        steps_of_search: Steps that may still be trained in trials; None without such a limit.
        patience: Trials in a row without a gain that end the search; None if none do.
        idle: Trials since the last gain.
        budgets: Limits of the search beside its trials, by name, as they stood when the last
            trial was asked for.
        counts: Trials that are over, by how they ended.
        best: Trial so far.
        searching: Whether trials are still to begin.
        phase: Of the study.
        doing: What each worker does beside training, by number; None where there is one alone.
        devices: Of each worker, in words.
        currents: Trainings that go on, by name.
        endings: Those that are over, of this start.
        stepped: Steps that were heard of here, but the first of each training.
        stepping_seconds: That those took.
        busy_seconds: In which anything trained.
        side_by_side_seconds: The same, each as often as there were trainings.
    """

    name: str
    trials: int
    steps: int
    twins: int
    first_rung: int | None = None
    objective: str = "accuracy"
    clock: Clock = time.monotonic
    seconds_of_search: float | None = None
    steps_of_search: int | None = None
    patience: int | None = None
    idle: int = 0
    budgets: Mapping[str, Spent] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    best: Best | None = None
    searching: bool = True
    phase: Doing | None = None
    doing: dict[int | None, Doing] = field(default_factory=dict)
    devices: dict[int | None, str] = field(default_factory=dict)
    currents: dict[str, Current] = field(default_factory=dict)
    endings: list[Ended] = field(default_factory=list)
    stepped: int = 0
    stepping_seconds: float = 0.0
    busy_seconds: float = 0.0
    side_by_side_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.started = self._counted = self.clock()
        self._search_began: float | None = None
        self._search_until = self.started

    @property
    def elapsed(self) -> float:
        """Seconds since this command started."""
        return self.clock() - self.started

    @property
    def finished(self) -> int:
        """Trials that are over, however they ended."""
        return sum(self.counts.values())

    @property
    def trials_an_hour(self) -> float | None:
        """That ended in this start; None before the first one has."""
        ended = sum(one.of_budget for one in self.endings)
        if not ended or self._search_began is None or self._search_until <= self._search_began:
            return None
        return 3600 * ended / (self._search_until - self._search_began)

    @property
    def searched_seconds(self) -> float:
        """Since the first trial of this start began, until now or the last one's end."""
        if self._search_began is None:
            return 0.0
        runs = any(current.of_budget for current in self.currents.values())
        return (self.clock() if runs else self._search_until) - self._search_began

    @property
    def side_by_side(self) -> float:
        """Trainings that went on at the same time, on average; at least 1."""
        if self.busy_seconds <= 0:
            return float(max(1, len(self.currents)))
        return max(1.0, self.side_by_side_seconds / self.busy_seconds)

    def enter(self, stage: str, message: str, done: int, total: int) -> Doing:
        """The study is in this phase."""
        self.phase = self._at(self.phase, stage, message, done, total)
        return self.phase

    def work(self, worker: int | None, stage: str, message: str, done: int, total: int) -> None:
        """A worker does something that is no training step."""
        self.doing[worker] = self._at(self.doing.get(worker), stage, message, done, total)
        now = self._count()
        for current in self.currents.values():
            if current.worker == worker:
                # What is prepared on the way is made once, and of no training's time.
                self._spend(current, now, counts=stage in _OF_TRAINING)

    def begin(
        self,
        name: str,
        settings: Mapping[str, object],
        steps: int,
        of_budget: bool,
        worker: int | None = None,
    ) -> None:
        """A training starts, perhaps beside others."""
        now = self._count()
        if of_budget and self._search_began is None:
            self._search_began = now
        self.doing.pop(worker, None)
        self.currents[name] = Current(name, settings, steps, of_budget, worker, marked=now)

    def advance(self, name: str, step: int, loss: float) -> None:
        """A training step was logged; a resumed trial's first one counts as no progress."""
        if (current := self.currents.get(name)) is None:
            return
        self._spend(current, self._count())
        if current.first is None:
            current.first = step
        else:
            self.stepped += max(0, step - current.step)
            self.stepping_seconds += current.seconds - current.stepped
        current.step, current.stepped = step, current.seconds
        current.losses.append(loss)
        self.doing.pop(current.worker, None)

    def reach(self, name: str, step: int, score: Score) -> None:
        """A training was validated."""
        if (current := self.currents.get(name)) is not None:
            current.rungs.append((step, score))

    def end(self, name: str, how: str, score: Score | None, why: str) -> Ended:
        """A training is over; what was never begun (it was no trial) is over too."""
        now = self._count()
        current = self.currents.pop(name, None)
        if current is None:
            ended = Ended(name, how, True, 0.0, True, score, why)
        else:
            self._spend(current, now)
            self.doing.pop(current.worker, None)
            seconds, resumed = current.seconds, current.resumed
            ended = Ended(name, how, current.of_budget, seconds, resumed, score, why)
        self.endings.append(ended)
        if ended.of_budget:
            self._search_until = now
            self._tally(ended)
        return ended

    def _tally(self, ended: Ended) -> None:
        self.counts[ended.how] += 1
        self.idle += 1
        if ended.score is None or ended.how != "complete" or ended.score.beyond:
            return
        if self.best is None or ended.score.worth > self.best.score.worth:
            self.best = Best(ended.name, ended.score, self.objective)
            self.idle = 0

    def _at(self, before: Doing | None, stage: str, message: str, done: int, total: int) -> Doing:
        """What is done now; it began when the same was first heard of."""
        same = before is not None and (
            (before.stage, before.total) == (stage, total)
            and before.done <= done
            and (total or before.message == message)
        )
        if before is None or not same:
            return Doing(stage, message, done, total, self.clock(), done)
        return Doing(stage, message, done, total, before.since, before.before)

    def _count(self) -> float:
        """The present; how many trainings went on until it is kept."""
        now = self.clock()
        if self.currents:
            self.busy_seconds += now - self._counted
            self.side_by_side_seconds += len(self.currents) * (now - self._counted)
        self._counted = now
        return now

    def _spend(self, current: Current, now: float, *, counts: bool = True) -> None:
        if counts:
            current.seconds += now - current.marked
        current.marked = now
