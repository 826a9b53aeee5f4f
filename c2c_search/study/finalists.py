"""The last act of a study: choose finalists, train their controls, measure on test, judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from c2c_search.champion.gate import first_passing
from c2c_search.champion.gate import judge
from c2c_search.champion.gate import oppose
from c2c_search.champion.verdict import Verdict
from c2c_search.config.trial import canonical_hash
from c2c_search.errors import IntegrityError
from c2c_search.evaluation.guard import REPORT
from c2c_search.evaluation.guard import SELECTION
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.results import answers_differ
from c2c_search.evaluation.systems.registry import DERANGED
from c2c_search.evaluation.systems.registry import SUBJECT
from c2c_search.evaluation.systems.registry import SYSTEMS
from c2c_search.host.names import fit
from c2c_search.host.wording import counted
from c2c_search.space.plan import trained_in_steps
from c2c_search.study.choice import Drop
from c2c_search.study.choice import choose
from c2c_search.study.choice import expected_drops
from c2c_search.study.choice import measured_drops
from c2c_search.study.controls import ROLES
from c2c_search.study.controls import measure_alone
from c2c_search.study.controls import model_of
from c2c_search.study.controls import models_of
from c2c_search.study.finalist import Finalist
from c2c_search.study.harm import harm_question
from c2c_search.study.harm import refuse_harmful
from c2c_search.study.looks import Look
from c2c_search.study.looks import look_at_test
from c2c_search.study.parent import log_final
from c2c_search.study.recording import train_once
from c2c_search.study.resume import complete
from c2c_search.study.seeds import Seeds
from c2c_search.study.session import Session
from c2c_search.study.succession import present_champion
from c2c_search.study.trials import failures
from c2c_search.study.when_unsure import heard
from c2c_search.study.when_unsure import judged_as
from c2c_search.study.when_unsure import listening_of
from c2c_search.study.workers import Job
from c2c_search.system_names import ANCHORS
from c2c_search.system_names import TWIN
from c2c_search.tracking.recorded_run import Kind
from c2c_search.training import retries
from c2c_search.training.protocol import NOT_ITS_OWN
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Split


if TYPE_CHECKING:
    from c2c_search.inference.doubt import Listening


SHUT = "shut"
"""Measured of the finalist that wins, or comes first: what was measured is what its fuser adds."""

_SHOWN = 5  # failed trials
_NOTHING = "No trial ran to its end, so nothing could be judged."
_BEYOND = "Of {} that ran to the end none keeps to search.bounds, so nothing could be judged."


@dataclass(frozen=True)
class FinalEvaluation:
    """What the test split said.

    Args:
        finalists: Best on validation first.
        results: Every system's answers on test, by name.
        verdicts: One for each finalist that could be judged, in their order.
        champion: The one to be promoted; None if no finalist beats all its controls.
        failures: A line for each trial that failed.
        listening: When the champion listens; None: always.
        drops: By finalist, how much lower its objective is on test than on validation, as it was
            expected and as it was measured.
        ended: Trials that ran to their end.
        seeds: By finalist, what it reached on validation with further seeds too.
    """

    finalists: tuple[Finalist, ...]
    results: Mapping[str, SystemResult]
    verdicts: tuple[Verdict, ...]
    champion: Finalist | None
    failures: tuple[str, ...] = ()
    listening: Listening | None = None
    drops: Mapping[str, Drop] = field(default_factory=dict)
    ended: int = 0
    seeds: Mapping[str, Seeds] = field(default_factory=dict)

    def verdict(self, finalist: str) -> Verdict:
        """The verdict on a finalist that was judged."""
        return next(each for each in self.verdicts if each.name == finalist)

    @property
    def leading(self) -> Verdict | None:
        """The champion's verdict; without a champion that of the best finalist on validation."""
        if self.champion is not None:
            return self.verdict(self.champion.name)
        return next(iter(self.verdicts), None)

    @property
    def explanation(self) -> str:
        """Every verdict in words."""
        lines = [verdict.explain() for verdict in self.verdicts]
        return "\n\n".join([*lines, *self.not_judged]) or self.unmeasured

    @property
    def conclusion(self) -> str:
        """The champion's verdict in words or, without one, what each finalist lacks."""
        if self.champion is not None:
            return self.verdict(self.champion.name).explain()
        lines = [f"{each.name}: {each.explain().splitlines()[-1]}" for each in self.verdicts]
        return "\n".join([*lines, *self.not_judged]) or self.unmeasured

    @property
    def unmeasured(self) -> str:
        """What was not measured, and why; not that anything was measured and found wanting."""
        if self.finalists:
            return "\n".join(self.not_judged)
        if self.ended:
            return _BEYOND.format(counted(self.ended, "trial"))
        more = len(self.failures) - _SHOWN
        lines = [
            _NOTHING,
            *self.failures[:_SHOWN],
            *([f"... and {more} more"] if more > 0 else []),
        ]
        return "\n".join(lines)

    @property
    def not_judged(self) -> list[str]:
        """A sentence for each finalist that could not be, with the reason."""
        return [
            f"{one.name} is not judged: its no-sharer twin could not be trained ({one.lacks})."
            for one in self.finalists
            if one.twin is None
        ]


