"""Harm is told from no harm, and from not knowing."""

from __future__ import annotations

import pytest

from c2c_search.evaluation.harm import Harm
from c2c_search.evaluation.harm import measure_harm
from tests.evaluation.answers import chosen


def harm(wins: int, losses: int, same: int, **options: float) -> Harm:
    fused = chosen([True] * wins + [False] * losses + [True] * same)
    receiver = chosen([False] * wins + [True] * losses + [True] * same)
    options = {"level": 0.05, "margin": 0.02, **options}
    return measure_harm("arc_easy", fused, receiver, resamples=999, **options)


def test_a_fuser_that_changes_little_of_many_does_no_harm() -> None:
    found = harm(wins=6, losses=8, same=986)
    assert found.harmless
    assert not found.harms
    assert found.difference.value == pytest.approx(-0.002)
    assert found.sentence == (
        "On 1000 items of arc_easy it answers 99.2 % rightly, its receiver alone 99.4 % (-0.2 "
        f"points, p = {found.p:.2g}): no harm beyond 2 points."
    )
    assert Harm.model_validate_json(found.model_dump_json()) == found


def test_a_fuser_that_breaks_much_does_harm() -> None:
    found = harm(wins=10, losses=60, same=230)
    assert found.harms
    assert not found.harmless
    assert found.sentence.endswith(": it does harm.")


def test_what_is_worse_within_the_margin_is_both() -> None:
    found = harm(wins=0, losses=10, same=1990)
    assert found.harms
    assert found.harmless
    assert "no harm beyond 2 points, although it is worse" in found.sentence


def test_too_few_items_are_told_with_how_many_it_takes() -> None:
    found = harm(wins=10, losses=10, same=180)
    assert not found.harms
    assert not found.harmless
    assert found.needed == 1546
    assert "is not shown, which takes about 1,546 items where there is none" in found.sentence
