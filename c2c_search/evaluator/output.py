"""An evaluation kept, as files and as a run in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from c2c_search.evaluation.results import answers_table
from c2c_search.host.files import write_text
from c2c_search.host.names import fit
from c2c_search.report.evaluation import markdown
from c2c_search.tracking import Tracker


if TYPE_CHECKING:
    from c2c_search.evaluation.record import EvaluationRecord
    from c2c_search.evaluation.results import SystemResult
    from c2c_search.evaluator.target import Target
    from c2c_search.tracking.recorded_run import RecordedRun


EXPERIMENT = "evaluations"
JSON = "evaluation.json"
MARKDOWN = "evaluation.md"
ITEMS = "items"

Results = dict[str, dict[str, list["SystemResult"]]]
"""Answers by task and system, one result for every training seed."""


def keep(
    record: EvaluationRecord, results: Results, *, folder: Path, root: Path, target: Target
) -> str:
    """Write an evaluation's files, each whole or not at all, and its run.

    Args:
        record: What was found.
        results: Every answer.
        folder: Where the files go: ``evaluation.json``, ``evaluation.md`` and one table of
            answers, ``items/TASK/SYSTEM.json``, for every task and system.
        root: Folder of all stores.
        target: What was evaluated.

    Returns:
        The id of the MLflow run.
    """
    write_text(folder / JSON, record.model_dump_json(indent=1) + "\n")
    write_text(folder / MARKDOWN, markdown(record))
    tables = {
        f"{ITEMS}/{fit(task)}/{fit(name)}{f'-seed-{seed}' if seed else ''}.json": answers_table(
            result
        )
        for task, systems in results.items()
        for name, each in systems.items()
        for seed, result in enumerate(each)
    }
    for file, table in tables.items():
        write_text(folder / file, table)
    tracker = Tracker.open(root, EXPERIMENT)
    trial = {} if target.trial is None else {"c2c.trial_hash": target.trial.hash()}
    run = tracker.evaluation(record.subject, {"c2c.subject": record.subject, **trial})
    try:
        _log(run, record, tables)
    except BaseException:
        run.finish("FAILED")
        raise
    run.finish("FINISHED")
    return run.run_id


def _log(run: RecordedRun, record: EvaluationRecord, tables: Mapping[str, str]) -> None:
    run.params({"receiver": record.receiver, "sharer": record.sharer or "none"})
    for found in record.tasks:
        run.dataset(found.task, found.sha256, found.source, found.split, rows=found.items)
        task = fit(found.task)
        run.summary({f"{task}/{fit(each.system)}": each.score.value for each in found.scores})
        if found.pairing is not None:
            numbers = found.pairing.numbers()
            run.summary({f"{task}/pairing/{name}": value for name, value in numbers.items()})
    run.note(markdown(record))
    run.text(JSON, record.model_dump_json(indent=1) + "\n")
    run.text(MARKDOWN, markdown(record))
    # Not the folder: an earlier evaluation of other tasks may have left tables in it.
    for file, table in tables.items():
        run.text(file, table)
