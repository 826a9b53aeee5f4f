"""The champion in MLflow's model registry, under an alias that moves last.

Nothing is pickled: the model is `champion_pyfunc` as source, and the exported champion.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from c2c_search.champion.context_parameter import declare_contexts
from c2c_search.champion.export import REQUIREMENTS
from c2c_search.champion.export import export
from c2c_search.champion.message_words import message_in_words
from c2c_search.champion.verify import verify as ask_in_isolation
from c2c_search.errors import C2CError
from c2c_search.errors import IntegrityError
from c2c_search.host.files import scratch
from c2c_search.inference.manifest import read_manifest
from c2c_search.inference.sums import SUMS
from c2c_search.inference.sums import check_sums
from c2c_search.models.stamps import file_sha256
from c2c_search.tracking.mlflow_store import store_errors
from c2c_search.tracking.tracker import Tracker
from c2c_search.tracking.tracker import this_user


if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


CHAMPION = "champion"
PREVIOUS = "previous_champion"

_PACKAGE = "c2c.package_sha256"
_TRIAL = "c2c.trial_hash"
_LISTENING = "c2c.listening"
_FORCED = "c2c.forced"
_MOVES = "c2c.moves"
_VALIDATION = "validation"
_PROGRAM = Path(__file__).with_name("champion_pyfunc.py")


def register(
    tracker: Tracker,
    package: Path,
    name: str,
    run_id: str,
    *,
    lead: bool = True,
    forced: str = "",
    verify: Callable[[Path], object] = ask_in_isolation,
) -> str:
    """Register a champion, verify what the registry gives back, and only then promote it.

    Calling it again after an interruption goes on: the same package is registered once.

    Args:
        tracker: Its store holds the registry.
        package: A champion folder.
        name: Of the registered model.
        run_id: The run of the trial that the champion comes from.
        lead: Whether the alias moves to it.
        forced: Why it does although the champion before was not beaten; kept in a tag.
        verify: Given the exported champion as it lies in the registry, raises a `C2CError` if it
            does not answer as it was measured.

    Returns:
        The registered version, e.g. ``"3"``.

    Raises:
        IntegrityError: The package is not as it was written, or was imported and proved nothing.
        StoreError: The registry cannot be written.
        C2CError: From ``verify``; the version stays, tagged as failed, and no alias is moved.
    """
    check_sums(package)
    if read_manifest(package).verdict is None:
        raise IntegrityError(
            "Only a champion that has proved itself in a study is registered.",
            value=str(package),
            hint="It was imported, and nothing was measured: load it from its folder.",
        )
    registered = _find(tracker, name, package) or _create(tracker, package, name, run_id)
    number = str(registered.version)
    try:
        verify(_exported(tracker, registered))
    except C2CError:
        tracker.client.set_model_version_tag(name, number, _VALIDATION, "failed")
        raise
    tracker.client.set_model_version_tag(name, number, _VALIDATION, "passed")
    if forced:
        tracker.client.set_model_version_tag(name, number, _FORCED, forced)
    if lead:
        promote(tracker, name, number, why=forced, forced=bool(forced))
    return number


@dataclass(frozen=True)
class Leader:
    """The registered version that the alias ``champion`` points to.

    Args:
        version: Its number.
        trial_hash: Of the trial that it comes from; empty if that is not on record.
        listening: ``confident`` where its receiver answers alone if it is sure.
    """

    version: str
    trial_hash: str
    listening: str = "always"


def leader(tracker: Tracker, name: str) -> Leader | None:
    """The champion of a registered model; None if it has none, or does not exist.

    Raises:
        StoreError: The registry cannot be read.
    """
    for registered in tracker.client.search_registered_models(_named(name)):
        if (number := registered.aliases.get(CHAMPION)) is not None:
            found = tracker.client.get_model_version(name, str(number))
            listening = found.tags.get(_LISTENING, "always")
            return Leader(str(number), found.tags.get(_TRIAL, ""), listening)
    return None


def previous(tracker: Tracker, name: str) -> str | None:
    """The version that was in use before; None if there was none, or no such model."""
    for registered in tracker.client.search_registered_models(_named(name)):
        if (number := registered.aliases.get(PREVIOUS)) is not None:
            return str(number)
    return None


def promote(
    tracker: Tracker, name: str, number: str, *, why: str = "", forced: bool = False
) -> None:
    """Point the alias ``champion`` at a version; the one it leaves becomes ``previous_champion``.

    Promoting the previous champion rolls back. The version's tag ``c2c.moves`` keeps who did so,
    when, why, and from which version.

    Args:
        tracker: Its store holds the registry.
        name: Of the registered model.
        number: The version.
        why: Kept with the move.
        forced: Whether the version that it leaves was not beaten.

    Raises:
        StoreError: There is no such version, or the registry cannot be written.
    """
    current = tracker.client.get_registered_model(name).aliases.get(CHAMPION)
    if current is not None and str(current) == number:
        return
    # Fails before anything has moved if there is no such version.
    found = tracker.client.get_model_version(name, number)
    move = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "who": this_user(),
        "from": None if current is None else str(current),
        "why": why,
        "forced": forced,
    }
    moves = [*json.loads(found.tags.get(_MOVES, "[]")), move]
    # Before the alias: a move that is on record and did not come about does no harm.
    tracker.client.set_model_version_tag(name, number, _MOVES, json.dumps(moves))
    if current is not None:
        tracker.client.set_registered_model_alias(name, PREVIOUS, str(current))
    tracker.client.set_registered_model_alias(name, CHAMPION, number)


def pip_requirements() -> list[str]:
    """What a registered champion needs, in the versions that are installed here."""
    names = ("mlflow", *(Requirement(text).name for text in REQUIREMENTS))
    # A local version, like +cpu, names an index of its own that may not be at hand elsewhere.
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]


def _find(tracker: Tracker, name: str, package: Path) -> ModelVersion | None:
    found = tracker.client.search_model_versions(_named(name))
    fingerprint = file_sha256(package / SUMS)
    return next((each for each in found if each.tags.get(_PACKAGE) == fingerprint), None)


def _named(name: str) -> str:
    quote = '"' if "'" in name else "'"
    return f"name={quote}{name}{quote}"


def _create(tracker: Tracker, package: Path, name: str, run_id: str) -> ModelVersion:
    from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

    client, manifest = tracker.client, read_manifest(package)
    if not client.search_registered_models(_named(name)):
        client.create_registered_model(name, description="Champions found by c2c-search.")
    model_id = _log_model(tracker, package, name, run_id)
    registered = client.create_model_version(
        name,
        # Not models:/ID, which MLflow would look up in the store of its global state.
        client.get_logged_model(model_id).artifact_location,
        run_id,
        tags={
            _PACKAGE: file_sha256(package / SUMS),
            _TRIAL: manifest.trial_hash,
            _LISTENING: "always" if manifest.listening is None else "confident",
            _VALIDATION: "pending",
        },
        description=f"{manifest.pair.receiver.source} answers, "
        f"{manifest.pair.sharer.source} shares its cache.{message_in_words(manifest)}",
    )
    link = [{"name": name, "version": int(registered.version)}]
    client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(link)})
    return registered


def _log_model(tracker: Tracker, package: Path, name: str, run_id: str) -> str:
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model
    from mlflow.pyfunc import save_model

    client = tracker.client
    logged = client.create_logged_model(tracker.experiment_id, name, run_id)
    try:
        with scratch("c2c-search-register") as folder:
            exported, saved = folder / CHAMPION, folder / "model"
            export(package, exported)
            with store_errors(folder):
                save_model(
                    saved,
                    python_model=_PROGRAM,
                    artifacts={CHAMPION: str(exported)},
                    pip_requirements=pip_requirements(),
                    mlflow_model=Model(
                        artifact_path=logged.artifact_location,
                        run_id=run_id,
                        model_uuid=logged.model_id,
                        model_id=logged.model_id,
                    ),
                )
                declare_contexts(saved)
            client.log_model_artifacts(logged.model_id, str(saved))
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return logged.model_id


def _exported(tracker: Tracker, registered: ModelVersion) -> Path:
    """The exported champion inside a registered version, fetched if the store is not local."""
    from mlflow.artifacts import download_artifacts

    location = tracker.client.get_model_version_download_uri(registered.name, registered.version)
    with store_errors(location):
        local = download_artifacts(artifact_uri=location, tracking_uri=tracker.uri)
    return Path(local) / "artifacts" / CHAMPION
