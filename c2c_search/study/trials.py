"""The trials of the search, one or a few at a time until the budget is spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from c2c_search.config.trial import TrialConfig
from c2c_search.errors import C2CError
from c2c_search.errors import StudyStoppedError
from c2c_search.report.run_notes import escaped
from c2c_search.space.front import beyond
from c2c_search.space.objectives import violations
from c2c_search.space.order import all_trials
from c2c_search.space.pruners import rung_blocks
from c2c_search.space.pruners import rung_measures
from c2c_search.space.sampling import Fits
from c2c_search.space.sampling import make_pruner
from c2c_search.space.sampling import make_sampler
from c2c_search.space.sampling import suggest
from c2c_search.space.shown import MEASURES
from c2c_search.study import resume
from c2c_search.study import storage
from c2c_search.study.budget import is_over
from c2c_search.study.budget import left
from c2c_search.study.budget import limits
from c2c_search.study.budget import spent
from c2c_search.study.budget import standing
from c2c_search.study.budget import without_gain
from c2c_search.study.disk import make_room
from c2c_search.study.failure_streak import FailureStreak
from c2c_search.study.known import take_over
from c2c_search.study.lockstep_groups import Begun
from c2c_search.study.lockstep_groups import LockstepGroups
from c2c_search.study.naming import run_title
from c2c_search.study.naming import shown
from c2c_search.study.naming import trial_name
from c2c_search.study.naming import trial_names
from c2c_search.study.overhead import WORKER_SECONDS
from c2c_search.study.overhead import WorkerClock
from c2c_search.study.overhead import work_of
from c2c_search.study.recording import Recording
from c2c_search.study.recording import early
from c2c_search.study.recording import log_failure
from c2c_search.study.recording import reason
from c2c_search.study.session import Session
from c2c_search.study.trainer import TrainingRequest
from c2c_search.tracking.reconcile import RUN_ID
from c2c_search.tracking.reconcile import STATUS
from c2c_search.tracking.tracker import ChildRun
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Trained
from c2c_search.training.remote.cluster import NoPlaceError


if TYPE_CHECKING:
    from optuna import Study
    from optuna import Trial
    from optuna.trial import FrozenTrial

PAIR = "pair"  # user attributes of a trial
PARAMETERS = "parameters"
ACCURACY = "accuracy"
DERANGED_ACCURACY = "deranged"
SPLIT = "split"  # where it was measured
BLOCKS = "blocks"  # its objective on each block of that
ENQUEUED = "enqueued"
MESSAGE = "failure_message"


def failures(study: Study) -> tuple[str, ...]:
    """A line for each trial that failed for good, with its class and its exception."""
    names = trial_names(study)
    return tuple(
        f"{names[trial.number]} failed ({trial.user_attrs[resume.FAILURE]}): "
        f"{trial.user_attrs.get(MESSAGE, '')}"
        for trial in resume.finished(study)
        if resume.FAILURE in trial.user_attrs
    )


def enqueue_next(session: Session, trials: Sequence[FrozenTrial]) -> None:
    """Queue the space's next known-good setting, each once in a study's life, if no trial waits.

    One at a time: what was interrupted waits to go on, and comes before what has not begun.

    Args:
        session: Of the study.
        trials: All of it, as they are now.
    """
    from optuna.trial import TrialState

    if any(trial.state == TrialState.WAITING for trial in trials):
        return
    queued = {trial.user_attrs.get(ENQUEUED) for trial in trials}
    for index, params in enumerate(session.space.enqueue):
        if index not in queued:
            session.study.enqueue_trial(dict(params), user_attrs={ENQUEUED: index})
            return


def run_trials(session: Session, fits: Fits | None) -> None:
    """Ask, train and tell until the budget is spent, each worker as soon as it is free.

    Raises:
        StudyStoppedError: Three trials in a row failed in the same way, or one fatally.
    """
    study = session.study
    study.sampler = make_sampler(session.space, fits=fits)
    study.pruner = make_pruner(session.space)
    search = partial(_search, streak=FailureStreak(), fits=fits)
    while True:
        session.share([search] * session.workers.count)
        told = False
        while session.drivers.others(session.study):
            if not told:
                session.view.note("Other drivers still train: this one waits for their trials.")
                told = True
            if session.workers.stopping:
                raise KeyboardInterrupt("asked to stop")
        if is_over(session.study, session.space.search):
            return


def _search(session: Session, streak: FailureStreak, fits: Fits | None) -> None:
    """One worker's part of the search."""
    search = _Search(session, streak, fits)
    try:
        places = session.space.search.places
        groups = LockstepGroups(session.trainer, places, search.following)
        groups.run()
        while search.tell():
            groups.run()
    except BaseException as error:
        search.leave(error)
        raise


