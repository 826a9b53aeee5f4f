"""The end of a study; the finalists, their twins, the test split, the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from c2c_search.champion.gate import Verdict
from c2c_search.champion.gate import first_passing
from c2c_search.champion.gate import judge
from c2c_search.champion.select import Candidate
from c2c_search.champion.select import finalists
from c2c_search.config.trial import TrialConfig
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.results import answers_table
from c2c_search.host.names import fit
from c2c_search.study.controls import log_accuracy
from c2c_search.study.controls import measure_alone
from c2c_search.study.controls import single_models
from c2c_search.study.controls import train_twin
from c2c_search.study.controls import twin_name
from c2c_search.study.finalist import Finalist
from c2c_search.study.further import check_shut
from c2c_search.study.further import further_name
from c2c_search.study.further import measure_further
from c2c_search.study.further import train_further
from c2c_search.study.naming import trial_name
from c2c_search.study.resume import complete
from c2c_search.study.session import Session
from c2c_search.study.session import child_key
from c2c_search.study.trials import HASH
from c2c_search.study.trials import PARAMETERS
from c2c_search.study.trials import SPLIT
from c2c_search.tracking.reconcile import RUN_ID
from c2c_search.tracking.recorded_run import RecordedRun
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import System


if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_NOTHING = "No trial ran to its end, so nothing could be judged."


@dataclass(frozen=True)
class FinalEvaluation:
    """What the test split said.

    Args:
        finalists: Best on validation first.
        results: Every system's answers on test, by name.
        verdicts: One for each finalist that could be judged, in their order.
        champion: The one to be promoted; None if no finalist beats all its controls.
    """

    finalists: tuple[Finalist, ...]
    results: Mapping[str, SystemResult]
    verdicts: tuple[Verdict, ...]
    champion: Finalist | None

    def verdict(self, finalist: str) -> Verdict:
        """The verdict on a finalist that was judged."""
        return next(each for each in self.verdicts if each.name == finalist)

    @property
    def explanation(self) -> str:
        """Every verdict in words."""
        lines = [verdict.explain() for verdict in self.verdicts]
        return "\n\n".join([*lines, *self._not_judged()]) or _NOTHING

    @property
    def conclusion(self) -> str:
        """The champion's verdict in words or, without one, what each finalist lacks."""
        if self.champion is not None:
            return self.verdict(self.champion.name).explain()
        lines = [f"{each.name}: {each.explain().splitlines()[-1]}" for each in self.verdicts]
        return "\n".join([*lines, *self._not_judged()]) or _NOTHING

    def _not_judged(self) -> list[str]:
        return [
            f"{one.name} is not judged: its no-sharer twin could not be trained."
            for one in self.finalists
            if one.twin is None
        ]


def run_finale(session: Session) -> FinalEvaluation:
    """Choose the finalists, train their twins, measure each system once on test, and judge.

    The test split is touched only when every twin and control is trained, and the order of the
    finalists, which decides between several that pass, is that of validation.
    """
    best = choose(session)
    chosen = tuple(
        _with_twin(session, *one, still=len(best) - index) for index, one in enumerate(best)
    )
    session.view.twins(0)
    judged = [one for one in chosen if one.twin is not None]
    for one in judged:
        train_further(session, one)
    results = _measure(session, judged) if judged else {}
    verdicts = {one.name: _judge(session, one, results, len(judged)) for one in judged}
    if judged:
        winner = first_passing(verdicts.values())
        first = next(one for one in judged if winner is None or one.name == winner.name)
        key = mismatched_name(first.name)
        results[key] = _answer(session, first, "mismatched", key)
        check_shut(session, first)
        verdicts[first.name] = _judge(session, first, results, len(judged))
    final = FinalEvaluation(
        finalists=chosen,
        results=results,
        verdicts=tuple(verdicts.values()),
        champion=next((one for one in judged if verdicts[one.name].passed), None),
    )
    _log(session, final)
    return final