def evaluate_finalists(session: Session) -> FinalEvaluation:
    """Choose the finalists, train their controls, measure each system once on test, and judge.

    Finalists that no earlier start has measured are another look at the test split, which is
    judged at a smaller level (`study.looks`). One of them becomes the champion only if it also
    beats the present one.

    The test split is touched only when every control is trained, and the order of the finalists,
    which decides between several that pass, is that of validation.

    Raises:
        C2CError: A control other than a twin cannot be trained, a twin for no fault of its own,
            or a system not be measured.
        IntegrityError: A fuser with its gate shut changes answers.
    """
    finalists, seeds = choose(session)
    chosen = _train(session, finalists)
    drops = expected_drops(session, chosen)
    judged = [one for one in chosen if one.twin is not None]
    looks = look_at_test(session, [_key(session, one) for one in judged])
    results = _measure(session, judged) if judged else {}

    verdicts = {
        one.name: _judge(session, one, results, looks[_key(session, one)]) for one in judged
    }
    _oppose(session, judged, results, verdicts)
    refuse_harmful(session, judged, verdicts, lambda one: partial(_answers, session, one))
    winner = first_passing(verdicts.values())
    champion = next((one for one in judged if winner and one.name == winner.name), None)
    listening = None
    if judged:
        session.alone(partial(_check_shut, one=champion or judged[0]))
    if champion is not None:
        listening = session.alone(partial(_listening, one=champion))
    final = FinalEvaluation(
        finalists=chosen,
        results=results,
        verdicts=tuple(verdicts.values()),
        champion=champion,
        failures=failures(session.study),
        listening=listening,
        drops=measured_drops(session, judged, results, drops),
        ended=len(complete(session.study)),
        seeds=seeds,
    )
    log_final(session, final)
    return final


def controls_of(session: Session, one: Finalist | None = None) -> tuple[str, ...]:
    """The systems to beat, beside each model alone and one's deranged self.

    Args:
        session: Its pipeline names them.
        one: A finalist, of which there may be more than every one must beat.
    """
    named = session.space.pipeline.champion.controls
    own = (ANCHORS,) if one is not None and one.config.fuser.anchored else ()
    return tuple(dict.fromkeys(name for name in (TWIN, *named, *own) if name != DERANGED))


def _train(session: Session, chosen: list[Finalist]) -> tuple[Finalist, ...]:
    """The finalists with those of their controls that are trained, of their data and seed.

    One whose twin fails gets no further controls: it cannot be judged.
    """
    controls = [one for one in controls_of(session) if SYSTEMS[one].recipe is not None]
    found = dict(enumerate(chosen))
    in_steps = {TWIN, *trained_in_steps(session.space)}
    still = {(number, control) for number in found for control in in_steps}

    def train(session: Session, number: int, control: str) -> None:
        if found[number].lacks:
            return
        session.view.controls(len(still))
        found[number] = _with_control(session, found[number], control)
        still.discard((number, control))
        if found[number].lacks:
            still.difference_update((number, one) for one in in_steps)

    session.share([partial(train, number=n, control=one) for n in found for one in controls])
    session.view.controls(0)
    return tuple(found.values())


def _with_control(session: Session, one: Finalist, control: str) -> Finalist:
    """A finalist with a control trained; or with what it lacks, if its twin fails."""
    entry, name = SYSTEMS[control], one.name_of(control)
    session.view.phase("controls", message=name)
    kind: Kind = "twin" if control == TWIN else "control"
    tags = {"c2c.control": entry.name}
    if control == TWIN:
        tags = {"c2c.twin_of": one.config.hash()}
    train = session.request(one.config, entry.recipe, one.trained.parameters)
    ended = train_once(session, train, name, kind, tags, shown={"control": entry.title})
    if not isinstance(ended, Failed):
        return replace(one, controls={**one.controls, control: ended})
    if control == TWIN and ended.failure not in NOT_ITS_OWN:
        return replace(one, lacks=f"{ended.failure}: {ended.message}")
    raise retries.error(ended, f"{name} could not be trained")


def _measure(session: Session, judged: list[Finalist]) -> dict[str, SystemResult]:
    """Every system on the test split, by its name in reports."""
    measurements: dict[str, Job[SystemResult]] = {
        model.name: partial(measure_alone, model=model, split=REPORT)
        for model in models_of(session)
    }
    for one in judged:
        for system in (SUBJECT, *controls_of(session, one), DERANGED):
            measurements[one.name_of(system)] = partial(_on_test, one=one, system=system)
    done: list[str] = []

    def measure(session: Session, name: str) -> SystemResult:
        session.view.phase("test", len(done), len(measurements), name)
        found = measurements[name](session)
        done.append(name)
        return found

    found = session.share([partial(measure, name=name) for name in measurements])
    return dict(zip(measurements, found, strict=True))


