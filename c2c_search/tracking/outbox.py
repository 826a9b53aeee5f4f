"""Records that a tracking server could not take, kept on disk and delivered in their order."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING
from typing import Any

from c2c_search.errors import StoreError
from c2c_search.host import signals


if TYPE_CHECKING:
    from mlflow import MlflowClient

RETRY_SECONDS = 10.0  # between attempts to deliver
LATER = "c2c.later"  # tag of a run that was begun while the server was away: its name until then
_LATER = "later-"
_PARAMETERS = {
    "log_batch": ("metrics", "params", "tags"),
    "log_inputs": ("datasets",),
    "log_text": ("text", "artifact_file"),
    "log_artifacts": ("local_dir", "artifact_path"),
    "set_terminated": ("status", "end_time"),
    "update_run": ("status", "name"),
}
"""What is written to a run, and the arguments after its id."""
_AWAY = ("TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED")


class Outbox:
    """A client whose writes to runs wait on the disk while the tracking server is away.

    As long as something waits, everything that is written waits behind it. What is read waits
    until the server is back. A run begun meanwhile has a provisional id, which every call here
    understands also when it is known under its own (`resolve`).

    Delivery after a crash may repeat what was delivered: a run is found again by its tag, and
    MLflow keeps a point of a metric with the same time and value once.

    Args:
        client: Bound to the store; raises `StoreError`.
        path: File of what waits; what an earlier start left in it is delivered first.
        notify: Told when the server is away and when it is back.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        client: MlflowClient,
        path: Path,
        *,
        notify: Callable[[str], None] = lambda text: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._path = path
        self._notify = notify
        self._sleep = sleep
        self._waiting = _read(path)
        self._next = 0.0
        self._away = False
        self._own: dict[str, str] = {}

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        if name in _PARAMETERS:
            return partial(self._write, name)
        return partial(self._wait, value) if callable(value) else value

    @property
    def waiting(self) -> int:
        """How many records are not delivered yet."""
        return len(self._waiting)

    def create_run(
        self,
        experiment_id: str,
        start_time: int | None = None,
        tags: Mapping[str, str] | None = None,
        run_name: str | None = None,
    ) -> Any:
        """Begin a run, or keep that it is to begin; it has an id in any case."""
        given = {"start_time": start_time or _now(), "run_name": run_name}
        if not self._waiting:
            try:
                return self._client.create_run(experiment_id, tags=dict(tags or {}), **given)
            except StoreError as error:
                self._gone(error)
        run_id = _LATER + uuid.uuid4().hex
        tags = {**(tags or {}), LATER: run_id}
        self._keep("create_run", run_id, {"experiment_id": experiment_id, "tags": tags, **given})
        empty = SimpleNamespace(metrics={}, tags=tags, params={})
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id), data=empty)

    def resolve(self, run_id: str, experiment_id: str) -> str:
        """A run's own id, also of one that began while the server was away."""
        if run_id.startswith(_LATER) and run_id not in self._own:
            found = self.search_runs([experiment_id], f"tags.`{LATER}` = '{run_id}'")
            if found:
                self._own[run_id] = found[0].info.run_id
        return self._own.get(run_id, run_id)

    def deliver(self, *, now: bool = False) -> bool:
        """Deliver what waits, as far as the server takes it; not again at once after it did not.

        Args:
            now: Try at once all the same.

        Returns:
            Whether nothing waits any more.
        """
        if not self._waiting:
            return True
        if time.monotonic() < self._next and not now:
            return False
        try:
            while self._waiting:
                self._post_first()
        except StoreError as error:
            self._gone(error)
            return False
        # Not before: after a crash all of it is delivered again, which changes nothing.
        self._path.unlink(missing_ok=True)
        self._away = False
        self._notify("The tracking server is back; what was kept is delivered.")
        return True

    def settle(self) -> None:
        """Deliver what waits now; say so if that cannot be, and where it is kept."""
        if not self.deliver(now=True):
            self._notify(f"What {self._path} keeps is delivered by the study's next start.")

    def _write(self, method: str, run_id: str, /, *args: Any, **given: Any) -> None:
        arguments = _encode(method, args, given)
        if self.deliver():
            try:
                self._post(method, run_id, arguments)
                return
            except StoreError as error:
                self._gone(error)
        self._keep(method, run_id, arguments)

    def _wait(self, read: Callable[..., Any], *args: Any, **given: Any) -> Any:
        while True:
            try:
                if self.deliver():
                    return read(*args, **given)
            except StoreError as error:
                self._gone(error)
            signals.check()
            self._sleep(1.0)

    def _post_first(self) -> None:
        """Deliver the oldest record; one that the server refuses, now as ever, is dropped."""
        name, run_id, arguments = self._waiting[0]
        try:
            self._post(name, run_id, arguments)
        except Exception as error:
            if _is_away(error.__cause__):
                raise
            self._notify(f"The tracking server refuses a record ({name}) of {run_id}: {error}")
        del self._waiting[0]

    def _post(self, name: str, run_id: str, arguments: dict[str, Any]) -> None:
        if name == "create_run":
            experiment = arguments["experiment_id"]
            query = f"tags.`{LATER}` = '{run_id}'"
            found = self._client.search_runs([experiment], query)
            run = found[0] if found else self._client.create_run(**arguments)
            self._own[run_id] = run.info.run_id
        elif name != "log_artifacts" or Path(arguments["local_dir"]).exists():
            own = self._own.get(run_id, run_id)
            getattr(self._client, name)(own, **_decode(name, arguments))

    def _gone(self, error: StoreError) -> None:
        """Note that the server is away.

        Raises:
            StoreError: It is not: it refuses what it is asked.
        """
        if not _is_away(error.__cause__):
            raise error
        if not self._away:
            self._away = True
            self._notify(f"The tracking server is away; records are kept in {self._path}.")
        self._next = time.monotonic() + RETRY_SECONDS

    def _keep(self, name: str, run_id: str, arguments: dict[str, Any]) -> None:
        if name == "set_terminated":
            arguments["end_time"] = arguments.get("end_time") or _now()
        self._waiting.append((name, run_id, arguments))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(self._waiting[-1]) + "\n")


