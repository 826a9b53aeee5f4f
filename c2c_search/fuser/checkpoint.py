"""A fuser on disk, as JSON and safetensors; nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save_file

from c2c_search.errors import IntegrityError
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.stored import AGAIN
from c2c_search.fuser.stored import CONFIG_NAME
from c2c_search.fuser.stored import CONFIG_SHA256
from c2c_search.fuser.stored import WEIGHTS_NAME
from c2c_search.fuser.stored import StoredConfig
from c2c_search.fuser.stored import missing
from c2c_search.fuser.stored import read_with_hash
from c2c_search.host.files import replacing
from c2c_search.host.files import write_text
from c2c_search.host.strict_json import content_sha256
from c2c_search.host.tensor_file import Header
from c2c_search.host.tensor_file import read_header
from c2c_search.plugins import foreign_file


_OTHER = "The two files are not of one fuser: export or download the folder again."
_SPELLED = {torch.float32: "F32", torch.int64: "I64"}


def save(fuser: Fuser, directory: Path) -> None:
    """Write ``fuser_config.json`` and ``fuser.safetensors`` into ``directory`` (made if absent).

    Each file is written whole or not at all.
    """
    directory.mkdir(parents=True, exist_ok=True)
    content = {
        "fuser": fuser.config.model_dump(mode="json"),
        "receiver": fuser.receiver_shape.model_dump(mode="json"),
        "sharer": fuser.sharer_shape.model_dump(mode="json"),
        "layers": fuser.layers,
        "sources": fuser.sources.tolist(),
    }
    if fuser.contexts_only:
        content["contexts_only"] = True
    tensors = {name: t.detach().cpu().contiguous() for name, t in fuser.state_dict().items()}
    # One entry alone: safetensors writes several in any order, and a fuser has one SHA-256.
    with replacing(directory / WEIGHTS_NAME) as weights:
        save_file(tensors, weights, metadata={CONFIG_SHA256: content_sha256(content)})
    write_text(directory / CONFIG_NAME, json.dumps(content, indent=2) + "\n")


def check(directory: Path, *, foreign: bool = True) -> StoredConfig:
    """Check a fuser's two files against each other, as far as no tensor has to be read.

    Args:
        directory: Of the two files.
        foreign: As for `load`.

    Raises:
        IntegrityError: A file is missing or damaged, or a tensor is missing, extra or of another
            shape or dtype.
    """
    with foreign_file() if foreign else nullcontext():
        stored, sha256 = read_with_hash(directory)
    path = directory / WEIGHTS_NAME
    try:
        header = read_header(path)
    except FileNotFoundError:
        raise missing(path) from None
    except (OSError, ValueError) as error:
        raise IntegrityError(
            f"{WEIGHTS_NAME} must be a whole safetensors file.", value=str(error), hint=AGAIN
        ) from None
    if wrong := [*_other_tensors(stored, header)]:
        raise IntegrityError(
            f"{WEIGHTS_NAME} must hold exactly the tensors that {CONFIG_NAME} describes.",
            value="; ".join(wrong),
            hint=_OTHER,
        )
    # Fusers of versions that did not write it are taken without.
    if header.metadata.get(CONFIG_SHA256, sha256) != sha256:
        raise IntegrityError(
            f"{WEIGHTS_NAME} must be of the fuser that {CONFIG_NAME} describes.",
            value=f"a configuration of SHA-256 {sha256}, "
            f"for weights of {header.metadata[CONFIG_SHA256]}",
            hint=_OTHER,
        )
    return stored


def load(directory: Path, *, device: torch.device | str = "cpu", foreign: bool = True) -> Fuser:
    """Read a fuser, in evaluation mode.

    Args:
        directory: Of the two files.
        device: Where the fuser is to be.
        foreign: Whether anybody may have written them: nothing is then imported for a plug-in
            that they name, unless this process has done so already or the user has allowed it
            (see `plugins.foreign_file`).

    Raises:
        IntegrityError: A file is missing or damaged, a tensor is missing, extra or of another
            shape or dtype, or holds what no fuser can compute with; or it names a plug-in that is
            not allowed.
    """
    stored = check(directory, foreign=foreign)
    fuser = Fuser(
        stored.fuser,
        stored.receiver,
        stored.sharer,
        layers=stored.layers,
        sources=stored.sources,
    )
    fuser.contexts_only = stored.contexts_only
    try:
        tensors = load_file(directory / WEIGHTS_NAME)
    except (OSError, SafetensorError) as error:
        raise IntegrityError(
            f"{WEIGHTS_NAME} must be a whole safetensors file.", value=str(error), hint=AGAIN
        ) from None
    if wrong := [*_senseless(tensors, stored)]:
        raise IntegrityError(
            f"{WEIGHTS_NAME} must hold numbers that a fuser can compute with.",
            value="; ".join(wrong),
            hint=AGAIN,
        )
    fuser.load_state_dict(tensors)
    return fuser.to(device).eval()


def _other_tensors(stored: StoredConfig, header: Header) -> Iterator[str]:
    try:
        # Nothing is allocated: a configuration can ask for any size.
        with torch.device("meta"):
            expected = Fuser(
                stored.fuser,
                stored.receiver,
                stored.sharer,
                layers=stored.layers,
                sources=stored.sources,
            ).state_dict()
    except (RuntimeError, TypeError, OverflowError) as error:
        yield f"no fuser can be built so ({str(error).splitlines()[0]})"
        return
    for name in sorted(expected.keys() | header.tensors.keys()):
        found, wanted = header.tensors.get(name), expected.get(name)
        if found is None:
            yield f"{name} is missing"
        elif wanted is None:
            yield f"{name} is of no fuser like this"
        elif (found.dtype, found.shape) != (_SPELLED[wanted.dtype], tuple(wanted.shape)):
            yield (
                f"{name} is {found.dtype} of shape {found.shape} and not "
                f"{_SPELLED[wanted.dtype]} of {tuple(wanted.shape)}"
            )


def _senseless(tensors: dict[str, torch.Tensor], stored: StoredConfig) -> Iterator[str]:
    for name, tensor in tensors.items():
        divisor = name == "gate.temperature" or name.endswith("_norm.deviation")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            yield f"{name} has NaN or infinite numbers"
        elif divisor and not bool((tensor > 0).logical_and(tensor.reciprocal().isfinite()).all()):
            yield f"{name} has numbers that are not above 0, which caches are divided by"
    if tensors["sources"].tolist() != stored.sources:
        yield f"sources are not those of {CONFIG_NAME}"
