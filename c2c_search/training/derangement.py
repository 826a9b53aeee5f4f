"""Whose sharer each validation question hears at a rung when it hears the wrong one."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence

from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.fuser.config import FuserConfig
from c2c_search.space.objective import Objective


def derangement(
    questions: QuestionPrompts,
    config: FuserConfig,
    objective: Objective,
    notify: Callable[[str], None],
) -> Sequence[int] | None:
    """The row of each question's partner, if any can be about something else.

    Args:
        questions: Of validation.
        config: Of the fuser that hears them.
        objective: Of the training.
        notify: Told where that leaves the objective without what it is about.
    """
    if len({question.item.cluster for question in questions.questions}) > 1:
        return questions.derangement(0, config)
    if objective.kind in ("pairing_gain", "margin"):
        notify(
            "All of validation is about one fact, so that no question can hear another one's "
            f"message: search.objective {objective.kind} is measured without."
        )
    return None
