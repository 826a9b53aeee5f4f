"""The gate: every control must be beaten, by both tests, at a level that finalists share."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from c2c_search.champion.gate import first_passing
from c2c_search.champion.gate import judge
from c2c_search.champion.verdict import Verdict
from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult


ITEMS = 200
CLUSTERS = 40


def _answers(right: Sequence[bool], *, per_cluster: int = ITEMS // CLUSTERS) -> SystemResult:
    items = tuple(
        ItemResult(
            id=f"q{i}",
            group=f"g{i % 2}",
            cluster=f"c{i // per_cluster}",
            answer=0,
            chosen=int(not ok),
            scores=(),
        )
        for i, ok in enumerate(right)
    )
    return SystemResult(system="s", split="test", items=items)


def _system(accuracy: float, seed: int) -> SystemResult:
    return _answers(list(np.random.default_rng(seed).random(ITEMS) < accuracy))


def _judge(
    candidate: SystemResult, controls: dict[str, SystemResult], *, level: float = 0.01,
    finalists: int = 1, mismatched: SystemResult | None = None,
) -> Verdict:  # fmt: skip
    return judge(
        "trial 7", candidate, controls, level=level, resamples=2000, seed=0, finalists=finalists,
        mismatched=mismatched,
    )  # fmt: skip


STRONG, MIDDLE, WEAK = _system(0.85, 0), _system(0.6, 1), _system(0.35, 2)


def test_a_finalist_that_beats_every_control_passes() -> None:
    verdict = _judge(STRONG, {"receiver": WEAK, "sharer": MIDDLE})
    assert verdict.passed
    assert [c.control for c in verdict.comparisons] == ["receiver", "sharer"]
    assert all(c.beaten and c.p < 0.01 and c.difference.low > 0 for c in verdict.comparisons)
    assert (verdict.items, verdict.clusters) == (ITEMS, CLUSTERS)


def test_one_control_that_is_as_good_stops_it() -> None:
    twin = _system(0.85, 5)
    verdict = _judge(STRONG, {"receiver": WEAK, "twin": twin})
    assert not verdict.passed
    assert [c.beaten for c in verdict.comparisons] == [True, False]


def test_a_control_that_is_better_stops_it_however_small_p_is() -> None:
    verdict = _judge(WEAK, {"sharer": STRONG})
    assert verdict.comparisons[0].p < 1e-6
    assert not verdict.passed


def test_a_gain_in_a_few_clusters_alone_is_not_enough() -> None:
    """McNemar takes forty questions about one country for forty proofs; the clusters don't."""
    control = _answers([False] * ITEMS, per_cluster=40)
    candidate = _answers([True] * 40 + [False] * (ITEMS - 40), per_cluster=40)
    comparison = _judge(candidate, {"receiver": control}).comparisons[0]
    assert comparison.p < 1e-9
    assert comparison.difference.low < 0
    assert not comparison.beaten


def test_finalists_share_the_level() -> None:
    # 16 against 4: p = 0.0118, enough for one finalist at 0.05, not for one of five.
    candidate = _answers([True] * 16 + [False] * 4 + [True] * 180, per_cluster=1)
    control = _answers([False] * 16 + [True] * 4 + [True] * 180, per_cluster=1)
    assert _judge(candidate, {"receiver": control}, level=0.05).passed
    of_five = _judge(candidate, {"receiver": control}, level=0.05, finalists=5)
    assert not of_five.passed
    assert of_five.judged_level == of_five.comparisons[0].difference.level == 0.01


def test_a_finalist_no_better_than_its_control_is_rarely_promoted() -> None:
    rng = np.random.default_rng(8)
    passed = 0
    for _ in range(100):
        right = rng.random((3, ITEMS)) < 0.5
        control, *two = (_answers(list(row)) for row in right)
        verdicts = [
            judge("t", one, {"c": control}, level=0.1, resamples=200, seed=0, finalists=2)
            for one in two
        ]
        passed += first_passing(verdicts) is not None
    assert passed <= 10


