"""A champion folder as one checked object: sums, manifest, configuration and weights' header."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from c2c_search.errors import IntegrityError
from c2c_search.errors import SourceError
from c2c_search.errors import in_yaml
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.stored import CONFIG_NAME
from c2c_search.inference.manifest import MANIFEST
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.manifest import read_manifest
from c2c_search.inference.sums import check_sums
from c2c_search.models.sources import parse_source
from c2c_search.plugins import foreign_file


if TYPE_CHECKING:
    from c2c_search.fuser.stored import StoredConfig


@dataclass(frozen=True)
class CheckedChampion:
    """What a champion folder says of itself, every value that stands twice being the same.

    Args:
        folder: The folder.
        manifest: Where it comes from.
        stored: Its fuser's configuration.
    """

    folder: Path
    manifest: Manifest
    stored: StoredConfig


def read_champion(folder: Path) -> CheckedChampion:
    """Read and check a champion folder, before any model or tensor is loaded.

    Raises:
        IntegrityError: Names the file, the value and the rule.
    """
    from c2c_search.fuser.checkpoint import check

    check_sums(folder)
    manifest = read_manifest(folder)
    with foreign_file():
        stored = check(folder)
        if manifest.trial is not None:
            _check_trial(manifest, manifest.trial, stored)
    return CheckedChampion(folder, manifest, stored)


def _check_trial(manifest: Manifest, trial: dict[str, object], stored: StoredConfig) -> None:
    try:
        # As JSON: only there is a list a tuple, and nothing else is coerced.
        told = FuserConfig.model_validate_json(json.dumps(trial.get("fuser")), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("trial.fuser", *first["loc"])))
        raise _refused(f"{where}: {first['msg']}") from None
    here, there = stored.fuser, told
    if differences := [
        name for name in FuserConfig.model_fields if getattr(here, name) != getattr(there, name)
    ]:
        raise _refused(
            "; ".join(
                f"trial.fuser.{name} is {in_yaml(getattr(there, name))}, and fuser.{name} of "
                f"{CONFIG_NAME} {in_yaml(getattr(here, name))}"
                for name in differences
            )
        )
    pair = trial.get("pair")
    for side in ("receiver", "sharer"):
        source = pair.get(side) if isinstance(pair, dict) else None
        known = getattr(manifest.pair, side).source
        if not isinstance(source, str) or not _same_source(source, known):
            raise _refused(
                f"trial.pair.{side} is {in_yaml(source)}, and pair.{side}.source {known!r}"
            )


def _same_source(one: str, other: str) -> bool:
    try:
        return str(parse_source(one)) == str(parse_source(other))
    except SourceError:
        return False


def _refused(value: str) -> IntegrityError:
    return IntegrityError(
        f"{MANIFEST} must say of the trial what the champion's other values say.",
        value=value,
        hint="Copy or export the champion again.",
    )
