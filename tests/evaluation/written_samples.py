"""A few rows of the hub tasks that are answered in words, in exactly their data sets' columns."""

from __future__ import annotations

from typing import Any


GSM8K = [
    {
        "question": "Ann has 3 boxes of 4 pens. She gives 2 pens away. How many are left?",
        "answer": "Ann has 3*4 = <<3*4=12>>12 pens.\nThen 12-2 = <<12-2=10>>10 are left.\n#### 10",
    },
    {
        "question": "A car costs $1,000 and 20% more next year. What does it cost then?",
        "answer": "It costs 1000*1.2 = $<<1000*1.2=1200>>1200.\n#### 1,200",
    },
]

MATH500 = [
    {
        "problem": "What is $\\frac{1}{3} + \\frac{1}{6}$?",
        "solution": "It is $\\frac{2}{6} + \\frac{1}{6} = \\boxed{\\frac{1}{2}}$.",
        "answer": "\\frac{1}{2}",
        "subject": "Prealgebra",
        "level": 1,
        "unique_id": "test/prealgebra/1.json",
    },
    {
        "problem": "Solve $x^2 = 9$ for the positive $x$.",
        "solution": "The positive root is $\\boxed{3}$.",
        "answer": "3",
        "subject": "Algebra",
        "level": 2,
        "unique_id": "test/algebra/2.json",
    },
]


def _long(dataset: str, input: str, context: str, *answers: str, classes: Any = None) -> Any:
    return {
        "input": input,
        "context": context,
        "answers": list(answers),
        "length": len(context.split()),
        "dataset": dataset,
        "language": "zh" if dataset.endswith("_zh") else "en",
        "all_classes": classes,
        "_id": f"{dataset}-{input}",
    }


LONGBENCH = [
    _long("qasper", "Which data?", "We train on Tatoeba.", "Tatoeba", "the Tatoeba corpus"),
    _long("qasper", "Which model?", "We train on Tatoeba.", "unanswerable"),
    _long("gov_report", "", "The agency spent less.", "Spending fell."),
    _long(
        "trec",
        "Question: What is a cat?\nType:",
        "Question: Who is Ann?\nType: Individual",
        "Animal",
        classes=["Animal", "Individual"],
    ),
    _long("passage_count", "", "Paragraph 1: a\n\nParagraph 2: a", "1"),
    _long("passage_retrieval_en", "It says b.", "Paragraph 1: a\n\nParagraph 2: b", "Paragraph 2"),
    _long("lcc", "", "def double(x):\n", "    return 2 * x"),
]


def _pair(lp: str, segment: int, source: str, target: str, bad: bool = False) -> Any:
    return {
        "lp": lp,
        "domain": "canary" if bad else "news",
        "document_id": "news_1",
        "segment_id": segment,
        "is_bad_source": bad,
        "source": source,
        "target": target,
        "original_target": target,
    }


TRANSLATION = [
    _pair("en-de_DE", 0, "CANARY", "CANARY", bad=True),
    _pair("en-de_DE", 1, "Good morning.", "Guten Morgen."),
    _pair("en-es_MX", 1, "Good morning.", "Buenos d\u00edas."),
    _pair("en-de_DE", 2, "It is raining.", "Es regnet."),
]
