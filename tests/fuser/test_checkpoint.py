"""A damaged fuser folder is an error, never a random fuser."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save_file

from c2c_search.errors import IntegrityError
from c2c_search.fuser import checkpoint
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.config import ImportedConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.gate_config import GateConfig
from c2c_search.fuser.shapes import CacheShape


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


def test_that_a_fuser_speaks_of_contexts_alone_is_kept(tmp_path):
    shape = CacheShape(layers=2, heads=1, head_dim=4)
    fuser = Fuser(FuserConfig(width=4, injection="side", projector="linear"), shape, shape)
    fuser.contexts_only = True
    checkpoint.save(fuser, tmp_path)
    assert checkpoint.load(tmp_path).contexts_only


def test_a_fuser_that_changes_its_receivers_cache_cannot_speak_of_contexts_alone(folder):
    path = folder / checkpoint.CONFIG_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"contexts_only": True}))
    with pytest.raises(IntegrityError, match="contexts_only needs a fuser"):
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
    # Those versions did not say which configuration the weights are of.
    weights = folder / checkpoint.WEIGHTS_NAME
    save_file(load_file(weights), weights, metadata={"format": "pt"})
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


def change(folder, **entries):
    """Change the configuration, and have the weights say that they are of the new one."""
    path = folder / checkpoint.CONFIG_NAME
    content = json.loads(path.read_text()) | entries
    path.write_text(json.dumps(content))
    weights = folder / checkpoint.WEIGHTS_NAME
    save_file(load_file(weights), weights)


def config(folder, section, **entries):
    content = json.loads((folder / checkpoint.CONFIG_NAME).read_text())
    change(folder, **{section: content[section] | entries})


def replace(folder, name, tensor):
    path = folder / checkpoint.WEIGHTS_NAME
    save_file({**load_file(path), name: tensor}, path)


def test_weights_say_which_configuration_they_are_of(folder):
    path = folder / checkpoint.CONFIG_NAME
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content))  # written otherwise, it is the same
    checkpoint.load(folder)
    content["fuser"]["activation"] = "relu"  # no tensor tells
    path.write_text(json.dumps(content))
    with pytest.raises(IntegrityError, match="must be of the fuser that"):
        checkpoint.load(folder)


@pytest.mark.parametrize(
    ("entries", "rule"),
    [
        ({"layers": [0, 2]}, "of the receiver's 0 to 1"),
        ({"layers": [-1, 1]}, "of the receiver's 0 to 1"),
        ({"layers": [1, 1]}, "none of them twice"),
        ({"layers": [1, 0]}, "must rise"),
        ({"layers": [], "sources": []}, "must rise"),
        ({"layers": [0, 1.0]}, "layers.1"),
        ({"layers": [0, True]}, "layers.1"),
        ({"layers": [0, "1"]}, "layers.1"),
        ({"sources": [[0], [2]]}, "of the sharer's 0 to 1"),
        ({"sources": [[0], [-1]]}, "of the sharer's 0 to 1"),
        ({"sources": [[0, 0], [1, 1]]}, "none of a layer's twice"),
        ({"sources": [[0], [0, 1]]}, "as many for each layer"),
        ({"sources": [[], []]}, "at least one"),
        ({"sources": [[0]]}, "as many as layers"),
        ({"sources": [[1], [0]]}, "sources are not those of fuser_config"),
        ({"fuser": None}, "fuser"),
    ],
)
def test_layers_are_those_of_the_models(folder, entries, rule):
    change(folder, **entries)
    with pytest.raises(IntegrityError, match=rule) as error:
        checkpoint.load(folder)
    assert "Value error" not in str(error.value)


def test_more_layers_than_their_share_are_refused(folder):
    config(folder, "fuser", layer_share=0.5)
    with pytest.raises(IntegrityError, match="at most 1"):
        checkpoint.load(folder)


@pytest.mark.parametrize(
    ("entries", "rule"),
    [
        ({"width": 65_536}, r"from_sharer\.weight is F32 of shape \(4, 4, 4\) and not"),
        ({"width": 10**9}, "less than or equal to 65536"),
        ({"width": 10**30}, "less than or equal to 65536"),
        ({"width": True}, "width"),
        ({"dropout": "0.1"}, "dropout"),
        ({"depth": 65}, "depth"),
        ({"depth": 64}, "is missing"),
    ],
)
def test_a_size_is_compared_with_the_weights_before_anything_is_allocated(folder, entries, rule):
    config(folder, "fuser", **entries)
    with pytest.raises(IntegrityError, match=rule):
        checkpoint.load(folder)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_of_a_configuration_are_finite(folder, constant):
    path = folder / checkpoint.CONFIG_NAME
    path.write_text(path.read_text().replace('"dropout": 0.0', f'"dropout": {constant}'))
    with pytest.raises(IntegrityError, match=r"fuser_config\.json must be"):
        checkpoint.load(folder)


def test_a_key_of_a_configuration_stands_once(folder):
    path = folder / checkpoint.CONFIG_NAME
    path.write_text(path.read_text().replace('"layers"', '"layers": [0], "layers"'))
    with pytest.raises(IntegrityError, match="'layers' stands twice"):
        checkpoint.load(folder)


@pytest.mark.parametrize("depth", [50, 100_000])
def test_a_configuration_is_not_nested_without_end(folder, depth):
    (folder / checkpoint.CONFIG_NAME).write_text('{"fuser":' * depth + "1" + "}" * depth)
    with pytest.raises(IntegrityError):
        checkpoint.load(folder)


@pytest.mark.parametrize(
    "dtype",
    [
        torch.int32,
        torch.int8,
        torch.float8_e4m3fn,
        torch.float16,
        torch.bfloat16,
        torch.float64,
        torch.complex64,
    ],
)
def test_weights_are_float32(folder, dtype):
    name = "projector.from_sharer.weight"
    replace(folder, name, load_file(folder / checkpoint.WEIGHTS_NAME)[name].to(dtype))
    with pytest.raises(IntegrityError, match=rf"{name} is .* and not F32"):
        checkpoint.load(folder)


def test_sources_are_whole_numbers_of_the_configuration(folder):
    replace(folder, "sources", torch.zeros(2, 1))
    with pytest.raises(IntegrityError, match=r"sources is F32 .* and not I64"):
        checkpoint.load(folder)
    replace(folder, "sources", torch.tensor([[1], [0]]))
    with pytest.raises(IntegrityError, match="sources are not those of fuser_config"):
        checkpoint.load(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_are_finite(folder, value):
    name = "projector.from_sharer.weight"
    tensor = load_file(folder / checkpoint.WEIGHTS_NAME)[name]
    tensor[0, 0, 0] = value
    replace(folder, name, tensor)
    with pytest.raises(IntegrityError, match=f"{name} has NaN or infinite numbers"):
        checkpoint.load(folder)


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-42])
@pytest.mark.parametrize("name", ["sharer_norm.deviation", "receiver_norm.deviation"])
def test_deviations_are_above_zero(folder, name, value):
    tensor = load_file(folder / checkpoint.WEIGHTS_NAME)[name]
    tensor[0, 0, 0, 0] = value
    replace(folder, name, tensor)
    with pytest.raises(IntegrityError, match=f"{name} has numbers that are not above 0"):
        checkpoint.load(folder)


def test_a_gates_temperature_is_above_zero(tmp_path):
    shape = CacheShape(layers=2, heads=1, head_dim=4)
    gate = GateConfig(granularity="layer")
    checkpoint.save(Fuser(FuserConfig(width=4, gate=gate), shape, shape), tmp_path)
    checkpoint.load(tmp_path)
    replace(tmp_path, "gate.temperature", torch.tensor(0.0))
    with pytest.raises(IntegrityError, match=r"gate\.temperature has numbers that are not above"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_truncated_weights_are_refused(folder, size):
    path = folder / checkpoint.WEIGHTS_NAME
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(IntegrityError, match="whole safetensors file"):
        checkpoint.load(folder)


def test_a_deep_fuser_of_a_published_checkpoint_is_read(tmp_path):
    shape = CacheShape(layers=2, heads=1, head_dim=4)
    checkpoint.save(Fuser(ImportedConfig(width=4, depth=12), shape, shape), tmp_path)
    assert checkpoint.load(tmp_path).config.depth == 12


def test_a_fuser_is_written_in_the_same_bytes_every_time(folder, tmp_path):
    fuser = checkpoint.load(folder)
    for number in range(8):
        checkpoint.save(fuser, tmp_path / f"{number}")
        for name in (checkpoint.WEIGHTS_NAME, checkpoint.CONFIG_NAME):
            assert (tmp_path / f"{number}" / name).read_bytes() == (folder / name).read_bytes()
