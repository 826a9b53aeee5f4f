"""Finalists that are trained with further seeds before one of them is chosen."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from c2c_search.space.plan import plan
from c2c_search.space.schema import Space
from c2c_search.study.driver import Outcome
from c2c_search.study.seeds import Seeds
from c2c_search.training.protocol import Failed


Run = Callable[..., Outcome]


def _lucky(config: Any) -> float:
    """The fastest learner is best with the study's seed, and worst with any other."""
    if config.fuser.sharer == "blank":
        return 0.3
    fast = 0.05 * (4 + math.log10(config.training.learning_rate))
    return 0.6 + fast if config.seed == 0 else 0.7 - fast


def test_means_over_seeds_order_the_finalists(
    quick: Run, script: Any, space_file: Path, output: io.StringIO
) -> None:
    script.accuracy = _lucky
    text = space_file.read_text().replace("seed: 0}", "seed: 0, confirm_seeds: 3}")
    space_file.write_text(text.replace("pruner: halving, reduction_factor: 2", "pruner: none"))
    broken = Failed(failure="diverged", message="the loss is NaN")
    script.failures = lambda config: broken if config.seed == 3 else None
    outcome = quick(trials=6)
    final = outcome.final
    first, second = final.finalists
    assert first.trained.objective < second.trained.objective
    means = [final.seeds[one.name].mean for one in (first, second)]
    assert means == sorted(means, reverse=True)
    assert [len(final.seeds[one.name].values) for one in (first, second)] == [3, 3]
    for one in (first, second):
        own, *others = final.seeds[one.name].values
        assert own == one.trained.objective
        told = f"{one.name}: margin {fmean([own, *others]):.3f} on validation on average of"
        assert told in output.getvalue()
        assert told in outcome.leaderboard.verdict
    # The view tells each failure once.
    assert output.getvalue().count("the loss is NaN") == 2
    assert output.getvalue().count("; 1 seed failed, and left out.") == 2
    assert final.champion is not None
    assert final.champion.name == first.name
    trained = len(script.trained)
    again = quick(trials=6)
    assert again.final.seeds == final.seeds
    # What failed is tried again, and nothing else.
    assert len(script.trained) == trained + 2
    steps = plan(Space.load(space_file)).control_steps
    assert steps["further seeds"] == 2 * 3 * 4


def test_a_spread_is_a_standard_deviation() -> None:
    seeds = Seeds(values=(0.5, 0.3))
    assert seeds.numbers() == pytest.approx({"mean": 0.4, "spread": 0.02**0.5, "trained": 2})
    assert Seeds(values=(0.5,)).spread == 0
