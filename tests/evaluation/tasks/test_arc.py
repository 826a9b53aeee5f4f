"""ARC: labels of each kind, and as many as there are."""

from __future__ import annotations

import pytest

from tests.evaluation.hub_samples import items
from tests.evaluation.hub_samples import right


@pytest.mark.parametrize("name", ["arc_challenge", "arc_easy"])
def test_arc_s_labels_may_be_digits_and_three(name: str) -> None:
    assert [right(item) for item in items(name)] == ["Mars", "hen", "ice"]
    assert [item.id for item in items(name)] == ["Mercury_1", "NYSEDREGENTS_2", "MCAS_3"]
