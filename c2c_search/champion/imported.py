"""Champion room: a champion folder made of a published C2C checkpoint; nothing is measured."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC
from datetime import datetime
from pathlib import Path

from c2c_search.champion import package
from c2c_search.fuser import checkpoint as fuser_checkpoint
from c2c_search.fuser import rosetta
from c2c_search.fuser.config import CacheShape
from c2c_search.fuser.cost import tensor_bytes
from c2c_search.inference.integrity import Manifest
from c2c_search.inference.integrity import PairIdentity
from c2c_search.inference.integrity import Provenance
from c2c_search.inference.integrity import Size
from c2c_search.inference.integrity import sha256
from c2c_search.pair.geometry import cache_shape
from c2c_search.pair.identity import ResolvedModel
from c2c_search.pair.identity import weight_files
from c2c_search.pair.loading import resolve
from c2c_search.pair.model_cache import require_space
from c2c_search.pair.prompts import Template


CACHE_DTYPE = "float32"
"""The published code rounds no prompt cache for a store."""


def import_rosetta(
    checkpoint: Path,
    to: Path,
    *,
    receiver: str,
    sharer: str,
    sharer_index: int | None = None,
    template: Template = "plain",
    replace: bool = False,
    cache_dir: Path | None = None,
) -> Path:
    """Make a champion folder of a checkpoint in the published layout.

    The layout does not say which two models it was trained between: whoever imports must know,
    and only what their sizes betray can be checked here.

    Args:
        checkpoint: Folder in the published layout.
        to: Folder to write; see `champion.package.build` for what it may hold.
        receiver: Source of the model that answers.
        sharer: Source of the model that speaks.
        sharer_index: Which sharer of the checkpoint, where it holds several.
        template: How a question becomes a prompt.
        replace: Whether a folder that holds another champion may be replaced.
        cache_dir: As for `pair.loading.resolve`.

    Returns:
        ``to``.

    Raises:
        IntegrityError: The checkpoint is not whole, or does not fit the two models.
        ConfigError: The checkpoint holds several sharers and none was chosen, or a model has no
            plain key-value cache.
        SourceError: A model cannot be had.
        StoreError: ``to`` holds something else or cannot be written.
    """
    # First, so that a wrong folder is told before any model is fetched.
    provenance = _provenance(checkpoint)
    receiver_model = resolve(receiver, cache_dir=cache_dir)
    sharer_model = resolve(sharer, cache_dir=cache_dir)
    fuser = rosetta.read(
        checkpoint, _shape(receiver_model), _shape(sharer_model), sharer_index=sharer_index
    )
    manifest = Manifest(
        name=f"{rosetta.LAYOUT}-{provenance.folder}",
        created=provenance.imported,
        c2c_search_version=package.workbench_version(),
        git_commit=package.source_commit(),
        pair=PairIdentity(receiver=receiver_model.identity, sharer=sharer_model.identity),
        receiver_size=Size.measure(weight_files(receiver_model.path)),
        template=template,
        cache_dtype=CACHE_DTYPE,
        provenance=provenance,
        versions=package.installed_versions(),
    )
    # Beside its place and not among the temporary files, which may have no room for it.
    parent = to.absolute().parent
    with package.disk_errors(to):
        parent.mkdir(parents=True, exist_ok=True)
        require_space(parent, 2 * tensor_bytes(fuser), "An import, written twice,")
        with tempfile.TemporaryDirectory(prefix=".import-", dir=parent) as folder:
            fuser_checkpoint.save(fuser, Path(folder))
            return package.build(to, fuser_dir=Path(folder), manifest=manifest, replace=replace)


def _provenance(checkpoint: Path) -> Provenance:
    return Provenance(
        layout=rosetta.LAYOUT,
        # Its name alone: the path says more about this machine than about the fuser.
        folder=checkpoint.resolve().name,
        files={path.name: sha256(path) for path in rosetta.files(checkpoint)},
        imported=datetime.now(UTC),
    )


def _shape(model: ResolvedModel) -> CacheShape:
    return cache_shape(json.loads((model.path / "config.json").read_bytes()))
