"""Who is judged on the test split, and how much of what they score is expected to be luck."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.champion.select import Candidate
from c2c_search.champion.select import estimates
from c2c_search.champion.select import finalists
from c2c_search.config.trial import TrialConfig
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics import Interval
from c2c_search.evaluation.systems.registry import DERANGED
from c2c_search.space.objective import Objective
from c2c_search.study.controls import model_of
from c2c_search.study.finalist import Finalist
from c2c_search.study.naming import trial_name
from c2c_search.study.resume import HASH
from c2c_search.study.resume import complete
from c2c_search.study.session import Session
from c2c_search.study.succession import present_champion
from c2c_search.study.trials import BLOCKS
from c2c_search.study.trials import PAIR
from c2c_search.study.trials import PARAMETERS
from c2c_search.study.trials import SPLIT


if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


LEVEL = 0.1
"""Of the interval around a drop that is told before the test."""


class Drop(BaseModel):
    """By how much a finalist's objective is lower on test than on validation.

    Args:
        expected: As told before the test; None where it cannot be.
        measured: On test; None before that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    expected: Interval | None
    measured: float | None = None

    def numbers(self) -> dict[str, float]:
        """What is known, by name."""
        found = {}
        if self.expected is not None:
            known = self.expected
            found = {"expected": known.value, "low": known.low, "high": known.high}
        return found if self.measured is None else found | {"measured": self.measured}


def candidates(session: Session) -> dict[Candidate, TrialConfig]:
    """The trials that ran to their end, a configuration that was suggested twice once."""
    first: dict[str, FrozenTrial] = {}
    for trial in complete(session.study):
        first.setdefault(trial.user_attrs[HASH], trial)
    return {
        Candidate(
            number=trial.number,
            objective=trial.values[0],
            parameters=trial.user_attrs[PARAMETERS],
            split=trial.user_attrs[SPLIT],
            pair=trial.user_attrs.get(PAIR, ""),
            blocks=tuple(trial.user_attrs.get(BLOCKS, ())),
        ): session.space.configuration(trial.params)
        for trial in first.values()
    }


def choose(session: Session) -> list[Finalist]:
    """The finalists of the study by validation alone, the best first, without controls.

    The present champion is one in any case: whoever comes after it must beat it.
    """
    known = candidates(session)
    chosen = list(finalists(list(known), session.space.pipeline.champion.finalists))
    present = present_champion(session)
    chosen += [one for one in known if known[one].hash() == present and one not in chosen]
    return [
        Finalist(
            name=trial_name(session.study, one.number),
            number=one.number,
            config=known[one],
            trained=session.trainer.known(session.request(known[one])),
        )
        for one in chosen
    ]


def expected_drops(session: Session, chosen: Sequence[Finalist]) -> dict[str, Drop]:
    """How much of each finalist's objective is expected to be luck, told before the test."""
    known = list(candidates(session))
    believed = estimates(known)
    objectives = {one.number: one.objective for one in known}
    drops = {}
    for one in chosen:
        shrunken, objective = believed.get(one.number), objectives[one.number]
        expected = None if shrunken is None else shrunken.expected_drop(objective, LEVEL)
        drops[one.name] = Drop(expected=expected)
        if expected is not None:
            session.view.note(
                f"{one.name}: {session.space.search.objective} {objective:.3f} on validation; on "
                f"test it is expected to be lower by {expected.written('+.3f')}."
            )
    return drops


def measured_drops(
    session: Session,
    judged: Sequence[Finalist],
    results: Mapping[str, SystemResult],
    drops: Mapping[str, Drop],
) -> dict[str, Drop]:
    """The drops with what the test split said.

    Both sides are compared with the models alone and the deranged self, each as answered on its
    own split; a pair's no-sharer reference is left out, as it is not measured on test.

    Args:
        session: Of the study.
        judged: The finalists that were measured.
        results: Every system's answers on test, by name.
        drops: As they were expected, by the finalist's name.
    """
    found = dict(drops)
    for one in judged:
        known = session.objective(one.config.pair).model_copy(update={"reference": None})
        on_test = Objective(
            kind=known.kind,
            receiver=results[model_of(session, one.config.pair, "receiver").name].accuracy,
            sharer=results[model_of(session, one.config.pair, "sharer").name].accuracy
            if known.sharer is not None
            else None,
        )
        before = known.value(one.trained.accuracy, one.trained.deranged)
        deranged = results[one.name_of(DERANGED)].accuracy
        after = on_test.value(
            results[one.name].accuracy, None if one.trained.deranged is None else deranged
        )
        found[one.name] = drops[one.name].model_copy(update={"measured": before - after})
    return found
