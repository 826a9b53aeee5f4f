"""An archive that anybody may have written, checked and unpacked as a root of its own.

All that is wrong is told at once, and nothing of it leaves the folder that it is unpacked into.
What passes can be read by every command: that is tried, on the unpacked root, before anything is
written elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from typing import TypeVar

from pydantic import BaseModel
from pydantic import TypeAdapter
from pydantic import ValidationError

from c2c_search.config.trial import TrialConfig
from c2c_search.errors import C2CError
from c2c_search.errors import ConfigError
from c2c_search.errors import Problem
from c2c_search.errors import StoreError
from c2c_search.evaluation.results import SystemResult
from c2c_search.host.names import is_fit
from c2c_search.host.tensor_file import read_header
from c2c_search.host.versioned_names import numbered
from c2c_search.inference.manifest import read_manifest
from c2c_search.inference.sums import check_sums
from c2c_search.space.objective import OBJECTIVE_FILE
from c2c_search.space.objective import Objective
from c2c_search.space.shown import earlier_trials
from c2c_search.study import storage
from c2c_search.study.archive import CONTENTS
from c2c_search.study.archive import KINDS
from c2c_search.study.archive import RUNS
from c2c_search.study.archive import TRIALS
from c2c_search.study.archive import Contents
from c2c_search.study.findings import findings_of
from c2c_search.study.layout import CHAMPIONS
from c2c_search.study.layout import COST
from c2c_search.study.layout import PREPARED
from c2c_search.study.looks import LOOKS
from c2c_search.study.looks import Look
from c2c_search.study.resume import HASH
from c2c_search.study.stored_leaderboard import stored_leaderboard
from c2c_search.study.stored_study import begin_study
from c2c_search.study.stored_study import fill_study
from c2c_search.study.study_page import study_page
from c2c_search.study.succession import PROMOTED
from c2c_search.study.succession import PromotedChampion
from c2c_search.study.verdicts import KEY
from c2c_search.study.verdicts import Verdicts
from c2c_search.tracking.stored_run import StoredRun
from c2c_search.training.protocol import Costs
from c2c_search.training.protocol import Prepared
from c2c_search.training.protocol import Trained


LARGEST = 256 * 2**20
"""Bytes of a JSON file that is read."""

_SPARE = 2**30  # bytes of the disk that stay free
_CHUNK = 2**20
_HINT = "Export the study again with `c2c-search study export STUDY --to FILE.zip`."
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
_RESULTS: dict[str, type[BaseModel]] = {
    "trained": Trained,
    COST: Costs,
    PREPARED: Prepared,
    f"{PROMOTED}.json": PromotedChampion,
    f"{KEY}.json": Verdicts,
}

if TYPE_CHECKING:
    from optuna import Study

_Model = TypeVar("_Model", bound=BaseModel)


def unpack(file: Path, to: Path) -> tuple[Contents, dict[str, StoredRun]]:
    """Check an archive, and lay its content out in a folder as the root of a study.

    Args:
        file: The archive.
        to: An empty folder.

    Returns:
        What the archive says of itself, and its runs by id.

    Raises:
        ConfigError: It is no archive of a study, or not a whole and sound one; every reason.
        StoreError: It cannot be read, or the disk is too small for it.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            contents = _contents(archive, file)
            _refuse(file, [*_strangers(archive, contents), *_misplaced(contents)])
            _check_room(contents, to)
            _refuse(file, list(_extracted(archive, contents, to)))
    except FileNotFoundError:
        raise StoreError("The archive to import must be there.", value=str(file)) from None
    except (IsADirectoryError, *_BROKEN) as error:
        raise _no_archive(file, str(error)) from None
    _refuse(file, list(_unsound(contents, to)))
    runs = {
        run: _model(to / RUNS / f"{run}.json", StoredRun)
        for version in contents.versions
        for run in version.runs
    }
    _refuse(file, list(_unreadable(contents, runs, to)))
    return contents, runs


def _no_archive(file: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"{file.name} must be a whole archive of a study.", value=reason, hint=_HINT
    )