def test_the_first_that_passed_is_the_champion() -> None:
    fails = _judge(MIDDLE, {"sharer": STRONG})
    passes = _judge(MIDDLE, {"receiver": WEAK})
    higher = _judge(STRONG, {"receiver": WEAK})
    assert first_passing([fails, passes, higher]) is passes
    assert first_passing([fails]) is None
    assert first_passing([]) is None


def test_mismatched_sharer_is_reported_but_not_judged() -> None:
    deaf = _judge(STRONG, {"receiver": WEAK}, mismatched=STRONG)
    assert deaf.passed
    assert deaf.mismatched is not None
    assert deaf.mismatched.difference.value == 0
    assert "is not shown" in deaf.explain()
    listening = _judge(STRONG, {"receiver": WEAK}, mismatched=MIDDLE)
    assert "So it listens to the sharer." in listening.explain()


def test_a_verdict_survives_json_and_its_numbers_are_plain() -> None:
    verdict = _judge(STRONG, {"receiver": WEAK, "twin": STRONG}, mismatched=MIDDLE)
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
    # Two systems that never disagree: infinity has no place in JSON.
    assert verdict.comparisons[1].detectable is None
    assert "Infinity" not in json.dumps(verdict.model_dump(mode="json"))


def test_the_explanation_names_what_was_beaten_and_what_was_not() -> None:
    twin = _system(0.8, 5)
    lines = _judge(STRONG, {"receiver": WEAK, "twin": twin}, finalists=2).explain().splitlines()
    assert lines[0].startswith("trial 7 answers ")
    assert "200 test items about 40 facts" in lines[0]
    assert lines[1].startswith("It beats receiver (")
    assert "99.5 % interval" in lines[1]
    assert lines[2].startswith("It does not clearly beat twin (")
    assert "This test finds differences from about" in lines[2]
    assert lines[3] == ("It is not proven better than twin (level 0.01, shared by 2 finalists).")
    assert "It beats every control (level 0.01)." in _judge(STRONG, {"r": WEAK}).explain()


def test_groups_are_reported_for_the_finalist_and_its_controls() -> None:
    verdict = _judge(STRONG, {"receiver": WEAK})
    assert verdict.by_group == STRONG.accuracy_by_group()
    assert verdict.comparisons[0].by_group == WEAK.accuracy_by_group()


def test_other_items_cannot_be_judged() -> None:
    with pytest.raises(DataError, match="same items"):
        _judge(STRONG, {"receiver": _answers([True] * 3)})
    with pytest.raises(DataError, match="same items"):
        _judge(STRONG, {"receiver": WEAK}, mismatched=_answers([True] * 3))


def test_what_was_selected_on_proves_nothing() -> None:
    seen = MIDDLE.model_copy(update={"split": "validation"})
    for candidate, control, mismatched in (
        (seen, seen, None),
        (STRONG, seen, None),
        (STRONG, WEAK, seen),
    ):
        with pytest.raises(DataError, match=r"Only the test split .*s on validation"):
            _judge(candidate, {"receiver": control}, mismatched=mismatched)


def test_a_verdict_needs_a_control() -> None:
    with pytest.raises(ConfigError, match="at least one control"):
        _judge(STRONG, {})
    with pytest.raises(ConfigError, match="at least one control"):
        _judge(STRONG, {"receiver": WEAK}, finalists=0)


def test_options_that_tie_are_judged_by_what_they_are_worth() -> None:
    candidate, control = _answers([True] * ITEMS), _answers([False] * ITEMS)
    tie = {"scores": (-1.0, -1.0, -2.0, -2.0)}
    items = (control.items[0].model_copy(update=tie), *control.items[1:])
    control = control.model_copy(update={"items": items})
    assert control.graded
    verdict = _judge(candidate, {"control": control})
    (comparison,) = verdict.comparisons
    assert comparison.p == pytest.approx(2 * 0.5**ITEMS)
    assert comparison.difference.value == pytest.approx(1 - 0.5 / ITEMS)
    assert verdict.passed
