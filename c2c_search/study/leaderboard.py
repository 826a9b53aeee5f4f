"""A study's outcome as the page that is drawn of it."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from c2c_search.evaluation.results import tie_notes
from c2c_search.evaluation.statistics import DESCRIPTIVE_LEVEL
from c2c_search.evaluation.statistics import accuracy_interval
from c2c_search.evaluation.systems.registry import DERANGED
from c2c_search.host.versioned_names import called
from c2c_search.host.wording import counted
from c2c_search.report.leaderboard import Duel
from c2c_search.report.leaderboard import Leaderboard
from c2c_search.report.leaderboard import MeasuredRow
from c2c_search.report.leaderboard import SearchRow
from c2c_search.space.shown import MEASURES
from c2c_search.study import resume
from c2c_search.study.controls import measure_alone
from c2c_search.study.controls import models_of
from c2c_search.study.controls import reference_name
from c2c_search.study.finalists import FinalEvaluation
from c2c_search.study.finalists import controls_of
from c2c_search.study.naming import shown
from c2c_search.study.naming import trial_names
from c2c_search.study.overview import TrialRow
from c2c_search.study.overview import front_of
from c2c_search.study.overview import study_names
from c2c_search.study.session import Session
from c2c_search.study.storage import database_of
from c2c_search.study.succession import PromotedChampion
from c2c_search.study.trials import ACCURACY
from c2c_search.study.trials import DERANGED_ACCURACY
from c2c_search.study.trials import PAIR
from c2c_search.study.trials import PARAMETERS
from c2c_search.system_names import TWIN


if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def make_leaderboard(
    session: Session,
    trials: Sequence[TrialRow],
    final: FinalEvaluation,
    champion: PromotedChampion | None,
) -> Leaderboard:
    """Put everything that a study found on one page."""
    search = session.space.search
    return Leaderboard(
        study=session.space.study,
        search=[*_trials(session), *_controls(session)],
        test=list(_measured(session, final)),
        duels=list(_duels(final)),
        pairings={each.name: each.pairing for each in final.verdicts if each.pairing is not None},
        verdict="\n".join([final.conclusion, *tie_notes(final.results), *_seeds(session, final)]),
        champion=None if champion is None else champion.name,
        places=_paths(session, champion),
        looks=max((each.look for each in final.verdicts), default=1),
        objective=session.space.search.leading,
        front=front_of(trials, search.objectives, search.bounds),
        beyond={each.name: each.beyond for each in trials if each.beyond},
    )


def _trials(session: Session) -> Iterator[SearchRow]:
    states = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    names = {str(pair): name for name, pair in session.space.pairs.items()}
    called = trial_names(session.study)
    for trial in resume.finished(session.study):
        settings = shown(session.space, trial.params)
        settings.pop("pair", None)
        yield SearchRow(
            name=called[trial.number],
            kind="trial",
            state=states[trial.state.name],
            accuracy=trial.user_attrs.get(ACCURACY),
            pair=names.get(trial.user_attrs.get(PAIR, ""), ""),
            parameters=trial.user_attrs.get(PARAMETERS),
            settings=settings,
            deranged=trial.user_attrs.get(DERANGED_ACCURACY),
            receiver=_receiver(session, trial),
            objective=_objective(session, trial),
            measures=trial.user_attrs.get(MEASURES, {}),
        )


def _receiver(session: Session, trial: FrozenTrial) -> float | None:
    known = session.objectives.get(trial.user_attrs.get(PAIR, ""))
    return None if known is None else known.receiver


def _objective(session: Session, trial: FrozenTrial) -> float | None:
    """Of its best rung, also where it was pruned: Optuna has the last."""
    known, accuracy = trial.user_attrs, trial.user_attrs.get(ACCURACY)
    if accuracy is None or session.space.search.leading == "accuracy":
        return None
    return session.objectives[known[PAIR]].value(accuracy, known.get(DERANGED_ACCURACY))


def _controls(session: Session) -> Iterator[SearchRow]:
    by_accuracy = session.space.search.leading == "accuracy"
    only = None
    if not by_accuracy and len(session.objectives) == 1:
        (only,) = session.objectives.values()
    for model in models_of(session):
        accuracy = measure_alone(session, model, "validation").accuracy
        objective = None if only is None else only.value(accuracy, accuracy)
        yield SearchRow(model.name, "control", "", accuracy, "", None, {}, objective=objective)
    for name, pair in session.space.pairs.items():
        known = session.objective(pair)
        if (reference := known.reference) is not None:
            steps = session.space.pipeline.training.rung_steps[0]
            yield SearchRow(
                reference_name(name),
                "control",
                "",
                reference,
                name,
                None,
                {},
                receiver=known.receiver,
                # It hears nothing, and answers any message alike.
                objective=None if by_accuracy else known.value(reference, reference),
                remark=f"after {counted(steps, 'step')}",
            )


def _measured(session: Session, final: FinalEvaluation) -> Iterator[MeasuredRow]:
    kinds = {model.name: "control" for model in models_of(session)}
    for one in final.finalists:
        kinds |= {one.name: "finalist", one.name_of(DERANGED): "deranged"}
        kinds |= {one.name_of(control): "control" for control in controls_of(session, one)}
        kinds[one.name_of(TWIN)] = "twin"
    for name, result in final.results.items():
        interval = accuracy_interval(result, level=DESCRIPTIVE_LEVEL)
        yield MeasuredRow(name, kinds[name], interval)


def _seeds(session: Session, final: FinalEvaluation) -> Iterator[str]:
    for name, seeds in final.seeds.items():
        yield f"{name}: {seeds.told(session.space.search.leading)}."


def _duels(final: FinalEvaluation) -> Iterator[Duel]:
    for verdict in final.verdicts:
        present = [] if verdict.present is None else [verdict.present]
        for one in (*verdict.others, *present):
            yield Duel(verdict.name, one.control, one.difference, one.p, one.beaten)


def _paths(session: Session, champion: PromotedChampion | None) -> dict[str, str]:
    root = session.files.root
    option = "" if root == Path("mlruns").resolve() else f" --root {root}"
    names = study_names(database_of(session.study))
    study = called(names, session.space.study)
    paths = {"every run": f"c2c-search ui{option}"}
    if champion is not None:
        version = f"{champion.registered_name} version {champion.version}"
        paths |= {
            "champion": str(champion.folder),
            "registered": f"{version}; {champion.note}" if champion.note else version,
            "ask it": f'c2c-search ask {champion.folder} "..."',
            "take it along": f"c2c-search export --to DIR --study {study}{option}",
        }
    return paths
