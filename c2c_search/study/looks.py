"""The test split as a budget: each look at it is recorded, and judged at a smaller level.

The k-th look spends ``level / 2**k`` of the level, so that all looks together never spend more
than the whole. A finalist is judged in the look that first measures it, and keeps that verdict.

Source: alpha spending, Lan and DeMets 1983 (Biometrika 70, 659-663); here each look is judged at
what it spends, a union bound, as looks are at other finalists and not at more data. All versions
of a study share the budget of one test split.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.evaluation.guard import REPORT
from c2c_search.host.json_store import JsonStore
from c2c_search.host.versioned_names import numbered
from c2c_search.host.versioned_names import versions
from c2c_search.study.known import essence
from c2c_search.study.known import prepared_in
from c2c_search.study.layout import StudyFiles
from c2c_search.study.session import Session
from c2c_search.study.storage import database_of
from c2c_search.study.storage import one_at_a_time
from c2c_search.training.protocol import Prepared


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


def look(
    study: Study,
    finalists: Sequence[str],
    alike: Sequence[Study] = (),
    others: Sequence[Study] = (),
) -> dict[str, Look]:
    """The look in which each finalist is judged; those of no earlier one make another.

    It is on record before anything is measured: an interruption gives no look back.

    Args:
        study: Optuna's study.
        finalists: Their keys.
        alike: Its versions that look at the same test split, where the same trial is the same
            fuser: it keeps its look. Their looks are kept here too, and outlast their study.
        others: Those where it is another fuser, as of other weights: their looks count.
    """
    kept = {each.number: Look(number=each.number, finalists=()) for each in _looks(*others)}
    kept |= {each.number: each for each in _looks(*alike, study)}
    known = {key for each in kept.values() for key in each.finalists}
    if new := tuple(key for key in dict.fromkeys(finalists) if key not in known):
        number = max(kept, default=0) + 1
        kept[number] = Look(number=number, finalists=new)
        looks = [kept[each].model_dump(mode="json") for each in sorted(kept)]
        study.set_user_attr(LOOKS, looks)
    return {key: each for each in kept.values() for key in each.finalists if key in finalists}


def look_at_test(session: Session, finalists: Sequence[str]) -> dict[str, Look]:
    """The same for the study of a session; only one of its versions looks at a time."""
    import optuna

    opened, own = database_of(session.study), session.space.study
    here = list(session.trainer.prepared.values())
    alike: list[Study] = []
    others: list[Study] = []
    with one_at_a_time(session.files.root, opened):
        for name in versions(optuna.get_all_study_names(opened), numbered(own)[0]):
            there = list(prepared_in(JsonStore(StudyFiles(session.files.root, name).results)))
            if name == own or not _overlap(here, there, lambda each: each.data.get(REPORT)):
                continue
            version = optuna.load_study(study_name=name, storage=opened)
            (alike if _overlap(here, there, essence) else others).append(version)
        return look(session.study, finalists, alike, others)


def _looks(*studies: Study) -> list[Look]:
    return [
        Look.model_validate(each) for study in studies for each in study.user_attrs.get(LOOKS, [])
    ]


def _overlap(
    here: Sequence[Prepared], there: Sequence[Prepared], of: Callable[[Prepared], object]
) -> bool:
    """Whether any pair is in something as any other; what has no record of it counts as such."""
    known = [of(each) for each in there]
    return not known or any(of(each) in known for each in here)