def choose(session: Session) -> list[tuple[Candidate, TrialConfig]]:
    """The finalists of the study by validation alone, the best first."""
    first: dict[str, FrozenTrial] = {}
    for trial in complete(session.study):
        # A configuration that was suggested twice is one candidate.
        first.setdefault(trial.user_attrs[HASH], trial)
    candidates = {
        Candidate(
            number=trial.number,
            objective=trial.values[0],
            parameters=trial.user_attrs[PARAMETERS],
            split=trial.user_attrs[SPLIT],
        ): session.space.configuration(trial.params)
        for trial in first.values()
    }
    chosen = finalists(list(candidates), session.space.pipeline.champion.finalists)
    return [(one, candidates[one]) for one in chosen]


def mismatched_name(finalist: str) -> str:
    """What reports call a finalist that is fed another item's sharer cache."""
    return f"{finalist} mismatched"


def _with_twin(
    session: Session, candidate: Candidate, config: TrialConfig, *, still: int
) -> Finalist:
    name = trial_name(session.study, candidate.number)
    session.view.twins(still)
    session.view.stage("twins", message=f"{twin_name(name)} hears no sharer")
    trained = session.trainer.known(config)
    twin = train_twin(session, config, twin_name(name))
    if isinstance(twin, Failed):
        session.view.note(f"{twin_name(name)} failed ({twin.failure}): {twin.message}")
        return Finalist(name, candidate.number, config, trained, None)
    return Finalist(name, candidate.number, config, trained, twin)


def _measure(session: Session, judged: list[Finalist]) -> dict[str, SystemResult]:
    results: dict[str, SystemResult] = {}
    models = single_models(session.space.pairs)
    further = len(session.space.pipeline.champion.controls)
    total = len(models) + (2 + further) * len(judged) + 1
    for model in models:
        session.view.stage("test", len(results), total, model.name)
        results[model.name] = measure_alone(session, model, "test")
    for one in judged:
        session.view.stage("test", len(results), total, one.name)
        results[one.name] = _answer(session, one, "c2c", one.name)
        name = twin_name(one.name)
        session.view.stage("test", len(results), total, name)
        results[name] = _answer(session, one, "c2c", name)
        session.view.stage("test", len(results), total, f"further controls of {one.name}")
        results |= measure_further(session, one)
    return results


def _answer(session: Session, one: Finalist, system: System, name: str) -> SystemResult:
    """Let a finalist or, by its name, its twin answer the test split."""
    config, trained = one.config, one.trained
    if name == twin_name(one.name) and one.twin is not None:
        config, trained = one.config.with_blank_sharer(), one.twin
    fuser = session.files.trial(config.hash()) / trained.best_dir
    request = Evaluate(system=system, pair=config.pair, split="test", fuser_dir=str(fuser))
    # By configuration: a trial that was queued again has another number and name.
    key = f"test/{config.hash()}{'-mismatched' if system == 'mismatched' else ''}"
    return session.trainer.measure(key, request).model_copy(update={"system": name})


def _judge(
    session: Session, one: Finalist, results: Mapping[str, SystemResult], judged: int
) -> Verdict:
    rules = session.space.pipeline.champion
    names = [model.name for model in single_models(session.space.pairs)] + [twin_name(one.name)]
    names += [further_name(control, one.name) for control in rules.controls]
    return judge(
        one.name,
        results[one.name],
        {name: results[name] for name in names},
        level=rules.level,
        resamples=rules.resamples,
        seed=session.space.search.seed,
        finalists=judged,
        mismatched=results.get(mismatched_name(one.name)),
    )


def _log(session: Session, final: FinalEvaluation) -> None:
    """Record the verdicts, every system's answers and, in each one's own run, its accuracy."""
    run, attrs = session.run, session.study.user_attrs
    verdicts = {each.name: each.model_dump(mode="json") for each in final.verdicts}
    run.log_dict("verdict.json", verdicts)
    run.text("verdict.txt", final.explanation + "\n")
    for name, result in final.results.items():
        run.text(f"items/{fit(name)}.json", answers_table(result))
    run_ids = {name: attrs.get(child_key(name)) for name in final.results}
    trials = session.study.get_trials(deepcopy=False)
    run_ids |= {one.name: trials[one.number].user_attrs.get(RUN_ID) for one in final.finalists}
    children = {child.info.run_id: child for child in session.tracker.children(run.run_id)}
    for name, result in final.results.items():
        if (child := children.get(run_ids[name] or "")) is not None:
            log_accuracy(RecordedRun(session.tracker.client, child), "test", result)
