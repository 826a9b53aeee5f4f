"""Pruner `wilcoxon`: a trial stops that answers validation's blocks worse than the best trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from c2c_search.space.pruners import pruner
from c2c_search.space.pruners import rung_blocks
from c2c_search.space.schema import Space


_P = 0.05


@pruner(
    "wilcoxon",
    reference="Signed-rank test (Wilcoxon 1945), as Optuna's WilcoxonPruner over instances",
)
class BlockWilcoxon(BasePruner):
    """Compares a trial with the best that ended, block by block of validation at the same rung.

    A block is some whole clusters of items, so that blocks are independent. It stops where the
    one-sided test says with p below ``search.wilcoxon_p`` that its blocks are worse; where blocks
    are not known or not the same, as between pairs of models with other data, it goes on.
    """

    def __init__(self, space: Space) -> None:
        wanted = space.search.wilcoxon_p
        self._p = _P if wanted is None else wanted

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        from scipy.stats import wilcoxon

        if trial.last_step is None:
            return False
        known = rung_blocks(trial.last_step)
        mine: Sequence[float] = trial.user_attrs.get(known, ())
        theirs = self._best(study, known)
        if not mine or len(mine) != len(theirs):
            return False
        apart = np.subtract(mine, theirs)
        if not np.any(apart):
            return False
        found: Any = wilcoxon(apart, alternative="less", zero_method="zsplit")
        return bool(found.pvalue < self._p)

    def _best(self, study: Study, known: str) -> Sequence[float]:
        """The blocks of the best trial that has some at this rung."""
        ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        others = [each for each in ended if known in each.user_attrs and each.value is not None]
        best = max(others, key=lambda each: (each.value, -each.number), default=None)
        return () if best is None else best.user_attrs[known]
