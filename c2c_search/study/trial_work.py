"""What a trial will take in tokens and operations: the formulas by which its training counts."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from typing import TYPE_CHECKING

from c2c_search.space.expected_work import TrialWork
from c2c_search.study.counted_pace import CountedPace
from c2c_search.study.counted_pace import Lengths


if TYPE_CHECKING:
    from c2c_search.config.trial import TrialConfig
    from c2c_search.models.arithmetic import ModelSize
    from c2c_search.models.pair import PairSpec


def counted_work(
    sizes: Mapping[str, ModelSize],
    lengths: Mapping[PairSpec, Lengths],
    parameters: Callable[[TrialConfig], int],
    questions: int,
) -> Callable[[TrialConfig], TrialWork]:
    """Tells what a trial takes, examples of mean length in all its stages.

    Args:
        sizes: Of the models, by their sources.
        lengths: Of the texts, by the pair that reads them.
        parameters: Of a trial's fuser.
        questions: That are answered at a rung.
    """

    def work(trial: TrialConfig) -> TrialWork:
        known = lengths[trial.pair]
        cost = CountedPace(1.0, sizes, known, parameters).training(trial)
        judged = questions * cost.judged
        if trial.fuser.family.closed_form:  # a fit takes no steps
            return TrialWork(0.0, 0.0, judged)
        examples = trial.training.batch_size * trial.training.passes
        return TrialWork(examples * (known.read + known.response), cost.step, judged)

    return work
