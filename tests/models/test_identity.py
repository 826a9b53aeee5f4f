"""Identities: the same content has the same hash, however it is stored; other content has not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save_file

from c2c_search.errors import SourceError
from c2c_search.models.cache_dir import silent
from c2c_search.models.identity import INDEX
from c2c_search.models.identity import NO_TOKENIZER
from c2c_search.models.identity import SINGLE
from c2c_search.models.identity import identify
from c2c_search.models.identity import read_record
from c2c_search.models.identity import stamps
from c2c_search.models.identity import stated_licence
from c2c_search.models.identity import tokenizer_sha256
from c2c_search.models.identity import weights_sha256
from c2c_search.models.identity import write_record


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _shard(folder: Path) -> None:
    tensors = load_file(folder / SINGLE)
    names = sorted(tensors)
    shards = {"b.safetensors": names[:3], "a.safetensors": names[3:]}
    for shard, held in shards.items():
        save_file({name: tensors[name] for name in held}, folder / shard)
    index = {"weight_map": {name: shard for shard, held in shards.items() for name in held}}
    (folder / INDEX).write_text(json.dumps(index))
    (folder / SINGLE).unlink()


def test_shards_and_headers_do_not_matter(folder: Path) -> None:
    whole = weights_sha256(folder, silent)
    save_file(load_file(folder / SINGLE), folder / SINGLE, metadata={"written": "by another"})
    assert weights_sha256(folder, silent) == whole
    _shard(folder)
    assert weights_sha256(folder, silent) == whole


@pytest.mark.parametrize("change", ["value", "name", "dtype", "shape"])
def test_every_change_of_a_tensor_matters(folder: Path, change: str) -> None:
    before = weights_sha256(folder, silent)
    tensors = load_file(folder / SINGLE)
    weight = tensors.pop("lm_head.weight")
    if change == "value":
        weight[0, 0] += 1
    elif change == "dtype":
        weight = weight.view(torch.int32)
    elif change == "shape":
        weight = weight.reshape(16, 8)
    tensors["lm_head.bias" if change == "name" else "lm_head.weight"] = weight
    save_file(tensors, folder / SINGLE)
    assert weights_sha256(folder, silent) != before


def test_progress_reaches_all_bytes(folder: Path) -> None:
    told: list[tuple[str, int, int]] = []
    weights_sha256(folder, lambda stage, done, total, _: told.append((stage, done, total)))
    size = sum(tensor.numel() * 4 for tensor in load_file(folder / SINGLE).values())
    assert told[-1] == ("load", size, size)


def test_a_tokenizer_is_its_content(folder: Path) -> None:
    before = tokenizer_sha256(folder)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=7))
    _edit(folder / "tokenizer_config.json", local_files_only="noise")
    assert tokenizer_sha256(folder) == before
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert tokenizer_sha256(folder) != before


def test_a_folder_without_anything_of_a_tokenizer_has_none(folder: Path) -> None:
    for path in folder.glob("*token*"):
        path.unlink()
    assert tokenizer_sha256(folder) == NO_TOKENIZER
    assert _identity(folder)["tokenizer_sha256"] == NO_TOKENIZER
    assert [stamp.name for stamp in stamps(folder)] == ["config.json", SINGLE]
    # A vocabulary that is not read here is a tokenizer all the same.
    (folder / "spiece.model").write_bytes(b"")
    with pytest.raises(SourceError, match=r"with spiece\.model and no vocabulary"):
        tokenizer_sha256(folder)


def test_merges_are_the_same_in_old_and_new_spelling(folder: Path) -> None:
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    hashes = []
    for merges in (["a b"], [["a", "b"]], [["a", "c"]]):
        _edit(folder / "tokenizer.json", model={**model, "merges": merges})
        hashes.append(tokenizer_sha256(folder))
    assert hashes[0] == hashes[1] != hashes[2]


def _identity(folder: Path) -> dict[str, str | None]:
    facts = {"source": "path:x", "revision": None, "licence": "MIT", "licence_url": None}
    return identify(folder, **facts, progress=silent).identity.model_dump()


def test_a_configuration_matters_but_not_who_wrote_it(folder: Path) -> None:
    before = _identity(folder)
    assert before["architecture"] == "LlamaForCausalLM"
    _edit(folder / "config.json", transformers_version="0", dtype="float16")
    assert _identity(folder) == before
    _edit(folder / "config.json", rms_norm_eps=0.5)
    changed = {key for key, value in _identity(folder).items() if value != before[key]}
    assert changed == {"config_sha256"}


def test_a_record_is_fresh_until_a_file_changes(folder: Path, tmp_path: Path) -> None:
    facts = {"source": "path:x", "revision": None, "licence": "MIT", "licence_url": None}
    record = identify(folder, **facts, progress=silent)
    write_record(tmp_path / "records" / "one.json", record)
    assert read_record(tmp_path / "records" / "one.json") == record
    assert record.fresh(folder)
    os.utime(folder / SINGLE, ns=(1, 1))
    assert not record.fresh(folder)
    (folder / SINGLE).unlink()
    assert not record.fresh(folder)


@pytest.mark.parametrize("content", [b"", b"{}", b"no json", b'{"format": 99}'])
def test_a_record_of_another_format_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "record.json").write_bytes(content)
    assert read_record(tmp_path / "record.json") is None
    assert read_record(tmp_path / "missing.json") is None


@pytest.mark.parametrize(
    ("missing", "rule"),
    [
        (SINGLE, "nothing is ever unpickled"),
        ("config.json", "must hold config.json"),
        ("tokenizer.json", "tokenizer whole.*tokenizer_config.json and no vocabulary"),
    ],
)
def test_an_incomplete_folder_is_refused(folder: Path, missing: str, rule: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(SourceError, match=rule):
        stamps(folder)


def test_a_missing_shard_is_named(folder: Path) -> None:
    _shard(folder)
    (folder / "b.safetensors").unlink()
    with pytest.raises(SourceError, match=r"b\.safetensors"):
        stamps(folder)


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_a_file_that_is_no_safetensors_is_refused(folder: Path, size: int) -> None:
    path = folder / SINGLE
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(SourceError, match="whole safetensors file"):
        weights_sha256(folder, silent)


@pytest.mark.parametrize(
    ("head", "licence"),
    [
        ("license: apache-2.0\n", ("apache-2.0", None)),
        (
            "license: other\nlicense_name: own\nlicense_link: https://a.org\n",
            ("own", "https://a.org"),
        ),
        ("tags: [x]\n", ("not stated", None)),
        ("{", ("not stated", None)),
        # Written out, it would fill the memory.
        ("a: &a [x, x]\nlicense: [*a, *a]\nlicense_link: [*a]\n", ("not stated", None)),
    ],
)
def test_a_licence_is_read_from_the_model_card(
    tmp_path: Path, head: str, licence: tuple[str, str | None]
) -> None:
    assert stated_licence(tmp_path) == ("not stated", None)
    (tmp_path / "README.md").write_text(f"---\n{head}---\n# Model\n---\n")
    assert stated_licence(tmp_path) == licence
