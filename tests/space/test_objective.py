from __future__ import annotations

import pytest

from c2c_search.space.objective import PLAIN_ACCURACY
from c2c_search.space.objective import Objective
from c2c_search.space.objective import ObjectiveName
from c2c_search.space.objective import objective_before


KNOWN = {"receiver": 0.329, "sharer": 0.527, "reference": 0.6}


@pytest.mark.parametrize(
    ("kind", "value"),
    [("accuracy", 0.85), ("gain", 0.25), ("pairing_gain", 0.35), ("margin", 0.25)],
)
def test_each_objective_by_hand(kind: ObjectiveName, value: float) -> None:
    assert Objective(kind=kind, **KNOWN).value(0.85, 0.5) == pytest.approx(value)


@pytest.mark.parametrize(
    ("deranged", "margin"),
    [(0.5, 0.25), (0.611, 0.239), (0.85, 0.0), (0.9, -0.05), (None, 0.25)],
)
def test_the_margin_is_over_the_best_of_what_does_not_communicate(
    deranged: float | None, margin: float
) -> None:
    assert Objective(kind="margin", **KNOWN).value(0.85, deranged) == pytest.approx(margin)


@pytest.mark.parametrize("best", ["receiver", "sharer", "reference"])
def test_any_of_them_can_be_the_best(best: str) -> None:
    known = {"receiver": 0.3, "sharer": 0.3, "reference": 0.3, best: 0.7}
    assert Objective(kind="margin", **known).value(0.8, 0.4) == pytest.approx(0.1)


def test_a_fuser_that_listens_is_ranked_before_one_that_adapts() -> None:
    listens, adapts = (0.842, 0.513), (0.853, 0.611)
    alone = {"receiver": 0.329, "sharer": 0.517}
    assert PLAIN_ACCURACY.value(*adapts) > PLAIN_ACCURACY.value(*listens)
    margin = Objective(kind="margin", **alone)
    assert margin.value(*listens) == pytest.approx(0.325)  # the sharer is a little above it
    assert margin.value(*adapts) == pytest.approx(0.242)


def test_a_gain_without_a_reference_is_over_the_receiver_alone() -> None:
    assert Objective(kind="gain", receiver=0.25).value(0.75, None) == 0.5
    assert Objective(kind="gain", receiver=0.25, reference=0.0).value(0.75, None) == 0.75


def test_without_a_deranged_answer_pairing_gain_is_the_accuracy() -> None:
    assert Objective(kind="pairing_gain", **KNOWN).value(0.85, None) == 0.85


def test_what_hears_nothing_has_no_margin() -> None:
    margin = Objective(kind="margin", receiver=0.25, sharer=0.5)
    assert margin.value(0.25, 0.25) == -0.25
    assert margin.value(0.75, 0.75) == 0.0


def test_controls_are_chosen_by_accuracy_and_measured_against_the_same() -> None:
    margin = Objective(kind="margin", receiver=0.25, sharer=0.5)
    assert margin.by_accuracy.value(0.75, 0.75) == 0.75
    assert margin.by_accuracy.metrics(0.75, None)["system_gain"] == 0.5


def test_all_numbers_by_hand() -> None:
    found = Objective(kind="margin", receiver=0.25).metrics(0.75, 0.5)
    assert found == {
        "accuracy": 0.75,
        "deranged": 0.5,
        "pairing_gain": 0.25,
        "system_gain": 0.5,
        "pairing_share": 0.5,
    }


@pytest.mark.parametrize("receiver", [0.75, 0.8])
def test_without_a_gain_nothing_has_a_share_in_it(receiver: float) -> None:
    assert "pairing_share" not in Objective(receiver=receiver).metrics(0.75, 0.5)


def test_what_is_not_known_is_not_told() -> None:
    assert PLAIN_ACCURACY.metrics(0.75, None) == {"accuracy": 0.75}


def test_before_it_could_be_said_the_pairs_decided() -> None:
    assert objective_before({"pairs": {"there": {}}}) == "accuracy"
    assert objective_before({"pairs": {"there": {}, "back": {}}}) == "gain"
