"""Grades translations by chrF: the runs of characters shared with references."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from c2c_search.evaluation.grading.grader import Graded
from c2c_search.evaluation.grading.grader import grader
from c2c_search.evaluation.grading.optional import optional
from c2c_search.evaluation.items import Item


@grader("chrf", reference="chrF (W15-3049)")
def chrf(item: Item, text: str) -> Graded:
    """chrF of one translation in [0, 1], against the reference that it meets best.

    Source: chrF (W15-3049) with sacrebleu's defaults: characters up to 6, beta 2.

    Raises:
        ConfigError: sacrebleu is not installed.
    """
    score = _metric().sentence_score(text, list(item.references)).score
    return Graded(score / 100, text.strip() or None)


def corpus_chrf(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """chrF of many translations at once, in [0, 1]: counts are summed before they are compared.

    Args:
        texts: The translations.
        references: For each of them, one or more references.

    Raises:
        ConfigError: sacrebleu is not installed.
    """
    most = max(len(one) for one in references)
    # sacrebleu reads one stream a reference, with None where a text has fewer.
    streams = [
        [one[index] if index < len(one) else None for one in references] for index in range(most)
    ]
    score: float = _metric().corpus_score(list(texts), streams).score
    return score / 100


def _metric() -> Any:
    return optional("sacrebleu.metrics", "sacrebleu").CHRF()
