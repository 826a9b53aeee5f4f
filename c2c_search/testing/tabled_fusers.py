"""The table of trained fusers: its format, and how it is read.

What NAS-Bench (Ying et al., ICML 2019) is for cells: learning curves of fusers drawn at random, so
that samplers and pruners can be compared without training anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from c2c_search.errors import DataError
from c2c_search.host.files import replacing
from c2c_search.space.dimensions import Params
from c2c_search.space.objective import Objective


FORMAT = 1
FILE = Path(__file__).parent / "fusers.parquet"
"""The table that comes with this package: the quickstart's space and pairs."""

_KEY = b"c2c_search.fuser_table"
_MAKE = "benchmarks/fuser_table/make.py of this version makes one."


@dataclass(frozen=True)
class TabledRung:
    """What a fuser was at a rung.

    Args:
        step: Optimizer steps taken.
        seconds: Of training so far and of its evaluations, at the training's mean speed.
        accuracy: A_M on validation, in [0, 1].
        deranged: A_D, with other items' messages; None where it hears none.
        loss: Nats a token of the right answers on validation.
        train_loss: The last one that was logged.
        gate_open: Mean gate, in [0, 1]; None without a gate.
        blocks: The margin on each block of whole clusters of validation; see
            `evaluation.blocks`.
    """

    step: int
    seconds: float
    accuracy: float
    deranged: float | None
    loss: float
    train_loss: float | None
    gate_open: float | None
    blocks: tuple[float, ...]


@dataclass(frozen=True)
class TabledTraining:
    """One training of a fuser.

    Args:
        seed: Of weights, noise and the order of examples.
        parameters: Of the fuser that was kept; 0 where it failed.
        failure: Its class; None where it ran to its end.
        rungs: In the order of their steps.
        test_accuracy: A_M on test, of its best rung by the margin; None where it failed.
        test_deranged: A_D there.
    """

    seed: int
    parameters: int
    failure: str | None
    rungs: tuple[TabledRung, ...]
    test_accuracy: float | None
    test_deranged: float | None


@dataclass(frozen=True)
class TabledFuser:
    """A fuser of the table: its point of the space, and its trainings by rising seed."""

    number: int
    params: Params
    trainings: tuple[TabledTraining, ...]


@dataclass(frozen=True)
class FuserTable:
    """All of a table.

    Args:
        about: As the program wrote it: the space, the rungs and, by pair, what its two models
            answer alone on both splits.
        fusers: By rising number.
    """

    about: Mapping[str, Any]
    fusers: tuple[TabledFuser, ...]

    def objective(self, pair: str, split: str = "validation") -> Objective:
        """The margin of a pair, with what it is above on a split."""
        return Objective.model_validate(self.about["pairs"][pair][split])

    @cached_property
    def rungs(self) -> tuple[int, ...]:
        """Optimizer steps after which every training was judged."""
        return tuple(self.about["rungs"])


def fuser_table(path: Path = FILE) -> FuserTable:
    """Read a table of fusers.

    Args:
        path: Of another table than the one that comes with this package.

    Raises:
        DataError: It is no table of fusers, or of another version.
    """
    about, rows = table_rows(path)
    return FuserTable(about, tuple(_fusers(rows)))


def table_rows(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a table's rows have in common, and its rows; see `fuser_table`."""
    import pyarrow
    import pyarrow.parquet

    try:
        read = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        rule = "A table of fusers must be a Parquet file."
        raise DataError(rule, value=str(path), hint=_MAKE) from error
    about = json.loads((read.schema.metadata or {}).get(_KEY, b"{}"))
    if about.get("format") != FORMAT:
        rule = f"A table of fusers must be of format {FORMAT}."
        raise DataError(rule, value=f"{path}: format {about.get('format')}", hint=_MAKE)
    return about, read.to_pylist()


def _fusers(rows: Iterable[dict[str, Any]]) -> Iterable[TabledFuser]:
    by_fuser: dict[int, dict[int, list[dict[str, Any]]]] = {}
    for row in rows:
        by_fuser.setdefault(row["fuser"], {}).setdefault(row["seed"], []).append(row)
    for number, by_seed in sorted(by_fuser.items()):
        params = json.loads(next(iter(by_seed.values()))[0]["params"])
        trainings = tuple(_training(by_seed[seed]) for seed in sorted(by_seed))
        yield TabledFuser(number, params, trainings)


def _training(rows: Sequence[dict[str, Any]]) -> TabledTraining:
    judged = sorted((row for row in rows if row["step"] is not None), key=lambda row: row["step"])
    rungs = [
        TabledRung(**{name: row[name] for name in _RUNG}, blocks=tuple(row["blocks"]))
        for row in judged
    ]
    return TabledTraining(**{name: rows[0][name] for name in _TRAINING}, rungs=tuple(rungs))


_TRAINING = ("seed", "parameters", "failure", "test_accuracy", "test_deranged")
_RUNG = ("step", "seconds", "accuracy", "deranged", "loss", "train_loss", "gate_open")


def write_table(
    path: Path,
    about: Mapping[str, Any],
    trainings: Iterable[Mapping[str, Any]],
    before: Iterable[Mapping[str, Any]] = (),
) -> None:
    """Write a table: a row for each rung of each training; for one that failed, one row.

    Args:
        path: The Parquet file, whole or not at all.
        about: What is the same for all; see `FuserTable`.
        trainings: As the program's log has them.
        before: Rows of a table that this one goes on from, of other trainings.
    """
    import pyarrow
    import pyarrow.parquet

    rows = [*before, *(row for training in trainings for row in _rows(training))]
    rows.sort(key=lambda row: (row["fuser"], row["seed"], row.get("step") or 0))
    schema = _schema().with_metadata({_KEY: json.dumps(about).encode()})
    with replacing(path) as partial:
        content = pyarrow.Table.from_pylist(rows, schema=schema)
        pyarrow.parquet.write_table(content, partial, compression="zstd")


def _rows(training: Mapping[str, Any]) -> list[dict[str, Any]]:
    test = training["test"] or {"accuracy": None, "deranged": None}
    same = {
        "fuser": training["fuser"],
        "seed": training["seed"],
        "hash": training["hash"],
        "params": json.dumps(training["params"], sort_keys=True),
        "parameters": training["parameters"],
        "failure": training["failure"],
        "test_accuracy": test["accuracy"],
        "test_deranged": test["deranged"],
    }
    rungs, spent = training["rungs"], training["seconds"]
    if not rungs:
        return [same]
    judging = (spent["evaluate"] + spent["derange"]) / len(rungs)
    stepping = (spent["train"] + spent["overhead"]) / rungs[-1]["step"]
    return [
        {**same, **rung, "seconds": round(stepping * rung["step"] + judging * number, 3)}
        for number, rung in enumerate(rungs, 1)
    ]


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        {
            "fuser": pa.int32(),
            "seed": pa.int32(),
            "hash": pa.string(),
            "params": pa.string(),
            "parameters": pa.int64(),
            "failure": pa.string(),
            "test_accuracy": pa.float32(),
            "test_deranged": pa.float32(),
            "step": pa.int32(),
            "seconds": pa.float32(),
            "accuracy": pa.float32(),
            "deranged": pa.float32(),
            "loss": pa.float32(),
            "train_loss": pa.float32(),
            "gate_open": pa.float32(),
            "blocks": pa.list_(pa.float32()),
        }
    )
