"""A study as a sampler is shown it, in memory: what it notes there is no part of the study.

Some of Optuna's samplers keep their state (a generation, a place in a sequence) in the attributes
of trials or of the study. What is lost there, or written twice, when a process is killed would
change what follows; shown a study anew for each suggestion, they are functions of its trials.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Container
from collections.abc import Mapping
from collections.abc import Sequence
from copy import deepcopy as copied
from types import MappingProxyType
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.distributions import distribution_to_json
from optuna.distributions import json_to_distribution
from optuna.samplers import BaseSampler
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage
from optuna.study import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from c2c_search.space.dimensions import Dimension
from c2c_search.space.dimensions import Params
from c2c_search.space.objectives import Measure
from c2c_search.space.objectives import violations
from c2c_search.space.order import all_trials
from c2c_search.space.order import ordinals


if TYPE_CHECKING:
    from c2c_search.space.schema import Space


_EARLIER = "earlier_trials"  # user attribute of the study
MEASURES = "measures"  # user attribute of a trial: what is known of its fuser, by name
NO_BOUNDS: Mapping[Measure, float] = MappingProxyType({})
_CONSTRAINT = "constraints:"  # system attribute of a trial, as `Trial.set_constraint` has it

Show = Callable[[Sequence[FrozenTrial]], Sequence[FrozenTrial]]
"""What a sampler is shown of the other suggestions, given in their order."""


class ShownStudy(Study):
    """A study of these trials, which is asked for one more.

    Args:
        trials: In the order of their suggestion; they are renumbered.
        directions: Of its objectives; one to be maximised when left out.
        bounds: Of trials' measures, which stand there as Optuna's constraints.
    """

    def __init__(
        self,
        trials: Sequence[FrozenTrial],
        directions: Sequence[StudyDirection] = (StudyDirection.MAXIMIZE,),
        bounds: Mapping[Measure, float] = NO_BOUNDS,
    ) -> None:
        storage = InMemoryStorage()
        known = storage.create_new_study(list(directions), "shown")
        super().__init__("shown", storage)
        self.asked: FrozenTrial = storage.get_trial(storage.create_new_trial(known))
        self.asked.number = len(trials)
        several = len(directions) > 1
        self._others = [
            _numbered(trial, number, several, bounds) for number, trial in enumerate(trials)
        ]

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return self._get_trials(deepcopy, states)

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        found = [each for each in self._others if states is None or each.state in states]
        return copied(found) if deepcopy else found


class OnShown(BaseSampler):
    """Lets a sampler suggest in a `ShownStudy` of the other suggestions.

    Args:
        sampler: Made for this one suggestion.
        show: What it sees of the others; all of them, as they are, if left out.
        joint: What it suggests together; what it infers itself if left out.
        bounds: Of trials' measures, which it is to avoid beyond.
    """

    def __init__(
        self,
        sampler: BaseSampler,
        show: Show = list,
        joint: dict[str, BaseDistribution] | None = None,
        bounds: Mapping[Measure, float] = NO_BOUNDS,
    ) -> None:
        self._sampler = sampler
        self._bounds = bounds
        self._show = show
        self._joint = joint
        self._shown: ShownStudy | None = None

    def _study(self, study: Study, trial: FrozenTrial) -> ShownStudy:
        if self._shown is None:
            others = self._show(suggested(study, but=trial.number))
            self._shown = ShownStudy(others, study.directions, self._bounds)
        return self._shown

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        if self._joint is not None:
            return self._joint
        shown = self._study(study, trial)
        return self._sampler.infer_relative_search_space(shown, shown.asked)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        shown = self._study(study, trial)
        return self._sampler.sample_relative(shown, shown.asked, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        shown = self._study(study, trial)
        return self._sampler.sample_independent(shown, shown.asked, param_name, param_distribution)


class OfSpace(BaseSampler):
    """A sampler of this project's own, which suggests all of a space's dimensions together.

    Args:
        space: The space.
        seed: Of what is drawn by chance, as whatever it leaves out is.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._chance = RandomSampler(seed=seed)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return distributions(self._space.dimensions)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._chance.sample_independent(study, trial, param_name, param_distribution)


def suggested(study: Study, *, but: int) -> list[FrozenTrial]:
    """The other trials that have ended or run, in the order in which they were suggested.

    Those of earlier studies stand before them. One that was interrupted and goes on under another
    number stands where it stood.

    Args:
        study: The study.
        but: Number of the trial that is being suggested.
    """
    trials = all_trials(study)
    places = ordinals(trials)
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    found = [each for each in trials if each.state in states and each.number != but]
    found.sort(key=lambda each: (places[each.number], each.number))
    return [*earlier_trials(study), *found]


