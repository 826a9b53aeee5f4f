"""Measures the pace of this machine with a study's own worker, on a few of its rows."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from c2c_search.data.schema import SplitLimits
from c2c_search.errors import C2CError
from c2c_search.evaluation.guard import SELECTION
from c2c_search.evaluation.systems.registry import SUBJECT
from c2c_search.evaluation.systems.registry import SYSTEMS
from c2c_search.host.processors import ProcessorTime
from c2c_search.host.signals import interruptible
from c2c_search.host.wording import counted
from c2c_search.host.wording import in_words
from c2c_search.prompt_cache.hidden import planned
from c2c_search.space.candidates import enqueued_trials
from c2c_search.space.candidates import first_trial
from c2c_search.space.candidates import random_trials
from c2c_search.space.objective import Objective
from c2c_search.study.controls import ROLES
from c2c_search.study.pace import MeasuredPace
from c2c_search.study.pace import TrainingCost
from c2c_search.study.shortened import PASSES
from c2c_search.study.shortened import shortened
from c2c_search.system_names import TWIN
from c2c_search.training.divergence import DivergedError
from c2c_search.training.process import keep_freed_memory
from c2c_search.training.process import release_memory
from c2c_search.training.process import start_deepspeed
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Step
from c2c_search.training.reading import StoredReader
from c2c_search.training.service import WorkerService


if TYPE_CHECKING:
    from c2c_search.config.pipeline import Pipeline
    from c2c_search.config.trial import TrialConfig
    from c2c_search.models.loading import LoadedModel
    from c2c_search.models.pair import PairSpec
    from c2c_search.space.sampling import Fits
    from c2c_search.space.schema import Space
    from c2c_search.study.prompt_lists import PromptList
    from c2c_search.study.prompt_lists import PromptLists
    from c2c_search.training.protocol import Event
    from c2c_search.training.protocol import Trained


SECONDS = 75.0
"""After so many nothing more is begun; what has begun ends a few seconds later."""

FAILURES = (C2CError, DivergedError, torch.OutOfMemoryError)
"""What a trial, or a whole study, can fail with."""

_ROWS = {"train": 24, "validation": 32, "test": 2, "guard": 8, "reconstruction": 24}
_SAMPLE = 50  # candidates that the smallest and the largest are taken from
_ENQUEUED = 3  # settings that are measured, at most
_FIRST_STEPS = 6
_TRAINING_SECONDS = 4.0  # of the steps of every other training, about
_STEPS = 4, 40  # of it
_PREFILL_SECONDS = 4.0  # of a model, after which no further batch is begun
_BATCHES = 4  # of it, at most
_PART = 4  # of the first batch a fourth: on a slow machine a whole one takes long
_LEAST_SPREAD = 0.1
_BLOCKS = 3  # of a training's steps, by which one sees how steady the machine is


def measure_pace(
    space: Space,
    prompts: PromptLists,
    parameters: Callable[[TrialConfig], int],
    *,
    fits: Fits | None = None,
    cache_dir: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
    seconds: float = SECONDS,
) -> MeasuredPace:
    """Measure how fast this machine does the work of a space; nothing is left behind.

    A worker's service loads the models, prefills, trains and answers as in a study, on a few
    dozen rows and for a few steps, in a temporary folder.

    Args:
        space: The space; its models are at hand.
        prompts: All that its models read.
        parameters: Of a trial's fuser.
        fits: Whether a candidate keeps to the space's limits.
        cache_dir: Where models are kept; the user's by default.
        tell: Told what is measured next.
        seconds: Nothing more is begun after so many.

    Raises:
        C2CError: Something of the study cannot be run, as it could not in a study; or another
            one of `FAILURES`.
        KeyboardInterrupt: A signal asked to stop.
    """
    keep_freed_memory()
    begun = time.perf_counter()
    start_deepspeed()
    with interruptible(), tempfile.TemporaryDirectory(prefix="c2c-search-plan-") as folder:
        pipeline = _few_rows(space.pipeline)
        meter = _Meter(space, parameters, Path(folder), tell, begun, seconds)
        service = WorkerService(pipeline, cache_dir=cache_dir, emit=meter.hear)
        # What is computed here is of a few rows, and no study's.
        service.reader = StoredReader(pipeline, Path(folder), meter.hear)
        try:
            meter.measure(service, prompts, fits)
            return meter.pace()
        finally:
            release_memory()


def _few_rows(pipeline: Pipeline) -> Pipeline:
    """The same with a few rows in every split, and without the tasks of others."""
    known = pipeline.data.limit
    limit = {name: min(count, getattr(known, name) or count) for name, count in _ROWS.items()}
    data = pipeline.data.model_copy(update={"limit": SplitLimits(**limit)})
    champion = pipeline.champion.model_copy(update={"harmless_on": ()})
    return pipeline.model_copy(update={"data": data, "champion": champion})


class _Meter:
    """Measures one thing after the other, what matters most first.

    Args:
        space: The space.
        parameters: Of a trial's fuser.
        folder: For what is trained and computed.
        tell: Told what is measured next.
        begun: When it began, by `time.perf_counter`.
        seconds: Nothing more is begun after so many.
    """

    def __init__(
        self,
        space: Space,
        parameters: Callable[[TrialConfig], int],
        folder: Path,
        tell: Callable[[str], None],
        begun: float,
        seconds: float,
    ) -> None:
        self.space = space
        self.parameters = parameters
        self.folder = folder
        self.tell = tell
        self.begun = begun
        self.until = begun + seconds
        self.busy = ProcessorTime.now()
        self.start = time.perf_counter() - begun
        self.tokens: dict[str, float] = {}
        self.trainings: dict[PairSpec, list[tuple[TrialConfig, TrainingCost]]] = {}
        self.controls: dict[PairSpec, dict[str, TrainingCost]] = {}
        self.answers: dict[PairSpec, dict[str, float]] = {}
        self._steps: list[tuple[float, int]] = []  # when each ended, and of which stage
        self._spreads: list[float] = []
        self._step = 0.0  # seconds of the last training's
        self._trained = 0

    def hear(self, event: Event) -> None:
        """What the service tells: when each step ended."""
        if isinstance(event, Step):
            stage = round(event.metrics.get("train/stage", 1.0))
            self._steps.append((time.perf_counter(), stage))

    def measure(self, service: WorkerService, prompts: PromptLists, fits: Fits | None) -> None:
        """Measure all that there is time for; the first trial and each model in any case."""
        self.service = service
        self.judged = min(_ROWS["validation"], len(prompts.rows["validation"]))
        pairs = self.space.pairs
        firsts: dict[PairSpec, TrialConfig] = {}
        fusers: dict[PairSpec, Trained] = {}
        for name, pair in pairs.items():
            self.tell(f"pair {name}")
            prepared = service.prepare(pair)
            self.start += prepared.seconds["load"]
            trial = first_trial(self.space, pair)
            data = trial.data.model_copy(update={"date": prepared.date or trial.data.date})
            firsts[pair] = trial.model_copy(update={"data": data})
            fusers[pair] = self._fuser(trial, firsts[pair])
        for model, loaded in service.models.items():
            self._prefill(loaded, [one for one in prompts.lists if one.model == model])
        for pair in list(pairs.values())[:1]:
            self._answers(pair, fusers[pair], firsts[pair])
        for trial in self._others(firsts, fits):
            if not self._over:
                dated = trial.model_copy(update={"data": firsts[trial.pair].data})
                # Such a trial fails in a study too, and the study goes on.
                with suppress(*FAILURES):
                    self._fuser(trial, dated)
        for pair in list(pairs.values())[1:]:
            self._answers(pair, fusers[pair], firsts[pair])

    def pace(self) -> MeasuredPace:
        """What was found."""
        spread = max(_LEAST_SPREAD, *self._spreads) if self._spreads else _LEAST_SPREAD
        seconds = time.perf_counter() - self.begun
        trained = sum(map(len, self.trainings.values()))
        return MeasuredPace(
            start=self.start,
            spread=(1 - min(spread, 0.5), 1 + spread),
            measured_seconds=seconds,
            basis=(
                f"Measured here in {seconds:.0f} s: {counted(trained, 'fuser')} and what they "
                "compete with, on a few rows; from one moment to the next times differed by "
                f"{spread:.0%}.",
            ),
            others=self._others_share(),
            tokens=self.tokens,
            trainings=self.trainings,
            controls=self.controls,
            answers=self.answers,
            parameters=self.parameters,
        )

    def _others_share(self) -> float:
        """What other programs took of the processors since it began."""
        now = ProcessorTime.now()
        return 0.0 if now is None or self.busy is None else now.others_since(self.busy)

    @property
    def _over(self) -> bool:
        return time.perf_counter() > self.until

    def _fuser(self, trial: TrialConfig, dated: TrialConfig) -> Trained:
        """Train a trial's fuser for a few steps, and keep what that takes."""
        count = self.parameters(trial)
        self.tell(f"a fuser of {in_words(count)} parameters")
        trained, cost = self._training(dated, SUBJECT, count)
        self.trainings.setdefault(trial.pair, []).append((trial, cost))
        return trained

    def _training(
        self, trial: TrialConfig, system: str, parameters: int
    ) -> tuple[Trained, TrainingCost]:
        recipe = SYSTEMS[system].recipe
        assert recipe is not None, f"{system} is trained"
        longest = round(_TRAINING_SECONDS / self._step) if self._step else _FIRST_STEPS
        short = shortened(recipe.variant(trial), min(max(longest, _STEPS[0]), _STEPS[1]))
        self._steps.clear()
        self._trained += 1
        begun = time.perf_counter()
        trained = self.service.train(
            short,
            self.folder / f"training-{self._trained}",
            lambda: True,
            learner=recipe.learner,
            parameters=parameters,
            objective=Objective(kind=self.space.search.leading, receiver=0.0, sharer=0.0),
        )
        spent, parts = time.perf_counter() - begun, trained.seconds
        judged = parts["evaluate"] + parts["derange"]
        step = self._step_seconds(trial)
        self._step = step or self._step
        return trained, TrainingCost(
            start=max(0.0, spent - parts["train"] - judged),
            step=step * _passes(trial),
            judged=judged / self.judged,
            parameters=parameters,
        )

    def _step_seconds(self, trial: TrialConfig) -> float:
        """Of a step, each stage as long as in the trial; 0 where nothing takes steps."""
        taken: dict[int, list[float]] = {}
        for (before, _), (after, stage) in pairwise(self._steps):
            taken.setdefault(stage, []).append(after - before)
        if not taken:
            return 0.0
        for seconds in taken.values():
            self._spreads += [abs(each / fmean(seconds) - 1) for each in _blocks(seconds)]
        course = trial.training.course
        of_stage = {number: fmean(seconds) for number, seconds in taken.items()}
        usual = fmean(of_stage.values())
        known = [of_stage.get(number, usual) for number in range(1, len(course) + 1)]
        steps = sum(stage.steps for stage in course)
        return sum(each * stage.steps / steps for each, stage in zip(known, course, strict=True))

    def _prefill(self, loaded: LoadedModel, lists: Sequence[PromptList]) -> None:
        """Prefill and store some of the very batches that the study will."""
        longest = max(lists, key=lambda one: len(one.ids))
        batches = planned(loaded.model, longest.ids, longest.source).batches
        source = loaded.identity.source
        self.tell(f"prefill of {source}")
        # From the middle outwards: they are in the order of their prompts' lengths.
        order = sorted(range(len(batches)), key=lambda number: abs(number - len(batches) // 2))
        part, taken, begun = _PART, list[float](), time.perf_counter()
        for number in order[:_BATCHES]:
            rows = batches[number]
            ids = [longest.ids[row] for row in rows[: max(1, len(rows) // part)]]
            started = time.perf_counter()
            self.service.reader.caches.get(loaded, ids, source=longest.source)
            taken.append((time.perf_counter() - started) / sum(map(len, ids)))
            if time.perf_counter() - begun > _PREFILL_SECONDS or self._over:
                break
            part = 1
        self.tokens[source] = fmean(taken[1:] or taken)

    def _answers(self, pair: PairSpec, fuser: Trained, trial: TrialConfig) -> None:
        """Train the controls of a pair's first trial, and let all its systems answer."""
        if self._over:
            return
        found = self.answers.setdefault(pair, {})
        controls = (TWIN, *self.space.pipeline.champion.controls)
        for system in dict.fromkeys((*ROLES, SUBJECT, *controls)):
            entry, directory = SYSTEMS[system], None
            if entry.builder is None or (self._over and system not in (*ROLES, SUBJECT, TWIN)):
                continue
            self.tell(entry.title)
            if system in controls and entry.recipe is not None:
                trained, cost = self._training(trial, system, fuser.parameters)
                self.controls.setdefault(pair, {})[system] = cost
                directory = trained.best_dir
            found[system] = self._answering(pair, system, fuser.best_dir, directory)

    def _answering(self, pair: PairSpec, system: str, fuser: str, trained: str | None) -> float:
        needs = SYSTEMS[system].needs
        request = Evaluate(
            system=system,
            pair=pair,
            split=SELECTION,
            fuser_dir=fuser if "fuser" in needs else None,
            trained_dir=trained,
        )
        begun = time.perf_counter()
        items = self.service.evaluate(request).items
        return (time.perf_counter() - begun) / len(items)

    def _others(
        self,
        firsts: dict[PairSpec, TrialConfig],
        fits: Fits | None,
    ) -> Iterator[TrialConfig]:
        """Enqueued settings, then the ends of each pair and injection in size."""
        known = {first_trial(self.space, pair).hash() for pair in firsts}
        enqueued = list(enqueued_trials(self.space))[: self.space.search.trials]
        drawn = [one for one in random_trials(self.space, _SAMPLE) if fits is None or fits(one)]
        kinds: dict[tuple[PairSpec, str], list[TrialConfig]] = {}
        for one in sorted(drawn, key=self.parameters):
            kinds.setdefault((one.pair, one.fuser.injection), []).append(one)
        ends = [of_kind[which] for which in (-1, 0) for of_kind in kinds.values()]
        for trial in (*enqueued[:_ENQUEUED], *ends):
            if trial.hash() not in known:
                known.add(trial.hash())
                yield trial


def _passes(trial: TrialConfig) -> float:
    """How many times as many passes a device makes in a step of a trial as in `shortened`."""
    passes = trial.training.passes
    devices = min(trial.training.devices_per_trial, max(1, torch.cuda.device_count()))
    return passes / devices / min(passes, PASSES)


def _blocks(seconds: Sequence[float]) -> list[float]:
    """Means of the first steps, those in the middle and the last; none of a few steps."""
    size = len(seconds) // _BLOCKS
    if size < _BLOCKS:
        return []
    return [fmean(seconds[block * size : (block + 1) * size]) for block in range(_BLOCKS)]
