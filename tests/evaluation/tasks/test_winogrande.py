"""Winogrande: the question below the sentence, and twins."""

from __future__ import annotations

from dataclasses import replace

from c2c_search.evaluation.tasks.task import TASKS
from tests.evaluation.hub_samples import convert
from tests.evaluation.hub_samples import items
from tests.evaluation.hub_samples import right


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
