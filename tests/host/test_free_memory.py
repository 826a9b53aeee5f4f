"""What is left of the memory ends at the limit of the process's cgroup."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

from c2c_search.host.free_memory import free_memory


CPU = torch.device("cpu")


def test_the_machine_has_what_it_says(tmp_path: Path) -> None:
    assert 0 < free_memory(CPU, tmp_path) <= psutil.virtual_memory().total


def test_a_cgroup_leaves_its_limit_less_what_the_process_holds(tmp_path: Path) -> None:
    held = psutil.Process().memory_info().rss
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    limit = tmp_path / "sys/fs/cgroup/memory.max"
    limit.write_text(f"{held + 10_000_000}\n")
    assert free_memory(CPU, tmp_path) <= 10_000_000
    limit.write_text("1000\n")
    assert free_memory(CPU, tmp_path) == 0
