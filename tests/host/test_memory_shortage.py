"""A killed process lacked memory only if the kernel counted it, or it held nearly all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from c2c_search.host.memory_shortage import MemoryWatch


TOTAL = 1000 * 1024


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "proc/meminfo", "MemTotal:        1000 kB\nMemFree: 1 kB\n")
    write(tmp_path / "proc/vmstat", "nr_free_pages 7\noom_kill 3\n")
    return tmp_path


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


CGROUPS = {
    "unified": ("0::/job\n", "sys/fs/cgroup/job/memory.events", "oom 1\noom_kill {}\n"),
    "in a namespace": ("0::/../x\n", "sys/fs/cgroup/memory.events", "oom 1\noom_kill {}\n"),
    "legacy": (
        "5:cpu:/\n4:memory:/job\n0::/\n",
        "sys/fs/cgroup/memory/job/memory.oom_control",
        "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n",
    ),
    "none": ("", "proc/vmstat", "nr_free_pages 7\noom_kill {}\n"),
}


@pytest.mark.parametrize("kind", CGROUPS)
def test_what_the_kernel_has_counted_is_lack_of_memory(root: Path, kind: str) -> None:
    cgroup, file, text = CGROUPS[kind]
    write(root / "proc/self/cgroup", cgroup)
    write(root / file, text.format(2))
    watch = MemoryWatch(root)
    assert not watch.was_short(peak=0)
    write(root / file, text.format(3))
    assert watch.was_short(peak=0)


def test_the_kills_of_others_on_the_machine_say_nothing(root: Path) -> None:
    write(root / "proc/self/cgroup", "0::/job\n")
    write(root / "sys/fs/cgroup/job/memory.events", "oom_kill 0\n")
    watch = MemoryWatch(root)
    write(root / "proc/vmstat", "oom_kill 4\n")
    assert not watch.was_short(peak=0)


def test_what_held_nearly_all_memory_lacked_it(root: Path) -> None:
    watch = MemoryWatch(root)
    assert not watch.was_short(peak=TOTAL // 2)
    assert watch.was_short(peak=95 * TOTAL // 100)
    write(root / "proc/self/cgroup", "0::/job\n")
    write(root / "sys/fs/cgroup/job/memory.max", f"{TOTAL // 2}\n")
    assert watch.was_short(peak=TOTAL // 2)
    write(root / "sys/fs/cgroup/job/memory.max", "max\n")
    assert not watch.was_short(peak=TOTAL // 2)


def test_where_nothing_is_known_nothing_is_claimed(tmp_path: Path) -> None:
    assert not MemoryWatch(tmp_path).was_short(peak=10**15)
