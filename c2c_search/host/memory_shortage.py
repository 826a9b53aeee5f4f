"""Whether a process that was killed had run the machine, or its container, out of memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


_NEARLY_ALL = 0.9  # of the memory there is; killers in user space act a little before the kernel


class MemoryWatch:
    """What is known of the memory before a process starts, to be compared with after its end.

    Args:
        root: Where ``proc`` and ``sys`` lie.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._before = _kills(root)

    def was_short(self, peak: int) -> bool:
        """Whether memory is why a process was killed; without evidence it is not.

        The kernel counts the processes that it kills for lack of memory, by cgroup. Killers in
        user space leave no count: what they take has grown to nearly all that there is.

        Args:
            peak: Most bytes that the process ever held.
        """
        after = _kills(self._root)
        if None not in (self._before, after) and after != self._before:
            return True
        limit = memory_limit(self._root)
        return limit is not None and peak >= _NEARLY_ALL * limit


def _kills(root: Path) -> int | None:
    """Kills for lack of memory that this process's cgroup saw; the machine's where none counts."""
    for file in _cgroup_files(root, "memory.events", "memory.oom_control"):
        if (count := _counted(file)) is not None:
            return count
    return _counted(root / "proc/vmstat")


def _counted(file: Path) -> int | None:
    return _field(file, "oom_kill")


def memory_limit(root: Path) -> int | None:
    """Bytes that the cgroup, or the machine, lets a process have."""
    total = _field(root / "proc/meminfo", "MemTotal:")
    limits = [] if total is None else [1024 * total]
    for file in _cgroup_files(root, "memory.max", "memory.limit_in_bytes"):
        text = _read(file).strip()
        if text.isdigit():
            limits.append(int(text))
    return min(limits, default=None)


def _cgroup_files(root: Path, unified: str, legacy: str) -> Iterator[Path]:
    """Files of this process's memory cgroup; of its mount's top, where the path is not seen."""
    mount = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folder, name = mount, unified
        elif "memory" in controllers.split(","):
            folder, name = mount / "memory", legacy
        else:
            continue
        inner = folder / path.lstrip("/") / name
        yield inner if inner.exists() else folder / name


def _field(file: Path, name: str) -> int | None:
    for line in _read(file).splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value.split()[0])
    return None


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
