"""A task's answers turned into what the record says of them."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING

from c2c_search.evaluation.analysis import analyse
from c2c_search.evaluation.comparison import Scored
from c2c_search.evaluation.comparison import compare
from c2c_search.evaluation.comparison import too_small
from c2c_search.evaluation.grading.translations import corpus_chrf
from c2c_search.evaluation.items import clusters
from c2c_search.evaluation.pairing import pairing
from c2c_search.evaluation.record import TaskRecord
from c2c_search.evaluation.results import empty_notes
from c2c_search.evaluation.results import tie_notes
from c2c_search.evaluation.systems.registry import DERANGED
from c2c_search.evaluation.systems.registry import SUBJECT
from c2c_search.evaluator.request import Request


if TYPE_CHECKING:
    from c2c_search.data.contamination import Contamination
    from c2c_search.evaluation.analysis import Analysis
    from c2c_search.evaluation.pairing import Pairing
    from c2c_search.evaluation.results import SystemResult
    from c2c_search.evaluation.tasks.loading import LoadedTask


SUBJECTS = ("c2c", "receiver")
"""What others are compared with: C2C, or the receiver where there is no fuser."""


def task_record(
    results: Mapping[str, Sequence[SystemResult]],
    *,
    loaded: LoadedTask,
    method: str,
    length_normalised: bool | None,
    lengths: Sequence[int],
    request: Request,
    contamination: Contamination | None,
    margin: float | None,
    notes: Sequence[str] = (),
) -> TaskRecord:
    """Compare the systems of one task.

    Args:
        results: Answers by system, one result for every training seed.
        loaded: The task.
        method: How it was answered.
        length_normalised: How options were compared; None where answers were written.
        lengths: Tokens of each question.
        request: Of the evaluation.
        contamination: What of the task the fuser has seen.
        margin: Of routing.
        notes: What else a reader should know.
    """
    subject = next(name for name in (*SUBJECTS, *results) if name in results)
    mine = results[subject][0]
    warning = too_small(mine, level=request.level, wished=request.wished)
    scores = compare(
        results,
        subject,
        level=request.level,
        length_normalised=length_normalised,
        seed=request.seed,
    )
    first = {name: each[0] for name, each in results.items()}
    notes = [
        *notes,
        *tie_notes(first),
        *empty_notes(first),
        *_faults(scores),
        *([] if warning is None else [warning]),
    ]
    return TaskRecord(
        task=loaded.name,
        reference=loaded.task.reference,
        source=loaded.source,
        split=loaded.split,
        sha256=loaded.sha256,
        items=len(loaded.items),
        clusters=clusters(loaded.items),
        method=method,
        metric=loaded.task.metric,
        length_normalised=length_normalised,
        subject=subject,
        level=request.level,
        scores=scores,
        margin=margin,
        corpus=_corpus(results, loaded),
        pairing=_pairing(results, request),
        analysis=_analysis(results, lengths, request),
        contamination=contamination,
        notes=tuple(notes),
    )


def _faults(scores: Sequence[Scored]) -> Iterator[str]:
    for each in scores:
        if each.unequal:
            yield (
                f"With its gate shut the fuser changes {each.unequal} answers: trust nothing here "
                "before that is explained."
            )


def _analysis(
    results: Mapping[str, Sequence[SystemResult]], lengths: Sequence[int], request: Request
) -> Analysis | None:
    if any(name not in results for name in ("receiver", "sharer", "c2c")):
        return None
    receiver, sharer, c2c = (results[name][0] for name in ("receiver", "sharer", "c2c"))
    return analyse(receiver, sharer, c2c, lengths=lengths, level=request.level, seed=request.seed)


def _pairing(results: Mapping[str, Sequence[SystemResult]], request: Request) -> Pairing | None:
    """What the target's own fuser owes to the right message, not what others' trainings do."""
    if any(name not in results for name in (SUBJECT, DERANGED, "receiver")):
        return None
    matched, deranged, alone = (results[name][0] for name in (SUBJECT, DERANGED, "receiver"))
    return pairing(matched, deranged, alone, level=request.level, seed=request.seed)


def _corpus(results: Mapping[str, Sequence[SystemResult]], loaded: LoadedTask) -> dict[str, float]:
    if loaded.task.metric != "chrf":
        return {}
    references = [item.references for item in loaded.items]
    return {
        name: corpus_chrf([item.text or "" for item in each[0].items], references)
        for name, each in results.items()
        if not each[0].averaged  # which has no text of its own
    }
