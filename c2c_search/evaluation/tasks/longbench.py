"""LongBench (v1), 21 data sets of long texts in English, Chinese and code.

Prompts ask for what the published ones ask for. Each data set has its own metric and its own
limit of new tokens (``max_new_tokens`` in an item's facts), as published.
"""

# Chinese prompts have Chinese punctuation.
# ruff: noqa: RUF001

from __future__ import annotations

import re
from dataclasses import dataclass

from c2c_search.errors import in_yaml
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.columns import digest
from c2c_search.evaluation.tasks.task import Hub
from c2c_search.evaluation.tasks.task import HubRow
from c2c_search.evaluation.tasks.task import task


@dataclass(frozen=True)
class _Subset:
    """How a data set is asked.

    Args:
        before: What stands above the long text.
        after: What stands below it; ``{input}`` is the row's question.
        max_new_tokens: Of an answer.
    """

    before: str
    after: str
    max_new_tokens: int


_PASSAGES = _Subset(
    "Read these passages. A question about them follows.",
    "Answer from the passages, in as few words as possible and without an explanation.\n\n"
    "Question: {input}",
    32,
)
_CODE = "Here is code that breaks off. Write its next line, and nothing else."

SUBSETS: dict[str, _Subset] = {
    "narrativeqa": _Subset(
        "Read this story, a novel or a film script. A question about it follows.",
        "Answer from the story, with a short phrase if one will do and without an explanation."
        "\n\nQuestion: {input}",
        128,
    ),
    "qasper": _Subset(
        "Read this scientific article. A question about it follows.",
        "Answer from the article, with a phrase or one sentence and without an explanation. "
        'To a yes-or-no question answer "yes" or "no". If the article does not tell, answer '
        '"unanswerable".\n\nQuestion: {input}',
        128,
    ),
    "multifieldqa_en": _Subset(
        "Read this text. A question about it follows.",
        "Answer from the text, with the answer alone.\n\nQuestion: {input}",
        64,
    ),
    "multifieldqa_zh": _Subset(
        "请阅读下面的文章，然后回答一个问题。",
        "请根据文章用中文简短作答，只写答案。\n\n问题：{input}",
        64,
    ),
    "hotpotqa": _PASSAGES,
    "2wikimqa": _PASSAGES,
    "musique": _PASSAGES,
    "dureader": _Subset(
        "请阅读下面的几篇文章，然后回答一个问题。",
        "请根据以上文章作答。\n\n问题：{input}",
        128,
    ),
    "gov_report": _Subset(
        "Read this report of a government agency.", "Summarise the report on one page.", 512
    ),
    "qmsum": _Subset(
        "Read these minutes of a meeting. A request about it follows.",
        "Answer from the minutes, in one or a few sentences.\n\nRequest: {input}",
        512,
    ),
    "multi_news": _Subset(
        "Read these news articles.", "Summarise all of them together on one page.", 512
    ),
    "vcsum": _Subset("请阅读下面的会议记录。", "请写一段话，总结会议内容。", 512),
    "trec": _Subset(
        "These questions are sorted by the type of what they ask for. Give the type of the last "
        "one.",
        "{input}",
        64,
    ),
    "triviaqa": _Subset(
        "These questions are each answered from a passage, with the answer alone. Answer the "
        "last one.",
        "{input}",
        32,
    ),
    "samsum": _Subset(
        "These dialogues are each summed up in a few short sentences. Sum up the last one.",
        "{input}",
        128,
    ),
    "lsht": _Subset("下面的新闻都标有类别。请写出最后一条新闻的类别。", "{input}", 64),
    "passage_count": _Subset(
        "Read these paragraphs. Some of them are there more than once.",
        "How many different paragraphs are there? Answer with the number alone.",
        32,
    ),
    "passage_retrieval_en": _Subset(
        "Read these 30 paragraphs. A summary of one of them follows.",
        "Summary: {input}\n\nWhich paragraph does it sum up? Answer in the form "
        '"Paragraph 1", "Paragraph 2" and so on.',
        32,
    ),
    "passage_retrieval_zh": _Subset(
        "请阅读下面的段落，然后看其中一段的摘要。",
        '摘要：{input}\n\n它是哪一段的摘要？请按"段落1"、"段落2"的格式作答。',
        32,
    ),
    "lcc": _Subset(_CODE, "", 64),
    "repobench-p": _Subset(_CODE, "{input}", 64),
}
"""How each data set is asked, by name."""


@task(
    "longbench",
    reference="LongBench (arXiv 2308.14508)",
    hub=Hub(
        # The authors' own repository needs a script, which `datasets` no longer runs; this has
        # the same columns.
        repository="jannalu/LongBench",
        configuration=tuple(SUBSETS),
        split="test",
        exemplars=None,
        columns=frozenset(("input", "context", "answers", "dataset", "all_classes")),
    ),
    methods=("generate",),
    metric="longbench",
    grader="longbench",
    max_new_tokens=max(subset.max_new_tokens for subset in SUBSETS.values()),
)
def convert(row: HubRow, fallback_id: str) -> Item:
    """Data sets are groups; questions about one text are one cluster."""
    # LongBench-E's sets are of the same kinds.
    name = str(row["dataset"]).removesuffix("_e")
    if name not in SUBSETS:
        raise ValueError(f"dataset must be one of {', '.join(SUBSETS)}, not {in_yaml(name)}.")
    answers = row["answers"]
    if isinstance(answers, str) or not len(answers):
        raise ValueError(f"answers must be a list of texts, not {in_yaml(answers)}.")
    if name.startswith("passage") and not all(re.search(r"\d", answer) for answer in answers):
        raise ValueError(f"answers must be numbers of paragraphs, not {in_yaml(answers)}.")
    subset = SUBSETS[name]
    context = row["context"]
    parts = (subset.before, context, subset.after.replace("{input}", row["input"]))
    return Item(
        id=f"{name}/{row['_id']}" if row.get("_id") else fallback_id,
        group=name,
        cluster=f"text-{digest(context)}",
        messages=({"role": "user", "content": "\n\n".join(part for part in parts if part)},),
        references=tuple(answers),
        facts={
            "subset": name,
            "classes": tuple(row["all_classes"] or ()),
            "max_new_tokens": subset.max_new_tokens,
        },
    )
