"""All rows that a worker trains and judges on, read and compared before anything begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING

from c2c_search.data.schema import WITH_GUARD
from c2c_search.data.splits import load_splits
from c2c_search.evaluation.guard import clean
from c2c_search.evaluation.harm_tasks import load_harm_task


if TYPE_CHECKING:
    from c2c_search.config.pipeline import Pipeline
    from c2c_search.data.schema import Row
    from c2c_search.data.splits import Splits
    from c2c_search.evaluation.tasks.loading import LoadedTask
    from c2c_search.training.protocol import Stage


@dataclass(frozen=True)
class LoadedData:
    """What a pipeline's data is.

    Args:
        rows: Of each split that is asked about.
        texts: To be reconstructed.
        tasks: Those of ``champion.harmless_on``, by what the pipeline calls them.
        hashes: Of each split's rows, texts included.
    """

    rows: dict[str, list[Row]]
    texts: list[Row]
    tasks: dict[str, LoadedTask]
    hashes: dict[str, str]


def load_data(
    pipeline: Pipeline,
    notify: Callable[[str], None],
    progress: Callable[[Stage, int, int, str], None],
) -> LoadedData:
    """Read a pipeline's data.

    Args:
        pipeline: Whose.
        notify: Told of overlap, and of what is most likely a mistake in the files.
        progress: Called with how many splits are there.

    Raises:
        DataError: See `load_splits`.
    """
    splits = load_splits(pipeline.data, notify=notify)
    overlaps = (splits.contamination, splits.selection, splits.guarded, splits.reconstructed)
    for overlap in overlaps:
        if overlap is not None and overlap.found:
            notify(overlap.sentence())
    rows: dict[str, list[Row]] = {}
    for number, split in enumerate(splits.hashes):
        progress("data", number, len(splits.hashes), split)
        if split in WITH_GUARD:
            rows[split] = list(getattr(splits, split))
    return LoadedData(
        rows=rows,
        texts=list(splits.reconstruction or ()),
        tasks=_tasks(pipeline, splits, notify),
        hashes={str(split): digest for split, digest in splits.hashes.items()},
    )


def _tasks(
    pipeline: Pipeline, splits: Splits, notify: Callable[[str], None]
) -> dict[str, LoadedTask]:
    """The tasks of ``champion.harmless_on`` without what fusers learn from or are chosen by.

    Now, so that one that cannot be read stops a study when it begins.
    """
    rules = pipeline.champion
    tasks = {}
    for spec in rules.harmless_on:
        loaded = load_harm_task(spec, limit=rules.harm_limit)
        kept, found = clean(
            loaded.items, splits.learnt, list(splits.validation), "exclude", name=loaded.name
        )
        if found.found:
            notify(found.sentence())
        tasks[spec] = replace(loaded, items=tuple(kept))
    return tasks
