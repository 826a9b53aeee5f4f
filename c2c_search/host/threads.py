"""How many threads suit this process: one for each core that it may really use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path


THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What torch's libraries read when they are loaded; where both are set, MKL's is heeded."""


@lru_cache
def usable_cores(root: Path = Path("/")) -> int:
    """Physical cores that the affinity mask leaves, at most as many as the CPU quota pays for.

    Two hyperthreads of a core share its vector units, so that one thread for each gains nothing.
    A container's quota shows in no count of processors: on 64 cores with a quota of 2, 64 threads
    would run for a moment and then all wait.

    Args:
        root: Where ``proc`` and ``sys`` lie.
    """
    cores = _physical_cores(root)
    quota = _quota(root)
    # A thread more than the quota pays for has all others wait for it, so a part is no core.
    return cores if quota is None else max(1, min(cores, int(quota)))


def thread_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to a process's environment, so that torch in it has a thread for every core.

    Nothing where the user has set either variable. The threads are not pinned to cores: every
    process would choose the same ones, and two side by side would share half of the machine.

    Args:
        environment: Of the process.
    """
    if any(environment.get(name) for name in THREAD_VARIABLES):
        return {}
    # OpenMP's alone: MKL follows it, and by its own could not share threads out (`read_both`).
    return {"OMP_NUM_THREADS": str(usable_cores())}


def thread_share(environment: Mapping[str, str], processes: int) -> dict[str, str]:
    """The same for one of several processes side by side: its part of the cores, at least one.

    Where the user has set a variable the process has as many threads, if that is fewer.

    Args:
        environment: Of the process.
        processes: How many of its kind there are.
    """
    share = max(1, usable_cores() // processes)
    asked = {name: environment[name] for name in THREAD_VARIABLES if environment.get(name)}
    fewer = {name: value for name, value in asked.items() if value.isdigit()}
    return {name: str(min(share, int(value))) for name, value in fewer.items()} or {
        "OMP_NUM_THREADS": str(share)
    }


def _physical_cores(root: Path) -> int:
    if not hasattr(os, "sched_getaffinity"):  # neither macOS nor Windows has containers to ask
        return os.cpu_count() or 1
    processors = os.sched_getaffinity(0)
    siblings = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    # A processor that does not tell its siblings has none.
    return len({_read(root / siblings.format(n)) or str(n) for n in processors})


def _quota(root: Path) -> float | None:
    """Cores' worth of time that the cgroups (version 1 or 2) grant; None without a limit."""
    quotas = [_quota_of(group) for group in _groups(root)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's cgroups and all those above them, each with its own limit."""
    mounted = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            mounts = [mounted]
        elif "cpu" in controllers.split(","):
            mounts = [mounted / "cpu", mounted / controllers]
        else:
            continue
        for mount in mounts:
            group = mount / path.lstrip("/")
            # In a container the path may be the host's: what is mounted is the group itself.
            yield from (each for each in (group, *group.parents) if each.is_relative_to(mount))


def _quota_of(group: Path) -> float | None:
    limit = _read(group / "cpu.max").split()  # version 2: "max 100000" or "200000 100000"
    if not limit:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")  # version 1: -1 is no limit
        limit = [_read(group / name) for name in names]
    try:
        quota, period = map(int, limit)
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
