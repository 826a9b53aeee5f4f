"""The folder that a champion is, written whole or not at all."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
from pathlib import Path

import c2c_search
from c2c_search.champion.card import model_card
from c2c_search.errors import IntegrityError
from c2c_search.errors import StoreError
from c2c_search.errors import shown
from c2c_search.host.files import disk_errors
from c2c_search.host.files import swapped_in
from c2c_search.inference.manifest import FUSER_CONFIG
from c2c_search.inference.manifest import FUSER_WEIGHTS
from c2c_search.inference.manifest import MANIFEST
from c2c_search.inference.manifest import MODEL_CARD
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.size import Size
from c2c_search.inference.sums import check_sums
from c2c_search.inference.sums import read_sums
from c2c_search.inference.sums import write_sums
from c2c_search.models.stamps import file_sha256


_FUSER_FILES = (FUSER_CONFIG, FUSER_WEIGHTS)
_RECORDED = ("torch", "transformers", "deepspeed", "safetensors", "numpy")


def build(to: Path, *, fuser_dir: Path, manifest: Manifest, replace: bool = False) -> Path:
    """Write a champion folder: fuser, manifest, model card and sums.

    Args:
        to: Folder to write; a folder that holds the same fuser is written anew.
        fuser_dir: Holds ``fuser_config.json`` and ``fuser.safetensors``.
        manifest: Where it comes from, and what was measured.
        replace: Whether a folder that holds another champion may be replaced.

    Returns:
        ``to``.

    Raises:
        StoreError: The fuser is not there, ``to`` holds something else, or cannot be written; what
            stood there before still does.
    """
    missing = [name for name in _FUSER_FILES if not (fuser_dir / name).is_file()]
    if missing:
        raise StoreError(
            f"A fuser folder holds {FUSER_CONFIG} and {FUSER_WEIGHTS}.",
            value=f"{', '.join(missing)} missing in {fuser_dir}",
            hint="Train the trial, or import the checkpoint, again.",
        )
    fuser = {name: file_sha256(fuser_dir / name) for name in _FUSER_FILES}
    with staged(to, fuser=fuser, replace=replace) as folder:
        for name in _FUSER_FILES:
            shutil.copyfile(fuser_dir / name, folder / name)
        text = manifest.model_dump_json(indent=2) + "\n"
        (folder / MANIFEST).write_text(text, encoding="utf-8")
        size = Size.measure([folder / FUSER_WEIGHTS])
        card = shown(model_card(manifest, size))
        (folder / MODEL_CARD).write_text(card, encoding="utf-8")
        write_sums(folder)
    return to


@contextmanager
def staged(to: Path, *, fuser: dict[str, str], replace: bool) -> Iterator[Path]:
    """Give an empty folder beside ``to`` that takes its place when all went well.

    Args:
        to: The folder to be.
        fuser: SHA-256 of the two fuser files: a folder that lists the same may be written anew.
        replace: Whether a folder that holds another champion may be replaced.

    Raises:
        StoreError: ``to`` holds something else, or the disk is full or not ours.
        IntegrityError: A file did not reach the disk as it was summed.
    """
    _refuse_to_destroy(to, fuser, replace)
    with disk_errors(to), swapped_in(to) as folder:
        yield folder
        check_sums(folder)


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that a champion's numbers rest on."""
    versions = {"python": platform.python_version()}
    for name in _RECORDED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def workbench_version() -> str:
    """Version of c2c-search."""
    return c2c_search.__version__


def _refuse_to_destroy(to: Path, fuser: dict[str, str], replace: bool) -> None:
    if to.is_symlink() or (to.exists() and not to.is_dir()):
        raise StoreError(
            "A champion is written into a folder.", value=str(to), hint="Name another path."
        )
    if not to.exists() or not any(to.iterdir()):
        return
    try:
        held = read_sums(to)
    except IntegrityError:
        held = {}
    if not {*_FUSER_FILES, MANIFEST} <= held.keys():
        raise StoreError(
            "Only an empty folder or a champion is written over.",
            value=str(to),
            hint="Name another folder, or remove this one yourself.",
        )
    if not replace and any(held[name] != digest for name, digest in fuser.items()):
        raise StoreError(
            "Another champion is written over only when that is asked for.",
            value=str(to),
            hint="Name another folder, or ask for the replacement (--replace).",
        )
