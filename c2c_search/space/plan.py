"""What a study will do and cost, before anything is spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from operator import itemgetter
from random import Random
from typing import Protocol
from typing import TypeVar

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from c2c_search.config.stages import written
from c2c_search.config.trial import TrialConfig
from c2c_search.fuser.config import FuserConfig
from c2c_search.space.candidates import random_trials
from c2c_search.space.dimensions import count
from c2c_search.space.dimensions import in_order
from c2c_search.space.expected_work import TrialWork
from c2c_search.space.expected_work import allowed
from c2c_search.space.expected_work import expected_work
from c2c_search.space.fuser_sizes import FuserSizes
from c2c_search.space.fuser_sizes import fuser_sizes
from c2c_search.space.pruners import rung_measures
from c2c_search.space.sampling import make_pruner
from c2c_search.space.schema import Space
from c2c_search.system_names import ANCHORS
from c2c_search.system_names import SYSTEMS
from c2c_search.system_names import TWIN


Geometry = TypeVar("Geometry")

_OF_MESSAGES = (
    "fuser.slots",
    "fuser.message",
    "fuser.draft_tokens",
    "fuser.source",
    "fuser.anchors",
    "fuser.anchor_tokens",
)

_REHEARSED_TRIALS = 500
_FEWEST_ROUNDS = 5
_DERANGED = "deranged"
_UNSAID = "none"  # of anchors
_MOST_TRIALS = 1000  # of a rehearsed study; a longer one is taken to go on alike


class Messages(Protocol):
    """Tells what the messages of trials take."""

    def bytes_of(self, trial: TrialConfig) -> int:
        """Bytes of the message of a prompt of mean length."""

    def drafting(self, trials: Sequence[TrialConfig]) -> DraftPlan | None:
        """What the drafts of all of them take; None if none drafts."""


@dataclass(frozen=True)
class DimensionPlan:
    """One dimension in words: its possible values, and the condition under which it applies."""

    name: str
    values: str
    when: str


@dataclass(frozen=True)
class RungPlan:
    """One rung: the optimizer step it is judged after and the trials expected to reach it."""

    step: int
    trials: float


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of the device at the peak of training, with the smallest and the largest fuser.

    Args:
        least: Of the one that takes less, in all.
        most: Of the one that takes more, what for, by name.
        limit: The space's limit, beyond which no trial is tried.
    """

    least: int
    most: Mapping[str, int]
    limit: float | None


@dataclass(frozen=True)
class MessagePlan:
    """Bytes of a message of a prompt of mean length, over random candidates.

    Args:
        least: Of the smallest.
        most: Of the largest.
    """

    least: int
    most: int


@dataclass(frozen=True)
class DraftPlan:
    """What the sharers' drafts take, written once for all trials, as long as they may be.

    Args:
        prompts: That they are written to.
        tokens: Of all of them, at most.
        passes: Of a sharer, each over a batch of drafts that grow by one token; at most.
        stored: Bytes of the caches of prompts with drafts, at one length; at most.
    """

    prompts: int
    tokens: int
    passes: int
    stored: int


