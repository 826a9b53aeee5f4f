"""A study on two simulated nodes, one of which is lost in the middle: no trial is run twice."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from c2c_search.study.layout import StudyFiles
from c2c_search.training import launch
from c2c_search.training import retries
from c2c_search.training.remote import worker
from tests.study.test_driver import assert_finished_once
from tests.study.test_driver import runs
from tests.study.test_workers import ended
from tests.study.test_workers import optuna_trials


# Not imported here: whether it asks for a token is read once, at its import.
pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray")
SCRIPTED = "tests.study.scripted_worker"


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without cores, and two nodes with room for a worker each."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("C2C_SEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    monkeypatch.setattr(launch, "PROGRAM", SCRIPTED)
    monkeypatch.setattr(worker, "PLACE_SECONDS", 2.0)
    monkeypatch.setattr(retries, "BACK_OFF", {"transient": (0.0,) * 9})
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def test_a_lost_node_loses_nothing(
    run: Callable[..., Any], root: Path, nodes: Any, output: Any
) -> None:
    killed = threading.Thread(target=kill_busy_node, args=(nodes, root), daemon=True)
    killed.start()
    outcome = run(workers=2, engine="ray", address=nodes.address)
    killed.join(10)
    assert not killed.is_alive()
    assert outcome.champion is not None
    assert "A worker leaves its work to the others" in output.getvalue()
    assert len(ended(root)) == 5
    assert all(trial.state.is_finished() for trial in optuna_trials(root))
    assert_finished_once(root)
    assert all(run.info.status == "FINISHED" for run in runs(root).values())
    # What was learned on the nodes lies with the driver; the nodes keep nothing of it.
    hashes = {trial.user_attrs["trial_hash"] for trial in ended(root)}
    assert all((StudyFiles(root, "tiny").trial(name) / "best").is_dir() for name in hashes)


def kill_busy_node(nodes: Any, root: Path) -> None:
    """Kill all processes of a node, once a worker on it trains."""
    folder = StudyFiles(root, "tiny").folder
    while not list(folder.glob("*/step.txt")):
        threading.Event().wait(0.02)
    for node in nodes.worker_nodes:
        (raylet,) = [each.process.pid for each in node.all_processes["raylet"]]
        children = psutil.Process(raylet).children(recursive=True)
        if any(SCRIPTED in " ".join(each.cmdline()) for each in children):
            for pid in [raylet, *(each.pid for each in children)]:
                os.kill(pid, signal.SIGKILL)
            return
