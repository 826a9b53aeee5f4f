"""A study replayed on the table of fusers: its sampler and pruner are real, nothing is trained.

What a trial scores is looked up. A suggestion becomes the fuser of the table that is nearest to
it, of the same pair: the share of the dimensions in which they differ, ranges by their distance.
A replay has a validation set of its own, the table's blocks of whole facts drawn with replacement,
and one of each fuser's trainings. What a fuser is worth is its margin on test, the mean over its
seeds, which no replay sees. A pair's no-sharer reference was measured on validation alone, where
questions are easier or harder than on test: it is part of what a replay maximises, not of the
worth.

The table has one test set, whose luck is the same in all replays, so that they cannot tell whether
a drop from validation to test is told rightly. Halved replays can: each chooses by a random half
of validation's blocks, and the other half stands for test.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING
from typing import NamedTuple

import numpy as np
import optuna
from optuna.trial import TrialState

from c2c_search.champion.select import Candidate
from c2c_search.champion.select import drop_of
from c2c_search.champion.select import finalists
from c2c_search.evaluation.guard import SELECTION
from c2c_search.evaluation.statistics import Interval
from c2c_search.space.dimensions import Dimension
from c2c_search.space.dimensions import Params
from c2c_search.space.dimensions import Value
from c2c_search.space.pruners import rung_blocks
from c2c_search.space.reference import PAIR
from c2c_search.space.sampling import make_pruner
from c2c_search.space.sampling import make_sampler
from c2c_search.space.sampling import suggest
from c2c_search.space.schema import Space


if TYPE_CHECKING:
    from c2c_search.testing.tabled_fusers import FuserTable
    from c2c_search.testing.tabled_fusers import TabledFuser

LEVEL = 0.1
"""Of the interval around the drop from validation to test, as a study tells it."""
TOP = 0.05
"""Share of the table's fusers that a pruner should not stop."""


@dataclass(frozen=True)
class Replayed:
    """One replayed study.

    Args:
        steps: Optimizer steps spent after each trial.
        worth: After each trial, the champion's margin on test; not a number before the first
            trial has run to its end.
        pruned: By the index of each trial's fuser in the table, whether it was stopped.
        drop: Of the champion of a halved replay; None where none was told.
    """

    steps: tuple[int, ...]
    worth: tuple[float, ...]
    pruned: tuple[tuple[int, bool], ...]
    drop: ToldDrop | None = None

    def first(self, trials: int) -> Replayed:
        """As it stood after so many trials."""
        return replace(
            self,
            steps=self.steps[:trials],
            worth=self.worth[:trials],
            pruned=self.pruned[:trials],
            drop=self.drop if trials == len(self.steps) else None,
        )


class ToldDrop(NamedTuple):
    """How much lower a champion's objective is on other questions, as a study tells it before.

    Args:
        told: With its interval at `LEVEL`.
        measured: On the other half of validation.
    """

    told: Interval
    measured: float

    @property
    def covered(self) -> bool:
        """Whether it was as told."""
        return self.told.low <= self.measured <= self.told.high


class Lookup:
    """The table as a space sees it.

    Args:
        table: The fusers.
        dimensions: Those that are searched; what they leave open, the table's fusers differ in.
    """

    def __init__(self, table: FuserTable, dimensions: Mapping[str, Dimension]) -> None:
        self.fusers = [each for each in table.fusers if each.trainings[0].failure is None]
        self.dimensions = dimensions
        first_pair = next(iter(table.about["pairs"]))
        self.objectives = [
            table.objective(str(each.params.get(PAIR, first_pair))) for each in self.fusers
        ]
        self._tests = [_margins(table, each, first_pair) for each in self.fusers]
        self.worth = np.array([fmean(each) for each in self._tests])

    @property
    def best(self) -> float:
        """The highest margin on test that can be found."""
        return float(self.worth.max())

    @property
    def top(self) -> frozenset[int]:
        """The best fusers, at least one."""
        count = max(1, round(TOP * len(self.fusers)))
        return frozenset(map(int, np.argsort(-self.worth)[:count]))

    def worths(self, index: int) -> list[float]:
        """Margins of a fuser on test, by seed."""
        return self._tests[index]

    def nearest(self, params: Params, rng: np.random.Generator) -> int:
        """Index of the fuser that stands for a suggestion; by chance among equally near ones."""
        apart = np.array([self._distance(params, each.params) for each in self.fusers])
        return int(rng.choice(np.flatnonzero(apart <= apart.min() + 1e-9)))

    def _distance(self, one: Params, other: Params) -> float:
        if one.get(PAIR, other.get(PAIR)) != other.get(PAIR):
            return math.inf
        return sum(_apart(each, name, one, other) for name, each in self.dimensions.items())


def _margins(table: FuserTable, fuser: TabledFuser, first_pair: str) -> list[float]:
    """On test, of each training."""
    objective = table.objective(str(fuser.params.get(PAIR, first_pair)), "test")
    return [
        objective.value(one.test_accuracy, one.test_deranged)
        for one in fuser.trainings
        if one.test_accuracy is not None
    ]


