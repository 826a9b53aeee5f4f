"""The two models of a champion, in its folder instead of fetched, or pinned to their revisions."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from c2c_search.models.cache_dir import require_space
from c2c_search.models.loading import resolve
from c2c_search.models.sources import HubSource
from c2c_search.models.sources import parse_source


if TYPE_CHECKING:
    from c2c_search.models.identity import ModelIdentity


MODELS = "models"
"""Folder beside a champion's fuser that holds ``receiver/`` and ``sharer/``, if it does."""

_DOCUMENTS = ("LICEN[CS]E*", "NOTICE*", "*TERMS*", "README.md", "generation_config.json")


def bundle(identity: ModelIdentity, folder: Path) -> None:
    """Copy the files that a model is read from, and the terms that came with it.

    Args:
        identity: Of the model.
        folder: To copy into; made here.

    Raises:
        SourceError: The model cannot be found or fetched.
        StoreError: The disk is too small.
    """
    found = resolve(pinned(identity))
    files = [found.path / stamp.name for stamp in found.files]
    require_space(folder, sum(file.stat().st_size for file in files), "A model that is bundled")
    folder.mkdir(parents=True)
    more = {file for pattern in _DOCUMENTS for file in found.path.glob(pattern) if file.is_file()}
    for file in {*files, *more}:
        shutil.copyfile(file, folder / file.name)


def source_in(folder: Path, role: str, identity: ModelIdentity) -> str:
    """Where a champion's model is loaded from: its own folder, or as it was recorded.

    Args:
        folder: The champion's.
        role: ``receiver`` or ``sharer``.
        identity: As recorded.
    """
    own = folder / MODELS / role
    return f"path:{own.absolute()}" if own.is_dir() else pinned(identity)


def pinned(identity: ModelIdentity) -> str:
    """A model's source; of a repository on the hub, at the revision that was recorded."""
    source = parse_source(identity.source)
    if isinstance(source, HubSource) and source.revision is None and identity.revision:
        return str(HubSource(source.repo, identity.revision))
    return identity.source
