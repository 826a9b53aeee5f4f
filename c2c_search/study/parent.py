"""What the parent run of a study records: settings, files, data and result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from c2c_search.errors import StoreError
from c2c_search.evaluation.results import answers_table
from c2c_search.host.names import fit
from c2c_search.report.run_notes import escaped
from c2c_search.report.run_notes import note
from c2c_search.space.loading import files_of
from c2c_search.space.objective import PLAIN_ACCURACY
from c2c_search.space.schema import Space
from c2c_search.study.overhead import overhead_of
from c2c_search.study.overview import best_of
from c2c_search.study.recording import log_accuracy
from c2c_search.study.session import child_key
from c2c_search.study.verdicts import KEY
from c2c_search.study.verdicts import Verdicts
from c2c_search.tracking import StudyRun
from c2c_search.tracking.reconcile import RUN_ID
from c2c_search.tracking.recorded_run import RecordedRun


if TYPE_CHECKING:
    from c2c_search.champion.verdict import Verdict
    from c2c_search.space.front import Front
    from c2c_search.study.finalists import FinalEvaluation
    from c2c_search.study.overview import TrialRow
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
    search = space.search.model_dump(exclude={"seed"}, exclude_none=True)
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


def log_result(
    run: StudyRun, trials: Sequence[TrialRow], final: FinalEvaluation, front: Front | None
) -> None:
    """Record how the trials ended, and what the test split said of the best."""
    states = [each.state for each in trials]
    numbers: dict[str, float] = {
        f"trials/{how}": states.count(how) for how in ("complete", "pruned", "failed")
    }
    if (best := best_of(trials)) and best.objective is not None and best.accuracy is not None:
        numbers["best/objective"] = best.objective
        measured = PLAIN_ACCURACY.metrics(best.accuracy, best.deranged)
        numbers |= {f"best/{name}": value for name, value in measured.items()}
    if (overhead := overhead_of(trials)) is not None:
        numbers["search/overhead"] = overhead.share
    if front is not None:
        numbers |= {"front/hypervolume": front.hypervolume, "front/trials": len(front.trials)}
        run.tags({"c2c.front": ", ".join(front.trials)})
    if final.champion is not None:
        verdict = final.verdict(final.champion.name)
        numbers["champion/accuracy"] = verdict.accuracy.value
        # By how much it is ahead of the control that comes nearest.
        numbers["champion/lead"] = min(one.difference.value for one in verdict.others)
    if final.leading is not None:
        numbers |= _pairing(final.leading) | _harm(final.leading)
        numbers |= _drop(final, final.leading.name)
    run.summary(numbers)
    run.tags({"c2c.champion": final.champion.name if final.champion else "none"})


def log_final(session: Session, final: FinalEvaluation) -> None:
    """Record the verdicts, every system's answers and, in each one's own run, its numbers."""
    run, attrs = session.run, session.study.user_attrs
    verdicts = {each.name: each.model_dump(mode="json") for each in final.verdicts}
    session.store.save(KEY, Verdicts(verdicts=final.verdicts))
    run.log_dict("verdict.json", verdicts)
    run.text("verdict.txt", final.explanation + "\n")
    for name, result in final.results.items():
        run.text(f"items/{fit(name)}.json", answers_table(result))
    run_ids = {name: attrs.get(child_key(name)) for name in final.results}
    trials = session.study.get_trials(deepcopy=False)
    run_ids |= {one.name: trials[one.number].user_attrs.get(RUN_ID) for one in final.finalists}
    children = {child.info.run_id: child for child in session.tracker.children(run.run_id)}
    for name, result in final.results.items():
        if (child := children.get(run_ids[name] or "")) is not None:
            log_accuracy(RecordedRun(session.tracker.client, child), "test", result)
    for verdict in final.verdicts:
        if (child := children.get(run_ids[verdict.name] or "")) is not None:
            numbers = _pairing(verdict) | _harm(verdict) | _drop(final, verdict.name)
            if (seeds := final.seeds.get(verdict.name)) is not None:
                numbers |= {f"seeds/{each}": value for each, value in seeds.numbers().items()}
            RecordedRun(session.tracker.client, child).summary(numbers)


def _pairing(verdict: Verdict) -> dict[str, float]:
    """What a finalist owes to hearing the right message on test."""
    numbers = {} if verdict.pairing is None else verdict.pairing.numbers()
    return {f"test/{name}": value for name, value in numbers.items()}


def _drop(final: FinalEvaluation, name: str) -> dict[str, float]:
    """By how much a finalist's objective fell from validation to test, and was expected to."""
    numbers = final.drops[name].numbers() if name in final.drops else {}
    return {f"drop/{each}": value for each, value in numbers.items()}


def _harm(verdict: Verdict) -> dict[str, float]:
    """What a finalist does to its receiver on other tasks."""
    return {
        f"harm/{fit(one.task)}/{name}": value
        for one in verdict.harm
        for name, value in {
            "accuracy": one.fused.value,
            "receiver": one.receiver.value,
            "difference": one.difference.value,
            "low": one.difference.low,
            "p": one.p,
        }.items()
    }


def _stated(values: Any) -> Any:
    """A mapping without what is null, false or empty in it."""
    if not isinstance(values, dict):
        return values
    kept = {name: _stated(value) for name, value in values.items()}
    return {name: value for name, value in kept.items() if value not in (None, False, {})}