class EarlierTrial(NamedTuple):
    """A trial of another study, as a point of this one's space.

    Args:
        params: By dotted name.
        value: What it scored, as this study scores.
        step: Its last.
        pruned: Whether it was stopped there.
        values: By every objective, where there are several.
        measures: All that was measured of it, by name.
    """

    params: Params
    value: float
    step: int
    pruned: bool
    values: Sequence[float] = ()
    measures: Mapping[str, float] = MappingProxyType({})


def show_earlier(
    study: Study, known: Mapping[str, BaseDistribution], trials: Sequence[EarlierTrial]
) -> None:
    """Keep trials of other studies for `suggested`, in place of those that were kept before.

    Args:
        study: The study.
        known: Its dimensions as Optuna has them, by name.
        trials: In the order in which they are to stand.
    """
    content = {
        "distributions": {name: distribution_to_json(each) for name, each in known.items()},
        "trials": [each._asdict() | {"measures": dict(each.measures)} for each in trials],
    }
    study.set_user_attr(_EARLIER, content)


def earlier_trials(study: Study) -> list[FrozenTrial]:
    """What `show_earlier` has kept."""
    # Of the whole study: under Hyperband a sampler is handed one bracket's.
    content = study._storage.get_study_user_attrs(study._study_id).get(_EARLIER)
    if content is None:
        return []
    known = {name: json_to_distribution(each) for name, each in content["distributions"].items()}
    found = []
    for number, record in enumerate(content["trials"]):
        one = EarlierTrial(**record)
        trial = made(
            number,
            TrialState.PRUNED if one.pruned else TrialState.COMPLETE,
            one.values or one.value,
            one.params,
            {name: known[name] for name in one.params},
            user_attrs={MEASURES: one.measures},
            intermediate_values={one.step: one.value},
        )
        found.append(trial)
    return found


def distribution(dimension: Dimension) -> BaseDistribution:
    """A dimension as Optuna has it."""
    if dimension.integers is not None:
        low, high = dimension.integers
        return IntDistribution(low, high, log=dimension.log, step=dimension.step or 1)
    if dimension.floats is not None:
        return FloatDistribution(*dimension.floats, log=dimension.log)
    assert dimension.choices is not None
    return CategoricalDistribution(dimension.choices)


def distributions(dimensions: Mapping[str, Dimension]) -> dict[str, BaseDistribution]:
    """Every dimension as Optuna has it, by name, in the order of their names."""
    return {name: distribution(dimensions[name]) for name in sorted(dimensions)}


def _numbered(
    trial: FrozenTrial, number: int, several: bool, bounds: Mapping[Measure, float]
) -> FrozenTrial:
    values = trial.values if trial.state == TrialState.COMPLETE or not several else None
    return made(
        number,
        trial.state,
        values if several or not values else values[0],
        trial.params,
        trial.distributions,
        system_attrs=_constrained(trial, bounds),
        # Of several objectives Optuna compares no trial at its rungs.
        intermediate_values={} if several else trial.intermediate_values,
    )


def _constrained(trial: FrozenTrial, bounds: Mapping[Measure, float]) -> dict[str, Any]:
    """A trial's system attributes, with constraints of these bounds in place of former ones."""
    attrs = {k: each for k, each in trial.system_attrs.items() if not k.startswith(_CONSTRAINT)}
    if trial.state == TrialState.COMPLETE:
        beyond = violations(bounds, trial.user_attrs.get(MEASURES, {}))
    else:  # what is known of it by then says nothing of its end
        beyond = dict.fromkeys(bounds, 0.0)
    return attrs | {f"{_CONSTRAINT}{name}": value for name, value in beyond.items()}


def by_first(trial: FrozenTrial, bounds: Mapping[Measure, float]) -> FrozenTrial:
    """A trial as one of its first objective alone, as what weighs dimensions needs it."""
    return _numbered(trial, trial.number, several=False, bounds=bounds)


def made(
    number: int,
    state: TrialState,
    value: float | Sequence[float] | None,
    params: dict[str, Any],
    known: dict[str, BaseDistribution],
    *,
    user_attrs: Mapping[str, Any] | None = None,
    system_attrs: Mapping[str, Any] | None = None,
    intermediate_values: Mapping[int, float] | None = None,
) -> FrozenTrial:
    """A trial of this content; its parts are not copied, nor is it checked."""
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=state,
        value=None,
        values=[value] if isinstance(value, float | int) else value,
        params=params,
        distributions=known,
        user_attrs=dict(user_attrs or {}),
        system_attrs=dict(system_attrs or {}),
        intermediate_values=dict(intermediate_values or {}),
        datetime_start=None,
        datetime_complete=None,
    )
