"""The state of a tiny study with a clock that is set by hand, and the view of it."""

from __future__ import annotations

import io
from dataclasses import dataclass

import pytest
from rich.console import Console

from c2c_search.report.live import View
from c2c_search.report.state import StudyState


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(clock: Clock) -> StudyState:
    return StudyState(name="tiny", trials=3, steps=100, twins=1, clock=clock)


@pytest.fixture
def view(state: StudyState) -> View:
    return View(state, Console(file=io.StringIO()))
