"""The rooms that a champion answers with, as a package under a name of its own.

Two champions and the workbench then live in one environment and one process: none imports, or
registers anything under a name of, another one's code.
"""

from __future__ import annotations

import keyword
import re
import shutil
import sys
from hashlib import sha256
from importlib.metadata import PackageNotFoundError
from importlib.metadata import files
from pathlib import Path

import c2c_search
from c2c_search.champion.export import runtime_files
from c2c_search.errors import ConfigError
from c2c_search.errors import StoreError
from c2c_search.fuser.config import FuserConfig
from c2c_search.host.files import write_text
from c2c_search.inference.manifest import CHAMPION_FILES
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.manifest import read_manifest
from c2c_search.inference.sums import check_sums
from c2c_search.inference.sums import write_sums
from c2c_search.models.bundled import MODELS
from c2c_search.models.bundled import bundle


CHAMPION = "champion"
RUNTIME = "_runtime"
LICENCE = "LICENSE"

_OURS = re.compile(r"\bc2c_search\b")
_REGISTERED = re.compile(r"(?<=[\"'])c2c_search_(?=\w)")
_TAKEN = frozenset(
    {*sys.stdlib_module_names, "c2c_search", "numpy", "pydantic", "safetensors", "torch"}
    | {"transformers", "mlflow", "test", "tests"}
)
_INIT = '''\
"""{title}: a receiver that listens to a sharer through its KV-cache.

    import {name}
    model = {name}.load()
    print(model.generate("..."))
"""

from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any


if TYPE_CHECKING:
    from {name}.{runtime}.inference.model import C2CModel

__version__ = "{version}"
__all__ = ["C2CModel", "FOLDER", "__version__", "load"]

FOLDER = Path(__file__).parent / "{champion}"
"""The champion: fuser, manifest, model card, sums."""


def load(**options: Any) -> "C2CModel":
    """The champion, ready to answer; ``device``, ``dtype``, ``listening`` as `from_pretrained`."""
    from {name}.{runtime}.inference.model import C2CModel

    return C2CModel.from_pretrained(FOLDER, **options)


def __getattr__(name: str) -> Any:
    # Late: the class brings torch along.
    if name == "C2CModel":
        from {name}.{runtime}.inference.model import C2CModel

        return C2CModel
    raise AttributeError(f"module {{__name__!r}} has no attribute {{name!r}}")
'''
_MAIN = '''\
"""Answers the questions of the command line, or of standard input, one a line."""

import sys

from {name} import load


questions = sys.argv[1:] or [line.strip() for line in sys.stdin if line.strip()]
model = load()
for question in questions:
    print(model.generate(question), flush=True)
'''


def import_name(name: str) -> str:
    """What a package of a champion's is imported as: its name with underscores.

    Args:
        name: E.g. ``my-champion``.

    Raises:
        ConfigError: It is no name of a package, or that of another one.
    """
    found = re.sub(r"[-.\s]+", "_", name).lower()
    if not re.fullmatch(r"[a-z][a-z0-9_]*", found, re.ASCII) or len(found) > 100:
        raise ConfigError(
            "A package's name begins with a letter and is made of letters, digits, dashes and "
            "underscores of ASCII, 100 at most.",
            value=name,
            hint="Name it with --name, e.g. --name my-champion.",
        )
    if keyword.iskeyword(found) or keyword.issoftkeyword(found) or found in _TAKEN:
        raise ConfigError(
            "A package's name must be free.",
            value=name,
            hint="Name it with --name, e.g. --name my-champion.",
        )
    return found


def write_package(
    champion: Path, folder: Path, name: str, version: str, *, bundle_models: bool = False
) -> None:
    """Write a package that loads a champion and answers, with all its code under it.

    Args:
        champion: A champion's folder.
        folder: Of the package, ``.../NAME``; made here.
        name: What it is imported as; see `import_name`.
        version: Of the package.
        bundle_models: Whether both models' files lie in it, instead of being fetched.

    Raises:
        ConfigError: Its fuser is made of plug-ins.
        IntegrityError: The champion is not as it was written.
        SourceError: A model that is to be bundled cannot be fetched.
        StoreError: The disk is full.
    """
    manifest = checked(champion)
    folder.mkdir(parents=True)
    write_text(folder / "__init__.py", _init(manifest, name, version))
    write_text(folder / "__main__.py", _MAIN.format(name=name))
    write_text(folder / "py.typed", "")
    write_champion(champion, folder / CHAMPION, bundle_models=bundle_models)
    write_code(folder / RUNTIME, f"{name}.{RUNTIME}")


def checked(champion: Path) -> Manifest:
    """The manifest of a champion that can leave the workbench.

    Raises:
        ConfigError: Its fuser is made of plug-ins.
        IntegrityError: The champion is not as it was written.
    """
    check_sums(champion)
    manifest = read_manifest(champion)
    fuser = FuserConfig.model_validate((manifest.trial or {}).get("fuser", {}))
    if fuser.packages:
        raise ConfigError(
            "A package of its own holds all that a fuser is made of, and plug-ins register "
            "themselves with c2c-search.",
            value=", ".join(sorted(fuser.packages)),
            hint="Use `c2c-search export`, and install the plug-ins' package beside it.",
        )
    return manifest


def write_champion(champion: Path, folder: Path, *, bundle_models: bool) -> None:
    """Copy a champion's own files, and its models' if asked, under sums of their own."""
    folder.mkdir(parents=True)
    for file in CHAMPION_FILES:
        shutil.copyfile(champion / file, folder / file)
    if bundle_models:
        pair = read_manifest(champion).pair
        bundle(pair.receiver, folder / MODELS / "receiver")
        bundle(pair.sharer, folder / MODELS / "sharer")
    write_sums(folder)


def write_code(folder: Path, package: str) -> None:
    """Copy the rooms, every import of them rewritten, and their licence.

    Args:
        folder: Of the package.
        package: Its dotted path, e.g. ``my_champion._runtime``.
    """
    source = Path(c2c_search.__file__).parent
    # Of no letters that spell an implementation of transformers' that it looks for in names.
    mark = f"c2c_{int(sha256(package.encode()).hexdigest()[:12], 16)}_"
    for path in runtime_files():
        text = path.read_text(encoding="utf-8")
        text = _REGISTERED.sub(mark, _OURS.sub(package, text))
        copy = folder / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_text(copy, text)
    shutil.copyfile(licence_file(), folder / LICENCE)


def licence_file() -> Path:
    """The licence of this code, in a checkout or as it was installed.

    Raises:
        StoreError: It is not there.
    """
    beside = Path(c2c_search.__file__).parents[1] / LICENCE
    if beside.is_file():
        return beside
    try:
        found = [each for each in files("c2c-search") or () if each.name == LICENCE]
    except PackageNotFoundError:
        found = []
    for each in found:
        if (path := Path(str(each.locate()))).is_file():
            return path
    raise StoreError(
        "A package carries the licence of its code.",
        value=str(beside),
        hint="Install c2c-search again.",
    )


def _init(manifest: Manifest, name: str, version: str) -> str:
    # A name from elsewhere is data, and must not end the docstring.
    title = re.sub(r"[^\w .,+-]", "_", manifest.name)
    return _INIT.format(
        title=title, name=name, version=version, runtime=RUNTIME, champion=CHAMPION
    )
