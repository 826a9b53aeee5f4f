"""The four findings, and how often they are wrong."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator

import numpy as np
import pytest

from c2c_search.evaluation.judgement import ADAPTS
from c2c_search.evaluation.judgement import HARMS
from c2c_search.evaluation.judgement import LISTENS
from c2c_search.evaluation.judgement import UNTOLD
from c2c_search.evaluation.judgement import Judgement
from c2c_search.evaluation.judgement import judge_listening
from c2c_search.evaluation.judgement import listening_tests
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics import equivalence_test
from tests.evaluation.answers import chosen


RUNS = 400
LEVEL = 0.05


@pytest.fixture
def light() -> Iterator[None]:
    """statsmodels collects garbage at every correction, which takes long beside large modules."""
    gc.freeze()
    yield
    gc.unfreeze()


def answers(
    odds: tuple[float, float, float],
    *,
    items: int = 300,
    facts: int | None = None,
    seed: int = 0,
    spread: float = 0.0,
) -> list[SystemResult]:
    """Matched, deranged and receiver alone, right with these odds; each fact suits each."""
    rng = np.random.default_rng(seed)
    count = items if facts is None else facts
    clusters = np.arange(items) * count // items
    ease = rng.uniform(-spread, spread, (3, count))[:, clusters]
    right = rng.random((3, items)) < np.array(odds)[:, None] + ease
    return [chosen(list(row), list(clusters)) for row in right]


def judged(*odds: float, **options: int) -> Judgement:
    return judge_listening(*answers(odds, **options), level=LEVEL, resamples=999)


@pytest.mark.parametrize(
    ("odds", "finding"),
    [
        pytest.param((0.9, 0.3, 0.3), LISTENS, id="listens"),
        pytest.param((0.6, 0.3, 0.6), LISTENS, id="listens without gaining"),
        pytest.param((0.9, 0.9, 0.3), ADAPTS, id="adapts"),
        pytest.param((0.9, 0.75, 0.3), ADAPTS, id="listens a little"),
        pytest.param((0.3, 0.3, 0.9), HARMS, id="harms"),
        pytest.param((0.5, 0.2, 0.9), HARMS, id="listens and harms"),
        pytest.param((0.5, 0.5, 0.5), UNTOLD, id="does nothing"),
    ],
)
def test_what_is_found(odds: tuple[float, float, float], finding: str) -> None:
    found = judged(*odds)
    assert found.finding == finding
    assert found.sentence.lower().startswith(finding)
    assert Judgement.model_validate_json(found.model_dump_json()) == found


def test_what_is_told_beside_it() -> None:
    assert "although the right message is worth" in judged(0.5, 0.2, 0.9).sentence
    assert "less than half of it is owed" in judged(0.9, 0.75, 0.3).sentence
    assert "no shown part of it" in judged(0.9, 0.9, 0.3).sentence
    assert "P/G 1.0" in judged(0.9, 0.3, 0.3).sentence
    assert "no gain over the receiver alone is shown" in judged(0.6, 0.3, 0.6).sentence
    few = judged(0.5, 0.5, 0.5, items=60, facts=30)
    assert few.sentence.startswith("Cannot be told from 60 items about 30 facts: ")
    assert few.needed is not None
    assert f"it takes about {few.needed:,} of them to show 5 points" in few.sentence


def test_answers_that_never_differ_tell_nothing() -> None:
    same = chosen([True, False] * 100)
    found = judge_listening(same, same, same)
    assert found.finding == UNTOLD
    assert found.needed is None
    assert "too few answers differ" in found.sentence
    assert found.unheard > 0.01  # 200 items are few for two points


def test_a_message_that_is_worth_nothing_is_shown_to_be() -> None:
    same, alone = chosen([True] * 700 + [False] * 300), chosen([True] * 300 + [False] * 700)
    found = judge_listening(same, same, alone)
    assert found.finding == ADAPTS
    assert found.unheard < 0.01


def shares(odds: tuple[float, float, float], **options: float) -> dict[str, float]:
    """How often each finding is made."""
    findings = [
        listening_tests(*answers(odds, seed=run, **options), level=LEVEL, resamples=199).finding
        for run in range(RUNS)
    ]
    return {each: findings.count(each) / RUNS for each in (HARMS, LISTENS, ADAPTS, UNTOLD)}


NOISE = 3 * math.sqrt(LEVEL * (1 - LEVEL) / RUNS)

KINDS = {
    "independent": {"items": 120},
    "30 facts of four": {"items": 120, "facts": 30, "spread": 0.15},
    "12 facts of ten": {"items": 120, "facts": 12, "spread": 0.15},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gain", [0.0, 0.2])
def test_a_fuser_that_ignores_its_message_rarely_listens(
    kind: str, gain: float, light: None
) -> None:
    """Known null of P, with a gain and without one."""
    found = shares((0.5 + gain, 0.5 + gain, 0.5), **KINDS[kind])
    # Nothing is said wrongly, all claims together.
    wrong = found[LISTENS] + found[HARMS] + (0 if gain else found[ADAPTS])
    assert wrong <= LEVEL + NOISE


@pytest.mark.parametrize("kind", KINDS)
def test_half_of_the_gain_is_rarely_taken_for_less(kind: str, light: None) -> None:
    """Known null of P < G/2: exactly half is owed to the message."""
    assert shares((0.8, 0.6, 0.4), **KINDS[kind])[ADAPTS] <= LEVEL + NOISE


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_worth_the_margin_is_rarely_taken_for_nothing(kind: str) -> None:
    """Known null of equivalence: P is just the margin."""
    runs = (answers((0.7, 0.6, 0.3), seed=run, **KINDS[kind]) for run in range(RUNS))
    p = [equivalence_test(matched, deranged, margin=0.1) for matched, deranged, _ in runs]
    assert np.mean([each <= LEVEL for each in p]) <= LEVEL + NOISE
