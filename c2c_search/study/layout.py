"""Where under the root a study's files lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from c2c_search.errors import StoreError
from c2c_search.host.versioned_names import meant
from c2c_search.host.versioned_names import numbered


CHAMPIONS = "champions"
COST = "cost"
PREPARED = "prepared"


@dataclass(frozen=True)
class StudyFiles:
    """Paths of one study.

    Args:
        root: Folder of all stores, e.g. ``mlruns``.
        study: The study's name.
    """

    root: Path
    study: str

    @property
    def folder(self) -> Path:
        """Everything of this study that isn't in a database."""
        return self.root / "trials" / self.study

    @property
    def results(self) -> Path:
        """Finished measurements, for the store."""
        return self.folder / "results"

    @property
    def begun(self) -> bool:
        """Whether anything was trained or measured; models that were prepared are no result."""
        prepared = self.results / PREPARED
        return any(prepared not in path.parents for path in self.results.rglob("*.json"))

    def worker_log(self, index: int = 0) -> Path:
        """What a worker's process printed.

        Args:
            index: Which worker, from 0.
        """
        return self.folder / ("worker.log" if index == 0 else f"worker-{index + 1}.log")

    @property
    def outbox(self) -> Path:
        """Records that a tracking server could not take yet."""
        return self.folder / "outbox.jsonl"

    @property
    def stop(self) -> Path:
        """Asks the driver to stop when what has begun has ended."""
        return self.folder / ".stop"

    @property
    def phase(self) -> Path:
        """What the driver that leads is at; of one that has gone it says nothing."""
        return self.folder / ".phase"

    @property
    def importing(self) -> Path:
        """Is there while the study is being imported, or where that was cut short."""
        return self.folder / ".importing"

    @property
    def champion(self) -> Path:
        """The package that was promoted."""
        return self.root / CHAMPIONS / self.study

    def trial(self, name: str) -> Path:
        """Folder of a training's checkpoints and of what it learns; equal ones share it.

        Args:
            name: `training.protocol.Train.name`: of a trial its hash.
        """
        return self.folder / name


def refuse_namesake(files: StudyFiles) -> None:
    """Refuse a study whose folder another one's is, where file systems fold case.

    Raises:
        StoreError: A study of the same name in other capital letters lies under this root.
    """
    for folder in files.folder.parent.glob("*"):
        if folder.name != files.study and folder.name.casefold() == files.study.casefold():
            raise StoreError(
                "Names of studies must differ by more than capital letters, since many file "
                "systems do not tell these apart.",
                value=f"{files.study}, beside {folder.name}",
                hint="Give the space another name under `study:`.",
            )


def champion_folder(root: Path, study: str | None) -> Path:
    """The package of a study's champion.

    Args:
        root: Folder of all stores.
        study: Its name, alone that of its newest version with a champion; None for the only
            study that has one.

    Raises:
        StoreError: There is no champion, or more than one to choose from.
    """
    folder = root / CHAMPIONS
    studies = sorted(path.name for path in folder.glob("*") if not path.name.startswith("."))
    if not studies:
        raise StoreError(
            "A study must have promoted a champion.",
            value=str(folder),
            hint="Run `c2c-search study` first, or name the folder it wrote to with --root.",
        )
    names = sorted({numbered(each)[0] for each in studies})
    if study is None and len(names) > 1:
        raise StoreError(
            "Several studies have a champion.",
            value=studies,
            hint="Name one of them with --study.",
        )
    chosen = meant(studies, study or names[0])
    if chosen not in studies:
        raise StoreError(
            "That study has no champion.",
            value=study,
            hint=f"These have one: {', '.join(studies)}.",
        )
    return folder / chosen