def _apart(dimension: Dimension, name: str, one: Params, other: Params) -> float:
    """How far two settings are apart in a dimension, from 0 to 1."""
    if name not in one and name not in other:
        return 0.0
    if name not in one or name not in other:
        return 1.0
    bounds = dimension.integers or dimension.floats
    if bounds is None:
        return float(one[name] != other[name])
    ends = [_scaled(dimension, each) for each in bounds]
    found = abs(_scaled(dimension, one[name]) - _scaled(dimension, other[name]))
    return min(1.0, found / (ends[1] - ends[0]))


def _scaled(dimension: Dimension, value: Value) -> float:
    assert isinstance(value, int | float)
    return math.log(value) if dimension.log else float(value)


def replay(space: Space, lookup: Lookup, seed: int, *, halved: bool = False) -> Replayed:
    """Run a study of the space's sampler, pruner and trials on the table.

    Args:
        space: Its rungs are the table's.
        lookup: The table.
        seed: Of the sampler, of the validation set and of each fuser's training.
        halved: Whether it chooses by a half of validation; see the module.
    """
    return _Replay(space, lookup, seed, halved).run()


class _Replay:
    def __init__(self, space: Space, lookup: Lookup, seed: int, halved: bool) -> None:
        search = space.search.model_copy(update={"seed": seed})
        self.space = space.model_copy(update={"search": search})
        self.lookup = lookup
        self.rng = np.random.default_rng(seed)
        first = lookup.fusers[0].trainings[0].rungs[0].blocks
        self.drawn = self.rng.integers(len(first), size=len(first))
        self.others: np.ndarray | None = None  # blocks that stand for test
        if halved:
            self.drawn, self.others = np.array_split(self.rng.permutation(len(first)), 2)
        self.training = [
            each.trainings[self.rng.integers(len(each.trainings))] for each in lookup.fusers
        ]
        self.candidates: list[Candidate] = []
        self.fuser_of: dict[int, int] = {}
        self.drops: dict[int, float] = {}  # by trial, from the blocks drawn to the others

    def run(self) -> Replayed:
        study = optuna.create_study(
            direction="maximize",
            sampler=make_sampler(self.space),
            pruner=make_pruner(self.space),
            study_name=f"replay-{self.space.search.seed}",  # Hyperband's brackets follow from it
        )
        steps, worth, pruned, spent = [], [], [], 0
        for params in self.space.enqueue:
            study.enqueue_trial(dict(params))
        for _ in range(self.space.search.trials):
            trial = study.ask()
            suggest(self.space, trial)
            index = self.lookup.nearest(trial.params, self.rng)
            taken, stopped = self._train(study, trial, index)
            spent += taken
            steps.append(spent)
            pruned.append((index, stopped))
            worth.append(self._champion_worth())
        return Replayed(tuple(steps), tuple(worth), tuple(pruned), self._drop())

    def _train(self, study: optuna.Study, trial: optuna.Trial, index: int) -> tuple[int, bool]:
        """Steps that the trial took, and whether it was stopped."""
        training, objective = self.training[index], self.lookup.objectives[index]
        measured: list[tuple[float, float, tuple[float, ...]]] = []
        for rung in training.rungs:
            blocks = tuple(rung.blocks[block] for block in self.drawn)
            # The margin of all questions is not the mean of the blocks' margins.
            luck = fmean(blocks) - fmean(rung.blocks)
            value = objective.value(rung.accuracy, rung.deranged) + luck
            others = () if self.others is None else self.others
            drop = fmean(blocks) - fmean([rung.blocks[block] for block in others] or blocks)
            measured.append((value, drop, blocks))
            trial.set_user_attr(rung_blocks(rung.step), blocks)
            trial.report(value, rung.step)
            if rung is not training.rungs[-1] and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                return rung.step, True
        value, drop, blocks = max(measured, key=lambda one: one[0])
        study.tell(trial, value)
        if index not in self.fuser_of.values():  # found twice, it stands once, as in a study
            self.fuser_of[trial.number], self.drops[trial.number] = index, drop
            pair = str(trial.params.get(PAIR, ""))
            self.candidates.append(
                Candidate(
                    number=trial.number,
                    objective=value,
                    parameters=training.parameters,
                    split=SELECTION,
                    pair=pair,
                    blocks=blocks,
                    rungs=tuple((each[0], each[2]) for each in measured),
                )
            )
        return training.rungs[-1].step, False

    def _champion_worth(self) -> float:
        chosen = finalists(self.candidates, 1)
        return float(self.lookup.worth[self.fuser_of[chosen[0].number]]) if chosen else math.nan

    def _drop(self) -> ToldDrop | None:
        chosen = finalists(self.candidates, 1) if self.others is not None else []
        told = drop_of(chosen[0], self.candidates, LEVEL) if chosen else None
        return None if told is None else ToldDrop(told, self.drops[chosen[0].number])


def regrets(replays: Sequence[Replayed], best: float) -> np.ndarray:
    """``(repeats, trials)`` of what could be found, how much each champion misses; before there
    is one, all of it."""
    return best - np.nan_to_num([each.worth for each in replays], nan=0.0)


def false_kills(replays: Sequence[Replayed], top: frozenset[int]) -> float:
    """Of the trials whose fuser is among the best, the share that was stopped."""
    hit = [stopped for each in replays for index, stopped in each.pruned if index in top]
    return sum(hit) / len(hit) if hit else math.nan
