"""Cores that a process may use: its affinity, hyperthreads, and both kinds of cgroups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from c2c_search.host.threads import thread_environment
from c2c_search.host.threads import usable_cores


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of 8 processors, of which the affinity mask leaves some: ``machine(files)``."""

    def machine(files: dict[str, str], processors: int = 8) -> Path:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        return tmp_path

    return machine


def v2(path: str, **limits: str) -> dict[str, str]:
    """A process in a cgroup of version 2, and limits of folders (``_`` for /)."""
    folders = {name.replace("_", "/").strip("/"): limit for name, limit in limits.items()}
    files = {f"sys/fs/cgroup/{folder}/cpu.max": limit for folder, limit in folders.items()}
    return {"proc/self/cgroup": f"0::{path}"} | files


def v1(folder: str, quota: str, path: str = "/") -> dict[str, str]:
    return {
        "proc/self/cgroup": f"5:memory:/elsewhere\n4:cpu,cpuacct:{path}\n0::{path}",
        f"sys/fs/cgroup/{folder}/cpu.cfs_quota_us": quota,
        f"sys/fs/cgroup/{folder}/cpu.cfs_period_us": "100000",
    }


@pytest.mark.parametrize("processors", [1, 3, 8])
def test_without_cgroups_it_is_the_affinity_mask(machine, processors):
    assert usable_cores(machine({}, processors)) == processors


def test_two_hyperthreads_are_one_core(machine):
    siblings = {
        f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": f"{n % 4},{n % 4 + 4}"
        for n in range(8)
    }
    assert usable_cores(machine(siblings)) == 4


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        (v2("/", _="max 100000"), 8),
        (v2("/", _="200000 100000"), 2),
        (v2("/", _="150000 100000"), 1),
        (v2("/", _="50000 100000"), 1),
        (v2("/", _="6400000 100000"), 8),
        (v2("/", _="nonsense"), 8),
        (v2("/a/b", a_b="max 100000"), 8),
        (v2("/a/b", a_b="max 100000", a="300000 100000"), 3),
        (v2("/a/b", a_b="200000 100000", a="300000 100000"), 2),
        # In a container: the path is the host's, and what is mounted is the group itself.
        (v2("/docker/0123", _="200000 100000"), 2),
        (v1("cpu", "-1"), 8),
        (v1("cpu", "300000"), 3),
        (v1("cpu,cpuacct", "300000"), 3),
        (v1("cpu/a", "300000", "/a/b"), 3),
        (v1("cpu", "300000", "/docker/0123"), 3),
        (v1("memory", "300000"), 8),
    ],
    ids=str,
)
def test_a_quota_counts_as_cores(machine, files, cores):
    assert usable_cores(machine(files)) == cores


def test_without_affinity_masks_it_is_all_processors(machine, monkeypatch):
    root = machine({})
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert usable_cores(root) == 5


def test_threads_are_told_unless_the_user_has_told_them():
    told = {"OMP_NUM_THREADS": str(usable_cores())}
    assert thread_environment({"PATH": "/bin", "OMP_NUM_THREADS": ""}) == told
    assert thread_environment({"OMP_NUM_THREADS": "1"}) == {}
    assert thread_environment({"MKL_NUM_THREADS": "1"}) == {}
