"""A study whose processes are killed again and again, and what it then has on record.

The real command line, protocol and stores; workers train tiny random models (`--models tiny`), or
sleep instead of training (`simulated.py`). Each kill is a SIGKILL at a random instant; a driver
that has died is started again. In the end it is counted what should be there once, and what should
not be there at all, and the trials are compared with those of an undisturbed study. Exits with 1
where something is not as it should be:

    python benchmarks/chaos.py --trials 24 --workers 3 --kills 50
    python benchmarks/chaos.py --models tiny --postgres --every 8
    python benchmarks/chaos.py --models tiny --engine ray --every 8
    python benchmarks/chaos.py --models tiny --signals --every 8
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
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import simulated
import tiny
import victims
from on_record import Record
from on_record import record

from c2c_search.host.children import python_command
from c2c_search.host.signals import EXIT_CODE
from c2c_search.study import driver
from c2c_search.training import launch
from c2c_search.training import retries


STEPS = 10  # of a trial, each of which is recorded
HERE = Path(__file__).parent
MODELS = {"simulated": "simulated", "tiny": launch.PROGRAM}
_EARLY = 0.2  # of all drivers, which may be killed before they have a worker


@dataclass(frozen=True)
class Found:
    """What became of a study.

    Args:
        kills: By what was killed.
        ends: Of drivers, by their exit codes.
        seconds: From the first start to the end.
        orphans: Processes that outlived their driver.
        tracebacks: That a driver printed.
        changed: Trials whose losses or results are not those that they have undisturbed.
        same_best: Whether the best trial is that of the undisturbed study.
        record: What it has on record.
    """

    kills: dict[str, int]
    ends: dict[int, int]
    seconds: float
    orphans: int
    tracebacks: int
    changed: int
    same_best: bool
    record: Record

    def wrong(self, trials: int) -> list[str]:
        """What is not as it should be, after so many trials were asked for."""
        record = self.record
        right = {
            "trials": (record.trials, trials),
            "runs": (record.runs, trials),
            "changed": (self.changed, 0),
            "same_best": (self.same_best, True),
            "orphans": (self.orphans, 0),
            "tracebacks": (self.tracebacks, 0),
            "unfinished": (record.unfinished, 0),
            "doubled": (record.doubled, 0),
            "missing": (record.missing, 0),
            "zombies": (record.zombies, 0),
            "temporary": (len(record.temporary), 0),
        }
        return [f"{name}: {is_}, not {be}" for name, (is_, be) in right.items() if is_ != be]


@dataclass(frozen=True)
class Torment:
    """How a study is tormented.

    Args:
        models: What its workers hold; a key of `MODELS`.
        trials: Of the study.
        workers: Of the driver.
        kills: How many there are, if the study lasts so long.
        every: Seconds between two, on average.
        seed: Of their instants and victims.
        postgres: Whether the stores are on a PostgreSQL, which is killed too.
        ray: Whether the workers run on simulated nodes of Ray, which are killed too.
        signals: Whether nothing is killed, but the driver asked to leave by SIGINT or SIGTERM.
    """

    models: str
    trials: int
    workers: int
    kills: int
    every: float
    seed: int
    postgres: bool = False
    ray: bool = False
    signals: bool = False

    def run(self, folder: Path) -> Found:
        """Run the study to its end, once undisturbed and once tormented.

        Args:
            folder: Empty; holds everything.

        Raises:
            RuntimeError: A driver ended for no reason; its log is ``folder/tormented/log``.
        """
        write = tiny.write_space if self.models == "tiny" else simulated.write_space
        calm, torn = folder / "undisturbed", folder / "tormented"
        for each in (calm, torn):
            write(each, trials=self.trials, steps=STEPS)
        assert self._start(calm, {}).wait() == 0, "see the log of the undisturbed study"
        expected = record(calm / "mlruns", STEPS)
        os.environ |= _environment(torn)  # Ray's nodes have it from this process
        chance, begun, killed = random.Random(self.seed), time.monotonic(), Counter[str]()
        ends, orphans = Counter[int](), 0
        program, nodes = MODELS[self.models], self.workers if self.ray else 0
        with victims.opened(program, postgres=self.postgres, nodes=nodes, chance=chance) as (
            all_,
            options,
        ):
            while not ends[0]:
                process = self._start(torn, options)
                before = killed.copy()
                code, alone = self._kill_until_its_end(process, all_, chance, killed)
                ends[code] += 1
                orphans += alone
                if not _explained(code, killed - before):
                    raise RuntimeError(f"the driver ended with {code} for no reason")
            seconds = time.monotonic() - begun
            uris = options.get("storage"), options.get("tracking-uri")
            found = record(torn / "mlruns", STEPS, *uris)
        return Found(
            kills=dict(killed),
            ends=dict(ends),
            seconds=seconds,
            orphans=orphans,
            tracebacks=(torn / "log").read_text().count("Traceback (most recent"),
            changed=sum(found.told.get(each) != told for each, told in expected.told.items()),
            same_best=expected.best == found.best,
            record=found,
        )

    def _start(self, folder: Path, options: Mapping[str, str]) -> psutil.Popen:
        """Start the study, or go on with it."""
        given = {"space": "space.yaml", "root": "mlruns", "workers": str(self.workers), **options}
        words = [word for name, value in given.items() for word in (f"--{name}", value)]
        program = str(Path(__file__).resolve())
        with (folder / "log").open("a") as log:
            return psutil.Popen(
                python_command(program, "drive", self.models, "study", *words),
                cwd=folder,
                env=os.environ | _environment(folder),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _kill_until_its_end(
        self,
        process: psutil.Popen,
        all_: victims.Victims,
        chance: random.Random,
        killed: Counter[str],
    ) -> tuple[int, int]:
        """Kill something every few seconds once workers run, until the driver is dead.

        Returns:
            How the driver ended, and how many processes outlived it.
        """
        known: set[psutil.Process] = set()
        early = not self.signals and chance.random() < _EARLY
        due = time.monotonic() + chance.expovariate(1 / self.every)
        while process.poll() is None:
            time.sleep(0.02)
            known |= all_.children(process)
            if not known and not early:
                due = time.monotonic() + chance.expovariate(1 / self.every)
            if killed.total() >= self.kills or time.monotonic() < due:
                continue
            kind = all_.ask_to_leave(process) if self.signals else all_.kill(process)
            if kind is not None:
                killed[kind] += 1
                due = time.monotonic() + chance.expovariate(1 / self.every)
        return int(process.wait()), victims.left(known)


def _explained(code: int, hit: Counter[str]) -> bool:
    """Whether a driver may end so after what was done to it and its study."""
    if code == EXIT_CODE:
        return "signal" in hit
    if code == -signal.SIGKILL:
        return "driver" in hit
    return code == 0 or bool(hit.keys() & {"postgres", "node"})


def _environment(folder: Path) -> dict[str, str]:
    """Of everything that belongs to a study."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return {
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]),
        "PYTHONUNBUFFERED": "1",
        "C2C_SEARCH_CACHE": str(folder / "cache"),
        "C2C_SEARCH_DTYPE": "float32",
        "OMP_NUM_THREADS": "1",  # the same sums whoever else computes
        "TMPDIR": str(temporary),
        "RAY_USAGE_STATS_ENABLED": "0",
        simulated.SECONDS: os.environ.get(simulated.SECONDS, "0.2"),
    }


