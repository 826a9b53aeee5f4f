"""A damaged fuser folder is an error, never a random fuser."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file
from safetensors.torch import save_file

from c2c_search.errors import IntegrityError
from c2c_search.fuser import checkpoint
from c2c_search.fuser.config import CacheShape
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser


@pytest.fixture
def folder(tmp_path):
    shape = CacheShape(layers=2, heads=1, head_dim=4)
    checkpoint.save(Fuser(FuserConfig(width=4), shape, shape), tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [checkpoint.CONFIG_NAME, checkpoint.WEIGHTS_NAME])
def test_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(IntegrityError, match=name):
        checkpoint.load(folder)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_wrong_tensors(folder, change):
    path = folder / checkpoint.WEIGHTS_NAME
    tensors = load_file(path)
    name = "projector.from_sharer.weight"
    if change == "missing":
        del tensors[name]
    elif change == "extra":
        tensors["other"] = tensors[name].clone()
    else:
        tensors[name] = tensors[name][:1].clone()
    save_file(tensors, path)
    with pytest.raises(IntegrityError, match="exactly the tensors"):
        checkpoint.load(folder)


def test_a_configuration_that_is_not_ours(folder):
    path = folder / checkpoint.CONFIG_NAME
    content = json.loads(path.read_text())
    content["fuser"]["depth"] = 99
    del content["layers"]
    path.write_text(json.dumps(content))
    with pytest.raises(IntegrityError) as error:
        checkpoint.load(folder)
    assert "fuser.depth" in str(error.value)
    assert "layers: Field required" in str(error.value)


def test_what_was_stored_before_there_was_lora_is_read(folder):
    path = folder / checkpoint.CONFIG_NAME
    content = json.loads(path.read_text())
    del content["fuser"]["lora_rank"]
    for role in ("receiver", "sharer"):
        del content[role]["projections"]
    path.write_text(json.dumps(content))
    fuser = checkpoint.load(folder)
    assert fuser.lora is None
    assert fuser.receiver_shape == CacheShape(layers=2, heads=1, head_dim=4)


def test_a_lora_without_the_receivers_maps_is_damage(folder):
    path = folder / checkpoint.CONFIG_NAME
    content = json.loads(path.read_text())
    content["fuser"]["lora_rank"] = 2
    path.write_text(json.dumps(content))
    with pytest.raises(IntegrityError, match=r"fuser\.lora_rank needs receiver\.projections"):
        checkpoint.load(folder)


def test_nothing_half_written_is_left(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {checkpoint.WEIGHTS_NAME, checkpoint.CONFIG_NAME}
    assert json.loads((folder / checkpoint.CONFIG_NAME).read_text())["fuser"]["width"] == 4
