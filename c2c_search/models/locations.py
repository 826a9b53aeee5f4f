"""Where on this machine a source's model lies, or will lie once it is fetched."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from c2c_search.errors import SourceError
from c2c_search.models.catalogue import CatalogueModel
from c2c_search.models.sources import GgufSource
from c2c_search.models.sources import HubSource
from c2c_search.models.sources import PathSource


def key_of(text: str) -> str:
    """A file name for any text: 24 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def catalogue_folder(model: CatalogueModel, cache: Path) -> Path:
    """Where a model of the catalogue is kept once it is converted."""
    return cache / "models" / f"{model.name}-{model.gguf_sha256[:12]}"


def identity_record(source: HubSource, cache: Path) -> Path:
    """Where the snapshot is noted that a hub's source was resolved to."""
    return cache / "identities" / f"{key_of(str(source))}.json"


def model_folder(source: PathSource) -> Path:
    """The folder itself.

    Raises:
        SourceError: It does not exist.
    """
    return _existing(source.path, "path: needs a folder that exists.", Path.is_dir)


def gguf_file(source: GgufSource) -> Path:
    """The file itself.

    Raises:
        SourceError: It does not exist.
    """
    return _existing(source.path, "gguf: needs a file that exists.", Path.is_file)


def _existing(path: Path, rule: str, there: Callable[[Path], bool]) -> Path:
    try:
        if there(path):
            return path.absolute()
    except (OSError, ValueError):  # a name that nothing on a disk can have
        pass
    hint = f"It was looked for in {Path.cwd()}."
    if path.is_absolute():
        hint = "If it was moved, move it back or link it there; what counts is its content."
    raise SourceError(rule, value=str(path), hint=hint)
