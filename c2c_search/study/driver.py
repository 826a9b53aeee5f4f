"""A whole study, from the space file to the champion, and on from any interruption."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import ExitStack
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from c2c_search.config.pipeline import Pipeline
from c2c_search.errors import StoreError
from c2c_search.host.devices import Share
from c2c_search.host.home import expanded
from c2c_search.host.json_store import JsonStore
from c2c_search.host.signals import interruptible
from c2c_search.host.terminal import Console
from c2c_search.host.urls import without_password
from c2c_search.host.wording import counted
from c2c_search.report import leaderboard
from c2c_search.report.leaderboard import Leaderboard
from c2c_search.report.live import watch
from c2c_search.report.state import Best
from c2c_search.report.state import Score
from c2c_search.report.state import StudyState
from c2c_search.space.plan import trained_in_steps
from c2c_search.space.schema import Space
from c2c_search.study import engines
from c2c_search.study import resume
from c2c_search.study import storage
from c2c_search.study.controls import measure_models
from c2c_search.study.controls import record_models
from c2c_search.study.controls import train_references
from c2c_search.study.drivers import Drivers
from c2c_search.study.ending import command
from c2c_search.study.ending import no_champion
from c2c_search.study.engines import Engine
from c2c_search.study.engines import EngineName
from c2c_search.study.engines import WorkerFactory
from c2c_search.study.finalists import FinalEvaluation
from c2c_search.study.finalists import evaluate_finalists
from c2c_search.study.layout import StudyFiles
from c2c_search.study.layout import refuse_namesake
from c2c_search.study.leaderboard import make_leaderboard
from c2c_search.study.naming import trial_name
from c2c_search.study.parent import log_data
from c2c_search.study.parent import log_result
from c2c_search.study.parent import log_settings
from c2c_search.study.promotion import promote
from c2c_search.study.readiness import check_ready
from c2c_search.study.session import Session
from c2c_search.study.sizes import make_fits
from c2c_search.study.succession import PromotedChampion
from c2c_search.study.trainer import WorkerProcess
from c2c_search.study.trials import ACCURACY
from c2c_search.study.trials import DERANGED_ACCURACY
from c2c_search.study.trials import is_over
from c2c_search.study.trials import run_trials
from c2c_search.study.warm_start import check_earlier
from c2c_search.study.warm_start import warm_start
from c2c_search.study.workers import make_workers
from c2c_search.tracking import StudyRun
from c2c_search.tracking import Tracker
from c2c_search.tracking import reconcile
from c2c_search.tracking import save_views
from c2c_search.tracking.reconcile import RUN_ID


if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

SEARCHES = "searches"  # user attribute of the study: its references stand, trials may be asked for
_LOOK_SECONDS = 1.0  # between looks whether the driver that leads still does
Promote = Callable[[Session, FinalEvaluation], PromotedChampion]


@dataclass(frozen=True)
class Outcome:
    """How a study ended.

    Args:
        study: Its name.
        leaderboard: Its result on one page.
        final: What the test split said.
        champion: What was promoted.
    """

    study: str
    leaderboard: Leaderboard
    final: FinalEvaluation
    champion: PromotedChampion


def start_worker(
    pipeline: Pipeline, log_file: Path, dtype: str | None, share: Share
) -> AbstractContextManager[WorkerProcess]:
    """Start the process that trains and measures; what it prints goes to ``log_file``."""
    from c2c_search.training.launch import Worker

    return Worker(pipeline, log_file=log_file, dtype=dtype, share=share)


def run_study(
    space_path: Path,
    *,
    root: Path = Path("mlruns"),
    trials: int | None = None,
    workers: int | None = None,
    engine: EngineName = "local",
    address: str | None = None,
    storage_url: str | None = None,
    tracking_uri: str | None = None,
    force: str = "",
    warm_start: Sequence[str] = (),
    console: Console | None = None,
    worker_factory: WorkerFactory = start_worker,
    promotion: Promote = promote,
    ready: Callable[[Space, Path], None] = check_ready,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Run a study, or go on with it where it was stopped.

    Args:
        space_path: The space file.
        root: Folder of all stores.
        trials: Budget of trials, instead of the space's own.
        workers: Processes that train and measure side by side; one for each GPU if None, and one
            where there is none: on a CPU one process uses all cores.
        engine: Where they run: on this machine, or on the nodes of a Ray cluster.
        address: Of that cluster; None for the one of ``RAY_ADDRESS``, or of this machine.
        storage_url: Database of Optuna's store, instead of the file under ``root``; several
            processes may drive a study on one PostgreSQL and one ``root``.
        tracking_uri: MLflow server or database to record in, instead of the store under ``root``.
        force: Why a new champion takes the place of one that it does not beat; empty if it must
            beat it.
        warm_start: Earlier studies of the same store, whose trials its sampler learns from.
        console: Where progress and result go; standard output by default.
        worker_factory: Starts a worker process.
        promotion: Makes the champion's package and registers it.
        ready: Refuses, before anything is written, a study that could not come to its end.
        sleep: Waits before a new attempt.

    Returns:
        The outcome, if there is a champion.

    Raises:
        ConfigError: The space is wrong, or is not the one that the study began with.
        NoChampionError: No finalist beats all its controls; nothing was promoted.
        StudyStoppedError: Trials kept failing, or nothing was measured that could be judged.
        KeyboardInterrupt: A signal stopped the study; the same call goes on.
    """
    console = console or Console()
    space = Space.load(space_path, trials)
    files = StudyFiles(expanded(root).resolve(), space.study)
    if not files.begun:
        ready(space, space_path)
    devices = space.pipeline.training.devices_per_trial
    try:
        with (
            engines.opened(engine, workers, address, worker_factory, devices=devices) as workforce,
            interruptible(),
        ):
            beside = f" in {workforce.workers} workers" if workforce.workers > 1 else ""
            console.print(
                f"Study {space.study}: {counted(space.search.trials, 'trial')} of "
                f"{counted(space.pipeline.training.steps, 'step')}{beside}; "
                f"opening the stores under {root} ...",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
            with _opened(space, files, storage_url, warm_start) as (study, drivers):
                start = _Start(
                    space_path,
                    space,
                    files,
                    console,
                    workforce,
                    promotion,
                    sleep,
                    force,
                    tracking_uri,
                    drivers,
                    warm_start,
                )
                final, champion, board = start.drive(study)
    except KeyboardInterrupt:
        options = {
            "root": None if root == Path("mlruns") else root,
            "trials": trials,
            "workers": workers,
            "engine": None if engine == "local" else engine,
            "address": address,
            "storage": storage_url,
            "tracking-uri": tracking_uri,
            "force": force or None,
        }
        console.print(
            "\nStopped; everything finished is kept. Go on with:\n  "
            + command({"space": space_path, **options}),
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        raise
    console.print(leaderboard.render(board))
    if champion is None:
        raise no_champion(space.study, final)
    return Outcome(space.study, board, final, champion)


@contextmanager
def _opened(
    space: Space, files: StudyFiles, url: str | None, earlier: Sequence[str]
) -> Iterator[tuple[Study, Drivers]]:
    """Optuna's study and its drivers; what its store raises comes as `StoreError`."""
    from optuna.exceptions import StorageInternalError

    refuse_namesake(files)
    try:
        opened: RDBStorage = storage.open_storage(files.root, url)
        check_earlier(opened, earlier, space.study)
        with storage.open_drivers(files.root, space.study, opened) as drivers:
            study = storage.open_study(opened, space.study, space.identity(), begun=files.begun)
            yield study, drivers
    except StorageInternalError as error:
        reason = without_password(str(error.__cause__ or error).strip().split("\n")[0])
        raise StoreError(
            "Optuna's store must be readable and writable.",
            value=reason,
            hint="Put it right and run the same command again; it goes on where it was.",
        ) from error


@dataclass(frozen=True)
class _Start:
    """One start of a study; see `run_study`."""

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
    warm_start: Sequence[str]

    def drive(self, study: Study) -> tuple[FinalEvaluation, PromotedChampion | None, Leaderboard]:
        """Go through every stage; those that an earlier start has finished cost nothing.

        Beside a driver that leads, take part in the search, and lead when that one has ended.
        """
        told = False
        while not self.drivers.lead():
            if not told:
                self._say("Another process leads this study; this one takes part in its search.")
                told = True
            if study.user_attrs.get(SEARCHES) and not is_over(study, self.space.search):
                self._help(study)
            self.sleep(_LOOK_SECONDS)
            if self.files.stop.exists():
                raise KeyboardInterrupt("asked to stop")
        return self._lead(study)

    def _help(self, study: Study) -> None:
        """Take part in the search of a study that another driver leads."""
        tracker = self._tracker(None)
        run = tracker.study(self.space.study, run_id=study.user_attrs[RUN_ID])
        try:
            with self._session(study, tracker, run) as session:
                self._search(session)
        except BaseException:
            with suppress(Exception):
                self.drivers.recover(study)
            raise

    def _search(self, session: Session) -> Session:
        """All stages up to the end of the search, and the session that goes on."""
        session.trainer.prepare()
        # From here on the day on which the study began is part of every trial.
        pipeline = self.space.pipeline.on(session.trainer.date)
        space = self.space.model_copy(update={"pipeline": pipeline})
        session = replace(session, space=space)
        measure_models(session)
        train_references(session)
        if self.drivers.lead():
            record_models(session)
            log_data(session)
            if self.warm_start:
                warm_start(session, self.warm_start)
            session.study.set_user_attr(SEARCHES, True)
        run_trials(session, make_fits(self.space))
        self.drivers.check()
        return session

    def _tracker(self, outbox: Path | None) -> Tracker:
        return Tracker.open(
            self.files.root,
            self.space.pipeline.name,
            uri=self.tracking_uri,
            outbox=outbox,
            notify=self._say,
        )

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)

    def _lead(self, study: Study) -> tuple[FinalEvaluation, PromotedChampion | None, Leaderboard]:
        if not self.files.begun:  # what was prepared for another space stands for nothing
            shutil.rmtree(self.files.results, ignore_errors=True)
        self.files.stop.unlink(missing_ok=True)  # it asked an earlier start
        interrupted = self.drivers.recover(study)
        tracker = self._tracker(None if self.tracking_uri is None else self.files.outbox)
        run = self._parent(tracker, study)
        log_settings(run, self.space, self.space_path)
        reconcile(tracker, study)
        save_views(tracker)
        try:
            with self._session(study, tracker, run) as session:
                if interrupted:
                    session.view.note(f"{len(interrupted)} interrupted trial(s) go on.")
                result = self._stages(session)
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            # The store may be what failed; the next start puts right what is left here.
            with suppress(Exception):
                self.drivers.recover(study)
                run.finish("KILLED" if stopped else "FAILED")
            raise
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
        board = make_leaderboard(session, final, champion)
        session.run.note(leaderboard.markdown(board))
        log_result(session.run, session.study, final)
        return final, champion, board

    def _parent(self, tracker: Tracker, study: Study) -> StudyRun:
        tags = {"c2c.space_hash": self.space.space_hash(), "c2c.trials": self.space.search.trials}
        run_id = study.user_attrs.get(RUN_ID)
        run = tracker.study(self.space.study, run_id=run_id, tags=tags)
        study.set_user_attr(RUN_ID, run.run_id)
        study.set_user_attr(storage.TRIALS, self.space.search.trials)
        return run

    @contextmanager
    def _session(self, study: Study, tracker: Tracker, run: StudyRun) -> Iterator[Session]:
        store = JsonStore(self.files.results)
        with watch(_state(study, self.space), self.console) as view, ExitStack() as stack:
            workers = make_workers(
                self.workforce.workers,
                self._worker,
                self.space.pairs,
                store,
                view,
                self.files.stop,
                sleep=self.sleep,
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


def _state(study: Study, space: Space) -> StudyState:
    """What the view begins with."""
    best = max(resume.complete(study), key=lambda trial: trial.values[0], default=None)
    training = space.pipeline.training
    return StudyState(
        name=space.study,
        trials=space.search.trials,
        steps=training.steps,
        twins=space.pipeline.champion.finalists * (1 + len(trained_in_steps(space))),
        first_rung=None if space.search.pruner == "none" else training.rung_steps[0],
        objective=space.search.objective,
        counts=resume.counts(study),
        best=None if best is None else _best(study, best, space.search.objective),
    )


def _best(study: Study, trial: FrozenTrial, objective: str) -> Best:
    known = trial.user_attrs
    score = Score(known[ACCURACY], known.get(DERANGED_ACCURACY), objective=trial.values[0])
    return Best(trial_name(study, trial.number), score, objective)
