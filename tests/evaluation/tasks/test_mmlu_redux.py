"""MMLU-Redux: annotations read, and passages kept together."""

from __future__ import annotations

from typing import Any

import pytest

from tests.evaluation.hub_samples import convert
from tests.evaluation.hub_samples import items
from tests.evaluation.hub_samples import right


def test_mmlu_redux_keeps_right_and_corrected_questions_alone() -> None:
    found = items("mmlu_redux")
    # ok: answers 1, 1 and 0; corrected: letter C, index 3; the unclear one is gone.
    assert [right(item) for item in found] == ["one", "one", "zero", "two", "three"]


@pytest.mark.parametrize(
    ("correction", "expected"),
    [("B", 1), ("1", 1), (2, 2), ("two", 2), ("E", None), ("", None), (None, None)],
)
def test_mmlu_redux_reads_a_correction_however_it_is_written(
    correction: Any, expected: int | None
) -> None:
    item = convert("mmlu_redux", error_type="wrong_groundtruth", correct_answer=correction)
    assert (None if item is None else item.answer) == expected


def test_mmlu_redux_leaves_out_a_correction_that_means_two_options() -> None:
    # "2" is the option at index 0, and the index of another.
    choices = ["2", "3", "4", "5"]
    wrong = {"error_type": "wrong_groundtruth", "choices": choices}
    assert convert("mmlu_redux", **wrong, correct_answer="2") is None
    assert convert("mmlu_redux", **wrong, correct_answer="A") is not None


@pytest.mark.parametrize("kind", ["no_correct_answer", "multiple_correct_answers", "expert"])
def test_mmlu_redux_leaves_out_questions_without_one_right_answer(kind: str) -> None:
    assert convert("mmlu_redux", error_type=kind, correct_answer="A") is None


def test_mmlu_s_questions_about_one_passage_are_one_cluster() -> None:
    moons, colonists, kings, *_ = items("mmlu_redux")
    assert colonists.cluster == kings.cluster != moons.cluster == moons.id
