"""What a chaos run may kill: a study's driver, its workers, PostgreSQL, and nodes of Ray.

Each kill is a SIGKILL; what the study does not start again by itself is started again here.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from typing import Literal

import psutil


sys.path.append(str(Path(__file__).parents[1]))
from tests.study.postgres import Server
from tests.study.postgres import binaries


Kind = Literal["worker", "driver", "postgres", "node", "signal"]
_PARTS: dict[Kind, int] = {"worker": 6, "driver": 2, "postgres": 2, "node": 2}  # of all kills
_GONE_SECONDS = 60.0  # for processes to end after what they belonged to


class Nodes:
    """A Ray cluster of simulated nodes: a head without cores, and a node for each worker.

    Args:
        count: Of nodes with a core.
    """

    def __init__(self, count: int) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(count):
            self._cluster.add_node(num_cpus=1)
        self.address = str(self._cluster.address)

    def kill(self, chance: random.Random) -> None:
        """Kill all processes of a node, and start another one."""
        node = chance.choice(sorted(self._cluster.worker_nodes, key=lambda one: one.unique_id))
        (raylet,) = [one.process.pid for one in node.all_processes["raylet"]]
        lost = [psutil.Process(raylet), *psutil.Process(raylet).children(recursive=True)]
        _kill(lost)
        self._cluster.worker_nodes.remove(node)
        self._cluster.add_node(num_cpus=1)

    def close(self) -> None:
        """End it."""
        self._cluster.shutdown()


class Victims:
    """All that one study consists of.

    Args:
        program: Module of its worker processes.
        postgres: That both stores are on; None where they are files.
        nodes: That its workers run on; None where they are the driver's own children.
        chance: Chooses.
    """

    def __init__(
        self,
        program: str,
        postgres: Server | None,
        nodes: Nodes | None,
        chance: random.Random,
    ) -> None:
        self._program = program
        self._postgres = postgres
        self._nodes = nodes
        self._chance = chance

    def children(self, driver: psutil.Popen) -> set[psutil.Process]:
        """What must not outlive a driver."""
        try:
            if self._nodes is None:
                return set(driver.children(recursive=True))
            return {one for one in psutil.Process().children(recursive=True) if self._trains(one)}
        except psutil.NoSuchProcess:
            return set()

    def kill(self, driver: psutil.Popen) -> Kind | None:
        """Kill one of them, if it is there."""
        absent = {"postgres": self._postgres is None, "node": self._nodes is None}
        kinds = [kind for kind in _PARTS if not absent.get(kind)]
        (kind,) = self._chance.choices(kinds, [_PARTS[kind] for kind in kinds])
        workers = sorted(self.children(driver), key=lambda one: one.pid)
        if kind == "worker" and not workers:
            return None
        if kind == "driver":
            _kill([driver])
            driver.wait()
        elif kind == "worker":
            _kill([self._chance.choice(workers)])
        elif kind == "node":
            assert self._nodes is not None
            self._nodes.kill(self._chance)
        else:
            self._kill_postgres()
        return kind

    def ask_to_leave(self, driver: psutil.Popen) -> Kind:
        """Send the driver what Ctrl-C, or whoever ends a job, sends; and wait until it left."""
        driver.send_signal(self._chance.choice([signal.SIGINT, signal.SIGTERM]))
        driver.wait(_GONE_SECONDS)
        return "signal"

    def _kill_postgres(self) -> None:
        """Kill the server, or one of its processes, after which it ends all and recovers."""
        assert self._postgres is not None
        server = psutil.Process(self._postgres.pid)
        others = server.children(recursive=True)
        if others and self._chance.random() < 0.5:  # none while it recovers from the last time
            _kill([self._chance.choice(others)])
            return
        _kill([server])
        left(set(others))
        while psutil.pid_exists(server.pid):  # PostgreSQL refuses to start as long as it is known
            time.sleep(0.02)
        self._postgres.start()

    def _trains(self, process: psutil.Process) -> bool:
        try:  # not the driver, which may be told the name too
            return ("-m", self._program) in pairwise(process.cmdline())
        except psutil.Error:
            return False


@contextmanager
def opened(
    program: str, *, postgres: bool, nodes: int, chance: random.Random
) -> Iterator[tuple[Victims, dict[str, str]]]:
    """Start what a study needs beside itself.

    Args:
        program: Module of the worker processes.
        postgres: Whether its stores are on a PostgreSQL.
        nodes: Of Ray; none for workers of this machine.
        chance: Chooses what is killed.

    Returns:
        What may be killed, and options of ``c2c-search study`` by name.
    """
    with ExitStack() as stack:
        server = cluster = None
        options: dict[str, str] = {}
        if postgres:
            if (found := binaries()) is None:
                raise SystemExit("PostgreSQL's programs, and psycopg, must be on this machine.")
            server = Server(found)
            stack.callback(server.close)
            options |= {"storage": server.url("optuna"), "tracking-uri": server.url("mlflow")}
        if nodes:
            cluster = Nodes(nodes)
            stack.callback(cluster.close)
            options |= {"engine": "ray", "address": cluster.address}
        yield Victims(program, server, cluster, chance), options


def left(processes: set[psutil.Process]) -> int:
    """How many have not ended after a while."""
    until = time.monotonic() + _GONE_SECONDS
    while (alive := [one for one in processes if _lives(one)]) and time.monotonic() < until:
        time.sleep(0.05)
    return len(alive)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _kill(processes: list[psutil.Process]) -> None:
    for one in processes:
        try:
            os.kill(one.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
