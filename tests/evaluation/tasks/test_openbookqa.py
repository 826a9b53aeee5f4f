"""OpenBookQA: the key is a label."""

from __future__ import annotations

from tests.evaluation.hub_samples import items
from tests.evaluation.hub_samples import right


def test_openbookqa_s_key_is_a_label() -> None:
    assert [right(item) for item in items("openbookqa")] == ["growing plants", "iron"]
