"""What every run can record, whatever its kind."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import Literal
from typing import TypeVar

from c2c_search.errors import shown
from c2c_search.host.names import fit
from c2c_search.tracking.params import flatten


if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput
    from mlflow.entities import Metric
    from mlflow.entities import Param
    from mlflow.entities import Run
    from mlflow.entities import RunTag


Kind = Literal["study", "trial", "control", "twin", "seed", "evaluation"]
Status = Literal["FINISHED", "KILLED", "FAILED"]

NOTE = "mlflow.note.content"
MAX_METRICS = 1000  # of one log_batch call, which may hold as much in all; MLflow refuses more
MAX_PARAMS = 100  # and tags
DIGEST = 16  # hexadecimal digits shown in the UI; MLflow allows 36
MAX_TAG = 8000  # characters; MLflow truncates longer values without a word

_T = TypeVar("_T")


class RecordedRun:
    """A run in the store, opened for writing.

    Args:
        client: Bound to the store.
        run: The run as it was read when it was opened; what it holds is not logged again.
    """

    def __init__(self, client: MlflowClient, run: Run) -> None:
        self._client = client
        self.run_id: str = run.info.run_id
        self._latest: dict[str, float] = dict(run.data.metrics)
        self._note = ""

    def tags(self, tags: Mapping[str, object]) -> None:
        """Set tags; a tag that exists is replaced."""
        from mlflow.entities import RunTag

        self._write(tags=[RunTag(name, str(value)) for name, value in tags.items()])

    def params(self, values: Mapping[str, Any]) -> None:
        """Log nested configuration as flat dotted parameters.

        Raises:
            mlflow.exceptions.MlflowException: A parameter has another value in this run already.
        """
        from mlflow.entities import Param

        self._write(params=[Param(name, text) for name, text in flatten(values).items()])

    def summary(self, values: Mapping[str, float]) -> None:
        """Log numbers that a run has once, e.g. ``fuser/parameters``; logging again replaces."""
        new = {name: value for name, value in values.items() if not self._has(name, value)}
        self._write(metrics=metrics(0, new))
        self._latest |= new

    def _write(
        self,
        *,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
    ) -> None:
        """Write to the store, in as few calls as it allows."""
        write_batch(self._client, self.run_id, metrics=metrics, params=params, tags=tags)

    def _use(self, inputs: Sequence[DatasetInput]) -> None:
        """Record inputs."""
        self._client.log_inputs(self.run_id, list(inputs))

    def _has(self, name: str, value: float) -> bool:
        known = self._latest.get(name)
        if known is None:
            return False
        return known == value or (math.isnan(known) and math.isnan(value))

    def dataset(
        self, name: str, digest: str, source: str, context: str, *, rows: int | None = None
    ) -> None:
        """Log a dataset as an input of the run; logging it again changes nothing.

        Args:
            name: What the UI shows, e.g. ``quiz``.
            digest: SHA-256 of the canonical rows; kept whole as the tag ``c2c.data.CONTEXT``.
            source: Where the rows come from, e.g. a file.
            context: The split: ``train``, ``validation`` or ``test``.
            rows: Number of rows.
        """
        from mlflow.entities import Dataset
        from mlflow.entities import DatasetInput
        from mlflow.entities import InputTag

        dataset = Dataset(
            name=name,
            digest=digest[:DIGEST],
            source_type="local",
            source=json.dumps({"uri": source}),
            profile=None if rows is None else json.dumps({"num_rows": rows}),
        )
        tags = [InputTag("mlflow.data.context", context), InputTag("sha256", digest)]
        self._use([DatasetInput(dataset, tags)])
        self.tags({f"c2c.data.{fit(context)}": digest})

    def text(self, name: str, content: str) -> None:
        """Write an artifact file, e.g. ``trial.yaml``; it replaces the one of that name."""
        self._client.log_text(self.run_id, content, name)

    def artifact_dir(self, path: Path, name: str) -> None:
        """Copy the files of a folder into the artifact folder ``name``."""
        self._client.log_artifacts(self.run_id, str(path), name)

    def note(self, markdown: str) -> None:
        """Set the description that the run's page shows; one too long ends with a whole line."""
        markdown = shown(markdown)
        self._note = markdown
        if len(markdown) > MAX_TAG:
            markdown = markdown[: MAX_TAG - 3].rpartition("\n")[0] + "\n\n…"
        self.tags({NOTE: markdown})

    def note_first(self, markdown: str) -> None:
        """Put a paragraph before what `note` has set: of a long description a page shows that."""
        self.note(f"{markdown.rstrip()}\n\n{self._note}")


def write_batch(
    client: MlflowClient,
    run_id: str,
    *,
    metrics: Sequence[Metric] = (),
    params: Sequence[Param] = (),
    tags: Sequence[RunTag] = (),
) -> None:
    """Write to a run, in as few calls as the store allows."""
    kinds = [
        list(_chunks(metrics, MAX_METRICS - 2 * MAX_PARAMS)),
        list(_chunks(params, MAX_PARAMS)),
        list(_chunks(tags, MAX_PARAMS)),
    ]
    for some in zip_longest(*kinds, fillvalue=()):
        given = zip(("metrics", "params", "tags"), some, strict=True)
        client.log_batch(run_id, **{kind: each for kind, each in given if each})


def metrics(step: int, values: Mapping[str, float]) -> list[Metric]:
    """Metrics of one step, stamped with the present."""
    from mlflow.entities import Metric

    now = time.time_ns() // 1_000_000
    return [Metric(name, float(value), now, step) for name, value in values.items()]


def _chunks(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