@dataclass(frozen=True)
class Plan:
    """What a study will do.

    Args:
        dimensions: In the order in which they are sampled.
        configurations: Number of different trials; None if a range of floats makes it endless.
        trials: Trials of the study.
        rungs: Every rung, with the trials expected to reach it.
        expected_steps: Optimizer steps of the trials under the pruner, on average.
        most_steps: Optimizer steps of the trials if none is pruned.
        twin_steps: Optimizer steps of the finalists' no-sharer twins.
        stages: Of a trial, where they are not searched; empty without any.
        control_steps: The same of every other control that is trained in steps, by its title.
        finalists: Trials that are measured on the test split.
        tokens: That the trials learn from, on average; None where nothing can tell it.
        flops: Floating-point operations of the trials; None where nothing can tell it.
        ended_by: The budget that ends the search before the space's trials are spent, if one is
            expected to; ``trials`` are those until then.
        controls: What each of them must beat, beside every model alone, by title.
        reference_steps: Optimizer steps of the pairs' no-sharer references, which a study of
            several pairs trains to the first rung.
        sizes: Parameters of the fusers; None without geometries.
        memory: What training takes; None if nothing can tell it.
        messages: How large they are; None where the space asks for those of old alone.
        drafts: What they take; None where nothing is drafted, or nothing can tell it.
    """

    dimensions: tuple[DimensionPlan, ...]
    configurations: int | None
    trials: int
    rungs: tuple[RungPlan, ...]
    expected_steps: int
    most_steps: int
    twin_steps: int
    reference_steps: int
    sizes: FuserSizes | None
    memory: MemoryPlan | None = None
    messages: MessagePlan | None = None
    drafts: DraftPlan | None = None
    stages: str = ""
    control_steps: Mapping[str, int] = field(default_factory=dict)
    finalists: int = 1
    tokens: int | None = None
    flops: float | None = None
    ended_by: str = ""
    controls: tuple[str, ...] = ()

    @property
    def total_steps(self) -> int:
        """Expected optimizer steps of the whole study, controls and references included."""
        controls = self.twin_steps + sum(self.control_steps.values())
        return self.expected_steps + controls + self.reference_steps


def plan(
    space: Space,
    *,
    geometries: Mapping[str, Geometry] | None = None,
    parameters: Callable[[FuserConfig, Geometry, Geometry], int] | None = None,
    memory: Callable[[TrialConfig], Mapping[str, int]] | None = None,
    messages: Messages | None = None,
    work: Callable[[TrialConfig], TrialWork] | None = None,
    samples: int = 200,
) -> Plan:
    """Work out what a study of the space will do.

    Args:
        space: The space.
        geometries: Shape of every model of the space's pairs, by its source.
        parameters: Parameters of a fuser, from its configuration and the geometries of
            receiver and sharer.
        memory: Bytes that a trial takes at its peak, by what for.
        messages: Tells what messages and drafts take.
        work: What a trial takes in tokens and operations.
        samples: Random candidates that the sizes are taken from.
    """
    reached = expected_trials(space)
    taken = expected_work(space, reached, work)
    ended_by, fewer = allowed(space.search, taken)
    if ended_by:
        search = space.search.model_copy(update={"trials": fewer})
        space = space.model_copy(update={"search": search})
        reached = expected_trials(space)
        taken = expected_work(space, reached, work)
    training, search = space.pipeline.training, space.search
    finalists = min(space.pipeline.champion.finalists, search.trials)
    judged = finalists * training.steps
    sizes = needed = sent = drafts = None
    if geometries is not None and parameters is not None:
        by_size = _by_size(space, geometries, parameters, samples)
        sizes = fuser_sizes(space, [size for size, _ in by_size])
        if memory is not None:
            # A trial takes a few seconds to tell.
            needed = _memory(space, [memory(by_size[index][1]) for index in (0, -1)])
    if messages is not None and shapes_messages(space):
        trials = [*random_trials(space, samples)]
        of_trials = [messages.bytes_of(trial) for trial in trials]
        sent = MessagePlan(min(of_trials), max(of_trials))
        drafts = messages.drafting(trials)
    return Plan(
        dimensions=tuple(_dimension(space, name) for name in in_order(space.dimensions)),
        configurations=count(space.dimensions),
        trials=search.trials,
        rungs=tuple(map(RungPlan, training.rung_steps, reached)),
        expected_steps=round(taken["steps"]),
        most_steps=search.trials * training.steps,
        twin_steps=judged,
        reference_steps=len(space.pairs) * training.rung_steps[0] if len(space.pairs) > 1 else 0,
        sizes=sizes,
        memory=needed,
        messages=sent,
        drafts=drafts,
        stages=_stages(space),
        control_steps={SYSTEMS[name].title: judged for name in trained_in_steps(space)}
        | ({"further seeds": search.confirm_seeds * judged} if search.confirm_seeds else {}),
        finalists=finalists,
        tokens=round(taken["tokens"]) if "tokens" in taken else None,
        flops=taken.get("flops"),
        ended_by=ended_by,
        controls=_controls(space),
    )


