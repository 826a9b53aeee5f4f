"""What the parent run of a study records: settings, files, data and result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from c2c_search.errors import StoreError
from c2c_search.report.run_notes import escaped
from c2c_search.report.run_notes import note
from c2c_search.space.loading import files_of
from c2c_search.space.schema import Space
from c2c_search.study import resume
from c2c_search.study.trials import ACCURACY
from c2c_search.study.trials import DERANGED
from c2c_search.tracking import StudyRun


if TYPE_CHECKING:
    from optuna import Study

    from c2c_search.study.finalists import FinalEvaluation
    from c2c_search.study.session import Session


def log_settings(run: StudyRun, space: Space, space_path: Path) -> None:
    """Record what the study searches and how, and the files that say so.

    What may change between two starts of a study goes into tags: a parameter is set once.

    Raises:
        StoreError: A file cannot be read, or the store cannot be written.
    """
    # Without what a dimension is not: each is a list of choices or one of two kinds of range.
    identity = space.identity() | {"dimensions": _stated(space.identity()["dimensions"])}
    run.params(identity)
    search = space.search.model_dump(exclude={"seed"})
    champion = space.pipeline.champion.model_dump()
    run.tags({f"c2c.search.{name}": value for name, value in search.items()})
    run.tags({f"c2c.champion.{name}": value for name, value in champion.items()})
    for name, path in files_of(space_path).items():
        try:
            run.text(name, path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError("A study's files must stay readable.", value=str(path)) from error
    about = f"Study {escaped(space.study)}, which is running or was interrupted."
    run.note(note(about, {"trials": space.search.trials, "pairs": len(space.pairs)}))


def log_data(session: Session) -> None:
    """Record what the study is trained and judged on, and what reading it took."""
    for pair in session.space.pairs:
        session.log_data(session.run, pair, "train", "validation", "test")
    spent = [prepared.seconds for prepared in session.trainer.prepared.values()]
    parts = dict.fromkeys(part for each in spent for part in each)
    session.run.summary(
        {f"time/{part}": sum(each.get(part, 0.0) for each in spent) for part in parts}
    )


def log_result(run: StudyRun, study: Study, final: FinalEvaluation) -> None:
    """Record how the trials ended, and what the test split said of the best."""
    counts = resume.counts(study)
    numbers: dict[str, float] = {
        f"trials/{how}": counts[how] for how in ("complete", "pruned", "failed")
    }
    if ended := resume.complete(study):
        best = max(ended, key=lambda trial: trial.values[0])
        numbers["best/objective"] = best.values[0]
        names = (ACCURACY, DERANGED)
        measured = {name: best.user_attrs[name] for name in names if name in best.user_attrs}
        numbers |= {f"best/{name}": value for name, value in measured.items()}
        if DERANGED in measured:
            numbers["best/pairing_gain"] = measured[ACCURACY] - measured[DERANGED]
    if final.champion is not None:
        verdict = final.verdict(final.champion.name)
        numbers["champion/accuracy"] = verdict.accuracy.value
        # By how much it is ahead of the control that comes nearest.
        numbers["champion/lead"] = min(one.difference.value for one in verdict.comparisons)
    run.summary(numbers)
    run.tags({"c2c.champion": final.champion.name if final.champion else "none"})


def _stated(values: Any) -> Any:
    """A mapping without what is null, false or empty in it."""
    if not isinstance(values, dict):
        return values
    kept = {name: _stated(value) for name, value in values.items()}
    return {name: value for name, value in kept.items() if value not in (None, False, {})}
