"""The models that the cache folder keeps: what each is, how large, and how to remove one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.errors import SourceError
from c2c_search.errors import suggestion
from c2c_search.models.cache_dir import Notify
from c2c_search.models.cache_dir import exclusive
from c2c_search.models.identity import RECORD
from c2c_search.models.identity import read_record


class KeptModel(BaseModel):
    """A model of which the cache folder keeps something.

    Args:
        source: As pairs name it.
        kind: ``converted``: its weights lie in the cache folder; ``known``: in the hub's cache or
            a folder of the user's, and only its hashes are kept here.
        folder: Where its weights are.
        size: Bytes of it; 0 where the folder is gone.
        revision: Commit or version.
        licence: As its publisher states it.
        present: Whether the weights are there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    kind: Literal["converted", "known"]
    folder: str
    size: int
    revision: str | None
    licence: str
    present: bool


def kept_models(cache: Path) -> list[KeptModel]:
    """All of them, by source.

    Args:
        cache: The cache folder; see `default_cache_dir`.
    """
    return sorted((each for each, _ in _kept(cache)), key=lambda each: each.source)


def kept_model(cache: Path, source: str) -> KeptModel:
    """The model of a source.

    Raises:
        SourceError: Nothing is kept of such a model.
    """
    return _kept_one(cache, source)[0]


def remove_model(cache: Path, source: str, notify: Notify) -> KeptModel:
    """Remove a model's converted weights, or what is kept of one that lies elsewhere.

    A folder that is not the cache's is never touched. A fetch of the same model is waited for.

    Raises:
        SourceError: Nothing is kept of such a model.
    """
    model, path = _kept_one(cache, source)
    folder = path.parent
    if model.kind == "known":
        path.unlink()
    else:
        with exclusive(cache / "locks" / f"{folder.name}.lock", source, notify):
            # Without its record a half-removed model is fetched again, never trusted.
            path.unlink()
            shutil.rmtree(folder)
    return model


def _kept_one(cache: Path, source: str) -> tuple[KeptModel, Path]:
    kept = _kept(cache)
    for each in kept:
        if each[0].source == source:
            return each
    raise SourceError(
        "That must be the source of a model in the cache.",
        value=source,
        hint=suggestion(source, [each.source for each, _ in kept])
        or "There is none; `c2c-search models ls` lists them.",
    )


def forget_gone(cache: Path) -> list[KeptModel]:
    """Remove what is kept of models whose folders are gone; what was removed."""
    gone = [(model, path) for model, path in _kept(cache) if not model.present]
    for _, path in gone:
        path.unlink(missing_ok=True)
    return [model for model, _ in gone]


def _kept(cache: Path) -> list[tuple[KeptModel, Path]]:
    """Models, each with the record that names it."""
    converted = [(path, path.parent) for path in (cache / "models").glob(f"*/{RECORD}")]
    known = [(path, None) for path in (cache / "identities").glob("*.json")]
    found = []
    for path, folder in (*sorted(converted), *sorted(known)):
        record = read_record(path)
        if record is None:
            continue
        where = folder or Path(record.folder or record.identity.source.partition(":")[2])
        present = where.is_absolute() and (where / "config.json").is_file()
        model = KeptModel(
            source=record.identity.source,
            kind="converted" if folder else "known",
            folder=str(where),
            size=_size(where) if present else 0,
            revision=record.identity.revision,
            licence=record.identity.licence,
            present=present,
        )
        found.append((model, path))
    return found


def _size(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
