"""A champion folder made of a published C2C checkpoint; nothing is measured."""

from __future__ import annotations

import json
from datetime import UTC
from datetime import datetime
from pathlib import Path

from c2c_search.champion import package
from c2c_search.fuser import checkpoint as fuser_checkpoint
from c2c_search.fuser.cost import tensor_bytes
from c2c_search.fuser.rosetta import writing
from c2c_search.fuser.shapes import CacheShape
from c2c_search.host.files import disk_errors
from c2c_search.host.files import scratch
from c2c_search.host.source import source_commit
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.manifest import PairIdentity
from c2c_search.inference.manifest import Provenance
from c2c_search.inference.size import Size
from c2c_search.models.cache_dir import require_space
from c2c_search.models.geometry import cache_shape
from c2c_search.models.identity import ResolvedModel
from c2c_search.models.identity import weight_files
from c2c_search.models.loading import resolve
from c2c_search.models.stamps import file_sha256
from c2c_search.tokenization.templates import RoleTemplates
from c2c_search.tokenization.templates import Template


CACHE_DTYPE = "float32"
"""The published code rounds no prompt cache for a store."""


def import_rosetta(
    checkpoint: Path,
    to: Path,
    *,
    receiver: str,
    sharer: str,
    sharer_index: int | None = None,
    template: Template | RoleTemplates = "plain",
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
        template: How a question becomes a prompt, for both models or for each.
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
    fuser = writing.read(
        checkpoint, _shape(receiver_model), _shape(sharer_model), sharer_index=sharer_index
    )
    manifest = Manifest(
        name=f"{writing.LAYOUT}-{provenance.folder}",
        created=provenance.imported,
        c2c_search_version=package.workbench_version(),
        git_commit=source_commit(),
        pair=PairIdentity(receiver=receiver_model.identity, sharer=sharer_model.identity),
        receiver_size=Size.measure(weight_files(receiver_model.path)),
        template=template,
        cache_dtype=CACHE_DTYPE,
        provenance=provenance,
        versions=package.installed_versions(),
    )
    # Beside its place and not among the temporary files, which may have no room for it.
    parent = to.absolute().parent
    with disk_errors(to):
        parent.mkdir(parents=True, exist_ok=True)
        require_space(parent, 2 * tensor_bytes(fuser), "An import, written twice,")
        with scratch(".import", parent) as folder:
            fuser_checkpoint.save(fuser, folder)
            return package.build(to, fuser_dir=folder, manifest=manifest, replace=replace)


def _provenance(checkpoint: Path) -> Provenance:
    return Provenance(
        layout=writing.LAYOUT,
        # Its name alone: the path says more about this machine than about the fuser.
        folder=checkpoint.resolve().name,
        files={path.name: file_sha256(path) for path in writing.files(checkpoint)},
        imported=datetime.now(UTC),
    )


def _shape(model: ResolvedModel) -> CacheShape:
    return cache_shape(json.loads((model.path / "config.json").read_bytes()))