def _refuse(file: Path, problems: list[tuple[str, str]]) -> None:
    if problems:
        found = (Problem(f"{file.name}: {where}", rule) for where, rule in problems)
        raise ConfigError.collect(found)


def _contents(archive: zipfile.ZipFile, file: Path) -> Contents:
    try:
        entry = archive.getinfo(CONTENTS)
    except KeyError:
        raise _no_archive(file, f"it has no {CONTENTS}") from None
    if entry.file_size > LARGEST:
        raise _no_archive(file, f"{CONTENTS} has {entry.file_size:,} bytes")
    try:
        content = json.loads(archive.read(entry))
        if isinstance(content, dict) and content.get("format", 1) != 1:
            raise _no_archive(file, f"it has format {content['format']}, of a newer version")
        return Contents.model_validate(content)
    except RecursionError:
        raise _no_archive(file, f"{CONTENTS} is nested too deeply") from None
    except ValidationError as error:
        _refuse(file, [(f"{CONTENTS}: {where}", rule) for where, rule in _told(error)])
        raise


def _told(error: ValidationError) -> Iterator[tuple[str, str]]:
    for each in error.errors(include_url=False, include_context=False):
        yield ".".join(map(str, each["loc"])), f"{each['msg']}."


def _strangers(archive: zipfile.ZipFile, contents: Contents) -> Iterator[tuple[str, str]]:
    """What the archive holds otherwise than it says."""
    seen: set[str] = set()
    for entry in archive.infolist():
        name = entry.filename
        if name.casefold() in seen:
            yield name, "No path may stand twice."
        seen.add(name.casefold())
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            yield name, "An archive holds regular files alone, no link or device."
        if entry.flag_bits & 1:
            yield name, "No file may be encrypted."
        if name == CONTENTS:
            continue
        if (stored := contents.files.get(name)) is None:
            yield name, f"Every file must be listed in {CONTENTS}."
        elif stored.bytes != entry.file_size:
            yield name, f"It must have {stored.bytes:,} bytes, and has {entry.file_size:,}."
    present = set(archive.namelist())
    for name in contents.files:
        if name not in present:
            yield name, "It must be there, as listed."


def _misplaced(contents: Contents) -> Iterator[tuple[str, str]]:
    """What would lie elsewhere than a study's files do, and names that are of no one study."""
    names = [each.name for each in contents.versions]
    if len({numbered(each)[0] for each in names}) > 1 or sorted(set(names), key=numbered) != names:
        yield CONTENTS, f"It must hold versions of one study, the oldest first, not {names}."
    runs = [run for each in contents.versions for run in each.runs]
    if len(set(runs)) < len(runs):
        yield CONTENTS, "No run may be of two versions."
    for version in contents.versions:
        if version.runs and version.experiment is None:
            yield CONTENTS, f"The experiment of {version.name}'s runs must be named."
    for run in runs:
        if f"{RUNS}/{run}.json" not in contents.files:
            yield f"{RUNS}/{run}.json", "A run that is named must be there."
    of_run = {f"{run}.json" for run in runs}
    for name in contents.files:
        first, second, *rest = [*name.split("/"), "", ""][: max(2, name.count("/") + 1)]
        if first == RUNS and second in of_run and not rest:
            continue
        known = {RUNS: runs, TRIALS: names, CHAMPIONS: names}.get(first, [])
        if second not in known or not rest or not all(map(is_fit, rest)):
            yield name, f"It must lie in {RUNS}/, {TRIALS}/ or {CHAMPIONS}/ of a version listed."
        elif first != CHAMPIONS and not name.endswith(KINDS):
            yield name, f"It must be of a kind that a study writes: {', '.join(KINDS)}."


def _check_room(contents: Contents, to: Path) -> None:
    size, free = sum(each.bytes for each in contents.files.values()), shutil.disk_usage(to).free
    if size > free - _SPARE:
        raise StoreError(
            f"An archive's {size:,} bytes must fit the disk, with 1 GB to spare.",
            value=f"{free:,} bytes free in {to.parent}",
        )