def drive(models: str, arguments: list[str]) -> None:
    """Be the command line, in a process of its own."""
    from c2c_search.cli import main

    # A worker that is killed again and again has not failed: it is what this is about.
    retries.BACK_OFF = dict.fromkeys(retries.BACK_OFF, (0.0,) * 1000)
    if models == "tiny":
        tiny.open_the_gate()
    else:
        launch.PROGRAM = MODELS[models]
        driver.run_study = partial(
            driver.run_study, promotion=simulated.promotion, ready=lambda space, file: None
        )
    sys.argv = ["c2c-search", *arguments]
    main()


def main() -> None:
    """Torment a study, and print what it has."""
    if sys.argv[1:2] == ["drive"]:
        drive(sys.argv[2], sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", choices=sorted(MODELS), default="simulated")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--every", type=float, default=1.5, help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--postgres", action="store_true", help="both stores on PostgreSQL")
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--signals", action="store_true", help="SIGINT and SIGTERM, no kills")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--keep", type=Path, help="folder for everything, kept; empty")
    options = vars(parser.parse_args())
    as_json, keep, ray = options.pop("json"), options.pop("keep"), options.pop("engine") == "ray"
    torment = Torment(**options, ray=ray)
    with nullcontext(keep) if keep else tempfile.TemporaryDirectory() as made:
        folder = Path(made).resolve()
        try:
            found = torment.run(folder)
        except (AssertionError, RuntimeError):
            for log in folder.glob("*/log"):
                print(log, log.read_text()[-4000:], sep="\n", file=sys.stderr)
            raise
    show(found, as_json)
    if wrong := found.wrong(torment.trials):
        raise SystemExit("\n".join(["", "Not as it should be:", *wrong]))


def show(found: Found, as_json: bool) -> None:
    """Print what was found."""
    if as_json:
        import machine  # and torch, which a driver never imports

        print(json.dumps({"machine": machine.describe(), **asdict(found)}, indent=2))
        return
    shown = asdict(found)
    of_record = {name: value for name, value in shown.pop("record").items() if name != "told"}
    for name, value in {**shown, **of_record}.items():
        print(f"{name:12}{value:.0f}" if name == "seconds" else f"{name:12}{value}")


if __name__ == "__main__":
    main()
