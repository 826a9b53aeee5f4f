"""Who is judged on the test split, and how much of what they score is expected to be luck."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.champion.select import Candidate
from c2c_search.champion.select import by_rule
from c2c_search.champion.select import drop_of
from c2c_search.champion.select import finalists
from c2c_search.champion.select import of_front
from c2c_search.config.trial import TrialConfig
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics import Interval
from c2c_search.evaluation.systems.registry import DERANGED
from c2c_search.space.front import beyond
from c2c_search.space.objective import Objective
from c2c_search.space.objectives import TIMED
from c2c_search.space.order import all_trials
from c2c_search.space.pruners import rung_blocks
from c2c_search.space.shown import MEASURES
from c2c_search.study.controls import model_of
from c2c_search.study.finalist import Finalist
from c2c_search.study.naming import trial_name
from c2c_search.study.recording import reason
from c2c_search.study.resume import HASH
from c2c_search.study.resume import complete
from c2c_search.study.seeds import Seeds
from c2c_search.study.seeds import confirm
from c2c_search.study.session import Session
from c2c_search.study.succession import present_champion
from c2c_search.study.trials import BLOCKS
from c2c_search.study.trials import PAIR
from c2c_search.study.trials import PARAMETERS
from c2c_search.study.trials import SPLIT
from c2c_search.training.protocol import Failed


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
            rungs=_rungs(trial),
            measures=_measures(session, trial),
        ): session.space.configuration(trial.params)
        for trial in first.values()
    }


def _rungs(trial: FrozenTrial) -> tuple[tuple[float, tuple[float, ...]], ...]:
    """Its objective at each rung, and on each block there; nothing if any is not known."""
    known = sorted(trial.intermediate_values.items())
    blocks = [tuple(trial.user_attrs.get(rung_blocks(step), ())) for step, _ in known]
    sizes = {len(each) for each in (*blocks, trial.user_attrs.get(BLOCKS, ()))}
    if len(sizes) > 1:
        return ()
    return tuple((value, each) for (_, value), each in zip(known, blocks, strict=True))


def _measures(session: Session, trial: FrozenTrial) -> dict[str, float]:
    """What is known of a trial; costs that were first asked for after its end are measured now."""
    search, known = session.space.search, dict(trial.user_attrs.get(MEASURES, {}))
    if not {*search.compared_by, *search.bounds} - {search.leading} - known.keys():
        return known
    config = session.space.configuration(trial.params)
    trained = session.trainer.known(session.request(config))
    known = session.measures(config, trained) | known
    if search.timed and not known.keys() >= {*TIMED}:
        costs = session.alone(lambda each: each.cost(config, trained))
        if isinstance(costs, Failed):
            name = trial_name(all_trials(session.study), trial.number)
            session.view.note(
                f"{name} counts as beyond bounds: its costs are not known {reason(costs)}"
            )
        else:
            known |= costs.model_dump(exclude={"type"})
    return known


def choose(session: Session) -> tuple[list[Finalist], dict[str, Seeds]]:
    """The finalists of the study by validation alone, the best first, without controls.

    Where ``search.confirm_seeds`` asks for it they are ordered by their means over seeds, which
    come with them. The present champion is one in any case: whoever comes after it must beat it.
    """
    known, search = candidates(session), session.space.search
    kept = [one for one in known if not beyond(search.bounds, one.measures)]
    k = session.space.pipeline.champion.finalists
    if search.objectives is None:
        chosen = finalists(kept, k)
    else:
        chosen = of_front(kept, k, search.leading, search.objectives, search.choice)
        session.view.note(f"Finalists come from the Pareto front: {search.choice}.")
    as_finalists = {one: _finalist(session, one, known[one]) for one in chosen}
    seeds = confirm(session, list(as_finalists.values()))
    if seeds:
        means = {one.number: seeds[each.name].mean for one, each in as_finalists.items()}
        chosen = by_rule(chosen, means, search.leading, search.choice)
    present = present_champion(session)
    others = [one for one in known if known[one].hash() == present and one not in chosen]
    return [
        *(as_finalists[one] for one in chosen),
        *(_finalist(session, one, known[one]) for one in others),
    ], seeds


def _finalist(session: Session, one: Candidate, config: TrialConfig) -> Finalist:
    return Finalist(
        name=trial_name(all_trials(session.study), one.number),
        number=one.number,
        config=config,
        trained=session.trainer.known(session.request(config)),
    )


def expected_drops(session: Session, chosen: Sequence[Finalist]) -> dict[str, Drop]:
    """How much of each finalist's objective is expected to be luck, told before the test."""
    known = {one.number: one for one in candidates(session)}
    drops = {}
    for one in chosen:
        objective = known[one.number].objective
        expected = drop_of(known[one.number], list(known.values()), LEVEL)
        drops[one.name] = Drop(expected=expected)
        if expected is not None:
            session.view.note(
                f"{one.name}: {session.space.search.leading} {objective:.3f} on validation; on "
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
