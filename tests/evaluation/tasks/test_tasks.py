"""Each multiple-choice task reads its hub's columns as the data set means them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.columns import shuffled
from c2c_search.evaluation.tasks.task import TASKS
from tests.evaluation.hub_samples import SAMPLES


def items(name: str) -> list[Item]:
    made = [TASKS[name].convert(row, f"row{number}") for number, row in enumerate(SAMPLES[name])]
    adapt = TASKS[name].adapt or (lambda item: item)
    return [adapt(item) for item in made if item is not None]


def convert(name: str, **changes: Any) -> Item | None:
    return TASKS[name].convert({**SAMPLES[name][0], **changes}, "row")


def right(item: Item) -> str:
    return item.choices[item.answer]


@pytest.mark.parametrize("name", ["arc_challenge", "arc_easy"])
def test_arc_s_labels_may_be_digits_and_three(name: str) -> None:
    assert [right(item) for item in items(name)] == ["Mars", "hen", "ice"]
    assert [item.id for item in items(name)] == ["Mercury_1", "NYSEDREGENTS_2", "MCAS_3"]


def test_openbookqa_s_key_is_a_label() -> None:
    assert [right(item) for item in items("openbookqa")] == ["growing plants", "iron"]


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


@pytest.mark.parametrize("name", ["mmlu_redux", "ceval"])
def test_a_configuration_is_the_group(name: str) -> None:
    for group in (convert(name, configuration="anatomy"), convert(name, subject="anatomy")):
        assert group is not None
        assert group.group == "anatomy"


def test_ceval_leaves_out_questions_whose_answer_is_not_public() -> None:
    assert [right(item) for item in items("ceval")] == ["北京", "7"]
    assert convert("ceval", answer="") is None


def test_mmlu_pro_has_up_to_ten_options_and_categories() -> None:
    numbers, goods = items("mmlu_pro")
    assert (right(numbers), len(numbers.choices), numbers.group) == ("10", 10, "math")
    assert (right(goods), goods.id, goods.group) == ("coffee", "mmlu_pro:71", "economics")


def test_gpqa_strips_its_answers_and_names_the_domain() -> None:
    (first, _) = items("gpqa")
    assert (right(first), first.group, first.id) == ("the gluon", "Physics", "rec0001")


@pytest.mark.parametrize(
    ("name", "column", "count"), [("gpqa", "Question", 4), ("truthfulqa_mc", "question", 3)]
)
def test_options_are_shuffled_by_the_question_alone(name: str, column: str, count: int) -> None:
    asked = [convert(name, **{column: f"Question number {number}?"}) for number in range(400)]
    places = Counter(item.answer for item in asked if item is not None)
    # Binomial(400, 1/4) has mean 100 and deviation 8.7; 1/3: 133 and 9.4. Five of them are 47.
    assert set(places) == set(range(count))
    assert all(abs(seen - 400 / count) < 47 for seen in places.values())
    assert convert(name, **{column: "Why?"}) == convert(name, **{column: " Why? "})


@given(choices=st.lists(st.text(), min_size=1, max_size=10), data=st.data())
def test_shuffling_loses_nothing(choices: list[str], data: st.DataObject) -> None:
    answer = data.draw(st.integers(0, len(choices) - 1))
    order, place = shuffled(choices, answer, "key")
    assert sorted(order) == sorted(choices)
    assert order[place] == choices[answer]


def test_truthfulqa_finds_the_label_that_is_1() -> None:
    assert [right(item) for item in items("truthfulqa_mc")] == ["It passes through you", "No"]
    targets = {"choices": ["No", "Yes"], "labels": [1, 1]}
    with pytest.raises(ValueError, match="One label must be 1"):
        convert("truthfulqa_mc", mc1_targets=targets)


def test_winogrande_asks_for_the_blank_and_knows_twins() -> None:
    large, small, other = items("winogrande")
    assert [right(item) for item in (large, small, other)] == ["cup", "box", "Eve"]
    assert large.messages[0]["content"] == (
        "The cup did not fit into the box because the _ was too large.\n"
        "What does the blank (_) stand for?"
    )
    assert large.cluster == small.cluster != other.cluster
    assert convert("winogrande", answer="") is None


def test_winogrande_keeps_what_was_said_before() -> None:
    adapt = TASKS["winogrande"].adapt
    assert adapt is not None
    (first, *_) = items("winogrande")
    system = {"role": "system", "content": "Be brief."}
    assert adapt(replace(first, messages=(system, *first.messages))).messages[0] == system


def test_boolq_asks_below_the_passage_and_clusters_by_it() -> None:
    ice, gas, cats = items("boolq")
    assert ice.messages[0]["content"] == "Ice is frozen water.\nis ice water?"
    assert [right(item) for item in (ice, gas, cats)] == ["yes", "no", "no"]
    assert ice.cluster == gas.cluster != cats.cluster


def test_the_quiz_s_exemplars_are_of_other_countries() -> None:
    made = {split: TASKS["quiz"].built_in(split) for split in ("test", "train")}  # type: ignore[misc]
    test, train = ({row["cluster"] for row in made[split]} for split in made)
    assert test
    assert train
    assert test.isdisjoint(train)


def test_an_option_without_text_leaves_the_item_out() -> None:
    assert convert("mmlu_pro", options=["coffee", " "], answer_index=0) is None
    assert convert("mmlu_pro", options=["coffee", None], answer_index=0) is None


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"question": " "}, "question must be a non-empty text"),
        ({"options": ["one"]}, "at least two choices"),
        ({"options": "abc"}, "at least two choices"),
        ({"answer_index": 10}, "one of 10 choices, not 10"),
        ({"answer_index": -1}, "one of 10 choices, not -1"),
    ],
)
def test_a_row_that_does_not_fit_is_told(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        convert("mmlu_pro", **changes)
