"""How long a study takes, phase by phase, from how much work it is and how fast that is done."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from functools import partial
from itertools import islice
from math import sqrt
from operator import mul
from typing import TYPE_CHECKING

from c2c_search.evaluation.systems.registry import DERANGED
from c2c_search.evaluation.systems.registry import SUBJECT
from c2c_search.evaluation.systems.registry import SYSTEMS
from c2c_search.host.wording import counted
from c2c_search.prompt_cache.prefill import TOKENS_TO_BEGIN
from c2c_search.space.candidates import enqueued_trials
from c2c_search.space.candidates import first_trial
from c2c_search.space.candidates import random_trials
from c2c_search.space.forecast import Forecast
from c2c_search.space.forecast import Phase
from c2c_search.space.forecast import Span
from c2c_search.study.controls import single_models
from c2c_search.system_names import TWIN


if TYPE_CHECKING:
    from c2c_search.config.trial import TrialConfig
    from c2c_search.space.forecast import CachePlan
    from c2c_search.space.plan import Plan
    from c2c_search.space.sampling import Fits
    from c2c_search.space.schema import Space
    from c2c_search.study.pace import Pace


_CANDIDATES = 50  # of whose costs the mean is taken
_WIDTH = 1.64  # standard errors, for nine of ten
_SHUT = 1  # measurement of the first finalist with its gate shut


@dataclass(frozen=True)
class Reading:
    """What a study reads.

    Args:
        rows: Examples of each split, by name.
        caches: Of all its prompts.
        private: Whether sharers read in a question what its receiver does not.
    """

    rows: Mapping[str, int]
    caches: CachePlan
    private: bool


def estimate(
    space: Space,
    plan: Plan,
    reading: Reading,
    pace: Pace,
    *,
    workers: int = 1,
    fits: Fits | None = None,
) -> Forecast:
    """Tell how long a study takes.

    The least is that every trial is pruned at its first rung but for the finalists, the most that
    none is; both as fast, or slow, as the machine was found to be.

    Args:
        space: The space.
        plan: What its study will do.
        reading: What it reads.
        pace: How fast that is done.
        workers: That train and measure side by side.
        fits: Whether a candidate keeps to the space's limits.
    """
    work = _Work(space, plan, reading, pace, fits)
    phases = []
    for name, of, seconds, shares in work.phases():
        low, high = pace.spread
        span = Span(seconds.low * low, seconds.expected, seconds.high * high)
        if span.high > 0:
            phases.append(Phase(name, of, span.over(max(1, min(workers, shares)))))
    basis = [*pace.basis, *work.left_out]
    if beyond := reading.caches.beyond:
        kept = replace(reading.caches, budget=reading.caches.size)
        room = replace(reading, caches=kept)
        with_room = estimate(space, plan, room, pace, workers=workers, fits=fits).total.expected
        spent = 1 - with_room / Span.total(phase.seconds for phase in phases).expected
        basis.append(
            f"{spent:.0%} of it goes to the {beyond:.0%} of the prompt caches that do not fit the "
            "disk's budget: prompts that are learned from are computed whenever they are read, as "
            "one pass for each. Less data (`data.limit`), or a larger disk, saves that."
        )
    return Forecast(
        tuple(phases), workers, pace.measured_seconds, tuple(basis), others=pace.others
    )


_Part = tuple[str, str, Span, int]
"""A phase's name, how much it is, its seconds on one worker, and how many may share it."""


