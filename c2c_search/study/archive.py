"""A study as one file, to be taken to another root: a zip of JSON and of the files as they lie.

``archive.json`` holds what Optuna knows and lists every file with its length and SHA-256;
``runs/ID.json`` is a run of MLflow, ``runs/ID/`` its files; ``trials/NAME/`` and
``champions/NAME/`` lie as under a root. Nothing in it is pickled.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO
from typing import TYPE_CHECKING
from typing import Annotated
from typing import Literal

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import StringConstraints

from c2c_search.champion.package import workbench_version
from c2c_search.errors import ConfigError
from c2c_search.host.files import disk_errors
from c2c_search.host.files import replacing
from c2c_search.host.files import scratch
from c2c_search.host.home import expanded
from c2c_search.host.names import is_fit
from c2c_search.host.versioned_names import called
from c2c_search.host.versioned_names import numbered
from c2c_search.host.versioned_names import versions
from c2c_search.space.declaration import LONGEST_NAME
from c2c_search.study import overview
from c2c_search.study.layout import CHAMPIONS
from c2c_search.study.layout import StudyFiles
from c2c_search.study.storage import sole_driver
from c2c_search.study.stored_study import StoredStudy
from c2c_search.study.stored_study import read_study
from c2c_search.tracking import Tracker
from c2c_search.tracking import mlflow_store
from c2c_search.tracking.reconcile import RUN_ID
from c2c_search.tracking.stored_run import read_run


if TYPE_CHECKING:
    from mlflow import MlflowClient
    from optuna import Study

CONTENTS = "archive.json"
RUNS = "runs"
TRIALS = "trials"
SUFFIX = ".zip"
KINDS = (".json", ".jsonl", ".md", ".png", ".safetensors", ".txt", ".yaml")
"""Endings of what a study and its runs keep; a champion's package holds more."""

_CHUNK = 2**20
_DAY = (1980, 1, 1, 0, 0, 0)

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class StoredFile(BaseModel):
    """Length and SHA-256 of a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int = Field(ge=0)
    sha256: Sha256


class StoredVersion(BaseModel):
    """A version of the study.

    Args:
        name: Of the version.
        study: What Optuna knows of it.
        experiment: Of MLflow, where its runs are; None if there are none.
        parent: The study's own run.
        runs: Ids of its runs, the parent first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[
        str,
        StringConstraints(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(@[0-9]{1,6})?$", max_length=LONGEST_NAME + 7
        ),
    ]
    study: StoredStudy
    experiment: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    runs: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")], ...] = ()


