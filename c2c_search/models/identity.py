"""What makes a model this model and no other, and how it is known again quickly.

Hashes are over content, not over files: the same tensors give the same hash in one file or in
shards, from ``hf:`` or from a copy on ``path:``. They are computed once and kept in a record with
a stamp of every file (`FileStamp`), so that a later start reads no weights.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from typing import Literal

import yaml
from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import ValidationError

from c2c_search.errors import SourceError
from c2c_search.host.files import write_text
from c2c_search.host.strict_json import content_sha256
from c2c_search.models.cache_dir import Progress
from c2c_search.models.stamps import FileStamp
from c2c_search.models.stamps import file_sha256
from c2c_search.models.weights import refuse_adapters


INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
RECORD = "identity.json"
NO_LICENCE = "not stated"
NO_TOKENIZER = "none"
"""Stands for the hash of a tokenizer in a folder that holds none: its model reads token ids."""

_MALFORMED = (ValueError, LookupError, TypeError, AttributeError)

# What transformers reads a tokenizer from; the first group is the vocabulary.
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "vocab.txt")
_TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
# Vocabularies that are not read here: beside one, a folder isn't one without a tokenizer.
_OTHER_VOCABULARIES = ("spiece.model", "sentencepiece.bpe.model", "tiktoken.model", "vocab.bpe")
# Entries of config.json that say who wrote it, not what the model computes.
_CONFIG_NOISE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache")
_BLOCK = 2**22


class ModelIdentity(BaseModel):
    """A frozen model, named so that another machine can tell whether it has the same one.

    ``weights_sha256`` is over all tensors in name order (name, dtype, shape, bytes),
    ``tokenizer_sha256`` over vocabulary, merges, special tokens and chat template (`NO_TOKENIZER`
    if there is none), ``config_sha256`` over config.json without the entries that name its writer.
    ``tokenization_sha256`` is over what the loaded tokenizer makes of a few texts (see
    `tokenization.probe`); None where it was not loaded, or by a version that did not ask.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    revision: str | None
    architecture: str
    weights_sha256: str
    tokenizer_sha256: str
    config_sha256: str
    tokenization_sha256: str | None = Field(
        default=None,
        exclude_if=lambda sha256: sha256 is None,  # identities are what they were without
    )
    licence: str
    licence_url: str | None

    def tokenizes_as(self, other: ModelIdentity) -> bool:
        """Whether both make the same tokens of a text, as far as each was asked."""
        mine, theirs = (one.tokenization_sha256 or one.tokenizer_sha256 for one in (self, other))
        return mine == theirs


class Record(BaseModel):
    """An identity with the files it was read from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1, 2] = 2
    folder: str | None = None
    identity: ModelIdentity
    files: tuple[FileStamp, ...]

    def fresh(self, folder: Path) -> bool:
        """Whether every file of ``folder`` is still the one that was hashed, by its stamp."""
        try:
            return self.files == stamps(folder)
        except (SourceError, OSError):
            return False


@dataclass(frozen=True)
class ResolvedModel:
    """A folder that transformers loads from safetensors, what is in it, and its files' stamps."""

    path: Path
    identity: ModelIdentity
    files: tuple[FileStamp, ...] = field(default=(), compare=False)

    def require_unchanged(self) -> None:
        """Check that what was loaded from the folder is what was hashed.

        Raises:
            SourceError: A file has changed since.
        """
        if self.files != stamps(self.path):
            raise SourceError(
                "A model's files must stay as they are while it is loaded.",
                value=str(self.path),
                hint="Run the command again when nothing writes to that folder.",
            )


def read_record(path: Path) -> Record | None:
    """The record at ``path``, or None if there is none that this version can read."""
    try:
        return Record.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def write_record(path: Path, record: Record) -> None:
    """Put a record where `read_record` finds it, atomically."""
    write_text(path, record.model_dump_json(indent=2) + "\n")


