"""Comparisons of systems on a task, corrected over all of them."""

from __future__ import annotations

import pytest

from c2c_search.evaluation.comparison import compare
from c2c_search.evaluation.comparison import read_otherwise
from c2c_search.evaluation.comparison import too_small
from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult
from tests.evaluation.answers import chosen
from tests.evaluation.answers import graded


def test_every_other_system_is_compared_with_the_subject_and_corrected() -> None:
    right = {
        "receiver": [True] * 4 + [False] * 8,
        "sharer": [True] * 9 + [False] * 3,
        "c2c": [True] * 12,
    }
    scores = compare({name: [chosen(each)] for name, each in right.items()}, "c2c", level=0.05)
    receiver, sharer, c2c = scores
    assert c2c.against is None
    assert receiver.score.value == pytest.approx(4 / 12)
    assert receiver.against is not None
    assert sharer.against is not None
    # 8 wins to 0: p = 2 / 2^8; 3 wins to 0: p = 2 / 2^3.
    assert receiver.against.p == pytest.approx(2 / 256)
    assert sharer.against.p == pytest.approx(2 / 8)
    # Holm: the smallest of two p-values counts twice, the other once.
    assert receiver.against.p_holm == pytest.approx(4 / 256)
    assert sharer.against.p_holm == pytest.approx(2 / 8)


def test_the_shut_gate_is_checked_and_takes_no_part_in_the_correction() -> None:
    results = {
        "receiver": [chosen([True, False, True, False])],
        "c2c": [chosen([True, True, True, True])],
        "shut": [chosen([True, False, True, True])],
    }
    receiver, _, shut = compare(results, "c2c", level=0.05)
    assert shut.unequal == 1
    assert shut.against is None
    assert receiver.against is not None
    assert receiver.against.p_holm == receiver.against.p


def test_trainings_of_several_seeds_are_averaged() -> None:
    results = {
        "receiver": [chosen([False] * 6)],
        "c2c": [chosen([True] * 6), chosen([True] * 3 + [False] * 3)],
    }
    _, c2c = compare(results, "c2c", level=0.05)
    assert c2c.seeds == 2
    assert c2c.score.value == pytest.approx(0.75)
    # Six and three of six right, also by group and by the other reading of the same choices.
    assert list(c2c.by_group.values()) == pytest.approx([0.75])


def test_the_other_reading_is_averaged_over_seeds_too() -> None:
    def answered(*scores: tuple[float, float]) -> SystemResult:
        items = tuple(
            ItemResult(
                id=str(n),
                group="g",
                cluster=str(n),
                answer=1,
                chosen=0,
                scores=each,
                lengths=(1, 4),
            )
            for n, each in enumerate(scores)
        )
        return SystemResult(system="c2c", split="test", items=items)

    # Per token the second is likelier: -4/4 > -3/1 in both items of the first training, in one
    # of the second (-16/4 < -3/1): (2 + 1) / 4.
    results = {
        "c2c": [
            answered((-3.0, -4.0), (-3.0, -4.0)),
            answered((-3.0, -4.0), (-3.0, -16.0)),
        ]
    }
    (c2c,) = compare(results, "c2c", level=0.05, length_normalised=False)
    assert c2c.other == pytest.approx(0.75)


def test_graded_answers_are_compared_by_permutation() -> None:
    results = {"receiver": [graded([0.1, 0.2, 0.3])], "c2c": [graded([0.4, 0.5, 0.6])]}
    receiver, _ = compare(results, "c2c", level=0.05)
    assert receiver.against is not None
    assert receiver.against.test == "permutation"
    # Three equal differences: 2 of the 8 signs are as far from 0.
    assert receiver.against.p == pytest.approx(2 / 8)


def test_likelihoods_are_read_whole_and_per_token() -> None:
    item = ItemResult(
        id="a", group="g", cluster="a", answer=1, chosen=0, scores=(-4.0, -6.0), lengths=(1, 3)
    )
    # Per token: -4 and -2, so the longer option wins.
    other = read_otherwise(item, length_normalised=False)
    assert other.scores == (-4.0, -2.0)
    assert other.correct
    assert read_otherwise(other, length_normalised=True) == item
    result = SystemResult(system="s", split="test", items=(item,))
    (scored,) = compare({"s": [result]}, "s", level=0.05, length_normalised=False)
    assert (scored.score.value, scored.other) == (0.0, 1.0)


def test_a_small_split_is_told() -> None:
    assert too_small(chosen([True] * 20), level=0.05, wished=0.05) is not None
    assert too_small(chosen([True, False] * 2000), level=0.05, wished=0.05) is None
