"""A run as data: read out of a tracking store, and made again in another one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from typing import Literal

from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.tracking.recorded_run import write_batch


if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARENT = "mlflow.parentRunId"


class Point(BaseModel):
    """One value of a metric: its step, and when it was logged, in milliseconds since 1970."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    value: float
    timestamp: int


class Input(BaseModel):
    """A dataset that a run has used, as MLflow keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    digest: str
    source_type: str
    source: str
    profile: str | None = None
    tags: dict[str, str] = {}


class StoredRun(BaseModel):
    """A run, without its files; JSON round trip.

    Args:
        id: In the store that it was read from.
        name: What the UI shows.
        status: As MLflow shows it; of one that nobody trains on, KILLED.
        started: Milliseconds since 1970.
        ended: The same.
        params: By name.
        tags: By name.
        metrics: Every point of each, by name.
        inputs: Datasets.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    status: Literal["FINISHED", "FAILED", "KILLED"]
    started: int | None
    ended: int | None
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, tuple[Point, ...]]
    inputs: tuple[Input, ...] = ()


def read_run(client: MlflowClient, run: Run) -> StoredRun:
    """Everything of a run but its files."""
    info, data = run.info, run.data
    ended = info.status in ("FINISHED", "FAILED")
    return StoredRun(
        id=info.run_id,
        name=info.run_name,
        status=info.status if ended else "KILLED",
        started=info.start_time,
        ended=info.end_time,
        params=data.params,
        tags=data.tags,
        metrics={
            name: tuple(
                Point(step=each.step, value=each.value, timestamp=each.timestamp)
                for each in client.get_metric_history(info.run_id, name)
            )
            for name in data.metrics
        },
        inputs=tuple(
            Input(
                name=each.dataset.name,
                digest=each.dataset.digest,
                source_type=each.dataset.source_type,
                source=each.dataset.source,
                profile=each.dataset.profile,
                tags={tag.key: tag.value for tag in each.tags},
            )
            for each in (run.inputs.dataset_inputs if run.inputs else ())
        ),
    )


def begin_run(
    client: MlflowClient, experiment_id: str, stored: StoredRun, tags: dict[str, str]
) -> str:
    """Make a run like a stored one, empty as yet.

    Args:
        client: Bound to the store.
        experiment_id: Where the run goes.
        stored: The run.
        tags: In place of its own of the same name.

    Returns:
        Its id.
    """
    made = client.create_run(
        experiment_id,
        start_time=stored.started,
        tags=stored.tags | tags,
        run_name=stored.name,
    )
    return str(made.info.run_id)


def fill_run(client: MlflowClient, run_id: str, stored: StoredRun, files: Path) -> None:
    """Give a run that `begin_run` has made what the stored one holds, and end it.

    Args:
        client: Bound to the store.
        run_id: The run.
        stored: What it is to hold.
        files: Folder of its files; nothing where there is none.
    """
    from mlflow.entities import Dataset
    from mlflow.entities import DatasetInput
    from mlflow.entities import InputTag
    from mlflow.entities import Metric
    from mlflow.entities import Param

    write_batch(
        client,
        run_id,
        metrics=[
            Metric(name, each.value, each.timestamp, each.step)
            for name, points in stored.metrics.items()
            for each in points
        ],
        params=[Param(name, value) for name, value in stored.params.items()],
    )
    inputs = [
        DatasetInput(
            Dataset(each.name, each.digest, each.source_type, each.source, profile=each.profile),
            [InputTag(name, value) for name, value in each.tags.items()],
        )
        for each in stored.inputs
    ]
    if inputs:
        client.log_inputs(run_id, inputs)
    if files.is_dir():
        client.log_artifacts(run_id, str(files))
    client.set_terminated(run_id, stored.status, stored.ended)