def identify(
    folder: Path,
    *,
    source: str,
    revision: str | None,
    licence: str,
    licence_url: str | None,
    progress: Progress,
) -> Record:
    """Hash a model folder.

    Raises:
        SourceError: No safetensors weights, an incomplete tokenizer, or files that cannot be read
            as such.
    """
    files = stamps(folder)
    config = _read_json(folder / "config.json")
    architectures = config.get("architectures") or [config.get("model_type", "unknown")]
    identity = ModelIdentity(
        source=source,
        revision=revision,
        architecture=str(architectures[0]),
        weights_sha256=weights_sha256(folder, progress),
        tokenizer_sha256=tokenizer_sha256(folder),
        config_sha256=content_sha256(
            {key: value for key, value in config.items() if key not in _CONFIG_NOISE}
        ),
        licence=licence,
        licence_url=licence_url,
    )
    return Record(folder=str(folder), identity=identity, files=files)


def stamps(folder: Path) -> tuple[FileStamp, ...]:
    """Stamps of every file that a model is read from, in name order.

    Raises:
        SourceError: A file that transformers would need is missing, or an adapter is there.
    """
    refuse_adapters(folder)
    names = ["config.json", *(path.name for path in weight_files(folder))]
    if (folder / INDEX).exists():
        names.append(INDEX)
    if not (folder / "config.json").exists():
        raise SourceError(
            "A model folder must hold config.json.",
            value=str(folder),
            hint="Save it with save_pretrained of the model.",
        )
    names += tokenizer_files(folder)
    return tuple(FileStamp.of(folder / name) for name in sorted(names))


def tokenizer_files(folder: Path) -> list[str]:
    """Names of the files that the tokenizer is read from; none for a model without tokenizer."""
    vocabulary = [name for name in _VOCABULARIES if (folder / name).exists()]
    settings = [name for name in _TOKENIZER_SETTINGS if (folder / name).exists()]
    others = [name for name in _OTHER_VOCABULARIES if (folder / name).exists()]
    # Half a tokenizer is a mistake; nothing of one is a model that is given token ids.
    if not vocabulary and (settings or others):
        raise SourceError(
            "A model folder must hold its tokenizer whole (tokenizer.json), or nothing of one.",
            value=f"{folder} with {', '.join(settings + others)} and no vocabulary",
            hint="Save it with save_pretrained of the tokenizer.",
        )
    return vocabulary + settings


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files that transformers reads: one, or the shards of the index.

    Raises:
        SourceError: There are none, or a shard is missing.
    """
    if (folder / SINGLE).exists():
        return (folder / SINGLE,)
    if not (folder / INDEX).exists():
        raise SourceError(
            f"A model folder must hold {SINGLE} or {INDEX}; nothing is ever unpickled.",
            value=str(folder),
            hint="Convert other weights once with save_pretrained, or use gguf:FILE.",
        )
    names = sorted(set(_read_json(folder / INDEX).get("weight_map", {}).values()))
    shards = tuple(folder / str(name) for name in names)
    missing = [shard.name for shard in shards if not shard.exists()]
    if missing or not shards:
        raise SourceError(
            f"Every shard that {INDEX} names must be in the folder.",
            value=", ".join(missing) or "no shards",
            hint=f"Complete {folder}.",
        )
    return shards


def weights_sha256(folder: Path, progress: Progress) -> str:
    """SHA-256 over every tensor in name order: name, dtype, shape, then its bytes."""
    tensors = sorted(tensor for path in weight_files(folder) for tensor in _tensors(path))
    total = sum(end - start for _, _, _, start, end in tensors)
    digest, done = hashlib.sha256(), 0
    for name, header, path, start, end in tensors:
        digest.update(f"{name}\0{header}\0".encode())
        with path.open("rb") as stream:
            stream.seek(start)
            while start < end and (block := stream.read(min(_BLOCK, end - start))):
                digest.update(block)
                start += len(block)
                done += len(block)
        if start < end:
            raise _not_safetensors(path, "it ends early")
        progress("load", done, total, "checking the weights")
    return digest.hexdigest()


def count_numbers(folder: Path) -> int:
    """How many numbers the weights hold, from the files' headers.

    Raises:
        SourceError: There are no safetensors weights.
    """
    tensors = (tensor for path in weight_files(folder) for tensor in _tensors(path))
    return sum(math.prod(json.loads(header.partition(" ")[2])) for _, header, *_ in tensors)


def tokenizer_sha256(folder: Path) -> str:
    """SHA-256 of what decides a text's token ids and a chat's text, however it is stored.

    `NO_TOKENIZER` for a folder that holds nothing of a tokenizer.
    """
    if not tokenizer_files(folder):
        return NO_TOKENIZER
    settings = _read_json(folder / "tokenizer_config.json", missing={})
    content: dict[str, Any] = {
        "specials": {
            key: value.get("content") if isinstance(value, dict) else value
            for key, value in settings.items()
            if key in ("bos_token", "eos_token", "pad_token", "unk_token")
        },
        "chat_template": stored_chat_template(folder),
    }
    if (folder / "tokenizer.json").exists():
        fast = _read_json(folder / "tokenizer.json")
        merges = fast.get("model", {}).get("merges", [])
        # Written as "a b" by old versions of tokenizers and as ["a", "b"] by new ones.
        fast.get("model", {})["merges"] = [
            pair if isinstance(pair, str) else " ".join(pair) for pair in merges
        ]
        content["tokenizer"] = fast
    else:
        content["files"] = {
            name: file_sha256(folder / name) for name in _VOCABULARIES if (folder / name).exists()
        }
    return content_sha256(content)


def stored_chat_template(folder: Path) -> Any:
    """What a model's folder has for a chat template, a text or several by name; None: nothing."""
    template = folder / "chat_template.jinja"
    if template.exists():
        return template.read_text(encoding="utf-8")
    return _read_json(folder / "tokenizer_config.json", missing={}).get("chat_template")


