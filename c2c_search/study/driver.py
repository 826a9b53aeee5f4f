"""A whole study, from the space file to the champion, and on from any interruption."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import ExitStack
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from c2c_search.config.pipeline import Pipeline
from c2c_search.errors import StoreError
from c2c_search.host.devices import Share
from c2c_search.host.home import expanded
from c2c_search.host.signals import interruptible
from c2c_search.host.terminal import Console
from c2c_search.host.urls import without_password
from c2c_search.host.wording import counted
from c2c_search.report import leaderboard
from c2c_search.report.leaderboard import Leaderboard
from c2c_search.space.schema import Space
from c2c_search.study import engines
from c2c_search.study import storage
from c2c_search.study.drivers import Drivers
from c2c_search.study.ending import command
from c2c_search.study.ending import no_champion
from c2c_search.study.engines import EngineName
from c2c_search.study.engines import WorkerFactory
from c2c_search.study.finalists import FinalEvaluation
from c2c_search.study.layout import StudyFiles
from c2c_search.study.layout import refuse_namesake
from c2c_search.study.promotion import promote
from c2c_search.study.readiness import check_ready
from c2c_search.study.start import Promote
from c2c_search.study.start import StudyStart
from c2c_search.study.succession import PromotedChampion
from c2c_search.study.surroundings import check_surroundings
from c2c_search.study.trainer import WorkerProcess
from c2c_search.study.versions import Version
from c2c_search.study.versions import foreseen
from c2c_search.study.versions import version_of
from c2c_search.study.warm_start import check_earlier


if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage


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
    check_surroundings(tracking_uri)
    space, stores = Space.load(space_path, trials), expanded(root).resolve()
    version = foreseen(stores, storage_url, space)
    if not StudyFiles(stores, version.name).begun:
        ready(space, space_path)
    devices = space.pipeline.training.devices_per_trial
    try:
        with (
            engines.opened(engine, workers, address, worker_factory, devices=devices) as workforce,
            interruptible(),
        ):
            beside = f" in {workforce.workers} workers" if workforce.workers > 1 else ""
            if str(version):
                _say(console, str(version))
            _say(
                console,
                f"Study {version.name}: {counted(space.search.trials, 'trial')} of "
                f"{counted(space.pipeline.training.steps, 'step')}{beside}; "
                f"opening the stores under {root} ...",
            )
            with _opened(space, stores, storage_url, warm_start) as (study, drivers, version):
                space = space.model_copy(update={"study": version.name})
                start = StudyStart(
                    space_path,
                    space,
                    StudyFiles(stores, version.name),
                    console,
                    workforce,
                    promotion,
                    sleep,
                    force,
                    tracking_uri,
                    drivers,
                    version.earlier,
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
        _say(
            console,
            "\nStopped; everything finished is kept. Go on with:\n  "
            + command({"space": space_path, **options}),
        )
        raise
    console.print(leaderboard.render(board))
    if champion is None:
        raise no_champion(space.study, final)
    return Outcome(space.study, board, final, champion)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _opened(
    space: Space, root: Path, url: str | None, earlier: Sequence[str]
) -> Iterator[tuple[Study, Drivers, Version]]:
    """Optuna's study and its drivers; what its store raises comes as `StoreError`."""
    from optuna.exceptions import StorageInternalError

    refuse_namesake(StudyFiles(root, space.study))
    try:
        opened: RDBStorage = storage.open_storage(root, url)
        with ExitStack() as stack:
            with storage.one_at_a_time(root, opened):
                version = version_of(opened, root, space)
                check_earlier(opened, earlier, version.name)
                drivers = stack.enter_context(storage.open_drivers(root, version.name, opened))
                study = storage.open_study(opened, version.name, space.identity())
            yield study, drivers, version
    except StorageInternalError as error:
        reason = without_password(str(error.__cause__ or error).strip().split("\n")[0])
        raise StoreError(
            "Optuna's store must be readable and writable.",
            value=reason,
            hint="Put it right and run the same command again; it goes on where it was.",
        ) from error