class _Work:
    """The work of a study, in seconds of one worker at its mean pace."""

    def __init__(
        self, space: Space, plan: Plan, reading: Reading, pace: Pace, fits: Fits | None
    ) -> None:
        self.space = space
        self.plan = plan
        self.reading = reading
        self.pace = pace
        self.training = space.pipeline.training
        self.finalists = plan.finalists
        self.firsts = [first_trial(space, pair) for pair in space.pairs.values()]
        self.models = single_models(space.pairs, private=reading.private)
        drawn = (one for one in random_trials(space, 10 * _CANDIDATES) if not fits or fits(one))
        self.drawn = list(islice(drawn, _CANDIDATES))
        self.enqueued = list(islice(enqueued_trials(space), plan.trials))

    def phases(self) -> Iterator[_Part]:
        """All of them, in their order."""
        models = len({one.source for one in self.models})
        yield "start", f"{counted(models, 'model')} loaded", _certain(self.pace.start), 1
        yield self._prefill()
        validation = self.reading.rows["validation"]
        alone = f"{counted(len(self.models), 'reading')} of {validation:,} questions"
        seconds = _certain(self._alone(validation))
        yield "models alone, validation", alone, seconds, len(self.models)
        yield self._references()
        yield self._trials()
        if self.space.search.confirm_seeds:
            yield self._seeds()
        yield from self._controls()
        yield self._test()
        yield "package", "the champion, asked again", _certain(2 * self.pace.start), 1

    @property
    def left_out(self) -> list[str]:
        """What is not counted, in words."""
        told = []
        if any(trial.fuser.drafts for trial in (*self.firsts, *self.drawn)):
            told.append("Writing drafts is not counted.")
        if self.space.pipeline.champion.harmless_on:
            told.append("The tasks of champion.harmless_on are not counted.")
        if self.space.search.timed:
            told.append("Asking trained fusers for latency_ms and peak_memory_mb is not counted.")
        if self.space.search.trials_per_device != 1:
            told.append("Trials that train side by side take less than is counted here.")
        if self.space.search.hours is not None:
            told.append(f"No trial begins after {self.space.search.hours:g} hours of trials.")
        return told

    def _prefill(self) -> _Part:
        caches = self.reading.caches
        learned = {id(each) for each in caches.learned}
        tokens, seconds = 0.0, 0.0
        for each in caches.lists:
            beyond = caches.learned_beyond if id(each) in learned else caches.judged_beyond
            tokens += each.missing * (1 - beyond)
            seconds += each.missing * (1 - beyond) * self.pace.prefill(each.model)
        return "prompt caches", f"{round(tokens):,} tokens to prefill", _certain(seconds), 1

    def _alone(self, questions: int) -> float:
        pairs = self.space.pairs
        return sum(
            questions * self.pace.answer(model.role, pairs[model.pair]) for model in self.models
        )

    def _references(self) -> _Part:
        """Where there are several pairs: each one's twin to the first rung."""
        several = len(self.firsts) > 1
        seconds = 0.0
        for trial in self.firsts if several else ():
            seconds += self._seconds(trial, self.training.rung_steps[0], 1, TWIN)
        of = f"{len(self.firsts)} to step {self.training.rung_steps[0]:,}"
        return "references without sharer", of, _certain(seconds), len(self.firsts)

    def _trials(self) -> _Part:
        trials, rungs = self.plan.trials, self.plan.rungs
        others = trials - len(self.enqueued)
        reaching: dict[str, list[float]] = {
            "low": [trials, *(self.finalists for _ in rungs[1:])],
            "expected": [rung.trials for rung in rungs],
            "high": [trials for _ in rungs],
        }
        spans = {}
        for bound, width in (("low", -_WIDTH), ("expected", 0.0), ("high", _WIDTH)):
            share = [reached / trials for reached in reaching[bound]]
            fixed = sum(self._of_rungs(trial, share) for trial in self.enqueued)
            drawn = [self._of_rungs(trial, share) for trial in self.drawn] if others else [0.0]
            error = statistics.pstdev(drawn) / sqrt(max(others, 1))
            mean = max(min(drawn), statistics.fmean(drawn) + width * error)
            spans[bound] = fixed + others * mean
        ended = f"{rungs[-1].trials:.0f} to the end" if len(rungs) > 1 else "all to the end"
        of = f"{counted(trials, 'trial')} of {self.training.steps:,} steps, about {ended}"
        return "trials", of, Span(**spans), trials

    def _of_rungs(self, trial: TrialConfig, share: Sequence[float]) -> float:
        """Of a trial that reaches each rung so often on average."""
        starts = (0, *self.training.rung_steps)
        steps = sum(
            (step - start) * each
            for start, step, each in zip(starts, self.training.rung_steps, share, strict=False)
        )
        return self._seconds(trial, steps, sum(share))

    def _seconds(
        self, trial: TrialConfig, steps: float, rungs: float, control: str | None = None
    ) -> float:
        cost = self.pace.training(trial, control)
        step = 0.0 if cost.step == 0 else cost.step + self._computed_again(trial)
        judged = rungs * self.reading.rows["validation"] * cost.judged
        return cost.start + steps * step + judged

    def _computed_again(self, trial: TrialConfig) -> float:
        """Seconds of a step for the examples whose caches are not kept, each one by itself."""
        examples = trial.training.batch_size * trial.training.passes
        found = 0.0
        for _, source in trial.pair:
            lists = [each for each in self.reading.caches.learned if each.model == source]
            prompts = sum(each.prompts for each in lists)
            if prompts:
                tokens = sum(each.tokens for each in lists) / prompts + TOKENS_TO_BEGIN
                found += tokens * self.pace.prefill(source)
        return self.reading.caches.learned_beyond * examples * found

    def _seeds(self) -> _Part:
        """Each finalist with further seeds."""
        seeds = self.space.search.confirm_seeds
        times = self.finalists * seeds
        of = f"{times} of {self.training.steps:,} steps"
        return "further seeds", of, self._of_finalists(self._to_the_end).times(seeds), times

    def _of_finalists(self, seconds: Callable[[TrialConfig], float]) -> Span:
        """What all finalists take; each trial may become one, and none is likelier to."""
        trials = self.plan.trials
        shares = [1 / trials] * len(self.enqueued)
        candidates = list(self.enqueued)
        if others := trials - len(self.enqueued):
            drawn = self.drawn or self.firsts
            candidates += drawn
            shares += [others / trials / len(drawn)] * len(drawn)
        each = [seconds(trial) for trial in candidates]
        mean = sum(map(mul, each, shares))
        variance = sum(share * (one - mean) ** 2 for one, share in zip(each, shares, strict=True))
        width = _WIDTH * sqrt(variance / self.finalists)
        low, high = max(min(each), mean - width), min(max(each), mean + width)
        return Span(low, mean, high).times(self.finalists)

    def _to_the_end(self, trial: TrialConfig, control: str | None = None) -> float:
        return self._seconds(trial, self.training.steps, len(self.training.rungs), control)

    def _controls(self) -> Iterator[_Part]:
        """What each finalist has trained."""
        names = (TWIN, *self.space.pipeline.champion.controls)
        for name in dict.fromkeys(names):
            if SYSTEMS[name].recipe is None:
                continue
            seconds = self._of_finalists(partial(self._to_the_end, control=name))
            title = SYSTEMS[name].title
            of = f"{self.finalists} of {self.training.steps:,} steps"
            yield f"control: {title}", of, seconds, self.finalists

    def _test(self) -> _Part:
        questions, rules = self.reading.rows["test"], self.space.pipeline
        names = (SUBJECT, TWIN, *(one for one in rules.champion.controls if one != TWIN))
        systems = [name for name in names if SYSTEMS[name].builder is not None]
        heard = rules.evaluation.derangements + _SHUT / self.finalists
        alone = self._alone(questions)

        def of_finalist(trial: TrialConfig) -> float:
            told = sum(self.pace.answer(name, trial.pair) for name in systems)
            return questions * (told + heard * self.pace.answer(SUBJECT, trial.pair))

        found = Span.total((self._of_finalists(of_finalist), self._words(questions)))
        span = Span(alone + found.low, alone + found.expected, alone + found.high)
        titles = [SYSTEMS[name].title for name in (*systems, DERANGED)]
        of = f"{questions:,} questions: models alone, {', '.join(titles)}"
        return "test", of, span, len(self.models) + self.finalists * len(titles)

    def _words(self, questions: int) -> Span:
        """What the anchors of each finalist that has any say alone."""
        anchored = [trial.fuser.anchored for trial in (*self.firsts, *self.drawn)]
        each = self.finalists * questions * self.pace.answer(SUBJECT, self.firsts[0].pair)
        return Span(all(anchored) * each, statistics.fmean(anchored) * each, any(anchored) * each)


def _certain(seconds: float) -> Span:
    return Span(seconds, seconds, seconds)
