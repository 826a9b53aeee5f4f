"""One start of a study: it leads through every stage, or takes part in the search of another."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import ExitStack
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from c2c_search.errors import C2CError
from c2c_search.host.devices import Share
from c2c_search.host.json_store import JsonStore
from c2c_search.host.terminal import Console
from c2c_search.report import leaderboard
from c2c_search.report.leaderboard import Leaderboard
from c2c_search.report.live import View
from c2c_search.report.live import watch
from c2c_search.report.run_notes import escaped
from c2c_search.report.state import Best
from c2c_search.report.state import Score
from c2c_search.report.state import StudyState
from c2c_search.space.plan import trained_in_steps
from c2c_search.space.schema import Space
from c2c_search.study import resume
from c2c_search.study import storage
from c2c_search.study.budget import is_over
from c2c_search.study.budget import limits
from c2c_search.study.budget import standing
from c2c_search.study.budget import without_gain
from c2c_search.study.controls import measure_models
from c2c_search.study.controls import record_models
from c2c_search.study.controls import train_references
from c2c_search.study.drivers import Drivers
from c2c_search.study.engines import Engine
from c2c_search.study.figures import log_figures
from c2c_search.study.finalists import FinalEvaluation
from c2c_search.study.finalists import evaluate_finalists
from c2c_search.study.findings import findings_of
from c2c_search.study.layout import StudyFiles
from c2c_search.study.leaderboard import make_leaderboard
from c2c_search.study.noted_phase import note_phase
from c2c_search.study.overhead import overhead_of
from c2c_search.study.overview import TrialRow
from c2c_search.study.overview import best_of
from c2c_search.study.overview import trial_rows
from c2c_search.study.parent import log_data
from c2c_search.study.parent import log_result
from c2c_search.study.parent import log_settings
from c2c_search.study.session import Session
from c2c_search.study.sizes import make_fits
from c2c_search.study.succession import PromotedChampion
from c2c_search.study.trainer import WorkerProcess
from c2c_search.study.trials import run_trials
from c2c_search.study.trials_at_once import with_trials_at_once
from c2c_search.study.warm_start import warm_start
from c2c_search.study.workers import make_workers
from c2c_search.study.workers import no_node
from c2c_search.tracking import StudyRun
from c2c_search.tracking import Tracker
from c2c_search.tracking import reconcile
from c2c_search.tracking import save_views
from c2c_search.tracking.reconcile import RUN_ID
from c2c_search.training.remote.cluster import NoPlaceError


if TYPE_CHECKING:
    from optuna import Study


SEARCHES = "searches"  # user attribute of the study: its references stand, trials may be asked for
_LOOK_SECONDS = 1.0  # between looks whether the driver that leads still does
Promote = Callable[[Session, FinalEvaluation], PromotedChampion]


@dataclass(frozen=True)
class StudyStart:
    """What a start of a study was told; see `run_study`.

    ``earlier`` are the versions of the study before the one that ``space`` and ``files`` name.
    """

    space_path: Path
    space: Space
    files: StudyFiles
    console: Console
    workforce: Engine
    promotion: Promote
    sleep: Callable[[float], None]
    force: str
    tracking_uri: str | None
    drivers: Drivers
    earlier: Sequence[str]
    warm_start: Sequence[str]

    def drive(self, study: Study) -> tuple[FinalEvaluation, PromotedChampion | None, Leaderboard]:
        """Go through every stage; those that an earlier start has finished cost nothing.

        Beside a driver that leads, take part in the search, and lead when that one has ended.
        """
        with watch(_state(study, self.space, self.files), self.console) as view:
            told = False
            while not self.drivers.lead():
                if not told:
                    view.note(
                        "Another process leads this study; this one takes part in its search."
                    )
                    told = True
                view.phase("wait", message="for the process that leads")
                if study.user_attrs.get(SEARCHES) and not is_over(study, self.space.search):
                    self._help(study, view)
                self.sleep(_LOOK_SECONDS)
                if self.files.stop.exists():
                    raise KeyboardInterrupt("asked to stop")
            try:
                return self._lead(study, view)
            except NoPlaceError as error:
                raise no_node(error) from error

    def _help(self, study: Study, view: View) -> None:
        """Take part in the search of a study that another driver leads."""
        tracker = self._tracker(None, view)
        run = tracker.study(self.space.study, run_id=study.user_attrs[RUN_ID])
        try:
            with self._session(study, tracker, run, view) as session:
                self._search(session)
        except BaseException:
            with suppress(Exception):
                self.drivers.recover(study)
            raise

    def _search(self, session: Session) -> Session:
        """All stages up to the end of the search, and the session that goes on."""
        session.view.phase("prepare")
        session.alone(lambda each: each.trainer.prepare())
        # From here on the day on which the study began is part of every trial.
        pipeline = self.space.pipeline.on(session.trainer.date)
        space = self.space.model_copy(update={"pipeline": pipeline})
        session = replace(session, space=space)
        measure_models(session)
        train_references(session)
        if self.drivers.lead():
            record_models(session)
            log_data(session)
            if self.warm_start or not session.study.user_attrs.get(SEARCHES):
                warm_start(session, self.earlier, self.warm_start)
            session.study.set_user_attr(SEARCHES, True)
        session = with_trials_at_once(session)
        run_trials(session, make_fits(session.space))
        if (overhead := overhead_of(trial_rows(session.study))) is not None:
            session.view.note(f"Overhead: {overhead}")
        self.drivers.check()
        return session

    def _tracker(self, outbox: Path | None, view: View) -> Tracker:
        return Tracker.open(
            self.files.root,
            self.space.pipeline.name,
            uri=self.tracking_uri,
            outbox=outbox,
            notify=view.note,
            check=self.drivers.check,
        )

    def _lead(
        self, study: Study, view: View
    ) -> tuple[FinalEvaluation, PromotedChampion | None, Leaderboard]:
        view = replace(view, told=partial(note_phase, self.files))
        view.phase("open", message="the record of the study")
        if not self.files.begun:  # what was prepared for another space stands for nothing
            shutil.rmtree(self.files.results, ignore_errors=True)
        self.files.stop.unlink(missing_ok=True)  # it asked an earlier start
        interrupted = self.drivers.recover(study)
        tracker = self._tracker(None if self.tracking_uri is None else self.files.outbox, view)
        run = self._parent(tracker, study)
        log_settings(run, self.space, self.space_path)
        reconcile(tracker, study)
        save_views(tracker)
        try:
            with self._session(study, tracker, run, view) as session:
                if interrupted:
                    session.view.note(f"{len(interrupted)} interrupted trial(s) go on.")
                result = self._stages(session)
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            # The store may be what failed; the next start puts right what is left here.
            with suppress(Exception):
                self.drivers.recover(study)
                if isinstance(error, C2CError):
                    run.note_first(f"It stopped: {escaped(str(error))}")
                run.finish("KILLED" if stopped else "FAILED")
            raise
        view.phase("close", message="the record of the study")
        run.finish("FINISHED" if result[0].verdicts else "FAILED")
        tracker.settle()
        return result

    def _stages(
        self, session: Session
    ) -> tuple[FinalEvaluation, PromotedChampion | None, Leaderboard]:
        session = self._search(session)
        final = evaluate_finalists(session)
        session.workers.close()
        self.drivers.check()
        champion = None if final.champion is None else self.promotion(session, final)
        trials = trial_rows(session.study, self.files)
        board = make_leaderboard(session, trials, final, champion)
        session.run.note(leaderboard.markdown(board))
        log_result(session.run, trials, final, board.front)
        session.view.phase("draw", message="the figures of the study")
        log_figures(session.run, findings_of(session.study, self.files.root, weigh=True))
        return final, champion, board

    def _parent(self, tracker: Tracker, study: Study) -> StudyRun:
        tags = {"c2c.space_hash": self.space.space_hash(), "c2c.trials": self.space.search.trials}
        run_id = study.user_attrs.get(RUN_ID)
        run = tracker.study(self.space.study, run_id=run_id, tags=tags)
        study.set_user_attr(RUN_ID, run.run_id)
        study.set_user_attr(storage.TRIALS, self.space.search.trials)
        study.set_user_attr(storage.BOUNDS, dict(self.space.search.bounds))
        study.set_user_attr(storage.BUDGETS, limits(self.space.search))
        return run

    @contextmanager
    def _session(
        self, study: Study, tracker: Tracker, run: StudyRun, view: View
    ) -> Iterator[Session]:
        store = JsonStore(self.files.results)
        with ExitStack() as stack:
            workers = make_workers(
                self.workforce.workers,
                self._worker,
                self.space.pairs,
                store,
                view,
                self.files.stop,
                sleep=self.sleep,
                device=self.workforce.device,
                devices=self.space.pipeline.training.devices_per_trial,
            )
            stack.callback(workers.close)
            yield Session(
                self.space,
                self.files,
                study,
                tracker,
                run,
                workers.trainers[0],
                workers,
                store,
                view,
                drivers=self.drivers,
                force=self.force,
            )

    def _worker(
        self, share: Share, dtype: str | None, date: str | None
    ) -> AbstractContextManager[WorkerProcess]:
        log = self.files.worker_log(share.index)
        return self.workforce.start(self.space.pipeline.on(date), log, dtype, share)


def _state(study: Study, space: Space, files: StudyFiles) -> StudyState:
    """What the view begins with."""
    best = best_of(trial_rows(study, files, space.search.bounds))
    training, search = space.pipeline.training, space.search
    ended = resume.finished(study)
    budgets = standing(ended, limits(search))
    hours, steps = budgets.get("hours"), budgets.get("steps")
    return StudyState(
        name=space.study,
        trials=search.trials,
        steps=training.steps,
        twins=space.pipeline.champion.finalists
        * (1 + len(trained_in_steps(space)) + search.confirm_seeds),
        first_rung=None if search.pruner == "none" else training.rung_steps[0],
        objective=search.leading,
        seconds_of_search=None if hours is None else 3600 * (hours.limit - hours.spent),
        steps_of_search=None if steps is None else round(steps.limit - steps.spent),
        budgets=budgets,
        patience=search.patience,
        idle=without_gain(ended, search),
        counts=resume.counts(study),
        best=None if best is None else _best(best, search.leading),
    )


def _best(trial: TrialRow, objective: str) -> Best:
    assert trial.accuracy is not None
    score = Score(trial.accuracy, trial.deranged, objective=trial.objective)
    return Best(trial.name, score, objective)
