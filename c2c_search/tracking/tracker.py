"""A study as one parent run, its trials, controls and twins as child runs.

Every call goes through a client bound to the store, never through MLflow's global state, so that
studies do not leak into each other. A run that was interrupted is opened again under its own id,
and a step it has already logged is never logged twice.
"""

from __future__ import annotations

import getpass
import json
import math
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import cast

from filelock import FileLock

import c2c_search
from c2c_search.config.stages import written
from c2c_search.errors import StoreError
from c2c_search.host import process
from c2c_search.host.home import expanded
from c2c_search.host.source import source_commit
from c2c_search.tracking import mlflow_store
from c2c_search.tracking.outbox import Outbox
from c2c_search.tracking.recorded_run import MAX_METRICS
from c2c_search.tracking.recorded_run import NOTE
from c2c_search.tracking.recorded_run import Kind
from c2c_search.tracking.recorded_run import RecordedRun
from c2c_search.tracking.recorded_run import Status
from c2c_search.tracking.recorded_run import metrics


if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput
    from mlflow.entities import Experiment
    from mlflow.entities import Metric
    from mlflow.entities import Param
    from mlflow.entities import Run
    from mlflow.entities import RunTag

    from c2c_search.config.trial import TrialConfig


FLUSH_SECONDS = 30.0  # how old a metric may get before the UI can show it

_EXPERIMENT_NOTE = """\
Fusers searched by **c2c-search**: open the view *Leaderboard*.

Each study is one parent run. Below it lie its trials, its controls (each model alone) and its
no-sharer twins; the tag `c2c.kind` tells them apart. `objective` is measured on validation. A
trial that the search stopped early ended in order and has the tag `optuna.state: PRUNED`; one
that failed has a red cross, and one that was interrupted goes on with the study's next start.
"""


class Tracker:
    """One experiment of a tracking store.

    Args:
        client: Bound to the store.
        experiment: The experiment that new runs go to.
        uri: The store's tracking URI.
        check: Raises where another process may record in this one's place by now.
    """

    def __init__(
        self,
        client: MlflowClient,
        experiment: Experiment,
        uri: str,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.client = client
        self.uri = uri
        self.check = check
        self.experiment = experiment.name
        self.experiment_id: str = experiment.experiment_id

    @classmethod
    def open(
        cls,
        root: Path,
        experiment: str,
        *,
        uri: str | None = None,
        outbox: Path | None = None,
        notify: Callable[[str], None] = lambda text: None,
        check: Callable[[], None] = lambda: None,
    ) -> Tracker:
        """Open the store and the experiment, making what is missing.

        Args:
            root: Folder of the local store, e.g. ``mlruns``.
            experiment: Its name; one experiment may hold many studies.
            uri: Tracking URI of a shared store, used instead of ``root``.
            outbox: File that keeps what a server cannot take now; without one, that is an error.
            notify: Told when the server is away and when it is back.
            check: See `Tracker`.

        Raises:
            StoreError: The store cannot be opened, or the experiment has been deleted.
        """
        root = expanded(root).resolve()
        opened = mlflow_store.open_store(root, uri=uri)
        client = mlflow_store.connect(opened)
        served = uri is not None and not mlflow_store.is_database(uri)
        location = None if served else mlflow_store.artifact_location(root, experiment)
        found = _experiment(client, root, experiment, location, opened)
        if outbox is not None:
            client = cast("MlflowClient", Outbox(client, outbox, notify=notify))
        return cls(client, found, opened, check)

    def study(
        self,
        name: str,
        *,
        run_id: str | None = None,
        description: str = "",
        tags: Mapping[str, object] | None = None,
    ) -> StudyRun:
        """Open the parent run of a study: the one of ``run_id`` if it is there, else a new one.

        Args:
            name: The Optuna study's name.
            run_id: The run that an earlier start made; interrupted, it is running again.
            description: Markdown, shown on the run's page.
            tags: More tags.
        """
        own = {"optuna.study_name": name, **({NOTE: description} if description else {})}
        run = self._open(f"study: {name}", "study", run_id, {**own, **(tags or {})})
        return StudyRun(self, run, name)

    def evaluation(self, name: str, tags: Mapping[str, object]) -> ChildRun:
        """Begin the run of an evaluation; each evaluation is a run of its own."""
        return ChildRun(self.client, self._open(f"eval: {name}", "evaluation", None, tags))

    def own_id(self, run_id: str) -> str:
        """A run's id in the store; see `Outbox.resolve`."""
        if isinstance(self.client, Outbox):
            return self.client.resolve(run_id, self.experiment_id)
        return run_id

    def settle(self) -> None:
        """Deliver what a server that was away could not take."""
        if isinstance(self.client, Outbox):
            self.client.settle()

    def children(self, parent: str) -> Iterator[Run]:
        """Every run below a parent run, newest first."""
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id],
                f"tags.`mlflow.parentRunId` = '{parent}'",
                max_results=1000,
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def _open(self, name: str, kind: Kind, run_id: str | None, tags: Mapping[str, object]) -> Run:
        own = {"c2c.kind": kind, "c2c.owner": process.this_process(), **_source_tags()}
        text = {key: str(value) for key, value in {**own, **tags}.items()}
        run = self._find(run_id)
        if run is None:
            return self.client.create_run(self.experiment_id, tags=text, run_name=name)
        self.client.update_run(run.info.run_id, status="RUNNING", name=name)
        RecordedRun(self.client, run).tags(text)
        return run

    def _find(self, run_id: str | None) -> Run | None:
        """The run, unless it is unknown here or was deleted in the UI."""
        if run_id is None:
            return None
        run_id = self.own_id(run_id)
        found = self.client.search_runs([self.experiment_id], f"attributes.run_id = '{run_id}'")
        return found[0] if found else None


