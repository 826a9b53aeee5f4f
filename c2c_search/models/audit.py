"""Every model whose hashes are kept, hashed again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from c2c_search.errors import SourceError
from c2c_search.models.cache_dir import Progress
from c2c_search.models.identity import RECORD
from c2c_search.models.identity import Record
from c2c_search.models.identity import identify
from c2c_search.models.identity import read_record
from c2c_search.models.stamps import FileStamp
from c2c_search.models.stamps import HashedFile
from c2c_search.models.stamps import file_sha256


@dataclass(frozen=True)
class AuditedModel:
    """A kept hash, and what was found.

    Args:
        model: Its source, or its file.
        record: Where the hash is kept.
        wrong: In which way the files are not what the record says; empty if they are, or if the
            next start would notice by itself.
    """

    model: str
    record: Path
    wrong: str = ""


def audit(cache: Path, progress: Progress) -> Iterator[AuditedModel]:
    """Hash every model of which the cache folder keeps hashes.

    A record whose files have visibly changed, or are gone, is no fault: it is not trusted.

    Args:
        cache: The cache folder; see `default_cache_dir`.
        progress: Told ``load`` and the bytes hashed, model by model.
    """
    kept = [(path, None) for path in sorted((cache / "identities").glob("*.json"))]
    converted = [(path, path.parent) for path in sorted((cache / "models").glob(f"*/{RECORD}"))]
    for path, folder in (*kept, *converted):
        record = read_record(path)
        folder = folder or (Path(record.folder) if record and record.folder else None)
        if record is not None and folder is not None:
            wrong = _wrong(record, folder, progress) if record.fresh(folder) else ""
            yield AuditedModel(record.identity.source, path, wrong)
    for path in sorted((cache / "gguf").glob("*.json")):
        if (hashed := HashedFile.read(path)) is not None:
            yield AuditedModel(hashed.path, path, _wrong_file(hashed, Path(hashed.path)))


def _wrong(record: Record, folder: Path, progress: Progress) -> str:
    known = record.identity
    try:
        found = identify(
            folder,
            source=known.source,
            revision=known.revision,
            licence=known.licence,
            licence_url=known.licence_url,
            progress=progress,
        ).identity
    except (SourceError, OSError) as error:
        return str(error)
    parts = [
        what
        for what in ("weights", "tokenizer", "config")
        if getattr(found, f"{what}_sha256") != getattr(known, f"{what}_sha256")
    ]
    return f"other {' and '.join(parts)} behind unchanged stamps" if parts else ""


def _wrong_file(hashed: HashedFile, path: Path) -> str:
    try:
        if FileStamp.of(path) != hashed.stamp or file_sha256(path) == hashed.sha256:
            return ""
    except OSError:
        return ""
    return "other content behind an unchanged stamp"
