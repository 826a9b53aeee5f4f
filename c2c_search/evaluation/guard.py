"""The guard of splits: what is chosen on is never reported, nor learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Final

from c2c_search.data.contamination import seen
from c2c_search.data.texts import item_text
from c2c_search.data.words import question_key
from c2c_search.errors import DataError


if TYPE_CHECKING:
    from c2c_search.data.contamination import Contamination
    from c2c_search.data.schema import ContaminationRule
    from c2c_search.data.schema import Row
    from c2c_search.data.texts import Text
    from c2c_search.evaluation.items import Item
    from c2c_search.evaluation.results import SystemResult


SELECTION: Final = "validation"
"""The split that is chosen on."""
REPORT: Final = "test"
"""The split that is reported."""

_SHOWN = 5


def refuse_report_split(result: SystemResult) -> None:
    """Let a result through only if something may be chosen by it: a trial, a rung, a margin.

    Raises:
        DataError: It was not measured on the selection split.
    """
    if result.split != SELECTION:
        raise DataError(
            f"Only the {SELECTION} split may be chosen by: what is best on the split that is "
            "reported looks better there than it is.",
            value=f"{result.system} on {result.split}",
            hint=f"Measure it on {SELECTION} and choose by that.",
        )


def refuse_selection_split(*results: SystemResult) -> None:
    """Let results through only if they may prove something.

    Raises:
        DataError: With those that were not measured on the report split.
    """
    others = [f"{result.system} on {result.split}" for result in results if result.split != REPORT]
    if others:
        raise DataError(
            f"Only the {REPORT} split may prove a champion: on any other it was trained or "
            "chosen.",
            value=", ".join(others),
            hint=f"Measure every system on {REPORT}.",
        )


def not_reported(selection: Sequence[Item], report: Sequence[Item]) -> list[Item]:
    """Items to choose by: those whose question, up to case and punctuation, is not reported on."""
    reported = {_key(item) for item in report}
    return [item for item in selection if _key(item) not in reported]


def clean(
    items: Sequence[Item],
    trained_on: Sequence[Row],
    selected_on: Sequence[Row],
    rule: ContaminationRule,
    *,
    name: str = "test",
) -> tuple[list[Item], Contamination]:
    """Find the items that a fuser has met, and do with them as the rule says.

    Args:
        items: Of a task.
        trained_on: What the fuser was trained on.
        selected_on: What it was chosen by.
        rule: ``report`` keeps every item, ``exclude`` leaves those out that overlap, ``refuse``
            goes no further.
        name: What the task is called.

    Returns:
        The items that are answered, in their order, and what was found.

    Raises:
        DataError: Something overlaps and the rule is ``refuse``, or no item is left.
    """
    found = seen(trained_on, selected_on, [_text(item) for item in items], name=name)
    if not found.found or rule == "report":
        return list(items), found
    if rule == "refuse":
        raise DataError(
            "What is trained or selected on must not overlap with what is reported. "
            f"{found.finding()}\n{found.listing(_SHOWN)}",
            hint="\nTake other items, or have these excluded.",
        )
    met = set(found.sets[name].ids)
    kept = [item for item in items if item.id not in met]
    found = found.model_copy(update={"left_out": "items"})
    if not kept:
        raise DataError(
            f"An item must be left that the fuser has not met. {found.finding()}\n"
            f"{found.listing(_SHOWN)}",
            hint="\nTake other items, or have the overlap reported only.",
        )
    return kept, found


def _text(item: Item) -> Text:
    answers = item.choices or item.references
    return item_text(item.id, item.messages, answers, group=item.group)


def _key(item: Item) -> str:
    return question_key("\n".join(turn["content"] for turn in item.messages))