def stated_licence(folder: Path) -> tuple[str, str | None]:
    """Licence and its link, from our own record or the head of README.md; else "not stated"."""
    if record := read_record(folder / RECORD):
        return record.identity.licence, record.identity.licence_url
    try:
        _, head, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
        card = yaml.safe_load(head)
    except (OSError, ValueError, yaml.YAMLError):
        return NO_LICENCE, None
    if not isinstance(card, dict):
        return NO_LICENCE, None
    licence, link = card.get("license"), card.get("license_link")
    # "other" is what model cards write where there is no identifier.
    name = card.get("license_name") if licence in (None, "other") else licence
    # Anchors of YAML can make a value of a page that is of no end when it is written out.
    told = next((each for each in (name, licence) if isinstance(each, str) and each), NO_LICENCE)
    return told, link if isinstance(link, str) and link else None


def _tensors(path: Path) -> Iterator[tuple[str, str, Path, int, int]]:
    """Name, dtype and shape, file, first and last byte of every tensor of a safetensors file."""
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                start, end = (8 + length + offset for offset in entry["data_offsets"])
                yield name, f"{entry['dtype']} {entry['shape']}", path, start, end
    except (OSError, MemoryError, RecursionError, *_MALFORMED) as error:
        raise _not_safetensors(path, f"{type(error).__name__}: {error}") from error


def _not_safetensors(path: Path, reason: str) -> SourceError:
    return SourceError(
        f"{path.name} must be a whole safetensors file.",
        value=reason,
        hint=f"Fetch or copy {path} again.",
    )


def _read_json(path: Path, *, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    if missing is not None and not path.exists():
        return missing
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(
            f"{path.name} must be a JSON file that can be read.",
            value=str(path),
            hint=str(error),
        ) from error
    if not isinstance(content, dict):
        raise SourceError(f"{path.name} must hold a JSON object.", value=str(path))
    return content
