"""Query-level routing, by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_search.errors import DataError
from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.systems.routing import fit_margin
from c2c_search.evaluation.systems.routing import route


def result(system, *answers):
    """Each answer is (confidence, whether it is right)."""
    items = tuple(
        ItemResult(
            id=str(place),
            group="g",
            cluster=str(place),
            text=system,
            graded=float(right),
            likelihood=math.log(confidence),
        )
        for place, (confidence, right) in enumerate(answers)
    )
    return SystemResult(system=system, split="validation", items=items)


RECEIVER = result("receiver", (0.5, True), (0.5, False), (0.5, False), (0.5, True))
SHARER = result("sharer", (0.7, False), (0.8, True), (0.9, True), (0.3, True))


def test_a_question_goes_to_the_surer_model():
    routed = route(RECEIVER, SHARER)
    assert [item.text for item in routed.items] == ["sharer", "sharer", "sharer", "receiver"]
    assert (routed.system, routed.split) == ("routing", "validation")
    assert routed.accuracy == 0.75


def test_the_sharer_must_lead_by_more_than_the_margin():
    # It leads by 0.2, 0.3, 0.4 and -0.2.
    routed = route(RECEIVER, SHARER, margin=0.25)
    assert [item.text for item in routed.items] == ["receiver", "sharer", "sharer", "receiver"]


def test_a_tie_stays_with_the_receiver():
    same = result("sharer", (0.5, True))
    assert route(result("receiver", (0.5, False)), same).items[0].text == "receiver"


def test_the_best_margin_leaves_out_the_sharers_mistake():
    margin = fit_margin(RECEIVER, SHARER)
    # At its lead of 0.2 the first question, where it errs, stays with the receiver: all right.
    assert margin == pytest.approx(0.2)
    assert route(RECEIVER, SHARER, margin).accuracy == 1.0


def test_a_margin_that_gains_nothing_is_zero():
    assert fit_margin(RECEIVER, RECEIVER) == 0.0


def test_a_better_sharer_is_heard_though_it_is_less_sure():
    receiver, sharer = result("receiver", (0.9, False)), result("sharer", (0.6, True))
    margin = fit_margin(receiver, sharer)
    assert margin == pytest.approx(-0.3)
    assert route(receiver, sharer, margin).accuracy == 1.0


def test_answers_to_other_items_cannot_be_routed():
    other = SHARER.model_copy(update={"items": SHARER.items[::-1]})
    with pytest.raises(ValueError, match="same items"):
        route(RECEIVER, other)


answers = st.tuples(st.floats(0.01, 1.0), st.booleans())


@given(st.lists(st.tuples(answers, answers), min_size=1, max_size=12))
def test_no_other_margin_is_more_accurate(pairs):
    receiver = result("receiver", *(ours for ours, _ in pairs))
    sharer = result("sharer", *(theirs for _, theirs in pairs))
    best = route(receiver, sharer, fit_margin(receiver, sharer)).accuracy
    for margin in (-2.0, -0.5, -0.1, 0.0, 0.05, 0.2, 0.7, 2.0):
        assert route(receiver, sharer, margin).accuracy <= best + 1e-9


def test_a_margin_is_not_fitted_on_what_is_reported():
    reported = [each.model_copy(update={"split": "test"}) for each in (RECEIVER, SHARER)]
    with pytest.raises(DataError, match="validation"):
        fit_margin(*reported)
