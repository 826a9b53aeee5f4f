"""What a study's trials say of its space: what mattered, what lies at a border, what to change."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.errors import DataError
from c2c_search.errors import StoreError
from c2c_search.errors import suggestion
from c2c_search.host.home import expanded
from c2c_search.host.versioned_names import meant
from c2c_search.space.dimensions import Dimension
from c2c_search.space.dimensions import Value
from c2c_search.study.resume import complete
from c2c_search.study.resume import finished
from c2c_search.study.storage import BOUNDS
from c2c_search.study.storage import DATABASE
from c2c_search.study.storage import SPACE
from c2c_search.study.storage import URL_VARIABLE
from c2c_search.study.storage import open_storage


if TYPE_CHECKING:
    from optuna import Study

FEWEST = 10
"""Trials that ran to their end, below which nothing is told."""


class Share(BaseModel):
    """Share of a dimension in how good trials were, with a 90 % interval over trials."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


class Explained(BaseModel):
    """One dimension.

    Args:
        name: Dotted.
        values: What was searched, in words.
        ped_anova: How much the best trials differ in it; None where it did not vary.
        fanova: Its share of the variance; None where it does not always apply.
        best: Its value in the best trial; None where it did not apply.
        applied: Whether it did.
        border: ``lowest`` or ``highest`` where the best trials lie at that end of its range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    values: str
    ped_anova: Share | None
    fanova: Share | None
    best: Value
    applied: bool
    border: str | None


class Explanation(BaseModel):
    """What a study's trials say of its space.

    Args:
        study: Its name.
        ended: Trials that ended, pruned and failed ones included.
        complete: Those that ran to their end, which all of this rests on.
        indicative: Whether these are too few for importances to be more than a hint.
        dimensions: The most important by PED-ANOVA first.
        diff: What to change in the space file; empty if nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    ended: int
    complete: int
    indicative: bool
    dimensions: tuple[Explained, ...]
    diff: str


def explain(name: str, root: Path, *, url: str | None = None) -> Explanation:
    """Explain a study.

    Args:
        name: Of the study.
        root: Folder of all stores.
        url: Of the studies' database, in place of the one under the root.

    Raises:
        StoreError: There is none of this name.
        DataError: Fewer than `FEWEST` of its trials ran to their end.
    """
    return explained(_study(name, expanded(root).resolve(), url))


def explained(study: Study) -> Explanation:
    """Explain Optuna's study; see `explain`."""
    from c2c_search.space import advice
    from c2c_search.space import importance
    from c2c_search.space.shown import by_first

    bounds = study.user_attrs.get(BOUNDS, {})
    trials = [by_first(trial, bounds) for trial in complete(study)]
    if len(trials) < FEWEST:
        raise DataError(
            f"A study is explained by at least {FEWEST} trials that ran to their end.",
            value=len(trials),
            hint="Pruned trials do not count: run more, or with a pruner that stops fewer.",
        )
    space = json.loads(study.user_attrs[SPACE])
    dimensions = {
        each: Dimension.model_validate(content) for each, content in space["dimensions"].items()
    }
    measures = [importance.ped_anova(trials), importance.fanova(trials)]
    wide = advice.borders(dimensions, trials, measures)
    frozen = advice.unimportant(dimensions, trials, measures)
    ends = {each.name: each.end for each in wide}
    best = advice.best_of(trials)[0].params
    shares = [{one: Share(**asdict(each)) for one, each in by.items()} for by in measures]

    def weight(each: str) -> float:
        return -shares[0][each].value if each in shares[0] else 0.0

    return Explanation(
        study=study.study_name,
        ended=len(finished(study)),
        complete=len(trials),
        indicative=len(trials) < importance.INDICATIVE_BELOW,
        dimensions=tuple(
            Explained(
                name=each,
                values=str(dimensions[each]),
                ped_anova=shares[0].get(each),
                fanova=shares[1].get(each),
                best=best.get(each),
                applied=each in best,
                border=ends.get(each),
            )
            for each in sorted(dimensions, key=lambda each: (weight(each), each))
        ),
        diff=advice.difference(dimensions, wide, frozen),
    )


def _study(name: str, root: Path, url: str | None) -> Study:
    import optuna

    known: list[str] = []
    named = url or os.environ.get(URL_VARIABLE)
    if named or (root / DATABASE).exists():
        storage = open_storage(root, url, make=not named)
        known = optuna.get_all_study_names(storage)
        if (found := meant(known, name)) in known:
            return optuna.load_study(study_name=found, storage=storage)
    raise StoreError(
        f"There must be such a study under {root}.",
        value=name,
        hint=suggestion(name, known) if known else "Name its folder with --root.",
    )
