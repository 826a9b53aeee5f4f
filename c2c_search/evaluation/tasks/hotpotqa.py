"""HotpotQA and 2WikiMultihopQA, questions over several paragraphs that the sharer alone reads.

The evidence is the paragraphs that hold supporting facts, whole and with their titles. F1 is
SQuAD's, also of answers that are yes or no; HotpotQA's own script gives such an answer nothing
where another word stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.columns import digest
from c2c_search.evaluation.tasks.columns import evidence_item
from c2c_search.evaluation.tasks.columns import evidence_task
from c2c_search.evaluation.tasks.columns import text
from c2c_search.evaluation.tasks.columns import texts
from c2c_search.evaluation.tasks.task import Hub
from c2c_search.evaluation.tasks.task import HubRow


def _hub(repository: str, configuration: str | None) -> Hub:
    return Hub(
        repository=repository,
        configuration=configuration,
        split="validation",
        exemplars="train",
        columns=frozenset(("question", "answer", "context", "supporting_facts")),
    )


@evidence_task(
    "hotpotqa",
    reference="HotpotQA (arXiv 1809.09600)",
    hub=_hub("hotpotqa/hotpot_qa", "distractor"),
)
def hotpotqa(row: HubRow, fallback_id: str) -> Item | None:
    """Groups are bridge and comparison."""
    return _item(row, fallback_id, "hotpotqa")


@evidence_task(
    "2wiki",
    reference="2WikiMultihopQA (arXiv 2011.01060)",
    # The authors' own repository needs a script, which `datasets` no longer runs; this has
    # HotpotQA's columns.
    hub=_hub("framolfese/2WikiMultihopQA", None),
)
def two_wiki(row: HubRow, fallback_id: str) -> Item | None:
    """Groups are comparison, bridge_comparison, compositional and inference."""
    return _item(row, fallback_id, "2wiki")


def _item(row: HubRow, fallback_id: str, name: str) -> Item | None:
    """Questions over the same paragraphs are one cluster.

    Rows without an answer (``test``), or whose context lacks a supporting paragraph (the setting
    ``fullwiki``), are left out.
    """
    supporting = {title for title, _ in _pairs(row["supporting_facts"], "title", "sent_id")}
    context = dict(_pairs(row["context"], "title", "sentences"))
    if not row["answer"] or not supporting or not supporting <= context.keys():
        return None
    paragraphs = [
        f"{title}: {' '.join(each.strip() for each in texts(sentences, 'The sentences'))}"
        for title, sentences in context.items()
        if title in supporting
    ]
    return evidence_item(
        str(row.get("id") or row.get("_id") or fallback_id),
        "\n".join(paragraphs),
        text(row, "question"),
        [text(row, "answer")],
        group=str(row.get("type") or name),
        cluster=f"paragraphs-{digest(chr(10).join(sorted(supporting)))}",
    )


def _pairs(column: Any, first: str, second: str) -> list[tuple[Any, Any]]:
    """Pairs of a column: two lists, as on the hub, or a list of pairs, as the authors wrote."""
    if isinstance(column, Mapping):
        return list(zip(column[first], column[second], strict=True))
    return [(one, other) for one, other in column]
