"""One small run of the latency measurement, for what is said about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from c2c_search.evaluation.latency.measure import measure
from c2c_search.tokenization.templates import asked


if TYPE_CHECKING:
    from collections.abc import Callable

    from c2c_search.evaluation.latency.report import LatencyReport
    from c2c_search.inference.model import C2CModel


@pytest.fixture(scope="session")
def report(make_pair: Callable[..., C2CModel]) -> LatencyReport:
    """Four systems on two questions, asked twice, with answers of three tokens."""
    questions = [asked("What is wet?"), asked("Which of the two is hot, fire or ice?")]
    return measure(make_pair(), questions, new_tokens=3, repeats=2, relay_tokens=4)
