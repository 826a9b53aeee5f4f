"""The test split as a budget: each look at it is recorded, and judged at a smaller level.

The k-th look spends ``level / 2**k`` of the level, so that all looks together never spend more
than the whole. A finalist is judged in the look that first measures it, and keeps that verdict.

Source: alpha spending, Lan and DeMets 1983 (Biometrika 70, 659-663); here each look is judged at
what it spends, a union bound, as looks are at other finalists and not at more data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel
from pydantic import ConfigDict


if TYPE_CHECKING:
    from optuna import Study

LOOKS = "test_looks"  # user attribute of the study


class Look(BaseModel):
    """One look at the test split.

    Args:
        number: From 1.
        finalists: What was judged in it: a key each, of its trial and its controls.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    finalists: tuple[str, ...]


def look(study: Study, finalists: Sequence[str]) -> dict[str, Look]:
    """The look in which each finalist is judged; those of no earlier one make another.

    It is on record before anything is measured: an interruption gives no look back.

    Args:
        study: Optuna's study.
        finalists: Their keys.
    """
    looks = [Look.model_validate(each) for each in study.user_attrs.get(LOOKS, [])]
    known = {key for each in looks for key in each.finalists}
    if new := tuple(key for key in dict.fromkeys(finalists) if key not in known):
        looks.append(Look(number=len(looks) + 1, finalists=new))
        study.set_user_attr(LOOKS, [each.model_dump(mode="json") for each in looks])
    return {key: each for each in looks for key in each.finalists if key in finalists}
