"""The gate: every control must be beaten, by both tests, at a level that finalists share."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from c2c_search.champion.gate import first_passing
from c2c_search.champion.gate import judge
from c2c_search.champion.gate import paired_comparison
from c2c_search.champion.verdict import Verdict
from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics import paired_sign_test


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
    finalists: int = 1, deranged: SystemResult | None = None, share: float = 0.5,
) -> Verdict:  # fmt: skip
    """Against controls of which the first is the receiver, and, unless told, also deranged."""
    receiver = next(iter(controls), "receiver")
    return judge(
        "trial 7", candidate, controls, level=level, resamples=2000, seed=0, finalists=finalists,
        receiver=receiver, deranged=deranged or controls.get(receiver, candidate),
        min_pairing_share=share,
    )  # fmt: skip


def _first(count: int, of: int = ITEMS) -> SystemResult:
    """The first items are right: of two such systems the better one is nowhere worse."""
    return _answers([i < count for i in range(of)])


def _mean(*times: SystemResult) -> SystemResult:
    """Answered several times over."""
    items = tuple(
        ItemResult(
            id=each[0].id, group=each[0].group, cluster=each[0].cluster, answer=0, repeats=each
        )
        for each in zip(*(one.items for one in times), strict=True)
    )
    return SystemResult(system="s", split="test", items=items)


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
            judge(
                "t",
                one,
                {"c": control},
                level=0.1,
                resamples=200,
                seed=0,
                finalists=2,
                receiver="c",
                deranged=control,
            )
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


def test_a_fuser_that_ignores_its_message_is_refused() -> None:
    deaf = _judge(_first(160), {"receiver": _first(60)}, deranged=_first(160))
    assert deaf.deranged is not None
    assert deaf.deranged.difference.value == 0
    assert deaf.deranged.p == 1
    assert not deaf.deranged.beaten
    assert deaf.pairing is not None
    assert deaf.pairing.share is not None
    assert (deaf.pairing.pairing_gain.value, deaf.pairing.share.value) == (0, 0)
    assert not deaf.passed
    assert "is not shown" in deaf.explain()
    last = deaf.explain().splitlines()[-1]
    assert "not proven better than trial 7 deranged (level 0.01)" in last
    assert "P/G is 0.00, and champion.min_pairing_share wants 0.5" in last


def test_a_fuser_that_copies_its_message_owes_all_of_its_gain_to_it() -> None:
    copying = _judge(_first(160), {"receiver": _first(60)}, deranged=_first(60))
    assert copying.passed
    assert copying.pairing is not None
    assert copying.pairing.share is not None
    assert copying.pairing.share.value == 1
    assert copying.pairing.gain.value == pytest.approx(0.5)
    assert "So it listens to the sharer." in copying.explain()
    assert "It beats every control (level 0.01)." in copying.explain()


def test_the_deranged_self_is_judged_at_the_level_of_the_other_controls() -> None:
    # 16 against 4 again.
    candidate = _answers([True] * 16 + [False] * 4 + [True] * 100 + [False] * 80, per_cluster=1)
    deranged = _answers([False] * 16 + [True] * 104 + [False] * 80, per_cluster=1)
    receiver = _answers([False] * ITEMS, per_cluster=1)
    for finalists, beaten in ((1, True), (5, False)):
        verdict = _judge(
            candidate, {"receiver": receiver}, deranged=deranged, level=0.05, share=0,
            finalists=finalists,
        )  # fmt: skip
        assert verdict.deranged is not None
        assert verdict.deranged.p == pytest.approx(0.0118, abs=1e-4)
        assert verdict.deranged.difference.level == verdict.judged_level
        assert (verdict.deranged.beaten, verdict.passed) == (beaten, beaten)


def test_too_small_a_share_is_refused_unless_the_pipeline_asks_for_less() -> None:
    # P = 40 of G = 100 items.
    found = {"receiver": _first(60)}
    refused = _judge(_first(160), found, deranged=_first(120))
    assert all(one.beaten for one in refused.others)
    assert not refused.passed
    assert "P/G is 0.40, and champion.min_pairing_share wants 0.5." in refused.explain()
    lowered = _judge(_first(160), found, deranged=_first(120), share=0.3)
    assert lowered.passed
    assert lowered.min_pairing_share == 0.3
    assert "lowered champion.min_pairing_share from 0.5 to 0.3." in lowered.explain()
    at_the_bound = _judge(_first(160), found, deranged=_first(110))
    assert at_the_bound.passed
    assert "min_pairing_share" not in at_the_bound.explain()


def test_without_a_gain_there_is_no_share_and_no_champion() -> None:
    verdict = _judge(_first(62), {"receiver": _first(60)}, deranged=_first(10), share=0)
    assert verdict.pairing is not None
    assert verdict.pairing.share is None
    assert not verdict.passed
    assert "there is no gain to share" in verdict.explain()


def test_where_the_receiver_is_beaten_there_is_a_share_at_any_level() -> None:
    candidate = _answers([True] * 110 + [False] * 90, per_cluster=1)
    receiver = _answers([i % 2 == 0 for i in range(ITEMS)], per_cluster=1)
    verdict = _judge(candidate, {"receiver": receiver}, deranged=receiver, level=0.8)
    assert verdict.comparisons[0].beaten
    assert verdict.pairing is not None
    assert verdict.pairing.share is not None
    assert verdict.pairing.gain.level == 0.8


def test_means_over_derangements_are_judged_by_how_much_they_differ() -> None:
    """Nine in ten are right with any message; two right of three is a loss to a sign test."""
    rng = np.random.default_rng(4)
    times = [_answers(list(rng.random(1000) < 0.9), per_cluster=1) for _ in range(4)]
    candidate, deranged = times[0], _mean(*times[1:])
    verdict = _judge(candidate, {"receiver": _answers([False] * 1000, per_cluster=1)},
                     deranged=deranged)  # fmt: skip
    found = verdict.deranged
    assert found is not None
    assert found.accuracy.value == pytest.approx(np.mean([one.accuracy for one in times[1:]]))
    assert found.difference.value == pytest.approx(candidate.accuracy - found.accuracy.value)
    assert found.test == "permutation"
    assert found.p > 0.05
    assert paired_sign_test(candidate, deranged) < 1e-6
    assert verdict.pairing is not None
    assert verdict.pairing.derangements == tuple(one.accuracy for one in times[1:])
    assert "permutation p = " in verdict.explain()


def test_a_null_of_means_is_rarely_rejected() -> None:
    rng = np.random.default_rng(9)
    beaten = 0
    for _ in range(100):
        chance = rng.random(CLUSTERS).repeat(ITEMS // CLUSTERS)
        one, *three = (_answers(list(rng.random(ITEMS) < chance)) for _ in range(4))
        found = paired_comparison(one, "c", _mean(*three), level=0.1, resamples=300, seed=0)
        beaten += found.beaten
    assert beaten <= 10


def test_a_verdict_survives_json_and_its_numbers_are_plain() -> None:
    verdict = _judge(STRONG, {"receiver": WEAK, "twin": STRONG}, deranged=MIDDLE)
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
    assert lines[3].startswith("With other items' messages it answers ")
    assert lines[4].startswith("With the right messages it answers A_M = 78.5 % [")
    assert lines[5] == ("It is not proven better than twin (level 0.01, shared by 2 finalists).")
    assert "It beats every control (level 0.01)." in _judge(STRONG, {"r": WEAK}).explain()


def test_groups_are_reported_for_the_finalist_and_its_controls() -> None:
    verdict = _judge(STRONG, {"receiver": WEAK})
    assert verdict.by_group == STRONG.accuracy_by_group()
    assert verdict.comparisons[0].by_group == WEAK.accuracy_by_group()


def test_other_items_cannot_be_judged() -> None:
    with pytest.raises(DataError, match="same items"):
        _judge(STRONG, {"receiver": _answers([True] * 3)})
    with pytest.raises(DataError, match="same items"):
        _judge(STRONG, {"receiver": WEAK}, deranged=_answers([True] * 3))


def test_what_was_selected_on_proves_nothing() -> None:
    seen = MIDDLE.model_copy(update={"split": "validation"})
    for candidate, control, deranged in (
        (seen, seen, None),
        (STRONG, seen, None),
        (STRONG, WEAK, seen),
    ):
        with pytest.raises(DataError, match=r"Only the test split .*s on validation"):
            _judge(candidate, {"receiver": control}, deranged=deranged)


def test_a_verdict_needs_a_control() -> None:
    with pytest.raises(ConfigError, match="receiver among the controls"):
        _judge(STRONG, {})
    with pytest.raises(ConfigError, match="at least one finalist"):
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
