"""A study of an archive, taken into a root: its trials, files, runs and champion's package."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import ExitStack
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter
from pydantic import ValidationError

from c2c_search.errors import ConfigError
from c2c_search.errors import StoreError
from c2c_search.host.files import disk_errors
from c2c_search.host.files import scratch
from c2c_search.host.files import sync
from c2c_search.host.home import expanded
from c2c_search.host.json_store import JsonStore
from c2c_search.host.versioned_names import MARK
from c2c_search.host.versioned_names import called as said
from c2c_search.host.versioned_names import numbered
from c2c_search.host.versioned_names import versions
from c2c_search.space.declaration import Name
from c2c_search.study import overview
from c2c_search.study import storage
from c2c_search.study.archive import RUNS
from c2c_search.study.archive import TRIALS
from c2c_search.study.archive import StoredVersion
from c2c_search.study.archive_reading import unpack
from c2c_search.study.layout import CHAMPIONS
from c2c_search.study.layout import StudyFiles
from c2c_search.study.layout import refuse_namesake
from c2c_search.study.stored_study import begin_study
from c2c_search.study.stored_study import fill_study
from c2c_search.study.succession import PROMOTED
from c2c_search.study.succession import PromotedChampion
from c2c_search.study.upkeep import erase
from c2c_search.tracking import Tracker
from c2c_search.tracking.reconcile import RUN_ID
from c2c_search.tracking.stored_run import PARENT
from c2c_search.tracking.stored_run import begin_run
from c2c_search.tracking.stored_run import fill_run


if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage

    from c2c_search.tracking.stored_run import StoredRun


def import_archive(
    file: Path,
    root: Path,
    *,
    name: str | None = None,
    url: str | None = None,
    tracking_uri: str | None = None,
) -> list[str]:
    """Take a study, with its earlier versions, out of an archive.

    It is checked as a whole before anything is written, and then there as a whole or not at all;
    what a killed import has left is removed by the next one, or by `upkeep.remove`.

    Args:
        file: The archive.
        root: Folder of all stores; made if it is not there.
        name: What the study is to be called here; as in the archive if None.
        url: Of the database of trials, in place of the file under the root.
        tracking_uri: Of MLflow's store, in place of the one under the root.

    Returns:
        Names of the versions that were taken in, the oldest first.

    Raises:
        ConfigError: It is no sound archive of a study, or the name cannot be one.
        StoreError: A study of that name is there, or a store or the disk cannot be written.
    """
    file, root = expanded(file), expanded(root).resolve()
    if name is not None:
        _check_name(name)
    there = root.is_dir()
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        try:
            with scratch(".import", root) as folder:
                contents, runs = unpack(file, folder)
                sync(folder)
                entering = _Entering(root, folder, runs, url, tracking_uri)
                called = [_called(each.name, name) for each in contents.versions]
                entering.take_in(dict(zip(called, contents.versions, strict=True)))
                return called
        except BaseException:
            if not there and not any(root.iterdir()):
                root.rmdir()
            raise


def _check_name(name: str) -> None:
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        raise ConfigError(
            "A study's name has letters, digits, dot, dash and underscore.", value=name
        ) from None


def _called(version: str, name: str | None) -> str:
    number = numbered(version)[1]
    if name is None:
        return version
    return name if number == 1 else f"{name}{MARK}{number}"


class _Entering:
    """An unpacked archive on its way into a root.

    Args:
        root: Folder of all stores.
        unpacked: The archive as a root of its own.
        runs: Of the archive, by id.
        url: Of the database of trials.
        uri: Of MLflow's store.
    """

    def __init__(
        self,
        root: Path,
        unpacked: Path,
        runs: dict[str, StoredRun],
        url: str | None,
        uri: str | None,
    ) -> None:
        self._root = root
        self._unpacked = unpacked
        self._runs = runs
        self._opened: RDBStorage = storage.open_storage(root, url)
        self._uri = uri

    def take_in(self, studies: dict[str, StoredVersion]) -> None:
        """Take in all versions or, where anything goes wrong, none."""
        from mlflow.exceptions import MlflowException

        files = [StudyFiles(self._root, each) for each in studies]
        with ExitStack() as stack:
            with storage.one_at_a_time(self._root, self._opened):
                self._refuse_known(list(studies))
                for each in files:
                    stack.enter_context(self._claimed(each))
            try:
                for (name, version), each in zip(studies.items(), files, strict=True):
                    self._version(name, version, each)
            except BaseException as error:
                for each in files:
                    erase(each, self._opened, self._uri, champion=True)
                if isinstance(error, MlflowException):
                    raise ConfigError(
                        "The runs of an archive must be such as MLflow takes.", value=str(error)
                    ) from None
                raise
            for each in files:
                each.importing.unlink()

    @contextmanager
    def _claimed(self, files: StudyFiles) -> Iterator[None]:
        """Hold a name, on which nobody else goes on, without what a killed import left there."""
        if files.importing.exists():
            with storage.sole_driver(self._root, files.study, self._opened):
                erase(files, self._opened, self._uri, champion=True)
        files.folder.mkdir(parents=True, exist_ok=True)
        files.importing.touch()
        with storage.sole_driver(self._root, files.study, self._opened):
            yield

    def _refuse_known(self, names: Sequence[str]) -> None:
        known = overview.study_names(self._opened)
        base = numbered(names[0])[0]
        taken = versions(known, base)
        for name in names:
            files = StudyFiles(self._root, name)
            if files.importing.exists():
                taken = [each for each in taken if each != name]
            elif name not in known and (files.folder.exists() or files.champion.exists()):
                lies = files.folder if files.folder.exists() else files.champion
                raise StoreError(
                    "Files of no study lie where the imported one's are to be.",
                    value=str(lies),
                    hint="Move them away, or give the study another name with --as NAME.",
                )
            refuse_namesake(files)
        if taken:
            raise StoreError(
                "A study of that name is there, and is not replaced.",
                value=", ".join(dict.fromkeys(taken)),
                hint="Give the imported one another name with --as NAME, or remove that one with "
                f"`c2c-search study rm {said(known, taken[0])}`.",
            )

    def _version(self, name: str, version: StoredVersion, files: StudyFiles) -> None:
        study = begin_study(self._opened, name, version.study)
        runs = self._recorded(name, version, study)
        source = self._unpacked / TRIALS / version.name
        for child in sorted(source.iterdir()) if source.is_dir() else ():
            child.rename(files.folder / child.name)
        package = self._unpacked / CHAMPIONS / version.name
        if package.is_dir():
            files.champion.parent.mkdir(exist_ok=True)
            package.rename(files.champion)
        _unregistered(files)
        fill_study(study, version.study, runs)

    def _recorded(self, name: str, version: StoredVersion, study: Study) -> dict[str, str]:
        """The ids that the runs of a version have here, by those in the archive."""
        if not version.runs or version.experiment is None:
            return {}
        tracker = Tracker.open(self._root, version.experiment, uri=self._uri)
        own, *others = (self._runs[each] for each in version.runs)
        called = {"optuna.study_name": name}
        if name != version.name:
            own = own.model_copy(update={"name": f"study: {name}"})
        made = {own.id: begin_run(tracker.client, tracker.experiment_id, own, called)}
        # At once: by it `erase` finds what is below, too.
        study.set_user_attr(RUN_ID, made[own.id])
        for run in others:
            tags = called | {PARENT: made[own.id]}
            made[run.id] = begin_run(tracker.client, tracker.experiment_id, run, tags)
        for run in (own, *others):
            artifacts = self._unpacked / "artifacts" / RUNS / run.id / "artifacts"
            fill_run(tracker.client, made[run.id], run, artifacts)
        return made


def _unregistered(files: StudyFiles) -> None:
    """Say of an imported champion that this registry does not know it yet."""
    store = JsonStore(files.results)
    known = store.load(PROMOTED, PromotedChampion)
    if known is not None:
        here = {"folder": files.champion, "version": "", "leads": False}
        store.save(PROMOTED, known.model_copy(update=here))
