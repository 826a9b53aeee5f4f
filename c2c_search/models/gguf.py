"""A GGUF file turned, once, into the safetensors folder that transformers loads fast.

Weights are kept as float32: dequantised weights are exact in it, and transformers maps the file
into memory without a copy. A model that computes in bfloat16 rounds them when it is loaded.
"""

from __future__ import annotations

import functools
import gc
import importlib
import logging
import re
import shutil
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from c2c_search.errors import SourceError
from c2c_search.host.files import swapped_in
from c2c_search.models.cache_dir import Progress
from c2c_search.models.cache_dir import cache_errors
from c2c_search.models.cache_dir import require_space
from c2c_search.models.catalogue import Licence
from c2c_search.models.identity import NO_LICENCE
from c2c_search.models.identity import RECORD
from c2c_search.models.identity import Record
from c2c_search.models.identity import ResolvedModel
from c2c_search.models.identity import identify
from c2c_search.models.identity import stamps
from c2c_search.models.identity import write_record


_FLOAT32 = 4  # bytes


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' warnings and progress bars off the terminal; errors still pass."""
    from transformers.utils import logging as bars

    level, showing = logging.root.manager.disable, bars.is_progress_bar_enabled()
    logging.disable(logging.WARNING)
    bars.disable_progress_bar()
    try:
        yield
    finally:
        logging.disable(level)
        if showing:
            bars.enable_progress_bar()


def convert(
    gguf: Path,
    folder: Path,
    *,
    source: str,
    revision: str | None,
    progress: Progress,
    licence: Licence | None = None,
    documents: Iterable[Path] = (),
) -> ResolvedModel:
    """Write ``folder`` (weights, tokenizer, ``identity.json``, documents) in one atomic step.

    An older ``folder`` is replaced. The caller holds the model's lock.

    Args:
        gguf: The file, with its tokenizer inside.
        folder: Where the model goes.
        source: Recorded in the identity.
        revision: Recorded in the identity.
        progress: Told tensors under ``convert``, then bytes hashed under ``load``.
        licence: What the file itself states if None.
        documents: Files to keep beside the weights.

    Raises:
        SourceError: transformers cannot read the file, or its architecture.
        StoreError: The disk is too small or cannot be written.
    """
    with cache_errors(folder), _one_reader():
        parameters, stated, link = _header(gguf)
        require_space(folder, _FLOAT32 * parameters, f"Converting {gguf.name}")
        with swapped_in(folder) as temporary:
            _save(gguf, temporary, source, progress)
            for document in documents:
                shutil.copy(document, temporary)
            record = identify(
                temporary,
                source=source,
                revision=revision,
                licence=licence.id if licence else stated,
                licence_url=licence.url if licence else link,
                progress=progress,
            ).model_copy(update={"folder": None})
            write_record(temporary / RECORD, record)
    return ResolvedModel(folder, record.identity, stamps(folder))


def renewed(folder: Path, record: Record, progress: Progress) -> Record | None:
    """The record of a converted folder as it is now; None if the folder is not as it was written.

    Files with the recorded stamps are trusted unread; others are hashed, and where the hashes
    hold, as they do of a mere copy, the record is written anew.
    """
    if record.fresh(folder):
        return record
    known = record.identity
    try:
        found = identify(
            folder,
            source=known.source,
            revision=known.revision,
            licence=known.licence,
            licence_url=known.licence_url,
            progress=progress,
        )
    except (SourceError, OSError):
        return None
    if found.identity != known:
        return None
    now = found.model_copy(update={"folder": record.folder})
    with cache_errors(folder):
        write_record(folder / RECORD, now)
    return now


def _header(gguf: Path) -> tuple[int, str, str | None]:
    """Parameters, licence and licence link that a GGUF file states."""
    try:
        reader = importlib.import_module("gguf").GGUFReader(str(gguf))
        licence, link = (
            str(field.contents()) if (field := reader.get_field(key)) else None
            for key in ("general.license", "general.license.link")
        )
        parameters = sum(int(tensor.n_elements) for tensor in reader.tensors)
        _require_used(reader)
    except Exception as error:  # the reader has no errors of its own
        raise _not_convertible(gguf, error) from error
    return parameters, licence or NO_LICENCE, link


def _require_used(reader: Any) -> None:
    """transformers leaves out, without a word, what is not of a layer that the header counts.

    Raises:
        ValueError: There is a tensor of a further layer.
    """
    architecture = reader.get_field("general.architecture")
    counted = architecture and reader.get_field(f"{architecture.contents()}.block_count")
    layers = {
        int(found.group(1))
        for tensor in reader.tensors
        if (found := re.match(r"blk\.([0-9]+)\.", str(tensor.name)))
    }
    if counted and layers and max(layers) >= int(counted.contents()):
        raise ValueError(
            f"it has the layer {max(layers)}, and counts {counted.contents()} of them"
        )


@contextmanager
def _one_reader() -> Iterator[None]:
    """Parse a GGUF header once: transformers does it three times, at half a minute each."""
    gguf: Any = importlib.import_module("gguf")
    reader = gguf.GGUFReader
    gguf.GGUFReader = functools.lru_cache(maxsize=1)(reader)
    try:
        yield
    finally:
        gguf.GGUFReader = reader


def _save(gguf: Path, folder: Path, source: str, progress: Progress) -> None:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers import AutoTokenizer

    where, name = str(gguf.parent), gguf.name
    try:
        with quiet(), _tensors_to(progress, f"converting {source}"):
            model, report = AutoModelForCausalLM.from_pretrained(
                where,
                gguf_file=name,
                dtype=torch.float32,
                output_loading_info=True,
                trust_remote_code=False,
            )
            if report["missing_keys"]:  # transformers fills them with random numbers
                raise ValueError(f"it lacks the tensors {sorted(report['missing_keys'])}")
            tokenizer = AutoTokenizer.from_pretrained(
                where, gguf_file=name, trust_remote_code=False
            )
    except Exception as error:  # whatever a damaged or unknown file makes transformers raise
        raise _not_convertible(gguf, error) from error
    # transformers refuses to save a model that it still takes for quantised.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    del model, tokenizer
    gc.collect()  # a gigabyte of weights, needed again at once by whoever loads the folder


@contextmanager
def _tensors_to(progress: Progress, message: str) -> Iterator[None]:
    """Send transformers' own bar over the tensors (a bare tqdm) to ``progress`` instead."""
    from transformers import modeling_gguf_pytorch_utils as loader

    def report(tensors: Any, **_: Any) -> Iterator[Any]:
        for done, tensor in enumerate(tensors):
            progress("convert", done, len(tensors), message)
            yield tensor
        progress("convert", len(tensors), len(tensors), message)

    bar = loader.tqdm
    loader.tqdm = report
    try:
        yield
    finally:
        loader.tqdm = bar


def _not_convertible(gguf: Path, error: Exception) -> SourceError:
    return SourceError(
        "gguf: needs a whole GGUF file of an architecture that transformers can read.",
        value=str(gguf),
        hint=f"{type(error).__name__}: {error}",
    )
