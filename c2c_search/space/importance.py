"""Which dimensions decided how good a trial was, and how sure that is."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.importance import BaseImportanceEvaluator
from optuna.importance import FanovaImportanceEvaluator
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.importance import get_param_importances
from optuna.trial import FrozenTrial

from c2c_search.space.shown import ShownStudy


INDICATIVE_BELOW = 50
"""Trials: the best tenth of fewer has less than five, which are too few to show a distribution."""

_RESAMPLES = 50
_TREES = 32


@dataclass(frozen=True)
class Weighed:
    """Share of a dimension in how good trials were, in [0, 1], with a 90 % interval.

    Args:
        value: Of the trials themselves.
        low: 5th percentile over resampled trials.
        high: 95th percentile.
    """

    value: float
    low: float
    high: float


def ped_anova(trials: Sequence[FrozenTrial]) -> dict[str, Weighed]:
    """How much the best tenth of the trials differ in a dimension from all; conditional ones too.

    Source: PED-ANOVA (Watanabe et al., IJCAI 2023), by Optuna.

    Args:
        trials: Those that ran to their end.
    """
    return _weighed(trials, _varied(trials), PedAnovaImportanceEvaluator)


def fanova(trials: Sequence[FrozenTrial]) -> dict[str, Weighed]:
    """Share of the variance of the objective; of dimensions that always apply, as it needs them.

    Source: fANOVA (Hutter et al., ICML 2014), by Optuna.

    Args:
        trials: Those that ran to their end.
    """
    always = [name for name in _varied(trials) if all(name in each.params for each in trials)]

    def make() -> BaseImportanceEvaluator:
        return FanovaImportanceEvaluator(n_trees=_TREES, seed=0)

    return _weighed(trials, always, make)


def _varied(trials: Sequence[FrozenTrial]) -> list[str]:
    values: dict[str, set[object]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            values.setdefault(name, set()).add(value)
    return sorted(name for name, known in values.items() if len(known) > 1)


def _weighed(
    trials: Sequence[FrozenTrial], names: list[str], make: Callable[[], BaseImportanceEvaluator]
) -> dict[str, Weighed]:
    if len(trials) < 2 or not names:
        return {}
    found = _importances(trials, names, make())
    rng = np.random.default_rng(0)
    drawn: list[Mapping[str, float]] = []
    for _ in range(_RESAMPLES):
        again = [trials[index] for index in rng.integers(len(trials), size=len(trials))]
        varied = [name for name in _varied(again) if name in names]
        complete = [name for name in varied if name in found]
        drawn.append(_importances(again, complete, make()) if complete else {})
    weighed = {}
    for name, value in found.items():
        low, high = np.percentile([each.get(name, 0.0) for each in drawn], [5, 95])
        weighed[name] = Weighed(value, min(value, float(low)), max(value, float(high)))
    return weighed


def _importances(
    trials: Sequence[FrozenTrial], names: list[str], evaluator: BaseImportanceEvaluator
) -> dict[str, float]:
    """Importances, which sum to 1 unless all are 0."""
    with warnings.catch_warnings():
        # That these are few trials is told with the result.
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", ExperimentalWarning)
        try:
            found = get_param_importances(
                ShownStudy(trials), evaluator=evaluator, params=names, normalize=False
            )
        except RuntimeError as error:  # fANOVA has no share of nothing
            if "zero total variance" not in str(error):
                raise
            found = dict.fromkeys(names, 0.0)
    total = sum(max(0.0, float(value)) for value in found.values())
    return {
        name: max(0.0, float(value)) / total if total > 0 else 0.0 for name, value in found.items()
    }
