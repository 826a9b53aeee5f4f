"""What a study says of its own overhead."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from c2c_search.cli import studies
from c2c_search.study import overview
from c2c_search.study.overhead import WorkerClock
from c2c_search.study.overhead import overhead_of
from c2c_search.study.overhead import work_of
from tests.study.test_driver import optuna_study


def test_a_clock_tells_work_from_what_lies_between() -> None:
    times = iter((0.0, 12.0, 15.0, 30.0, 40.0))
    clock = WorkerClock(lambda: next(times))
    assert clock.cut(1.0, 10.0) == (12.0, 10.0)
    clock.skip()  # a trial that failed
    assert clock.cut(20.0, 60.0) == (15.0, 10.0)  # the rest of its work was an earlier start's
    assert work_of({"prefill": 1.0, "train": 2.0, "derange": 3.0, "overhead": 4.0}) == 6.0


def test_a_study_tells_its_overhead(
    quick: Callable[..., Any],
    root: Path,
    output: io.StringIO,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Each look at the clock is a quarter of a second; a trial trains one second.
    ticks = itertools.count()
    monkeypatch.setattr(WorkerClock.__init__, "__defaults__", (lambda: next(ticks) / 4,))
    quick()
    rows = overview.trial_rows(optuna_study(root))
    spent = [each.worker_seconds for each in rows]
    found = overhead_of(rows)
    assert found is not None
    assert found.seconds == sum(one[0] for one in spent if one is not None)
    assert overview.study_row(root, optuna_study(root)).overhead == found.share
    assert 0 < found.share < 1
    assert "Overhead: " in output.getvalue()
    assert str(found) in " ".join(output.getvalue().split())
    studies.status("tiny", root=root)
    assert f"; overhead {100 * found.share:.1f} %" in capsys.readouterr().out
    assert overhead_of([]) is None
