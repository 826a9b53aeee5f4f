"""MuSiQue, questions of two to four hops over paragraphs that the sharer alone reads."""

from __future__ import annotations

from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.columns import digest
from c2c_search.evaluation.tasks.columns import evidence_item
from c2c_search.evaluation.tasks.columns import evidence_task
from c2c_search.evaluation.tasks.columns import flag
from c2c_search.evaluation.tasks.columns import text
from c2c_search.evaluation.tasks.columns import texts
from c2c_search.evaluation.tasks.task import Hub
from c2c_search.evaluation.tasks.task import HubRow


@evidence_task(
    "musique",
    reference="MuSiQue (arXiv 2108.00573)",
    hub=Hub(
        # The authors publish outside the hub; this holds their two files of answerable
        # questions with answers, as they are.
        repository="dgslibisey/MuSiQue",
        configuration=None,
        split="validation",
        exemplars="train",
        columns=frozenset(("question", "answer", "answer_aliases", "paragraphs")),
    ),
)
def convert(row: HubRow, fallback_id: str) -> Item | None:
    """Groups are numbers of hops; the evidence is the supporting paragraphs, with their titles.

    Questions over the same paragraphs are one cluster. Rows of the full set that their
    paragraphs do not answer are left out.
    """
    if "answerable" in row and not flag(row, "answerable"):
        return None
    supporting = [each for each in row["paragraphs"] if flag(each, "is_supporting")]
    titles = sorted(each["title"] for each in supporting)
    # An id begins with the question's shape, e.g. 3hop1__.
    id = str(row.get("id") or fallback_id)
    hops, found, _ = id.partition("hop")
    return evidence_item(
        id,
        "\n".join(f"{each['title']}: {text(each, 'paragraph_text')}" for each in supporting),
        text(row, "question"),
        [text(row, "answer"), *texts(row["answer_aliases"], "answer_aliases")],
        group=f"{hops}hop" if found else "musique",
        cluster=f"paragraphs-{digest(chr(10).join(titles))}",
    )