class Contents(BaseModel):
    """What an archive says of itself.

    Args:
        format: Of the archive.
        version: Of the workbench that wrote it.
        versions: Of one study, the oldest first.
        files: All but ``archive.json``, by path.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    version: str
    versions: tuple[StoredVersion, ...] = Field(min_length=1)
    files: dict[str, StoredFile]


def write_archive(
    root: Path, name: str, to: Path, *, url: str | None = None, tracking_uri: str | None = None
) -> list[str]:
    """Write a study, with the versions before it, into one file.

    Args:
        root: Folder of all stores.
        name: Of the study.
        to: The file.
        url: Of the database of trials, in place of the file under the root.
        tracking_uri: Of MLflow's store, in place of the one under the root.

    Returns:
        Names of the versions in it, the oldest first.

    Raises:
        ConfigError: The file cannot be one.
        StoreError: The study is driven now, there is none of that name, or a disk is full.
    """
    opened = overview.open_existing(root, url)
    root = expanded(root).resolve()
    asked = overview.load(opened, name).study_name
    known = versions(overview.study_names(opened), numbered(asked)[0])
    names = known[: known.index(asked) + 1]
    if to.exists() and not to.is_file():
        raise ConfigError("A study is written into a file.", value=str(to))
    client = None
    if tracking_uri or (root / mlflow_store.DATABASE).is_file():
        client = mlflow_store.connect(mlflow_store.open_store(root, uri=tracking_uri))
    with disk_errors(to), ExitStack() as stack:
        for each in names:
            stack.enter_context(sole_driver(root, each, opened))
        to.parent.mkdir(parents=True, exist_ok=True)
        with replacing(to) as partial, zipfile.ZipFile(partial, "w") as archive:
            writer = _Writer(archive)
            found = [
                writer.version(root, overview.load(opened, called(known, each)), client)
                for each in names
            ]
            contents = Contents(
                version=workbench_version(), versions=tuple(found), files=writer.files
            )
            writer.text(CONTENTS, _json(contents))
    return names


def _json(content: BaseModel) -> str:
    # Not pydantic's own writer, which makes NaN a null that cannot be read back.
    return json.dumps(content.model_dump(mode="json"), separators=(",", ":")) + "\n"


class _Writer:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.files: dict[str, StoredFile] = {}

    def version(self, root: Path, study: Study, client: MlflowClient | None) -> StoredVersion:
        name = study.study_name
        files = StudyFiles(root, name)
        self._folder(f"{TRIALS}/{name}", files.folder, KINDS)
        self._folder(f"{CHAMPIONS}/{name}", files.champion, None)
        experiment: str | None = None
        runs: list[str] = []
        parent = study.user_attrs.get(RUN_ID)
        if client is not None and parent is not None:
            experiment, runs = self._runs(client, parent)
        return StoredVersion(
            name=name, study=read_study(study), experiment=experiment, runs=tuple(runs)
        )

    def _runs(self, client: MlflowClient, parent: str) -> tuple[str | None, list[str]]:
        names = {each.experiment_id: each.name for each in client.search_experiments()}
        own = client.search_runs([*names], f"attributes.run_id = '{parent}'") if names else []
        if not own:  # removed in the UI
            return None, []
        experiment = client.get_experiment(own[0].info.experiment_id)
        found = [own[0], *Tracker(client, experiment, "").children(parent)]
        for run in found:
            run_id = run.info.run_id
            self.text(f"{RUNS}/{run_id}.json", _json(read_run(client, run)))
            if client.list_artifacts(run_id):
                with scratch("c2c-search-export") as folder:
                    client.download_artifacts(run_id, "", str(folder))
                    self._folder(f"{RUNS}/{run_id}", folder, KINDS)
        return names[experiment.experiment_id], [run.info.run_id for run in found]

    def _folder(self, place: str, folder: Path, kinds: tuple[str, ...] | None) -> None:
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            # Locks, notes of who drives, candidates of a killed start: of this machine alone.
            kept = all(map(is_fit, inside.parts)) and inside.parts[0] != "candidate"
            if path.is_symlink() or not path.is_file() or not kept:
                continue
            if kinds is None or path.suffix in kinds:
                self._file(f"{place}/{inside.as_posix()}", path)

    def _file(self, name: str, path: Path) -> None:
        digest, length = hashlib.sha256(), 0
        with (
            path.open("rb") as source,
            self._archive.open(_entry(name), "w", force_zip64=True) as to,
        ):
            for chunk in _chunks(source):
                digest.update(chunk)
                length += len(chunk)
                to.write(chunk)
        self.files[name] = StoredFile(bytes=length, sha256=digest.hexdigest())

    def text(self, name: str, text: str) -> None:
        content = text.encode()
        self._archive.writestr(_entry(name), content)
        self.files[name] = StoredFile(
            bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
        )


def _chunks(source: IO[bytes]) -> Iterator[bytes]:
    while chunk := source.read(_CHUNK):
        yield chunk


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _DAY)
    entry.external_attr = 0o644 << 16
    # What a fuser learned is noise to deflate.
    small = name.endswith((".safetensors", ".png"))
    entry.compress_type = zipfile.ZIP_STORED if small else zipfile.ZIP_DEFLATED
    return entry
