"""A name for a process that outlives it, and whether the process is gone."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path


def this_process() -> str:
    """This process as ``host/boot/pid/start``; unique although process ids are reused."""
    return _name(os.getpid())


def is_gone(owner: str) -> bool | None:
    """Whether the process that `this_process` named has ended.

    Returns:
        None where it cannot be known: it ran on another machine, or ``owner`` is no such name.
    """
    parts = owner.split("/")
    if len(parts) != 4 or parts[0] != socket.gethostname() or not parts[2].isdigit():
        return None
    _, boot, pid, start = parts
    return boot != _boot() or not _alive(int(pid)) or (_start(int(pid)) or "") != start


def pid_of(owner: str) -> int:
    """Its id, of a process of this machine that `this_process` named."""
    return int(owner.split("/")[2])


@cache
def _name(pid: int) -> str:
    return "/".join((socket.gethostname(), _boot(), str(pid), _start(pid) or ""))


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _start(pid: int) -> str | None:
    """When the process started, in clock ticks since boot; None where /proc does not say."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field, the command in parentheses, may itself contain blanks and parentheses.
    return stat.rpartition(")")[2].split()[19]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
