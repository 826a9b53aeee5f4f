"""The header of a safetensors file, read without torch and before any tensor is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from c2c_search.host.strict_json import parse


_LARGEST_HEADER = 100_000_000  # as the library itself reads
_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 8),
}


@dataclass(frozen=True)
class StoredTensor:
    """What a header says of a tensor; ``dtype`` as safetensors spells it, e.g. ``F32``."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """What a file holds: its tensors by name, and its metadata."""

    tensors: dict[str, StoredTensor]
    metadata: dict[str, str]


def read_header(path: Path) -> Header:
    """Read a header and check that the file is as long as it says.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not a whole safetensors file.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(size - 8, _LARGEST_HEADER):
            raise ValueError(f"its header of {length} bytes does not fit the file's {size}")
        try:
            content = parse(stream.read(length))
        except RecursionError as error:
            raise ValueError("its header is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("its header is not a JSON object")
    metadata = content.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its metadata are not words by name")
    spans, tensors = [], {}
    for name, entry in content.items():
        tensors[name], span = _entry(name, entry)
        spans.append(span)
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise ValueError(f"its tensors overlap or leave a hole at byte {min(start, end)}")
        end = stop
    if end != size - 8 - length:
        raise ValueError(f"its tensors end at byte {end} of {size - 8 - length}")
    return Header(tensors, metadata)


def _entry(name: str, entry: object) -> tuple[StoredTensor, tuple[int, int]]:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name!r} is not told by dtype, shape and data_offsets")
    dtype, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BYTES:
        raise ValueError(f"{name!r} has an unknown dtype, {dtype!r}")
    if not _counts(shape) or not _counts(span) or len(span) != 2:
        raise ValueError(f"{name!r} has a shape or offsets that are not counts")
    if span[1] - span[0] != math.prod(shape) * _BYTES[dtype]:
        raise ValueError(f"{name!r} of shape {shape} does not fill bytes {span[0]} to {span[1]}")
    return StoredTensor(dtype, tuple(shape)), (span[0], span[1])


def _counts(values: object) -> bool:
    return isinstance(values, list) and all(type(each) is int and each >= 0 for each in values)
