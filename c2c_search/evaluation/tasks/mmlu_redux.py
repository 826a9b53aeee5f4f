"""MMLU-Redux 2.0, MMLU's 57 subjects annotated anew (100 questions of each).

``error_type`` says what the annotators found. Kept are ``ok``, and ``wrong_groundtruth`` with the
corrected answer where one of the options is right; questions that are unclear, or have no or
several right answers, are left out.
"""

from __future__ import annotations

from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.columns import choice_item
from c2c_search.evaluation.tasks.columns import passage_cluster
from c2c_search.evaluation.tasks.columns import text
from c2c_search.evaluation.tasks.task import Hub
from c2c_search.evaluation.tasks.task import HubRow
from c2c_search.evaluation.tasks.task import task


_SUBJECTS = """
    abstract_algebra anatomy astronomy business_ethics clinical_knowledge college_biology
    college_chemistry college_computer_science college_mathematics college_medicine
    college_physics computer_security conceptual_physics econometrics electrical_engineering
    elementary_mathematics formal_logic global_facts high_school_biology high_school_chemistry
    high_school_computer_science high_school_european_history high_school_geography
    high_school_government_and_politics high_school_macroeconomics high_school_mathematics
    high_school_microeconomics high_school_physics high_school_psychology high_school_statistics
    high_school_us_history high_school_world_history human_aging human_sexuality
    international_law jurisprudence logical_fallacies machine_learning management marketing
    medical_genetics miscellaneous moral_disputes moral_scenarios nutrition philosophy prehistory
    professional_accounting professional_law professional_medicine professional_psychology
    public_relations security_studies sociology us_foreign_policy virology
    world_religions
"""
SUBJECTS = tuple(_SUBJECTS.split())


@task(
    "mmlu_redux",
    reference="MMLU-Redux (arXiv 2406.04127); MMLU (arXiv 2009.03300)",
    hub=Hub(
        repository="edinburgh-dawg/mmlu-redux-2.0",
        configuration=SUBJECTS,
        split="test",
        exemplars=None,
        columns=frozenset(("question", "choices", "answer", "error_type")),
    ),
    methods=("letter", "cloze", "generate"),
)
def convert(row: HubRow, fallback_id: str) -> Item | None:
    """Many options only make sense beside the others, so letters are the default."""
    answer = _answer(row)
    if answer is None:
        return None
    question = text(row, "question")
    return choice_item(
        fallback_id,
        question,
        row["choices"],
        answer,
        group=str(row.get("configuration") or row.get("subject") or "mmlu_redux"),
        cluster=passage_cluster(question, fallback_id),
    )


def _answer(row: HubRow) -> int | None:
    """Index of the right option; None where there is not one that is right.

    Annotators wrote corrections as a letter, an index from 0, or the option's text.
    """
    if row["error_type"] == "ok":
        return int(row["answer"])
    correction = str(row.get("correct_answer") or "").strip()
    if row["error_type"] != "wrong_groundtruth" or not correction:
        return None
    choices = [str(choice).strip() for choice in row["choices"]]
    letters = [chr(ord("A") + index) for index in range(len(choices))]
    indices = [str(index) for index in range(len(choices))]
    meant = {
        names.index(correction) for names in (letters, indices, choices) if correction in names
    }
    return meant.pop() if len(meant) == 1 else None