class _Search:
    """One worker's part of the search: its trials, each as soon as it has a place."""

    def __init__(self, session: Session, streak: FailureStreak, fits: Fits | None) -> None:
        self.session = session
        self.streak = streak
        self.fits = fits
        self._asked: list[_Trial] = []  # that have not ended
        self._untold: list[tuple[_Trial, Trained | Failed]] = []
        self._over = False
        self._clock = WorkerClock()

    def following(self) -> Begun | None:
        """Ask for a trial and begin it; what was enqueued and is no trial has failed by then."""
        while not self._untold and (trial := self._ask()) is not None:
            if trial.training is not None:
                return Begun(trial.training, partial(self._ended, trial))
            self._asked.remove(trial)
        return None

    def tell(self) -> bool:
        """Tell the ends that have waited until the worker has nothing else to do; if any did."""
        untold, self._untold = self._untold, []
        for trial, how in untold:
            self._end(trial, how)
        return bool(untold)

    def leave(self, error: BaseException) -> None:
        """Leave what has not ended to others, or to another start of the study."""
        for trial in self._asked:
            trial.interrupt()
            if isinstance(error, NoPlaceError):
                trial.give_back()

    def _ask(self) -> _Trial | None:
        """The next trial; None where there is none, or others have begun the last one."""
        session, search = self.session, self.session.space.search
        if self._over or session.workers.stopping:
            return None
        # Other drivers of the study, if there are any, ask before or after.
        with session.drivers.asking(session.study):
            # Once for all: each look at the trials asks the store about those that run.
            trials = all_trials(session.study)
            ended = resume.ended(trials)
            if left(trials, ended, search) <= 0:
                return None
            if over := spent(ended, search):
                session.view.note(over)
                self._over = True
                return None
            # Of no use where nothing ends by it.
            idle = 0 if search.patience is None else without_gain(ended, search)
            # Of other drivers' trials too.
            session.view.recount(resume.count(ended), idle, standing(ended, limits(search)))
            session.view.phase("search")
            make_room(session.files, session.study)
            enqueue_next(session, trials)
            asked = session.study.ask()
            self._asked.append(_Trial(session, asked, trials, self.streak, self._clock))
            session.drivers.claim(self._asked[-1].trial)
            self._asked[-1].begin(self.fits)
        return self._asked[-1]

    def _ended(self, trial: _Trial, how: Trained | Failed) -> None:
        if self.session.space.search.timed:
            self._untold.append((trial, how))
        else:
            self._end(trial, how)

    def _end(self, trial: _Trial, how: Trained | Failed) -> None:
        trial.end(how)
        self._asked.remove(trial)


