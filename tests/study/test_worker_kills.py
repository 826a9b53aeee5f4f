"""A study of several worker processes, kill -9 of any of them at random instants.

The real driver, protocol and stores; the workers are scripted (`scripted_worker`), so that what is
killed is cheap to start. C2C_SEARCH_KILLS says how many kills of each kind there are.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from c2c_search.host.children import python_command
from tests.study.test_driver import assert_finished_once
from tests.study.test_driver import runs
from tests.study.test_kills import KILLS
from tests.study.test_kills import children
from tests.study.test_kills import left_over
from tests.study.test_kills import lives
from tests.study.test_workers import ended
from tests.study.test_workers import optuna_trials


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")

WORKERS = 3
BEGUN = "trial-"  # in lines after which a process is killed


def test_kills_of_driver_and_workers_lose_nothing_and_double_nothing(
    space_file: Path, root: Path
) -> None:
    chance = random.Random(17)
    kills = ["driver", "worker"] * KILLS
    killed: list[str] = []
    for _ in range(3 * len(kills)):
        driver = start(space_file, root)
        killed += kill_some(driver, chance, kills[len(killed) :])
        if driver.wait() == 0:
            break
        assert driver.returncode == -signal.SIGKILL
    assert driver.returncode == 0
    assert {"driver", "worker"} <= set(killed)
    assert len(ended(root)) == 5
    assert all(trial.state.is_finished() for trial in optuna_trials(root))
    assert_finished_once(root)
    assert all(run.info.status == "FINISHED" for run in runs(root).values())
    assert left_over(root) == []


def start(space_file: Path, root: Path) -> subprocess.Popen[str]:
    here = Path(__file__).parents[2]
    return subprocess.Popen(
        python_command(
            "-m", "tests.study.scripted_worker", "drive", str(space_file), str(root), str(WORKERS)
        ),
        env={**os.environ, "PYTHONPATH": str(here), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_some(driver: subprocess.Popen[str], chance: random.Random, due: list[str]) -> list[str]:
    """Kill what is due, each some lines after the one before; the rest once the driver is dead."""
    killed: list[str] = []
    wait = chance.randrange(1, 3)
    assert driver.stdout is not None
    for line in driver.stdout:
        wait -= BEGUN in line
        if wait > 0 or len(killed) == len(due) or driver.poll() is not None:
            continue
        wait = chance.randrange(1, 4)
        time.sleep(chance.random() / 4)
        workers = children(driver.pid)
        victim = driver.pid if due[len(killed)] == "driver" else chance.choice(workers or [0])
        if not victim:
            continue
        os.kill(victim, signal.SIGKILL)
        killed.append(due[len(killed)])
        if victim == driver.pid:
            driver.wait()
            deadline = time.monotonic() + 30
            while any(map(lives, workers)) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not any(map(lives, workers)), "a worker outlives its driver"
            return killed
    return killed
