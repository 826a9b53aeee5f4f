"""Finalists, and the drop from validation to test that is told before it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from c2c_search.study.driver import Outcome


Run = Callable[..., Outcome]


@pytest.fixture
def one_pair(space_file: Path) -> None:
    text = space_file.read_text()
    for line in (
        '  back: {receiver: "path:b", sharer: "path:a"}\n',
        "  - {pair: back, fuser.depth: 4, training.learning_rate: 1.0e-3}\n",
    ):
        text = text.replace(line, "")
    text = text.replace("choices: [there, back]", "choices: [there]")
    space_file.write_text(text.replace("pruner: halving, reduction_factor: 2", "pruner: none"))


def _noisy(config: Any, objective: float) -> tuple[float, ...]:
    """Blocks around the objective, different from trial to trial."""
    return tuple(
        objective + ((7 * config.fuser.depth + block) % 5 - 2) / 20 for block in range(20)
    )


@pytest.mark.usefixtures("one_pair")
def test_the_drop_is_told_before_the_test_and_measured_after(
    quick: Run, script: Any, output: io.StringIO
) -> None:
    script.blocks = _noisy
    outcome = quick(trials=6)
    finalists = outcome.final.finalists
    assert outcome.final.drops.keys() == {one.name for one in finalists}
    for one in finalists:
        drop = outcome.final.drops[one.name]
        assert drop.expected is not None
        assert drop.expected.low < drop.expected.value < drop.expected.high
        assert drop.measured is not None
        assert drop.numbers().keys() == {"expected", "low", "high", "measured"}
        assert f"{one.name}: margin" in output.getvalue()


@pytest.mark.usefixtures("one_pair")
def test_without_blocks_nothing_is_told_and_the_drop_is_measured(quick: Run) -> None:
    outcome = quick(trials=6)
    one = outcome.final.finalists[0]
    drop = outcome.final.drops[one.name]
    assert drop.expected is None
    # The models alone answer both splits alike, and better than a wrong message's half.
    after = outcome.final.results[one.name].accuracy
    assert drop.measured == pytest.approx(one.trained.accuracy - after)