def _controls(space: Space) -> tuple[str, ...]:
    """Titles of what every finalist must beat, or every one of its kind."""
    names = (TWIN, *space.pipeline.champion.controls, _DERANGED)
    told = [SYSTEMS[name].title for name in dict.fromkeys(names)]
    dimension = space.dimensions.get("fuser.anchors")
    searched = () if dimension is None else dimension.choices or ()
    said = {*searched, space.fixed.get("fuser.anchors", _UNSAID)} - {_UNSAID}
    if said and ANCHORS not in names:
        title = SYSTEMS[ANCHORS].title
        told.append(f"{title}, of those with anchors" if _UNSAID in searched else title)
    return tuple(told)


def shapes_messages(space: Space) -> bool:
    """Whether a space says what messages are made of, or how long they are."""
    return any(name in space.dimensions or name in space.fixed for name in _OF_MESSAGES)


def _stages(space: Space) -> str:
    if "training.stages" in space.dimensions:
        return ""
    (trial,) = random_trials(space, 1)
    return written(trial.training.stages)


def trained_in_steps(space: Space) -> list[str]:
    """Controls, beside the twin, that each finalist has trained in steps; a fit takes none."""
    (trial,) = random_trials(space, 1)
    found = []
    for name in space.pipeline.champion.controls:
        recipe = SYSTEMS[name].recipe
        if recipe is None or name == TWIN:
            continue
        if recipe.learner != "fuser" or not recipe.variant(trial).fuser.family.closed_form:
            found.append(name)
    return found


def expected_trials(space: Space) -> list[float]:
    """Trials expected to reach each rung, on average over random orders of good and bad ones.

    Optuna's own pruner is asked, in studies that exist in memory only; a trial is as good at one
    rung as at the others.
    """
    steps, trials = space.pipeline.training.rung_steps, min(space.search.trials, _MOST_TRIALS)
    rounds = max(_FEWEST_ROUNDS, _REHEARSED_TRIALS // trials)
    reached = Counter[int]()
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for seed in range(rounds):
        reached.update(_rehearse(space, trials, Random(seed)))
    optuna.logging.set_verbosity(verbosity)
    return [reached[step] * (space.search.trials / trials) / rounds for step in steps]


def _rehearse(space: Space, trials: int, rng: Random) -> Iterator[int]:
    """Play a study with random objectives; the steps of every rung that a trial reaches."""
    study = optuna.create_study(
        # Hyperband sorts trials into brackets by the study's name.
        study_name=space.study,
        sampler=RandomSampler(seed=0),
        pruner=make_pruner(space),
        direction="maximize",
    )
    *early, last = space.pipeline.training.rung_steps
    for _ in range(trials):
        trial, objective = study.ask(), rng.random()
        known = {name: rng.random() for name in space.search.objectives or ()}
        for step in early:
            yield step
            trial.set_user_attr(rung_measures(step), known)
            trial.report(objective, step)
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            yield last
            trial.report(objective, last)
            study.tell(trial, objective)


def _dimension(space: Space, name: str) -> DimensionPlan:
    dimension = space.dimensions[name]
    return DimensionPlan(name, str(dimension), dimension.condition)


def _by_size(
    space: Space,
    geometries: Mapping[str, Geometry],
    parameters: Callable[[FuserConfig, Geometry, Geometry], int],
    samples: int,
) -> list[tuple[int, TrialConfig]]:
    """Random trials with their fusers' parameters, the smallest first."""
    counted = [
        (
            parameters(
                trial.fuser, geometries[trial.pair.receiver], geometries[trial.pair.sharer]
            ),
            trial,
        )
        for trial in random_trials(space, samples)
    ]
    return sorted(counted, key=itemgetter(0))


def _memory(space: Space, needed: Sequence[Mapping[str, int]]) -> MemoryPlan:
    totals = [sum(parts.values()) for parts in needed]
    most = needed[totals.index(max(totals))]
    return MemoryPlan(min(totals), most, space.limits.max_memory_gb)
