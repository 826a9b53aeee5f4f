"""A safetensors header that does not tell what is in the file is refused before it is believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from c2c_search.host.tensor_file import StoredTensor
from c2c_search.host.tensor_file import read_header


def _entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24], **changes}


def _write(path: Path, header: Any, size: int = 24) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(size))
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_what_the_library_writes_is_read(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"a": torch.zeros(2, 3, dtype=dtype), "b": torch.zeros((), dtype=dtype)}
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    header = read_header(tmp_path / "x.safetensors")
    assert {name: each.shape for name, each in header.tensors.items()} == {"a": (2, 3), "b": ()}
    assert header.metadata == {"format": "pt"}


def test_an_entry_is_told(tmp_path: Path) -> None:
    header = read_header(_write(tmp_path / "x", {"a": _entry()}))
    assert header.tensors == {"a": StoredTensor("F32", (2, 3))}


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ([], "not a JSON object"),
        (b"{ ", "property name"),
        (b'{"a":' * 99_999, "nested too deeply"),
        (b'{"a": 1, "a": 2}', "stands twice"),
        ({"a": 3}, "is not told by"),
        ({"a": _entry(more=1)}, "is not told by"),
        ({"a": _entry(dtype="F7")}, "unknown dtype"),
        ({"a": _entry(dtype=["F32"])}, "unknown dtype"),
        ({"a": _entry(shape=[2, -3])}, "not counts"),
        ({"a": _entry(shape=[2, True])}, "not counts"),
        ({"a": _entry(shape=[2, 3.0])}, "not counts"),
        ({"a": _entry(data_offsets=[0])}, "not counts"),
        ({"a": _entry(shape=[10**9, 10**9])}, "does not fill"),
        ({"a": _entry(data_offsets=[24, 0])}, "does not fill"),
        ({"a": _entry(), "b": _entry()}, "overlap"),
        ({"a": _entry(data_offsets=[8, 32])}, "hole at byte 0"),
        ({}, "end at byte 0 of 24"),
        ({"__metadata__": {"a": 1}, "a": _entry()}, "metadata"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, header: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_header(_write(tmp_path / "x", header))


def test_the_header_is_no_longer_than_the_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match="does not fit the file's 10"):
        read_header(tmp_path / "x")