def _extracted(
    archive: zipfile.ZipFile, contents: Contents, to: Path
) -> Iterator[tuple[str, str]]:
    for name, stored in contents.files.items():
        path = to.joinpath(*PurePosixPath(name).parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        try:
            with archive.open(name) as source, path.open("xb") as target:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    target.write(chunk)
        except _BROKEN as error:
            yield name, f"It cannot be read: {error}."
            continue
        if digest.hexdigest() != stored.sha256:
            yield name, "It must have the SHA-256 that is listed."


def _unsound(contents: Contents, root: Path) -> Iterator[tuple[str, str]]:
    """Files that are not what a study writes in their place."""
    for name in contents.files:
        path = root / name
        reason = None
        try:
            _check(path, PurePosixPath(name).parts)
        except ValidationError as error:
            for where, rule in _told(error):
                yield f"{name}: {where}", rule
        except (C2CError, OSError, ValueError) as error:
            reason = str(error)
        except RecursionError:
            reason = "it is nested too deeply"
        if reason is not None:
            yield name, reason
    for version in contents.versions:
        folder = root / CHAMPIONS / version.name
        if folder.exists():
            try:
                check_sums(folder)
                read_manifest(folder)
            except C2CError as error:
                yield f"{CHAMPIONS}/{version.name}", str(error)


def _check(path: Path, parts: tuple[str, ...]) -> None:
    """Raises ValidationError, ValueError or a C2CError."""
    if path.suffix == ".safetensors":
        read_header(path)
    elif path.suffix == ".json":
        model = _model_of(parts)
        found = _json(path) if model is None else _model(path, model)
        if isinstance(found, Trained) and not all(map(is_fit, found.best_dir.split("/"))):
            raise ValueError(
                f"best_dir must be a folder inside the trial's, not {found.best_dir!r}"
            )
    elif path.name == "trial.yaml":
        TrialConfig.from_yaml(path.read_text(encoding="utf-8"), name=path.name)
    elif path.suffix in (".yaml", ".jsonl", ".md", ".txt"):
        path.read_text(encoding="utf-8")


def _model_of(parts: tuple[str, ...]) -> type[BaseModel] | None:
    match parts:
        case ("runs", _):
            return StoredRun
        case ("trials", _, "results", kind, *_):
            return _RESULTS.get(kind, SystemResult)
        case ("trials", _, _, name) if name == OBJECTIVE_FILE:
            return Objective
    return None


def _json(path: Path) -> object:
    if path.stat().st_size > LARGEST:
        raise ValueError(f"it has more than {LARGEST:,} bytes")
    return json.loads(path.read_bytes())


def _model(path: Path, model: type[_Model]) -> _Model:
    return model.model_validate(_json(path))


def _unreadable(
    contents: Contents, runs: dict[str, StoredRun], root: Path
) -> Iterator[tuple[str, str]]:
    """What no command could show; found by showing it, from the unpacked root."""
    for each in runs.values():
        folder = root / "artifacts" / RUNS / each.id
        folder.mkdir(parents=True)
        with suppress(FileNotFoundError):
            (root / RUNS / each.id).rename(folder / "artifacts")
    opened = storage.open_storage(root)
    try:
        for version in contents.versions:
            try:
                study = begin_study(opened, version.name, version.study)
                fill_study(study, version.study, {run: run for run in version.runs})
                _check_attributes(study)
                found = findings_of(study, root)
                stored_leaderboard(found)
                study_page(found)
            except Exception as error:  # whatever is wrong with a foreign study, it is one
                yield (
                    version.name,
                    f"Its trials must be a study's: {type(error).__name__}, {error}",
                )
    finally:
        opened.engine.dispose()


def _check_attributes(study: Study) -> None:
    """Those that later starts read. Raises ValueError."""
    for trial in study.get_trials(deepcopy=False):
        folder = trial.user_attrs.get(HASH, "0")
        if not isinstance(folder, str) or not is_fit(folder):
            raise ValueError(f"a trial's hash cannot be {folder!r}")
    TypeAdapter(list[Look]).validate_python(study.user_attrs.get(LOOKS, []))
    earlier_trials(study)
