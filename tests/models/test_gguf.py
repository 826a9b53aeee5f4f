"""GGUF files become safetensors folders: exactly, quietly, and never half."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from c2c_search.errors import SourceError
from c2c_search.errors import StoreError
from c2c_search.models import gguf as module
from c2c_search.models.cache_dir import silent
from c2c_search.models.catalogue import Licence
from c2c_search.models.gguf import convert
from c2c_search.models.gguf import renewed
from c2c_search.models.identity import RECORD
from c2c_search.models.identity import SINGLE
from c2c_search.models.identity import Record
from c2c_search.models.identity import read_record


def _record(folder: Path) -> Record:
    record = read_record(folder / RECORD)
    assert record
    return record


@pytest.fixture(scope="module")
def converted(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted") / "tiny"
    convert(tiny_gguf, folder, source="gguf:tiny", revision="1", progress=silent)
    return folder


def test_weights_are_exact(converted: Path, tiny_gguf: Path) -> None:
    import torch
    from gguf import GGUFReader
    from safetensors.torch import load_file

    tensors = load_file(converted / SINGLE)
    source = {tensor.name: tensor.data for tensor in GGUFReader(tiny_gguf).tensors}
    for ours, theirs in (
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.layers.0.mlp.gate_proj.weight", "blk.0.ffn_gate.weight"),
    ):
        assert torch.equal(tensors[ours], torch.tensor(source[theirs].copy()))


def test_the_folder_loads_and_is_identified(converted: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(converted, local_files_only=True)
    assert tokenizer("ab").input_ids == [5]
    identity = _record(converted).identity
    assert (identity.source, identity.revision) == ("gguf:tiny", "1")
    assert (identity.licence, identity.licence_url) == ("mit", None)
    assert identity.architecture == "LlamaForCausalLM"


def test_it_is_silent_and_reports_tensors(
    tiny_gguf: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[str, int, int, str]] = []
    (tmp_path / "NOTICE").write_text("mind")
    resolved = convert(
        tiny_gguf,
        tmp_path / "tiny",
        source="pypi:tiny",
        revision="1",
        progress=lambda *event: told.append(event),
        licence=Licence("MIT", "MIT License", "https://example.org", "Mind."),
        documents=[tmp_path / "NOTICE"],
    )
    assert capfd.readouterr() == ("", "")
    assert ("convert", 11, 11, "converting pypi:tiny") in told
    assert told[-1][0] == "load"
    assert told[-1][1] == told[-1][2] > 0
    assert (resolved.path / "NOTICE").read_text() == "mind"
    assert (resolved.identity.licence, resolved.identity.licence_url) == (
        "MIT",
        "https://example.org",
    )


def test_an_interruption_leaves_the_old_folder_or_none(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "old").write_text("")
    monkeypatch.setattr(module, "write_record", interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert(tiny_gguf, folder, source="gguf:tiny", revision="1", progress=silent)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert [path.name for path in folder.iterdir()] == ["old"]


@pytest.mark.parametrize("size", [0, 3, 200])
def test_a_broken_file_is_refused(tiny_gguf: Path, tmp_path: Path, size: int) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(tiny_gguf.read_bytes()[:size])
    with pytest.raises(SourceError, match="whole GGUF file") as caught:
        convert(broken, tmp_path / "model", source="gguf:x", revision="1", progress=silent)
    assert "broken.gguf" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["broken.gguf"]


def test_a_small_disk_is_refused(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StoreError, match="free disk space"):
        convert(tiny_gguf, tmp_path / "model", source="gguf:x", revision="1", progress=silent)
    assert not list(tmp_path.iterdir())


def test_a_copy_is_no_damage_but_a_change_is(converted: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(converted, copy, copy_function=shutil.copyfile)
    assert not _record(copy).fresh(copy)
    assert renewed(copy, _record(copy), silent) is not None
    assert _record(copy).fresh(copy)
    weights = bytearray((copy / SINGLE).read_bytes())
    weights[-1] ^= 1
    (copy / SINGLE).write_bytes(weights)
    assert renewed(copy, _record(copy), silent) is None
    (copy / SINGLE).unlink()
    assert renewed(copy, _record(copy), silent) is None
