"""A mapper for vLLM's semantic router says to the receiver what the champion says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from c2c_search.champion.kv_mapper import write_kv_mapper
from c2c_search.errors import ConfigError
from c2c_search.errors import StoreError
from c2c_search.fuser.checkpoint import save
from c2c_search.inference.conversations import turns
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.model import C2CModel
from c2c_search.inference.sums import read_sums
from c2c_search.inference.sums import write_sums
from c2c_search.models.stamps import file_sha256


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def alike(make_pair: Any, tiny_model: Any) -> C2CModel:
    """A pair of one tokenizer and KV heads; its fuser puts an affine map in the cache's place."""
    sharer = tiny_model("llama", layers=2, heads=2, head_dim=8, seed=2)
    config = {
        "projector": "ridge",
        "injection": "replace",
        "keys": "unrotated",
        "normalisation": "calibrated",
        "sources_per_layer": 2,
        "source_combination": "concat",
        "gate": {"granularity": "none"},
    }
    model: C2CModel = make_pair(sharer=sharer, **config)
    fuser = model.fuser
    assert fuser is not None
    with torch.no_grad():
        for name, tensor in fuser.state_dict().items():
            if tensor.is_floating_point():
                tensor += torch.rand(
                    tensor.shape, generator=torch.Generator().manual_seed(len(name))
                )
    return model


def champion(folder: Path, model: C2CModel, manifest: Manifest, **changed: Any) -> Path:
    content = manifest.model_dump()
    for role in ("receiver", "sharer"):
        content["pair"][role] |= {
            "source": f"hf:somebody/{role}",
            "revision": COMMIT,
            "tokenizer_sha256": "same",
            **changed,
        }
    assert model.fuser is not None
    save(model.fuser, folder)
    (folder / "manifest.json").write_text(Manifest.model_validate(content).model_dump_json())
    (folder / "README.md").write_text("")
    write_sums(folder)
    return folder


def test_the_mapped_cache_is_the_fused_one(
    alike: C2CModel, manifest: Manifest, tmp_path: Path
) -> None:
    source = champion(tmp_path / "champion", alike, manifest)
    folder = write_kv_mapper(source, tmp_path / "out")
    names = ["manifest.json", "weights.safetensors"]
    assert read_sums(folder) == {name: file_sha256(folder / name) for name in names}
    told = json.loads((folder / "manifest.json").read_text())
    assert told["mapper_id"] == folder.name
    assert folder.name == f"c2c-fuser-full_head-fp32-tp1-h2-s{COMMIT}-t{COMMIT}-b1"
    assert told["compatibility"]["source_model"] == "somebody/sharer"
    assert (told["topk"], told["rope_stripped_on_keys"]) == (2, True)

    # What the connector does: features @ W + b of keys before RoPE, then the receiver's RoPE.
    weights = load_file(folder / "weights.safetensors")
    prompts = alike.prompts([turns("What is wet?")])
    batch = alike.batch(prompts)
    fuser, rotaries = alike.fuser, alike.rotaries
    assert fuser is not None
    assert rotaries is not None
    rotations = rotaries.of_batch(batch, "cache")
    said = rotations.undo_sharer(batch.sharer, None)
    mapped = []
    for number, kind in enumerate(("k", "v")):
        chosen = told["source_layers_per_target"][kind]
        for layer in range(fuser.receiver_shape.layers):
            features = torch.cat([said[number, each] for each in chosen[str(layer)]], dim=-1)
            name = f"target.{layer}.{kind}"
            mapped.append(features.float() @ weights[f"{name}.W"] + weights[f"{name}.b"])
    unrotated = torch.stack(mapped).unflatten(0, (2, -1))
    expected = alike.fused_cache(batch).packed
    found = rotations.apply_receiver(unrotated, fuser.layers)
    torch.testing.assert_close(found, expected.float(), atol=1e-3, rtol=1e-3)
    with pytest.raises(StoreError, match="there already"):
        write_kv_mapper(source, tmp_path / "out")


def test_what_the_format_cannot_say_is_told_together(
    make_pair: Any, alike: C2CModel, manifest: Manifest, tmp_path: Path
) -> None:
    other = champion(tmp_path / "one", make_pair(), manifest, source="pypi:small")
    with pytest.raises(ConfigError) as refused:
        write_kv_mapper(other, tmp_path / "out")
    for part in ("injection is 'residual'", "keys is", "KV heads differ", "pypi:small"):
        assert part in str(refused.value)
    branch = champion(tmp_path / "two", alike, manifest, revision="main")
    with pytest.raises(ConfigError, match="commits of the hub"):
        write_kv_mapper(branch, tmp_path / "out")
    looks_at_both = make_pair(
        receiver=alike.receiver,
        sharer=alike.sharer,
        projector="linear",
        injection="replace",
        keys="unrotated",
    )
    with pytest.raises(ConfigError, match="not an affine map"):
        write_kv_mapper(champion(tmp_path / "three", looks_at_both, manifest), tmp_path / "out")
    assert not (tmp_path / "out").exists()
