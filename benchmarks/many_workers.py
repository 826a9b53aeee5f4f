"""What a driver adds to a study of many workers: workers are simulated, a step is a sleep.

The time of a search against the ideal, in which every worker always trains, and the part of a
core that the driver takes meanwhile, with as many trials on record as are asked for:

    python benchmarks/many_workers.py --workers 8 --trials 64 --seconds 20
    python benchmarks/many_workers.py --workers 64 --trials 128 --seconds 60 --before 10000
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from random import Random

import optuna
import simulated
from sqlalchemy import text

from c2c_search.host.terminal import Console
from c2c_search.space.dimensions import walk
from c2c_search.space.schema import Space
from c2c_search.space.shown import distributions
from c2c_search.study import overview
from c2c_search.study import resume
from c2c_search.study import storage
from c2c_search.study.driver import run_study
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Request
from c2c_search.training.protocol import Train


STEPS = 20  # of a trial, each of which is recorded
# Rows of Optuna's tables, of all trials but the first from the first one's.
COPIES = (
    "WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < :last) "
    "INSERT INTO trials (number, study_id, state, datetime_start, datetime_complete) "
    "SELECT i, study_id, state, datetime_start, datetime_complete FROM trials, numbers",
    "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) "
    "SELECT other.trial_id, param_name, param_value, distribution_json "
    "FROM trial_params, trials AS other WHERE other.number BETWEEN 1 AND :last",
    "INSERT INTO trial_user_attributes (trial_id, key, value_json) "
    "SELECT other.trial_id, key, value_json "
    "FROM trial_user_attributes, trials AS other WHERE other.number BETWEEN 1 AND :last",
    "INSERT INTO trial_intermediate_values "
    "(trial_id, step, intermediate_value, intermediate_value_type) "
    "SELECT other.trial_id, step, intermediate_value, intermediate_value_type "
    "FROM trial_intermediate_values, trials AS other WHERE other.number BETWEEN 1 AND :last",
)


@dataclass(frozen=True)
class Found:
    """How a search went.

    Args:
        workers: How many trained.
        trials: How many trials they trained.
        before: Trials on record when it began.
        trial_seconds: That a trial sleeps.
        ideal_seconds: Of the search, if nothing came between two trials of a worker.
        seconds: From its first trial's beginning to its last one's end.
        driver_seconds: Of a processor that the driver took meanwhile.
        overhead: As the study tells it, from 0 to 1.
    """

    workers: int
    trials: int
    before: int
    trial_seconds: float
    ideal_seconds: float
    seconds: float
    driver_seconds: float
    overhead: float | None

    @property
    def ratio(self) -> float:
        """The search's time against the ideal."""
        return self.seconds / self.ideal_seconds

    @property
    def driver_share(self) -> float:
        """Part of a core that the driver took."""
        return self.driver_seconds / self.seconds


class SearchEnded(BaseException):
    """The study's end, which is not measured."""


class Searching(simulated.SimulatedWorker):
    """Trains trials of a search, and no finalist's control."""

    def ask(self, request: Request) -> Iterator[Event]:
        """See `simulated.SimulatedWorker`."""
        if isinstance(request, Train) and request.config.fuser.sharer == "blank":
            raise SearchEnded
        return super().ask(request)


def searched(root: Path, *, workers: int, trials: int, seconds: float, before: int) -> Found:
    """Run a study of simulated workers.

    Args:
        root: Empty folder of all stores.
        workers: How many.
        trials: Beside those before.
        seconds: Of a trial.
        before: Made-up trials on record, which have failed: no finalist is among them.
    """
    file = simulated.write_space(root, trials=before + trials, steps=STEPS)
    if before:
        fill(Space.load(file), root / "mlruns", before)
    marks: list[simulated.Mark] = []
    with suppress(SearchEnded):
        run_study(
            file,
            root=root / "mlruns",
            workers=workers,
            console=Console(file=StringIO()),
            worker_factory=lambda *_: Searching(seconds / STEPS, marks),
            ready=lambda space, file: None,
        )
    ends = [mark for mark in marks if mark.ended][:trials]
    assert len(ends) == trials
    first, last = marks[0], ends[-1]
    study = overview.load(overview.open_existing(root / "mlruns"), simulated.STUDY)
    return Found(
        workers=workers,
        trials=trials,
        before=before,
        trial_seconds=seconds,
        ideal_seconds=seconds * -(-trials // workers),
        seconds=last.wall - first.wall,
        driver_seconds=last.busy - first.busy,
        overhead=overview.study_row(root / "mlruns", study).overhead,
    )


def fill(space: Space, root: Path, trials: int) -> None:
    """Put so many made-up trials on record: one, and copies of its rows."""
    opened = storage.open_storage(root)
    study = storage.open_study(opened, space.study, space.identity())
    rng, known = Random(0), distributions(space.dimensions)
    params = walk(space.dimensions, lambda _, each: each.draw(rng))
    study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.FAIL,
            params=params,
            distributions={name: known[name] for name in params},
            user_attrs={resume.FAILURE: "diverged"},
            intermediate_values={10: 0.5},
        )
    )
    with opened.engine.begin() as connection:
        for query in COPIES:
            connection.execute(text(query), {"last": trials - 1})
    opened.engine.dispose()


def main() -> None:
    """Measure, and print a line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20.0, help="of a trial")
    parser.add_argument("--before", type=int, default=0, help="trials on record at its start")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = searched(
            Path(folder),
            workers=options.workers,
            trials=options.trials,
            seconds=options.seconds,
            before=options.before,
        )
    if options.json:
        import machine  # and torch, which a driver never imports

        print(json.dumps({"machine": machine.describe(), **asdict(found)}, indent=2))
        return
    print(
        f"{found.trials} trials of {found.trial_seconds:g} s in {found.workers} workers, "
        f"{found.before} on record: {found.seconds:.1f} s, {found.ratio:.3f} times the ideal; "
        f"the driver took {100 * found.driver_share:.1f} % of a core, "
        f"{1000 * found.driver_seconds / found.trials:.0f} ms a trial; the study "
        f"tells an overhead of {100 * (found.overhead or 0):.2f} %"
    )


if __name__ == "__main__":
    main()
