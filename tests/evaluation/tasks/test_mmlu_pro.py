"""MMLU-Pro: up to ten options."""

from __future__ import annotations

from tests.evaluation.hub_samples import items
from tests.evaluation.hub_samples import right


def test_mmlu_pro_has_up_to_ten_options_and_categories() -> None:
    numbers, goods = items("mmlu_pro")
    assert (right(numbers), len(numbers.choices), numbers.group) == ("10", 10, "math")
    assert (right(goods), goods.id, goods.group) == ("coffee", "mmlu_pro:71", "economics")