def _is_away(error: BaseException | None) -> bool:
    """Whether an error of MLflow's client says that the server cannot be reached, or not now."""
    from requests.exceptions import RequestException

    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, (RequestException, ConnectionError, TimeoutError)):
            return True
        if getattr(error, "error_code", "") in _AWAY:
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


def _read(path: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """What a file keeps; a last line that was cut off is none."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [(name, run_id, arguments) for name, run_id, arguments in map(json.loads, lines)]


def _encode(name: str, args: tuple[Any, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a call, after the run's id, as JSON can hold them."""
    arguments = {**dict(zip(_PARAMETERS[name], args, strict=False)), **given}
    if name == "log_inputs":
        inputs = arguments["datasets"]
        return {"datasets": [[dict(one.dataset), list(map(dict, one.tags))] for one in inputs]}
    if name == "log_batch":
        return {kind: list(map(dict, entities)) for kind, entities in arguments.items()}
    return arguments


def _decode(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The other way round."""
    from mlflow import entities

    if name == "log_inputs":
        inputs = (
            entities.DatasetInput(
                entities.Dataset(**dataset), [entities.InputTag(**tag) for tag in tags]
            )
            for dataset, tags in arguments["datasets"]
        )
        return {"datasets": list(inputs)}
    if name == "log_batch":
        kinds = {"metrics": entities.Metric, "params": entities.Param, "tags": entities.RunTag}
        return {kind: [kinds[kind](**one) for one in many] for kind, many in arguments.items()}
    return dict(arguments)


def _now() -> int:
    return time.time_ns() // 1_000_000
