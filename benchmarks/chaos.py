"""A study whose driver and workers are killed again and again, and what it then has on record.

The real driver, protocol and stores; workers are processes that sleep instead of training
(`simulated.py`). Each kill is a SIGKILL at a random instant; a driver that was killed is started
again. In the end it is counted what should be there once, and what should not be there at all:

    python benchmarks/chaos.py --trials 24 --workers 3 --kills 50
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path

import psutil
import simulated

from c2c_search.host.children import python_command
from c2c_search.host.terminal import Console
from c2c_search.study import resume
from c2c_search.study import storage
from c2c_search.study.driver import run_study
from c2c_search.tracking import mlflow_store
from c2c_search.training import launch
from c2c_search.training import retries
from c2c_search.training.protocol import CHECKPOINTS


STEPS = 10  # of a trial, each of which is recorded
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Found:
    """What a study has on record after its kills; what should be zero comes last.

    Args:
        kills: By what was killed.
        starts: Of the driver.
        seconds: From the first start to the end.
        trials: That Optuna has as ended.
        runs: Of trials, that MLflow has as finished.
        best: Name of the best trial.
        unfinished: Trials of Optuna's that neither ended nor were queued again.
        doubled: Steps that a run has more than once.
        missing: Steps that a run lacks.
        zombies: Runs in state running.
        orphans: Processes that outlived their driver.
        temporary: Files that were being written, and checkpoints of trials that have ended.
    """

    kills: dict[str, int]
    starts: int
    seconds: float
    trials: int
    runs: int
    best: str
    unfinished: int
    doubled: int
    missing: int
    zombies: int
    orphans: int
    temporary: int


def tormented(folder: Path, *, trials: int, workers: int, kills: int, seed: int) -> Found:
    """Run a study to its end, killing its processes on the way.

    Args:
        folder: Empty; holds space and stores.
        trials: Of the study.
        workers: Of the driver.
        kills: How many there are.
        seed: Of their instants and victims.
    """
    simulated.write_space(folder, trials=trials, steps=STEPS)
    chance, begun = random.Random(seed), time.monotonic()
    killed: list[str] = []
    starts = orphans = 0
    while True:
        driver = started(folder, workers)
        starts += 1
        ended, alone = kill_until_its_end(driver, chance, killed, kills)
        orphans += alone
        if ended:
            break
    return Found(
        kills=dict(Counter(killed)),
        starts=starts,
        seconds=time.monotonic() - begun,
        orphans=orphans,
        **on_record(folder / "mlruns"),
    )


def started(folder: Path, workers: int) -> psutil.Popen:
    """Start the study, or go on with it."""
    with (folder / "log").open("a") as log:
        return psutil.Popen(
            python_command(str(Path(__file__).resolve()), "drive", str(folder), str(workers)),
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]),
                simulated.SECONDS: os.environ.get(simulated.SECONDS, "0.2"),
                "TMPDIR": str(folder),
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def kill_until_its_end(
    driver: psutil.Popen, chance: random.Random, killed: list[str], kills: int
) -> tuple[bool, int]:
    """Kill a worker or the driver every few seconds once workers run, until the driver is dead.

    One driver in five is killed before that.

    Returns:
        Whether the study came to its end, and how many processes outlived the driver.
    """
    known: set[psutil.Process] = set()
    due = time.monotonic() + chance.uniform(0.0, 6.0)
    early = chance.random() < 0.2
    while driver.poll() is None:
        time.sleep(0.02)
        try:
            known |= set(driver.children(recursive=True))
        except psutil.NoSuchProcess:
            break
        if not known and not early:
            due = time.monotonic() + chance.uniform(0.0, 6.0)
        if len(killed) >= kills or time.monotonic() < due:
            continue
        due = time.monotonic() + chance.uniform(0.2, 2.0)
        workers = [one for one in known if one.is_running()]
        victim = chance.choice(workers) if workers and chance.random() < 0.7 else driver
        try:
            victim.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
        killed.append("driver" if victim is driver else "worker")
    code = driver.wait()
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the driver ended with {code}; see the end of its log")
    _, alone = psutil.wait_procs(known, timeout=60)
    return code == 0, len(alone)


def on_record(root: Path) -> dict[str, int | str]:
    """What Optuna, MLflow and the disk have."""
    import optuna

    study = optuna.load_study(study_name=simulated.STUDY, storage=storage.open_storage(root))
    again = {trial.user_attrs.get("retry_of") for trial in study.trials}
    client = mlflow_store.connect(mlflow_store.open_store(root))
    experiments = [each.experiment_id for each in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=10_000)
    trials = [run for run in runs if run.data.tags.get("c2c.kind") == "trial"]
    doubled = missing = 0
    for run in trials:
        points = client.get_metric_history(run.info.run_id, "train/loss")
        steps = [point.step for point in points]
        doubled += len(steps) - len(set(steps))
        missing += len(set(range(1, STEPS + 1)) - set(steps))
    left = [path for path in root.rglob("*") if ".partial" in path.name or ".new" in path.name]
    left += list(root.rglob(CHECKPOINTS))
    return {
        "trials": len(resume.finished(study)),
        "runs": sum(run.info.status == "FINISHED" for run in trials),
        "best": str(study.best_trial.user_attrs[resume.HASH]),
        "unfinished": sum(
            not trial.state.is_finished() and trial.number not in again for trial in study.trials
        ),
        "doubled": doubled,
        "missing": missing,
        "zombies": sum(run.info.status == "RUNNING" for run in runs),
        "temporary": len(left),
    }


def drive(folder: Path, workers: int) -> None:
    """Drive the study: the command line's part, in a process of its own."""
    launch.PROGRAM = "simulated"
    # A worker that is killed again and again has not failed: it is what this is about.
    retries.BACK_OFF = dict.fromkeys(retries.BACK_OFF, (0.0,) * 1000)
    run_study(
        folder / "space.yaml",
        root=folder / "mlruns",
        workers=workers,
        console=Console(),
        promotion=simulated.promotion,
        ready=lambda space, file: None,
    )


def main() -> None:
    """Torment a study, and print what it has."""
    if sys.argv[1:2] == ["drive"]:
        drive(Path(sys.argv[2]), int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = tormented(
                Path(folder),
                trials=options.trials,
                workers=options.workers,
                kills=options.kills,
                seed=options.seed,
            )
        except RuntimeError:
            print((Path(folder) / "log").read_text()[-4000:], file=sys.stderr)
            raise
    if options.json:
        import machine  # and torch, which a driver never imports

        print(json.dumps({"machine": machine.describe(), **asdict(found)}, indent=2))
        return
    for name, value in asdict(found).items():
        print(f"{name:12}{value:.0f}" if name == "seconds" else f"{name:12}{value}")


if __name__ == "__main__":
    main()
