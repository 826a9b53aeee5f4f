from __future__ import annotations

import io

import pytest
from rich.console import Console

from c2c_search.report import progress


def test_a_log_gets_a_line_for_each_stage_and_one_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), width=80)
    with progress.watch(console) as tell:
        tell("arc, receiver", 0, 0)
        tell("arc, receiver", 1, 9)
        now[0] += 31
        tell("arc, sharer", 2, 9)
        tell("mmlu", 3, 9)
    assert console.file.getvalue().splitlines() == ["arc, receiver", "arc, sharer 2/9", "mmlu 3/9"]


def test_a_terminal_gets_a_bar_that_leaves_nothing_behind() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with progress.watch(console) as tell:
        tell("arc [receiver]", 4, 9)
        tell("mmlu", 0, 0)
    assert console.file.getvalue()
