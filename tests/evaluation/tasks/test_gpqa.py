"""GPQA: answers stripped, domains as groups."""

from __future__ import annotations

from tests.evaluation.hub_samples import items
from tests.evaluation.hub_samples import right


def test_gpqa_strips_its_answers_and_names_the_domain() -> None:
    (first, _) = items("gpqa")
    assert (right(first), first.group, first.id) == ("the gluon", "Physics", "rec0001")
