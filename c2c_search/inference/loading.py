"""A champion folder, loaded: its two models and the fuser that joins them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from c2c_search.errors import ConfigError
from c2c_search.fuser.checkpoint import load as load_fuser
from c2c_search.host.dtypes import default_dtype
from c2c_search.host.dtypes import recorded_dtype
from c2c_search.inference.checked_champion import read_champion
from c2c_search.inference.manifest import verify_compatibility
from c2c_search.models import geometry
from c2c_search.models.attention_maps import adaptable_shape
from c2c_search.models.bundled import source_in
from c2c_search.models.cache_dir import print_notice


if TYPE_CHECKING:
    from c2c_search.fuser.fuser import Fuser
    from c2c_search.fuser.shapes import CacheShape
    from c2c_search.fuser.shapes import Source
    from c2c_search.inference.doubt import Listening
    from c2c_search.inference.manifest import Manifest
    from c2c_search.models.loading import LoadedModel
    from c2c_search.tokenization.templates import RoleTemplates
    from c2c_search.tokenization.templates import Template


@dataclass(frozen=True)
class LoadedChampion:
    """What a champion folder holds or names; see `C2CModel` for the arguments."""

    receiver: LoadedModel
    sharer: LoadedModel
    fuser: Fuser
    template: Template | RoleTemplates
    cache_dtype: torch.dtype
    date: str | None
    draft_template: Template | None
    listening: Listening | None


def open_champion(
    directory: str | Path,
    device: torch.device | str | None,
    dtype: torch.dtype | None = None,
) -> LoadedChampion:
    """Check a champion folder and load what it names, to compute as it was measured.

    Args:
        directory: The folder.
        device: Where to run; a GPU if there is one, when None.
        dtype: What both models compute in; as it was measured (`champion_dtype`), when None.

    Raises:
        ConfigError: C2C_SEARCH_DTYPE names no dtype.
        IntegrityError: The folder's bytes, or the models, are not those that were measured, or
            a value is none that a champion can have.
        SourceError: A model cannot be fetched or read.
    """
    from c2c_search.models.loading import default_device
    from c2c_search.models.loading import load

    directory = Path(directory)
    manifest = read_champion(directory).manifest
    fuser = load_fuser(directory)
    device = default_device(device)
    dtype = dtype or champion_dtype(manifest, device)
    pair = manifest.pair
    receiver = load(source_in(directory, "receiver", pair.receiver), device=device, dtype=dtype)
    sharer = load(source_in(directory, "sharer", pair.sharer), device=device, dtype=dtype)
    verify_compatibility(manifest, receiver.identity, sharer.identity)
    return LoadedChampion(
        receiver,
        sharer,
        fuser,
        manifest.template,
        getattr(torch, manifest.cache_dtype),
        manifest.date,
        manifest.draft_template,
        manifest.listening,
    )


def champion_dtype(manifest: Manifest, device: torch.device) -> torch.dtype:
    """What a champion's models compute in on a device.

    That in which it was measured, if the device is not slow in it (see `recorded_dtype`). One
    that was imported, and never measured, computes as models by default do.

    Raises:
        ConfigError: C2C_SEARCH_DTYPE names no dtype.
    """
    if manifest.provenance is not None and manifest.dtype is None:
        return default_dtype(device)
    return recorded_dtype(manifest.dtype, device, print_notice)


def check_beside(fuser: Fuser | None) -> None:
    """Refuse a fuser that cannot hear a sharer which reads something else than the receiver.

    Raises:
        ConfigError: It changes the receiver's own cache.
    """
    if fuser is None or not fuser.config.stands_beside:
        raise ConfigError(
            "A sharer can read something else than the receiver only where its cache is "
            "appended, or read beside: otherwise each receiver token hears the same token.",
            value="no fuser" if fuser is None else fuser.config.injection,
            hint="Use a fuser with injection append or side, or let both read the question.",
        )


def check_shapes(fuser: Fuser, receiver: LoadedModel, sharer: LoadedModel) -> None:
    """Refuse models that the fuser cannot join.

    Raises:
        ConfigError: A model's cache shape is not the one that the fuser is for.
    """
    for role, loaded in (("receiver", receiver), ("sharer", sharer)):
        built = getattr(fuser, f"{role}_shape").without_projections()
        source: Source = "kv" if built.hidden_size is None else "hidden"
        if built != (found := cache_shape(loaded, source=source)):
            raise ConfigError(
                f"The {role} must have the cache shape that the fuser is for: {built}.",
                value=str(found),
                hint=f"Load the {role} that the fuser was trained with.",
            )


def cache_shape(
    loaded: LoadedModel, *, adapted: bool = False, source: Source = "kv"
) -> CacheShape:
    """The shape of a model's KV-cache, as a fuser is built for it; see `adaptable_shape`."""
    if adapted:
        return adaptable_shape(loaded.model)
    return geometry.cache_shape(loaded.model.config, hidden=source == "hidden")
