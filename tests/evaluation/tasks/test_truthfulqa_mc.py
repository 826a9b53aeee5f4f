"""TruthfulQA: the one right label."""

from __future__ import annotations

import pytest

from tests.evaluation.hub_samples import convert
from tests.evaluation.hub_samples import items
from tests.evaluation.hub_samples import right


def test_truthfulqa_finds_the_label_that_is_1() -> None:
    assert [right(item) for item in items("truthfulqa_mc")] == ["It passes through you", "No"]
    targets = {"choices": ["No", "Yes"], "labels": [1, 1]}
    with pytest.raises(ValueError, match="One label must be 1"):
        convert("truthfulqa_mc", mc1_targets=targets)