class _Trial:
    """One trial of the search, from its suggestion to its last word to Optuna."""

    def __init__(
        self,
        session: Session,
        trial: Trial,
        before: Sequence[FrozenTrial],
        streak: FailureStreak,
        clock: WorkerClock,
    ) -> None:
        self.session = session
        self.trial = trial
        self.streak = streak
        self._clock = clock
        self._begun = clock.now()
        # What waited to go on was there before, and may have reported.
        known = before[trial.number : trial.number + 1]
        self.name = trial_name(before, trial.number)
        self.reported = {step for each in known for step in each.intermediate_values}
        self.training: TrainingRequest | None = None
        self._recording: Recording | None = None

    def begin(self, fits: Fits | None) -> None:
        """Suggest and record it; what was enqueued and is no trial has failed, and no training."""
        try:
            config = suggest(self.session.space, self.trial, fits=fits)
        except C2CError as error:
            self._fail(Failed(failure="invalid", message=str(error)))
            return
        request, run = self.session.request(config), self._open(config)
        steps = config.training.steps
        self.reported |= take_over(self.session, request, run, self.name, steps, self.trial)
        self._recording = Recording(
            self.session,
            run,
            request,
            self.name,
            lambda rung: self._goes_on(rung, config),
            f"A trial of study {escaped(self.session.space.study)}: a fuser between two models.",
        )
        settings = shown(self.session.space, self.trial.params)
        known = resume.KNOWN_FROM in self.trial.user_attrs
        self.training = self._recording.begin(settings, of_budget=True, known=known)

    def interrupt(self) -> None:
        """Leave it, if it has not ended, to another start of the study."""
        if self._recording is not None:
            self._recording.interrupt()

    def give_back(self) -> None:
        """Queue it again, if it has not ended, for whichever worker is free."""
        if self._recording is not None:
            from optuna.trial import TrialState

            self.session.study.tell(self.trial.number, state=TrialState.FAIL)
            trials = self.session.study.get_trials(deepcopy=False)
            resume.requeue(self.session.study, trials[self.trial.number])

    def end(self, how: Trained | Failed) -> None:
        """Record its end and tell Optuna.

        Raises:
            StudyStoppedError: It failed fatally, or as two others in a row before it.
        """
        assert self._recording is not None
        self.session.drivers.check()
        run, config = self._recording.run, self._recording.train.config
        ended, costs = self._recording.end(how), dict[str, float]()
        work = work_of(how.seconds) if isinstance(how, Trained) else 0.0
        if isinstance(ended, Trained) and not ended.pruned and self.session.space.search.timed:
            asked = self._clock.now()
            measured = self.session.cost(config, ended)
            work += self._clock.now() - asked
            if isinstance(measured, Failed):
                ended = measured
            else:
                costs = measured.model_dump(exclude={"type"})
        if isinstance(ended, Failed) and ended.failure == "fatal":
            # Not the trial's fault: it is queued again when the cause is removed.
            raise StudyStoppedError(f"{self.name} cannot go on: {ended.message}")
        self._recording = None
        if isinstance(ended, Failed):
            log_failure(run, ended)
            run.finish(STATUS["FAIL"], state="FAIL")
            self._fail(ended)
        else:
            self._tell(run, ended, config, costs, self._clock.cut(self._begun, work))

    def _open(self, config: TrialConfig) -> ChildRun:
        trial = self.trial
        run = self.session.run.trial(
            self.name,
            title=run_title(self.session.space, self.name, trial.params),
            run_id=trial.user_attrs.get(RUN_ID),
            tags={"optuna.trial_number": trial.number},
        )
        known = {RUN_ID: run.run_id, resume.HASH: config.hash(), PAIR: str(config.pair)}
        storage.set_attributes(trial, known)
        return run

    def _goes_on(self, rung: Rung, config: TrialConfig) -> bool:
        """Report a rung, once also when it is trained again, and ask the pruner."""
        self.session.drivers.check()
        if rung.step not in self.reported:
            # Of a trial that fails later, too.
            self.trial.set_user_attr(resume.WORK, rung.model_dump(include={"tokens", "flops"}))
            # Before the pruner is asked, which may compare them.
            if rung.blocks:
                self.trial.set_user_attr(rung_blocks(rung.step), rung.blocks)
            if self.session.space.search.objectives is not None:
                known = self.session.measures(config, rung)
                self.trial.set_user_attr(rung_measures(rung.step), known)
            # Optuna's `Trial.report` and `should_prune` are for one objective alone.
            self.trial.storage.set_trial_intermediate_value(
                self.trial._trial_id, rung.step, rung.objective
            )
            self.reported.add(rung.step)
        if rung.step >= config.training.steps:
            return True
        study, trial = self.session.study, self.trial.storage.get_trial(self.trial._trial_id)
        # A numpy.bool_, which is no JSON.
        return not bool(study.pruner.prune(study, trial))

    def _tell(
        self,
        run: ChildRun,
        ended: Trained,
        config: TrialConfig,
        costs: dict[str, float],
        seconds: tuple[float, float],
    ) -> None:
        from optuna.trial import TrialState

        search, known = self.session.space.search, self.session.measures(config, ended) | costs
        about = {
            MEASURES: known,
            PARAMETERS: ended.parameters,
            ACCURACY: ended.accuracy,
            DERANGED_ACCURACY: ended.deranged,
            SPLIT: ended.split,
            BLOCKS: ended.blocks or None,
            WORKER_SECONDS: seconds,
        }
        told = {name: value for name, value in about.items() if value is not None}
        storage.set_attributes(self.trial, told)
        why = ""
        if ended.pruned:
            why = early(ended, config.training.steps)
            state = TrialState.PRUNED
            run.last(state.name)
            self.session.study.tell(self.trial, state=state)
        else:
            state = TrialState.COMPLETE
            others = {*search.compared_by[1:], *search.bounds, *costs}
            run.summary({f"objective/{name}": known[name] for name in sorted(others)})
            for name, value in violations(search.bounds, known).items():
                self.trial.set_constraint(name, value)
            run.last(state.name)
            self.session.study.tell(self.trial, [known[name] for name in search.compared_by])
        run.finish(STATUS[state.name])
        score = replace(
            self.session.score(config.pair, ended), beyond=bool(beyond(search.bounds, known))
        )
        self.session.view.end(self.name, state.name.lower(), score, why)
        self.streak.succeeded()

    def _fail(self, failed: Failed) -> None:
        from optuna.trial import TrialState

        self._clock.skip()
        # Before the state: a failed trial without its class counts as interrupted.
        why = {MESSAGE: failed.message, resume.FAILURE: failed.failure}
        storage.set_attributes(self.trial, why)
        self.session.study.tell(self.trial, state=TrialState.FAIL)
        self.session.view.end(self.name, "failed", why=reason(failed))
        self.streak.failed(failed.failure, failed.message)
