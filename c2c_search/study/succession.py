"""Whether a champion may take the place of the one before it, in its study or in the registry."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.champion.gate import paired_comparison
from c2c_search.champion.registry import Leader
from c2c_search.champion.registry import leader
from c2c_search.champion.verdict import Verdict
from c2c_search.errors import StoreError
from c2c_search.evaluation.guard import REPORT
from c2c_search.evaluation.results import SystemResult
from c2c_search.host.json_store import JsonStore
from c2c_search.study.known import prepared_in
from c2c_search.study.resume import HASH
from c2c_search.study.session import Session


if TYPE_CHECKING:
    from c2c_search.study.finalists import FinalEvaluation


PROMOTED = "promoted"
"""What was promoted, in the study's store."""


class PromotedChampion(BaseModel):
    """What was promoted.

    Args:
        name: Of the trial.
        trial_hash: Of the trial.
        folder: The package.
        registered_name: In the model registry.
        version: There; empty of one that was imported, until its study goes on.
        leads: Whether the registry's alias points to it.
        note: Why it does not, or why it does although another one was not beaten.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    trial_hash: str
    folder: Path
    registered_name: str
    version: str
    leads: bool = True
    note: str = ""


def present_champion(session: Session) -> str | None:
    """The hash of the trial that the study has promoted; None as long as there is none."""
    known = session.store.load(PROMOTED, PromotedChampion)
    return None if known is None else known.trial_hash


def obstacle(session: Session, final: FinalEvaluation) -> str:
    """Why the registry's alias stays where another study has put it; empty if it may move.

    The champion of another study must be beaten as a control is, on the same test questions. One
    of this study has been, before its successor became a champion (`FinalEvaluation`).

    Args:
        session: Of the study.
        final: With a champion.
    """
    winner = final.champion
    assert winner is not None
    name = session.space.pipeline.champion.registered_name
    if (current := leader(session.tracker, name)) is None:
        return ""
    of_current = current.trial_hash
    trials = session.study.get_trials(deepcopy=False)
    if of_current in {trial.user_attrs.get(HASH) for trial in trials}:
        return ""
    pair = next(key for key, pair in session.space.pairs.items() if pair == winner.config.pair)
    mine, questions = final.results[winner.name], session.trainer.prepared[pair].data[REPORT]
    theirs = answers(session.files.root, of_current, questions)
    return unbeaten(current, name, final.verdict(winner.name), mine, theirs)


def unbeaten(
    current: Leader,
    name: str,
    verdict: Verdict,
    mine: SystemResult | None,
    theirs: SystemResult | None,
    *,
    listening: str = "always",
) -> str:
    """Why the champion in use is not beaten by another one; empty if it is.

    Args:
        current: The one in use.
        name: Of the registered model.
        verdict: On the other one; the paired test has its level and resamples.
        mine: What the other one answered on the test split; None where that is not on record.
        theirs: The same of the one in use.
        listening: Of the other one, where ``mine`` is what it answers hearing every message.
    """
    stays = f"version {current.version} of {name!r}, of another study, stays the champion there: "
    if current.listening != "always":  # kept is what it answers where it hears every message
        return stays + "it listens only when unsure, which was not measured here."
    if listening != "always":
        return stays + "the other one listens only when unsure, and its answers are not kept."
    if mine is None or theirs is None or _questions(theirs) != _questions(mine):
        return stays + "it was not measured here on the same test questions."
    other = paired_comparison(
        mine,
        f"version {current.version}",
        theirs,
        level=verdict.judged_level,
        resamples=verdict.resamples,
        seed=verdict.seed,
    )
    points, p = 100 * other.difference.value, other.p
    return "" if other.beaten else f"{stays}it is not beaten ({points:+.1f} points, p = {p:.2g})."


def answers(root: Path, trial_hash: str, questions: str) -> SystemResult | None:
    """What any study under the root has measured of a trial on these test questions."""
    for folder in sorted((root / "trials").glob("*/results")):
        # What another version has written is no reason to stop this study.
        with suppress(StoreError):
            if (found := _kept(folder, trial_hash, questions)) is not None:
                return found
    return None


def _kept(folder: Path, trial_hash: str, questions: str) -> SystemResult | None:
    """The same in one study's results; None if it has other questions."""
    store = JsonStore(folder)
    if not any(one.data.get(REPORT) == questions for one in prepared_in(store)):
        return None
    return store.load(f"{REPORT}/{trial_hash}", SystemResult)


def _questions(result: SystemResult) -> list[tuple[str, object]]:
    return [(item.id, item.answer) for item in result.items]
