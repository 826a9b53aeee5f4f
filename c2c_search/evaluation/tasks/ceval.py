"""C-Eval, Chinese examinations in 52 subjects.

Reported on ``val``: the answers of ``test`` are not public.
"""

from __future__ import annotations

from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.columns import choice_item
from c2c_search.evaluation.tasks.columns import label_index
from c2c_search.evaluation.tasks.columns import text
from c2c_search.evaluation.tasks.task import Hub
from c2c_search.evaluation.tasks.task import HubRow
from c2c_search.evaluation.tasks.task import task


_SUBJECTS = """
    accountant advanced_mathematics art_studies basic_medicine business_administration
    chinese_language_and_literature civil_servant clinical_medicine college_chemistry
    college_economics college_physics college_programming computer_architecture computer_network
    discrete_mathematics education_science electrical_engineer
    environmental_impact_assessment_engineer fire_engineer high_school_biology
    high_school_chemistry high_school_chinese high_school_geography high_school_history
    high_school_mathematics high_school_physics high_school_politics
    ideological_and_moral_cultivation law legal_professional logic mao_zedong_thought marxism
    metrology_engineer middle_school_biology middle_school_chemistry middle_school_geography
    middle_school_history middle_school_mathematics middle_school_physics middle_school_politics
    modern_chinese_history operating_system physician plant_protection
    probability_and_statistics professional_tour_guide sports_science tax_accountant
    teacher_qualification urban_and_rural_planner veterinary_medicine
"""
SUBJECTS = tuple(_SUBJECTS.split())
_LETTERS = ("A", "B", "C", "D")


@task(
    "ceval",
    reference="C-Eval (arXiv 2305.08322)",
    hub=Hub(
        repository="ceval/ceval-exam",
        configuration=SUBJECTS,
        split="val",
        exemplars="dev",
        columns=frozenset(("question", *_LETTERS, "answer")),
    ),
    methods=("letter", "cloze", "generate"),
    instruction="请只用正确选项的字母作答。",
)
def convert(row: HubRow, fallback_id: str) -> Item | None:
    """A row without an answer, as in ``test``, is left out."""
    if not row["answer"]:
        return None
    return choice_item(
        fallback_id,
        text(row, "question"),
        [row[letter] for letter in _LETTERS],
        label_index(row["answer"], _LETTERS),
        group=str(row.get("configuration") or row.get("subject") or "ceval"),
    )
