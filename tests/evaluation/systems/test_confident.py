"""Listening when unsure, by hand and by brute force."""

from __future__ import annotations

import math
import random

import pytest

from c2c_search.errors import DataError
from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.systems.confident import doubt
from c2c_search.evaluation.systems.confident import doubt_as_written
from c2c_search.evaluation.systems.confident import fit_limit
from c2c_search.evaluation.systems.confident import listen
from c2c_search.evaluation.systems.confident import saving
from c2c_search.evaluation.systems.confident import skipped
from c2c_search.inference.doubt import ALL_SKIPPED


def result(system, *answers):
    """Each answer is (doubt, whether it is right); of two options, one has the lead."""
    items = []
    for place, (unsure, right) in enumerate(answers):
        likely = 1 - unsure / 2  # leads by 1 - unsure
        scores = (math.log(likely), math.log(1 - likely) if likely < 1 else -1e9)
        items.append(
            ItemResult(
                id=str(place),
                group="g",
                cluster=str(place),
                answer=0 if right else 1,
                chosen=0,
                scores=scores,
                lengths=(1, 1),
            )
        )
    return SystemResult(system=system, split="validation", items=tuple(items))


RECEIVER = result("receiver", (0.1, True), (0.3, True), (0.5, False), (0.7, True), (0.9, False))
C2C_ANSWERS = ((0.2, True), (0.2, False), (0.2, True), (0.2, False), (0.2, True))
C2C = result("c2c", *C2C_ANSWERS)


def test_doubt_is_what_the_best_option_lacks_of_a_clear_lead():
    item = RECEIVER.items[0].model_copy(update={"scores": tuple(map(math.log, (0.2, 0.5, 0.3)))})
    assert doubt(item) == pytest.approx(1 - (0.5 - 0.3))
    assert [doubt(item) for item in RECEIVER.items] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])


def test_doubt_of_what_is_written_is_what_its_tokens_lack_of_certainty():
    written = ItemResult(id="0", group="g", cluster="0", text="a", likelihood=math.log(0.25))
    assert doubt(written) == pytest.approx(0.75)
    assert doubt(written.model_copy(update={"likelihood": None})) == 1.0
    item = RECEIVER.items[2].model_copy(update={"lengths": (2, 2)})
    assert doubt_as_written(item, length_normalised=True) == pytest.approx(1 - 0.75)
    assert doubt_as_written(item, length_normalised=False) == pytest.approx(1 - 0.75**0.5)


def test_the_receiver_keeps_what_it_is_sure_of():
    mixed = listen(RECEIVER, C2C, 0.4)
    assert mixed.items == (*RECEIVER.items[:2], *C2C.items[2:])
    assert (mixed.system, mixed.split) == ("c2c_confident", "validation")
    assert mixed.accuracy == 0.8
    assert skipped(RECEIVER, 0.4) == 0.4


@pytest.mark.parametrize(
    ("limit", "accuracies"), [(0.0, (0.6, 0.4)), (0.4, (0.8, 0.6)), (ALL_SKIPPED, (0.6, 0.6))]
)
def test_what_is_not_asked_is_answered_alike_after_each_derangement(limit, accuracies):
    other = result("c2c", *((unsure, not right) for unsure, right in C2C_ANSWERS))
    deranged = C2C.model_copy(
        update={
            "items": tuple(
                first.model_copy(update={"repeats": (first, second)})
                for first, second in zip(C2C.items, other.items, strict=True)
            )
        }
    )
    mixed = listen(RECEIVER, deranged, limit)
    assert mixed.accuracies() == pytest.approx(accuracies)
    assert mixed.accuracy == pytest.approx(sum(accuracies) / 2)


def test_a_limit_of_zero_always_listens():
    certain = result("receiver", (0.0, True))
    assert listen(certain, result("c2c", (0.5, False)), 0.0).accuracy == 0.0
    assert listen(RECEIVER, C2C, 0.0).items == C2C.items
    assert skipped(RECEIVER, 0.0) == 0.0


def test_the_fitted_limit_skips_what_c2c_breaks():
    # Skipping the first four is worth 0, +1, -1, +1: the first two, or all four, gain 1.
    limit = fit_limit(RECEIVER, C2C)
    assert limit == pytest.approx(0.9)
    assert listen(RECEIVER, C2C, limit).accuracy == 0.8
    assert skipped(RECEIVER, limit) == 0.8


def test_where_the_receiver_cannot_know_it_always_listens():
    knows = result("c2c", *[(0.1, True)] * 5)
    guesses = result("receiver", *[(place / 10, False) for place in range(1, 6)])
    assert fit_limit(guesses, knows) == 0.0


def test_where_c2c_never_helps_it_never_listens():
    assert fit_limit(RECEIVER, RECEIVER) == ALL_SKIPPED
    assert skipped(RECEIVER, ALL_SKIPPED) == 1.0


def test_the_saved_compute_is_told():
    assert saving(RECEIVER, 0.4) == (
        "Listening when unsure, the receiver answers 40.0 % of 5 items alone (where its doubt is "
        "below 0.400); there the sharer, and its prefill, is not needed."
    )


@pytest.mark.parametrize("seed", range(20))
def test_no_other_limit_is_more_accurate_nor_as_accurate_and_cheaper(seed):
    rng = random.Random(seed)
    unsure = [rng.choice([0.1, 0.2, 0.4, 0.6, 0.8, 1.0]) for _ in range(12)]
    receiver = result("receiver", *[(each, rng.random() < 0.6) for each in unsure])
    c2c = result("c2c", *[(0.5, rng.random() < 0.6) for _ in unsure])
    limit = fit_limit(receiver, c2c)
    found = (listen(receiver, c2c, limit).accuracy, skipped(receiver, limit))
    every = [
        (listen(receiver, c2c, cut / 20).accuracy, skipped(receiver, cut / 20))
        for cut in range(42)
    ]
    assert found == max(every)


def test_nothing_is_fitted_on_what_is_reported():
    reported = RECEIVER.model_copy(update={"split": "test"})
    with pytest.raises(DataError):
        fit_limit(reported, C2C)