def _on_test(session: Session, one: Finalist, system: str) -> SystemResult:
    """What a finalist's system answers on test; itself as it listens."""
    answers = partial(_answers, session, one)
    return heard(session, answers, system) if system in (SUBJECT, DERANGED) else answers(system)


def _answers(session: Session, one: Finalist, system: str, split: Split = REPORT) -> SystemResult:
    """What a system of a finalist answers on a split, under its name in reports."""
    entry = SYSTEMS[system]
    if entry.derivation is not None:
        of = entry.derivation.of
        fitted = entry.derivation.fit(*(_answers(session, one, each, SELECTION) for each in of))
        answers = (_answers(session, one, each, split) for each in of)
        found = entry.derivation.derive(*answers, fitted)
    elif system in ROLES:
        found = measure_alone(session, model_of(session, one.config.pair, system), split)
    else:
        # By configuration: a trial that was queued again has another number and name.
        key = f"{split}/{_what(one, system)}"
        found = session.trainer.measure(key, _request(session, one, system, split))
    return found.model_copy(update={"system": one.name_of(system)})


def _request(session: Session, one: Finalist, system: str, split: Split) -> Evaluate:
    """What the worker is asked: the finalist's fuser and what was trained, where needed."""
    entry, fuser, trained = SYSTEMS[system], None, None
    if "fuser" in entry.needs:
        fuser = f"{session.request(one.config).directory}/{one.trained.best_dir}"
    if system in one.controls:
        train = session.request(one.config, entry.recipe, one.trained.parameters)
        trained = f"{train.directory}/{one.controls[system].best_dir}"
    pair = one.config.pair
    return Evaluate(system=system, pair=pair, split=split, fuser_dir=fuser, trained_dir=trained)


def _what(one: Finalist, system: str) -> str:
    """What a measurement is of: a trial, or only its pair, and the system."""
    entry, trial = SYSTEMS[system], one.config.hash()
    if system == SUBJECT:
        return trial
    of_trial = entry.needs & {"fuser", "trial"}
    of = trial if of_trial else canonical_hash(one.config.pair.model_dump())
    return f"{of}-{fit(entry.name.replace('_', '-'))}"


def _listening(session: Session, one: Finalist) -> Listening | None:
    return listening_of(session, partial(_answers, session, one))


def _check_shut(session: Session, one: Finalist) -> None:
    """Check that a finalist with its gate shut answers as its receiver does.

    Raises:
        IntegrityError: It does not: what was measured is not what the fuser adds.
    """
    receiver, shut = (_answers(session, one, system) for system in ("receiver", SHUT))
    pairs = zip(shut.items, receiver.items, strict=True)
    unequal = [mine.id for mine, theirs in pairs if answers_differ(mine, theirs)]
    if unequal:
        raise IntegrityError(
            "With its gate shut a fuser must leave its receiver as it is.",
            value=f"{one.name} differs on {len(unequal)} items, such as {unequal[0]}",
            hint="This is a fault of the workbench: please report it with the trial's trial.yaml.",
        )


def _key(session: Session, one: Finalist) -> str:
    """What is judged: a trial against its controls. Other controls are another question."""
    asked = [*sorted(controls_of(session, one)), *harm_question(session), *judged_as(session)]
    return canonical_hash([one.config.hash(), *asked])


def _oppose(
    session: Session,
    judged: list[Finalist],
    results: Mapping[str, SystemResult],
    verdicts: dict[str, Verdict],
) -> None:
    """Set every finalist that passed against the present champion, if it is another one.

    Those that come after it need not be: where it passes too, it is the champion before them.
    """
    present = present_champion(session)
    holder = next((one for one in judged if one.config.hash() == present), None)
    if holder is None:
        return
    for name, verdict in verdicts.items():
        if name == holder.name and verdict.passed:
            return
        if verdict.passed:
            verdicts[name] = oppose(
                verdict, results[name], holder.name, results[holder.name], session.force
            )


def _judge(
    session: Session, one: Finalist, results: Mapping[str, SystemResult], shared: Look
) -> Verdict:
    rules = session.space.pipeline.champion
    names = [model.name for model in models_of(session)]
    names += [one.name_of(control) for control in controls_of(session, one)]
    return judge(
        one.name,
        results[one.name],
        {name: results[name] for name in names},
        receiver=model_of(session, one.config.pair, "receiver").name,
        deranged=results[one.name_of(DERANGED)],
        level=rules.level,
        # As many lie beyond the ends of a smaller level's intervals as in the first look.
        resamples=rules.resamples * 2 ** (shared.number - 1),
        seed=session.space.search.seed,
        finalists=len(shared.finalists),
        look=shared.number,
        min_pairing_share=rules.min_pairing_share,
    )