class StudyRun(RecordedRun):
    """The parent run of a study."""

    def __init__(self, tracker: Tracker, run: Run, name: str) -> None:
        super().__init__(tracker.client, run)
        self.name = name
        self._tracker = tracker

    def trial(
        self,
        name: str,
        *,
        title: str = "",
        run_id: str | None = None,
        kind: Kind = "trial",
        tags: Mapping[str, object] | None = None,
    ) -> ChildRun:
        """Open a child run: the one of ``run_id`` if it is there, else a new one.

        Args:
            name: What reports call it, e.g. ``trial-007``; becomes the tag ``c2c.name``.
            title: What the UI shows, e.g. ``007 linear/replace r32``; the name when left out.
            run_id: The run that an interrupted attempt made; this one goes on in it.
            kind: trial, control or twin; becomes the tag ``c2c.kind``.
            tags: More tags, e.g. ``optuna.trial_number``.
        """
        own = {"mlflow.parentRunId": self.run_id, "optuna.study_name": self.name, "c2c.name": name}
        run = self._tracker._open(title or name, kind, run_id, {**own, **(tags or {})})
        return ChildRun(self._client, run, self._tracker.check)

    def log_dict(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON artifact, e.g. ``verdict.json``."""
        self.text(name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def finish(self, status: Status) -> None:
        """End the run; `Tracker.study` with its id opens it again."""
        self._client.set_terminated(self.run_id, status)


class ChildRun(RecordedRun):
    """The run of one trial, control or twin.

    What is recorded is buffered and written in batches: a call to MLflow's store takes more of a
    processor than all that one holds. Call `flush` at rungs, and before what is told elsewhere
    depends on it; `finish` does so too.

    Args:
        client: Bound to the store.
        run: As the store has it.
        check: Called before what is buffered is written; see `Tracker`.
    """

    def __init__(
        self, client: MlflowClient, run: Run, check: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(client, run)
        self._check = check
        self._buffer: list[Metric] = []
        self._params: list[Param] = []
        self._tags: dict[str, RunTag] = {}
        self._inputs: list[DatasetInput] = []
        self._flushed = time.monotonic()
        self._seen: dict[str, set[int]] = {
            name: {point.step for point in client.get_metric_history(self.run_id, name)}
            for name in run.data.metrics
        }

    def _has(self, name: str, value: float) -> bool:
        # A number with a curve keeps it: one more point at step 0 would be a false one.
        return bool(self._seen.get(name, set()) - {0}) or super()._has(name, value)

    def _write(
        self,
        *,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
    ) -> None:
        self._buffer += metrics
        self._params += params
        self._tags |= {tag.key: tag for tag in tags}

    def _use(self, inputs: Sequence[DatasetInput]) -> None:
        self._inputs += inputs

    def config(self, trial: TrialConfig, text: str) -> None:
        """Log the whole trial: parameters, ``trial.yaml``, and the tag ``c2c.trial_hash``.

        Args:
            trial: The trial.
            text: The same as YAML.
        """
        values = trial.model_dump(mode="json", by_alias=True)
        if values["training"].get("stages"):  # as a table can show them
            values["training"]["stages"] = written(trial.training.stages)
        self.params(values)
        self.text("trial.yaml", text)
        self.tags({"c2c.trial_hash": trial.hash()})
        # The UI's parallel coordinates have linear axes only.
        self.summary({"hp/log10_learning_rate": math.log10(trial.training.learning_rate)})

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log the metrics of a step, unless this run, also before a resume, has it already."""
        new = {
            name: value
            for name, value in values.items()
            if step not in self._seen.setdefault(name, set())
        }
        for name in new:
            self._seen[name].add(step)
        self._buffer += metrics(step, new)
        old = time.monotonic() - self._flushed > FLUSH_SECONDS
        if old or len(self._buffer) >= MAX_METRICS:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered, unless it is another process's turn by now."""
        self._check()
        super()._write(metrics=self._buffer, params=self._params, tags=[*self._tags.values()])
        if self._inputs:
            super()._use(self._inputs)
        self._buffer, self._params, self._tags, self._inputs = [], [], {}, []
        self._flushed = time.monotonic()

    def cost(self, seconds: Mapping[str, float], *, parameters: int, size: int) -> None:
        """Log what the trial took.

        Args:
            seconds: Wall time by part, e.g. ``prefill``, ``train``, ``evaluate``, ``overhead``.
            parameters: Of the fuser.
            size: Of the fuser, in bytes.
        """
        times = {f"time/{part}": spent for part, spent in seconds.items()}
        self.summary({**times, "fuser/parameters": parameters, "fuser/bytes": size})

    def objective(self, value: float) -> None:
        """Log what the search maximises; for pruned trials too, else they vanish from charts."""
        self.summary({"objective": value})

    def finish(self, status: Status, *, state: str = "") -> None:
        """Write what is buffered and end the run.

        Args:
            status: How MLflow shows it; see `reconcile.STATUS`.
            state: Optuna's word for it, kept as the tag ``optuna.state``: MLflow has no status
                for a pruned trial.
        """
        if state:
            self.tags({"optuna.state": state})
        self.flush()
        self._client.set_terminated(self.run_id, status)


def _experiment(
    client: MlflowClient, root: Path, name: str, location: str | None, uri: str
) -> Experiment:
    found = client.get_experiment_by_name(name)
    if found is None:
        tags = {"mlflow.experimentKind": "custom_model_development", NOTE: _EXPERIMENT_NOTE}
        if location is None:
            client.create_experiment(name, tags=tags)
        else:
            with FileLock(root / mlflow_store.LOCK):
                if client.get_experiment_by_name(name) is None:
                    client.create_experiment(name, artifact_location=location, tags=tags)
        found = client.get_experiment_by_name(name)
    if found.lifecycle_stage == "deleted":
        raise StoreError(
            "An experiment that was deleted takes no new runs.",
            value=name,
            hint=f"Use another name, or bring it back: MLFLOW_TRACKING_URI='{uri}' mlflow "
            f"experiments restore --experiment-id {found.experiment_id}",
        )
    return found


def this_user() -> str:
    """Who runs this, by the system's name; a container's user id may have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


@cache
def _source_tags() -> dict[str, str]:
    """What `MlflowClient.create_run`, unlike the fluent API, leaves blank in the UI."""
    tags = {"mlflow.source.name": "c2c-search", "mlflow.source.type": "LOCAL"}
    tags["c2c.version"] = c2c_search.__version__
    tags["mlflow.user"] = this_user()
    # Not that of the folder one stands in, as MLflow itself would do it.
    if (commit := source_commit()) is not None:
        tags["mlflow.source.git.commit"] = commit
    return tags
