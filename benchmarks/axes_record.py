"""What trainings of single fusers answered, in one Parquet file that grows from run to run.

An item's credit is all that is kept of an answer; nothing else is compared. How the trainings come
about is `fuser_axes.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult
from c2c_search.host.files import replacing


_SCHEMA = pa.schema(
    {
        "trial": pa.string(),
        "seconds": pa.float32(),
        "items": pa.list_(pa.string()),
        "clusters": pa.list_(pa.string()),
        "right": pa.list_(pa.float32()),
        "wrong": pa.list_(pa.float32()),
        "alone": pa.list_(pa.float32()),
    }
)


@dataclass(frozen=True)
class Training:
    """One training of a fuser, and its answers on validation.

    Args:
        trial: Hash of its whole configuration, the seed included.
        seconds: Wall time.
        items: Ids of what was asked.
        clusters: The fact that each is about.
        right: Credit of each with the right messages, in [0, 1].
        wrong: With other items' messages, the mean over derangements.
        alone: Of the receiver alone.
    """

    trial: str
    seconds: float
    items: tuple[str, ...]
    clusters: tuple[str, ...]
    right: tuple[float, ...]
    wrong: tuple[float, ...]
    alone: tuple[float, ...]

    @classmethod
    def of(
        cls,
        trial: str,
        seconds: float,
        right: SystemResult,
        wrong: SystemResult,
        alone: SystemResult,
    ) -> Training:
        """From what three systems answered to the same items."""
        known = [{one.id: one.credit for one in each.items} for each in (right, wrong, alone)]
        asked = [one.id for one in right.items]
        credits = (tuple(each[item] for item in asked) for each in known)
        return cls(
            trial, seconds, tuple(asked), tuple(one.cluster for one in right.items), *credits
        )


def answered(trainings: Iterable[Training], kind: str) -> SystemResult:
    """Answers of several seeds as one system: a fact's items stay together in resampling.

    Args:
        trainings: Of one fuser.
        kind: ``right``, ``wrong`` or ``alone``.
    """
    items = [
        ItemResult(id=f"{item}#{number}", group="", cluster=cluster, graded=credit)
        for number, training in enumerate(trainings)
        for item, cluster, credit in zip(
            training.items, training.clusters, getattr(training, kind), strict=True
        )
    ]
    return SystemResult(system="c2c", split="validation", items=tuple(items))


def read(path: Path) -> dict[str, Training]:
    """All trainings of a file, by their trials; none where there is no file."""
    if not path.exists():
        return {}
    rows = pa.parquet.read_table(path, schema=_SCHEMA).to_pylist()
    found = (
        Training(**{key: tuple(v) if isinstance(v, list) else v for key, v in row.items()})
        for row in rows
    )
    return {one.trial: one for one in found}


def write(path: Path, trainings: Iterable[Training]) -> None:
    """Write a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [asdict(one) for one in trainings]
    with replacing(path) as partial:
        content = pa.Table.from_pylist(rows, schema=_SCHEMA)
        pa.parquet.write_table(content, partial, compression="zstd")
