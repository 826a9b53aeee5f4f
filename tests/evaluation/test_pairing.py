"""Matched, deranged and receiver alone: hand-computed gains, shares and their intervals."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from c2c_search.errors import DataError
from c2c_search.evaluation.pairing import Pairing
from c2c_search.evaluation.pairing import pairing
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics import accuracy_interval
from c2c_search.evaluation.statistics import paired_bootstrap
from tests.evaluation.answers import chosen
from tests.evaluation.answers import graded


def _right(count: int, of: int = 40) -> SystemResult:
    """The first ``count`` items are answered rightly; two items to a fact."""
    return chosen([i < count for i in range(of)], [i // 2 for i in range(of)])


def test_accuracies_gains_and_share_are_what_is_counted_by_hand() -> None:
    found = pairing(_right(32), _right(20), _right(8))
    assert found.matched.value == pytest.approx(0.8)
    assert found.deranged.value == pytest.approx(0.5)
    assert found.receiver.value == pytest.approx(0.2)
    assert found.gain.value == pytest.approx(0.6)
    assert found.pairing_gain.value == pytest.approx(0.3)
    assert found.share is not None
    assert found.share.value == pytest.approx(0.5)
    assert found.no_share == ""


def test_intervals_are_those_of_the_paired_bootstrap_at_the_level() -> None:
    matched, deranged, receiver = _right(32), _right(20), _right(8)
    found = pairing(matched, deranged, receiver, level=0.1, resamples=500, seed=3)
    interval = partial(paired_bootstrap, level=0.1, resamples=500, seed=3)
    assert found.gain == interval(matched, receiver)
    assert found.pairing_gain == interval(matched, deranged)
    assert found.matched == accuracy_interval(matched, level=0.1)
    assert found.share is not None
    assert found.share.level == 0.1


def test_fuser_that_ignores_its_message_has_no_pairing_gain() -> None:
    found = pairing(_right(32), _right(32), _right(8))
    assert found.pairing_gain.value == 0
    assert found.share is not None
    # No item is answered otherwise, in any resample.
    assert (found.share.low, found.share.value, found.share.high) == (0, 0, 0)


def test_fuser_that_only_copies_its_message_owes_it_everything() -> None:
    found = pairing(_right(32), _right(8), _right(8))
    assert found.share is not None
    assert (found.share.low, found.share.value, found.share.high) == (1, 1, 1)


def test_wrong_message_that_harms_gives_a_share_above_one() -> None:
    found = pairing(_right(30), _right(0), _right(10))
    assert found.share is not None
    assert found.share.value == pytest.approx(1.5)


@pytest.mark.parametrize("receiver", [31, 32, 40], ids=["hardly-below", "equal", "better"])
def test_no_share_where_the_gain_may_be_nothing(receiver: int) -> None:
    found = pairing(_right(32), _right(20), _right(receiver))
    assert found.share is None
    assert found.gain.low <= 0
    assert "the interval of G does not lie above 0" in found.no_share


def test_one_cluster_says_nothing_of_others() -> None:
    right, wrong = chosen([True] * 9, [0] * 9), chosen([False] * 9, [0] * 9)
    assert pairing(right, wrong, wrong).share is None


def test_mean_credit_of_several_derangements_counts_in_parts() -> None:
    clusters = [i // 2 for i in range(30)]
    matched = graded([1.0] * 30, clusters)
    deranged = graded([1 / 3] * 15 + [2 / 3] * 15, clusters)
    receiver = graded([0.0] * 20 + [1.0] * 10, clusters)
    found = pairing(matched, deranged, receiver)
    assert found.deranged.value == pytest.approx(0.5)
    assert found.pairing_gain.value == pytest.approx(0.5)
    assert found.share is not None
    assert found.share.value == pytest.approx(0.75)


def test_interval_of_the_share_is_that_of_a_bootstrap_written_out() -> None:
    """Resampled clusters one by one, each ratio studentised by its own linearised error."""
    rng = np.random.default_rng(5)
    clusters = [i // 4 for i in range(120)]
    matched, deranged, receiver = (
        chosen(list(rng.random(120) < p), clusters) for p in (0.85, 0.5, 0.3)
    )
    credit = [
        np.array([item.credit for item in each.items]).reshape(30, 4).sum(axis=1)
        for each in (matched, deranged, receiver)
    ]
    p, g = credit[0] - credit[1], credit[0] - credit[2]
    ratio = p.sum() / g.sum()

    def error(p: np.ndarray, g: np.ndarray) -> float:
        left = p - p.sum() / g.sum() * g
        return float(np.sqrt(30 / 29 * (left @ left)) / g.sum())

    drawn = rng.integers(0, 30, size=(20_000, 30))
    t = [(p[d].sum() / g[d].sum() - ratio) / error(p[d], g[d]) for d in drawn]
    high, low = ratio - error(p, g) * np.quantile(t, [0.025, 0.975])

    found = pairing(matched, deranged, receiver, resamples=20_000).share
    assert found is not None
    assert found.value == pytest.approx(ratio)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)


def test_interval_of_the_share_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    clusters = [i // 5 for i in range(200)]
    missed = 0
    for _ in range(300):
        shift = np.repeat(rng.normal(0, 0.15, 40), 5)
        answers = (rng.random(200) < np.clip(p + shift, 0, 1) for p in (0.7, 0.5, 0.3))
        matched, deranged, receiver = (chosen(list(each), clusters) for each in answers)
        found = pairing(matched, deranged, receiver, level=0.1, resamples=399).share
        assert found is not None
        missed += not found.low <= 0.5 <= found.high
    assert 0.05 < missed / 300 < 0.15


def test_other_items_are_refused() -> None:
    with pytest.raises(DataError, match="same items"):
        pairing(_right(8), _right(8, of=38), _right(8))


def test_survives_json() -> None:
    for receiver in (8, 32):
        found = pairing(_right(32), _right(20), _right(receiver))
        assert Pairing.model_validate_json(found.model_dump_json()) == found
