"""A champion with all it needs to answer, for a machine without the workbench."""

from __future__ import annotations

import shutil
from pathlib import Path

import c2c_search
from c2c_search.champion.package import staged
from c2c_search.champion.package import workbench_version
from c2c_search.champion.signing import private_key
from c2c_search.champion.signing import sign
from c2c_search.errors import StoreError
from c2c_search.host.files import disk_errors
from c2c_search.host.files import swapped_in
from c2c_search.inference.manifest import CHAMPION_FILES
from c2c_search.inference.manifest import FUSER_CONFIG
from c2c_search.inference.manifest import FUSER_WEIGHTS
from c2c_search.inference.sums import check_sums
from c2c_search.inference.sums import read_sums
from c2c_search.inference.sums import write_sums
from c2c_search.models.cache_dir import require_space


RUNTIME = "runtime"
PACKAGES = ("fuser", "host", "inference", "models", "prompt_cache", "tokenization")
"""Folders of the package that travel; they import nothing from the others."""
REQUIREMENTS = (
    # transformers reads no GGUF file without it, and the catalogue's models are GGUF files.
    "accelerate>=1.1",
    "filelock>=3.16",
    "gguf>=0.17",
    "numpy>=2",
    "pydantic>=2.11",
    "rich>=14",
    "safetensors>=0.6",
    "sentencepiece>=0.2",
    "threadpoolctl>=3.5",
    "torch>=2.8,<2.14",
    "transformers>=5,<6",
)
"""What they import, in the ranges that the workbench itself asks for."""

_PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "c2c-search-runtime"
version = "{version}"
description = "Answers with a Cache-to-Cache champion, without the c2c-search workbench."
requires-python = ">=3.11"
license = "Apache-2.0"
dependencies = [
{requirements}
]

[tool.setuptools.packages.find]
include = ["c2c_search*"]

[tool.setuptools.package-data]
c2c_search = ["py.typed"]
"""


def export(
    package: Path, to: Path, *, replace: bool = False, sign_with: Path | None = None
) -> None:
    """Copy a champion and add ``runtime/``, a project that pip installs.

    After ``pip install DIR/runtime``, ``from c2c_search import C2CModel`` works where the
    workbench is not installed. (Both provide the package ``c2c_search``: install one of them.)
    SHA256SUMS of the copy covers the runtime too.

    Args:
        package: A champion folder.
        to: Folder to write; see `champion.package.build` for what it may hold.
        replace: Whether a folder that holds another champion may be replaced.
        sign_with: File of the private key that signs the copy; none does when left out.

    Raises:
        ConfigError: The file is no such key.
        IntegrityError: The package is not as it was written.
        StoreError: ``to`` holds something else or cannot be written.
    """
    key = None if sign_with is None else private_key(sign_with)
    check_sums(package)
    sums = read_sums(package)
    fuser = {name: sums[name] for name in (FUSER_CONFIG, FUSER_WEIGHTS)}
    with staged(to, fuser=fuser, replace=replace) as folder:
        for name in CHAMPION_FILES:
            shutil.copyfile(package / name, folder / name)
        write_runtime(folder / RUNTIME)
        write_sums(folder)
        if key is not None:
            sign(folder, key)


def export_rosetta(package: Path, to: Path, *, replace: bool = False) -> None:
    """Write a champion's fuser in the published C2C layout, and nothing else.

    Args:
        package: A champion folder.
        to: Folder to write; absent, empty, or a checkpoint that may be replaced.
        replace: Whether a checkpoint that stands in ``to`` may be replaced.

    Raises:
        IntegrityError: The package is not as it was written.
        ConfigError: Lists everything of the fuser that the layout cannot say.
        StoreError: ``to`` holds something else or cannot be written.
    """
    from c2c_search.fuser.checkpoint import load
    from c2c_search.fuser.rosetta import writing
    from c2c_search.fuser.rosetta.layout import MAP_NAME
    from c2c_search.fuser.rosetta.layout import PROJECTOR_FILE

    check_sums(package)
    if to.is_symlink() or (to.exists() and not to.is_dir()):
        raise StoreError(
            "A checkpoint is written into a folder.", value=str(to), hint="Name another path."
        )
    held = {path.name for path in to.iterdir()} if to.exists() else set()
    if any(name != MAP_NAME and not PROJECTOR_FILE.fullmatch(name) for name in held):
        raise StoreError(
            "Only an empty folder or a checkpoint of the published layout is written over.",
            value=str(to),
            hint="Name another folder, or remove this one yourself.",
        )
    if held and not replace:
        raise StoreError(
            "A checkpoint is written over only when that is asked for.",
            value=str(to),
            hint="Name another folder, or ask for the replacement (--replace).",
        )
    # torch tells a full disk by errors that nobody can tell from others.
    require_space(to, (package / FUSER_WEIGHTS).stat().st_size, "A checkpoint")
    with disk_errors(to), swapped_in(to) as folder:
        writing.write(load(package), folder)


def write_runtime(folder: Path) -> None:
    """Write the runtime project: the folders that travel and what pip needs to install them."""
    source, target = Path(c2c_search.__file__).parent, folder / "c2c_search"
    target.mkdir(parents=True)
    for path in runtime_files():
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    requirements = "\n".join(f'    "{requirement}",' for requirement in REQUIREMENTS)
    text = _PYPROJECT.format(version=workbench_version(), requirements=requirements)
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")


def runtime_files() -> list[Path]:
    """The files of this package that a champion answers with."""
    source = Path(c2c_search.__file__).parent
    names = ("__init__.py", "batching.py", "errors.py", "plugins.py", "py.typed")
    rooms = [path for name in PACKAGES for path in sorted((source / name).rglob("*.py"))]
    return [*(source / name for name in names), *rooms]
