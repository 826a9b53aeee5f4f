"""C-Eval: rows with public answers alone."""

from __future__ import annotations

from tests.evaluation.hub_samples import convert
from tests.evaluation.hub_samples import items
from tests.evaluation.hub_samples import right


def test_ceval_leaves_out_questions_whose_answer_is_not_public() -> None:
    assert [right(item) for item in items("ceval")] == ["北京", "7"]
    assert convert("ceval", answer="") is None
