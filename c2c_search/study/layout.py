"""Where under the root a study's files lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from c2c_search.errors import StoreError


CHAMPIONS = "champions"
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

    @property
    def worker_log(self) -> Path:
        """What the worker process printed."""
        return self.folder / "worker.log"

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


def champion_folder(root: Path, study: str | None) -> Path:
    """The package of a study's champion.

    Args:
        root: Folder of all stores.
        study: Its name; None for the only one that has a champion.

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
    if study is None and len(studies) > 1:
        raise StoreError(
            "Several studies have a champion.",
            value=studies,
            hint="Name one of them with --study.",
        )
    chosen = study or studies[0]
    if chosen not in studies:
        raise StoreError(
            "That study has no champion.",
            value=chosen,
            hint=f"These have one: {', '.join(studies)}.",
        )
    return folder / chosen
