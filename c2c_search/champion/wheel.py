"""A champion as a wheel, ``champion-NAME``, that is imported under its own name.

Written here, without a build tool: a wheel is a zip file with a list of sums (the binary
distribution format of PyPA). The same champion gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

from c2c_search.champion.export import REQUIREMENTS
from c2c_search.champion.vendored import LICENCE
from c2c_search.champion.vendored import checked
from c2c_search.champion.vendored import import_name
from c2c_search.champion.vendored import licence_file
from c2c_search.champion.vendored import write_package
from c2c_search.errors import StoreError
from c2c_search.host.files import disk_errors
from c2c_search.host.files import replacing
from c2c_search.host.files import scratch
from c2c_search.inference.manifest import MODEL_CARD
from c2c_search.inference.manifest import Manifest


NEEDED = ("pydantic", "safetensors", "torch", "transformers")
FOR_GGUF = ("accelerate", "gguf", "sentencepiece")
"""What converts the models of the catalogue, which come as GGUF files, when first fetched."""

_BLOCK = 2**22
_DAY = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can say


def write_wheel(
    champion: Path, to: Path, *, name: str | None = None, bundle_models: bool = False
) -> Path:
    """Write a champion's wheel.

    Args:
        champion: A champion's folder.
        to: Folder to write it to; a wheel of the same name and version is written over.
        name: Of the package, without ``champion-``; the champion's own when None.
        bundle_models: Whether both models' files lie in it.

    Returns:
        The wheel's path.

    Raises:
        ConfigError: The name is none, or the fuser is made of plug-ins.
        IntegrityError: The champion is not as it was written.
        SourceError: A model that is to be bundled cannot be fetched.
        StoreError: The disk is full, or ``to`` is no folder.
    """
    manifest = checked(champion)
    package = import_name(name or manifest.name)
    version = wheel_version(manifest)
    stem = f"champion_{package}-{version}"
    wheel = to / f"{stem}-py3-none-any.whl"
    if to.exists() and not to.is_dir():
        raise StoreError("A wheel is written into a folder.", value=str(to))
    with disk_errors(to):
        to.mkdir(parents=True, exist_ok=True)
        # Beside the wheel: bundled models may be larger than what holds temporary files.
        with scratch(".c2c-search-wheel", to) as stage:
            write_package(champion, stage / package, package, version, bundle_models=bundle_models)
            info = stage / f"{stem}.dist-info"
            _write_info(info, manifest, package, version, champion / MODEL_CARD)
            with replacing(wheel) as partial:
                _zip(stage, info, partial)
    return wheel


def distribution(package: str) -> str:
    """What pip calls a package of a champion's."""
    return f"champion-{package.replace('_', '-')}"


def requirements() -> list[str]:
    """What a package of a champion's asks pip for, its models at hand or on the hub."""
    return [each for each in REQUIREMENTS if each.startswith(NEEDED)]


def wheel_version(manifest: Manifest) -> str:
    """When the champion was made: a later one is an upgrade."""
    made = manifest.created
    second = made.hour * 3600 + made.minute * 60 + made.second
    return f"{made.year}.{made.month}.{made.day}.{second}"


def _write_info(info: Path, manifest: Manifest, package: str, version: str, card: Path) -> None:
    (info / "licenses").mkdir(parents=True)
    gguf = [f'{each}; extra == "gguf"' for each in REQUIREMENTS if each.startswith(FOR_GGUF)]
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {distribution(package)}",
        f"Version: {version}",
        "Summary: A receiver that listens to a sharer through its KV-cache.",
        "Requires-Python: >=3.11",
        "License-Expression: Apache-2.0",
        f"License-File: {LICENCE}",
        "Description-Content-Type: text/markdown",
        "Provides-Extra: gguf",
        *(f"Requires-Dist: {each}" for each in (*requirements(), *gguf)),
    ]
    text = "\n".join(lines) + "\n\n" + card.read_text(encoding="utf-8")
    (info / "METADATA").write_text(text, encoding="utf-8", newline="\n")
    (info / "WHEEL").write_text(
        "Wheel-Version: 1.0\nGenerator: c2c-search\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        encoding="utf-8",
        newline="\n",
    )
    (info / "licenses" / LICENCE).write_bytes(licence_file().read_bytes())


def _zip(stage: Path, info: Path, to: Path) -> None:
    """Pack the folder, with the list of its files and sums last."""
    files = [path for path in sorted(stage.rglob("*")) if path.is_file()]
    files.sort(key=lambda path: path.is_relative_to(info))
    rows = []
    with zipfile.ZipFile(to, "w") as archive:
        for path in files:
            name = path.relative_to(stage).as_posix()
            digest = _add(archive, name, path)
            rows.append(f"{name},sha256={digest},{path.stat().st_size}")
        record = f"{info.name}/RECORD"
        rows.append(f"{record},,")
        archive.writestr(_entry(record), "\n".join(rows) + "\n")


def _add(archive: zipfile.ZipFile, name: str, path: Path) -> str:
    """Add a file; its SHA-256 as a wheel's record writes it."""
    digest, entry = hashlib.sha256(), _entry(name)
    entry.file_size = path.stat().st_size
    with path.open("rb") as source, archive.open(entry, "w") as target:
        while block := source.read(_BLOCK):
            digest.update(block)
            target.write(block)
    return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _DAY)
    # Weights do not shrink, and are most of it.
    entry.compress_type = (
        zipfile.ZIP_STORED if name.endswith(".safetensors") else zipfile.ZIP_DEFLATED
    )
    entry.external_attr = 0o644 << 16
    return entry


def needs_gguf(manifest: Manifest) -> bool:
    """Whether a model of the champion's comes as a GGUF file, which the extra ``gguf`` reads."""
    models = (manifest.pair.receiver, manifest.pair.sharer)
    return any(model.source.startswith(("pypi:", "gguf:")) for model in models)
