"""The published layout: read to the number, written back to the bit, refused with every reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import gelu
from torch.nn.functional import linear
from torch.nn.functional import rms_norm

from c2c_search.errors import ConfigError
from c2c_search.errors import IntegrityError
from c2c_search.errors import StoreError
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.config import ImportedConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.gate_config import GateConfig
from c2c_search.fuser.rosetta import writing
from c2c_search.fuser.shapes import AttentionMap
from c2c_search.fuser.shapes import CacheShape


MAPS = (
    AttentionMap(role="output", inputs=8, outputs=6),
    AttentionMap(role="qkv", inputs=6, outputs=24),
)
RECEIVER = CacheShape(layers=3, heads=2, head_dim=4, projections=MAPS)
SHARER = CacheShape(layers=5, heads=1, head_dim=6)
WIDTH, INNER = 7, 9
ARGUMENTS = {
    "source_dim": 6,
    "target_dim": 4,
    "source_num_heads": 1,
    "target_num_heads": 2,
    "hidden_dim": WIDTH,
    "intermediate_dim": INNER,
    "num_layers": 4,
    "dropout": 0.1,
}
LAYERS = {0: (2, 0), 1: (0, 1), 2: (4, 2)}
"""Receiver layer to sharer layer and projector; neither terminal nor proportional."""
EXPORTABLE = FuserConfig(
    width=8,
    normalisation="none",
    input_activation=False,
    token_alignment="longest",
    gate=GateConfig(granularity="layer", rule="hard", initial_logit=0.5),
)

State = dict[str, torch.Tensor]


def _state(seed: int, depth: int = 4) -> State:
    """A projector's random tensors, by their published names."""
    torch.manual_seed(seed)
    size, heard = RECEIVER.size, SHARER.size
    state = {"gate_temperature": torch.tensor(0.25)}
    for kind in ("key", "value"):
        own = {
            "in.weight": (WIDTH, heard + size),
            "in.bias": (WIDTH,),
            "scalar_head.weight": (RECEIVER.heads, WIDTH),
            "scalar_head.bias": (RECEIVER.heads,),
            "proj_out.weight": (size, WIDTH),
            "proj_out.bias": (size,),
        }
        blocks = {"mlp1.blocks.0": INNER, "scalar_mlp2.blocks.0": WIDTH}
        blocks |= {f"proj_mlp2.blocks.{place}": INNER for place in range(depth - 2)}
        for name, inner in blocks.items():
            own |= {f"{name}.norm.weight": (WIDTH,), f"{name}.w1.weight": (inner, WIDTH)}
            own[f"{name}.w2.weight"] = (WIDTH, inner)
        state |= {f"{kind}_{name}": torch.randn(shape) for name, shape in own.items()}
        state[f"{kind}_gate_logit"] = torch.tensor(0.5 if kind == "key" or seed else -0.5)
    return state


def _json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def _map(folder: Path, sharers: dict[int, dict[int, list[list[int]]]]) -> None:
    _json(folder / "projector_config.json", {0: sharers})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint as the published code saves it, with files beside it that are not ours."""
    folder = tmp_path / "final"
    folder.mkdir()
    for projector in range(3):
        torch.save(_state(projector), folder / f"projector_{projector}.pt")
        _json(
            folder / f"projector_{projector}.json",
            {"class": "C2CProjector", "init_args": ARGUMENTS},
        )
    _map(folder, {1: {layer: [list(pair)] for layer, pair in LAYERS.items()}})
    _json(folder / "aggregator_config.json", {})
    torch.save({"step": 1}, folder / "training_state.pt")
    return folder


def _arguments(folder: Path, projector: int = 0, **changes: Any) -> None:
    content = {"class": "C2CProjector", "init_args": ARGUMENTS | changes}
    _json(folder / f"projector_{projector}.json", content)


def _reference(state: State, kind: str, receiver: torch.Tensor, sharer: torch.Tensor) -> Any:
    """What a projector makes of tokens, written down once more from its tensors alone."""

    def block(name: str, x: torch.Tensor) -> torch.Tensor:
        norm, w1, w2 = (state[f"{kind}_{name}.{part}.weight"] for part in ("norm", "w1", "w2"))
        return x + linear(gelu(linear(rms_norm(x, (WIDTH,), norm, 1e-6), w1)), w2)

    def affine(name: str, x: torch.Tensor) -> torch.Tensor:
        return linear(x, state[f"{kind}_{name}.weight"], state[f"{kind}_{name}.bias"])

    hidden = block("mlp1.blocks.0", affine("in", torch.cat([sharer, receiver], dim=-1)))
    weight = affine("scalar_head", block("scalar_mlp2.blocks.0", hidden)).sigmoid()
    projected = affine(
        "proj_out", block("proj_mlp2.blocks.1", block("proj_mlp2.blocks.0", hidden))
    )
    gate = float(state[f"{kind}_gate_logit"] > 0)
    return receiver + gate * weight.repeat_interleave(RECEIVER.head_dim, dim=-1) * projected


def test_every_number_is_read_into_its_place(folder: Path) -> None:
    fuser = writing.read(folder, RECEIVER, SHARER)
    assert (fuser.layers, fuser.sources.tolist()) == ([0, 1, 2], [[2], [0], [4]])
    assert not fuser.training
    receiver, sharer = torch.randn(2, 3, 11, RECEIVER.size), torch.randn(2, 5, 11, SHARER.size)
    fused = fuser(receiver, sharer)
    for layer, (source, projector) in LAYERS.items():
        for place, kind in enumerate(("key", "value")):
            pair = receiver[place, layer], sharer[place, source]
            expected = _reference(_state(projector), kind, *pair)
            torch.testing.assert_close(fused[place, layer], expected, rtol=1e-4, atol=1e-4)
    # The value gate of projector 0 is shut.
    assert torch.equal(fused[1, 0], receiver[1, 0])


def test_the_configuration_is_the_published_one(folder: Path) -> None:
    config = writing.read(folder, RECEIVER, SHARER).config
    assert (config.depth, config.width, config.intermediate) == (4, WIDTH, INNER)
    assert (config.dropout, config.layer_alignment) == (0.1, "explicit")
    assert (config.gate.temperature_start, config.gate.temperature_end) == (1.0, 0.001)
    assert writing.obstacles(config) == []


@pytest.mark.parametrize(
    ("sources", "name"), [([2, 3, 4], "terminal"), ([0, 2, 4], "proportional")]
)
def test_a_known_layer_map_gets_its_name(folder: Path, sources: list[int], name: str) -> None:
    _map(folder, {1: {layer: [[source, layer]] for layer, source in enumerate(sources)}})
    assert writing.read(folder, RECEIVER, SHARER).config.layer_alignment == name


def test_layers_may_be_left_out_and_projectors_shared(folder: Path) -> None:
    _map(folder, {1: {0: [[2, 1]], 2: [[3, 1]]}})
    for name in ("projector_0", "projector_2"):
        (folder / f"{name}.pt").unlink()
        (folder / f"{name}.json").unlink()
    fuser = writing.read(folder, RECEIVER, SHARER)
    assert fuser.layers == [0, 2]
    receiver, sharer = torch.randn(2, 3, 4, RECEIVER.size), torch.randn(2, 5, 4, SHARER.size)
    fused = fuser(receiver, sharer)
    assert torch.equal(fused[:, 1], receiver[:, 1])
    for layer, source in ((0, 2), (2, 3)):
        expected = _reference(_state(1), "key", receiver[0, layer], sharer[0, source])
        torch.testing.assert_close(fused[0, layer], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_becomes_float32(folder: Path, dtype: torch.dtype) -> None:
    for projector in range(3):
        state = {name: tensor.to(dtype) for name, tensor in _state(projector).items()}
        torch.save(state, folder / f"projector_{projector}.pt")
        _arguments(folder, projector, dtype={"torch": str(dtype)})
    fuser = writing.read(folder, RECEIVER, SHARER)
    tensors = fuser.state_dict()
    assert {tensor.dtype for name, tensor in tensors.items() if name != "sources"} == {
        torch.float32
    }
    expected = _state(1)["value_in.weight"].to(dtype).float().T
    place = 3 + 1  # values come behind the three layers' keys
    found = torch.cat(
        [tensors[f"projector.from_{side}.weight"][place] for side in ("sharer", "receiver")]
    )
    assert torch.equal(found, expected)


def test_left_out_arguments_have_the_published_defaults(folder: Path) -> None:
    # The tensors are far from 1024 wide: the defaults show in what is said to be wrong.
    for projector in range(3):
        _json(
            folder / f"projector_{projector}.json",
            {"class": "C2CProjector", "init_args": {"source_dim": 6, "target_dim": 4}},
        )
    with pytest.raises(IntegrityError, match=r"key_mlp1\.blocks\.0\.w1\.weight") as caught:
        writing.read(folder, RECEIVER, SHARER)
    assert "(1024, 1024)" in str(caught.value)
    assert "target_num_heads" in str(caught.value)


def test_a_sharer_is_chosen_among_several(folder: Path) -> None:
    _map(folder, {1: {0: [[2, 0]]}, 4: {1: [[0, 1]], 2: [[1, 2]]}})
    with pytest.raises(ConfigError, match=r"holds several.*\[1, 4\].*--sharer-index"):
        writing.read(folder, RECEIVER, SHARER)
    with pytest.raises(ConfigError, match=r"Got 2\. It holds 1, 4"):
        writing.read(folder, RECEIVER, SHARER, sharer_index=2)
    assert writing.read(folder, RECEIVER, SHARER, sharer_index=1).layers == [0]
    assert writing.read(folder, RECEIVER, SHARER, sharer_index=4).layers == [1, 2]


def test_a_round_trip_changes_no_bit(folder: Path, tmp_path: Path) -> None:
    fuser = writing.read(folder, RECEIVER, SHARER)
    writing.write(fuser, tmp_path / "out")
    for projector in range(3):
        written = torch.load(tmp_path / "out" / f"projector_{projector}.pt", weights_only=True)
        expected = _state(projector)
        assert written.keys() == expected.keys()
        for name, tensor in written.items():
            assert torch.equal(tensor, expected[name]), name
            # Saving a view would have saved every layer with it.
            assert tensor.untyped_storage().nbytes() == tensor.nbytes
    again = writing.read(tmp_path / "out", RECEIVER, SHARER)
    assert (again.config, again.layers) == (fuser.config, fuser.layers)
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, fuser.state_dict()[name]), name
    assert [path.name for path in writing.files(tmp_path / "out")] == sorted(
        ["projector_config.json"]
        + [f"projector_{place}.{end}" for place in range(3) for end in ("pt", "json")]
    )


# Refusals


def _refused(folder: Path) -> str:
    with pytest.raises(IntegrityError) as caught:
        writing.read(folder, RECEIVER, SHARER)
    return str(caught.value)


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(IntegrityError, match=r"holds projector_config\.json"):
            writing.read(path, RECEIVER, SHARER)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "NaN",
        '{"0": {}, "0": {}}',
        "[" * 99_999,
        '{"0": {"1": {"0": [[0]]}}}',
        '{"a": {}}',
    ],
)
def test_a_broken_map_is_named(folder: Path, text: str) -> None:
    (folder / "projector_config.json").write_text(text)
    assert "projector_config.json: " in _refused(folder)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ({0: {1: {}}}, "at least one layer"),
        ({}, "of one receiver"),
        ({0: {1: {0: [[0, 0]]}}, 1: {0: {0: [[0, 0]]}}}, "of one receiver"),
    ],
)
def test_a_map_of_nothing_or_of_two_receivers(
    folder: Path, content: dict[int, Any], part: str
) -> None:
    _json(folder / "projector_config.json", content)
    if len(content) == 2:
        with pytest.raises(ConfigError, match="several"):
            writing.read(folder, RECEIVER, SHARER)
        with pytest.raises(IntegrityError, match=part):
            writing.read(folder, RECEIVER, SHARER, sharer_index=1)
    else:
        assert part in _refused(folder)


def test_layers_outside_the_models_and_several_pairs_are_named(folder: Path) -> None:
    _map(folder, {1: {0: [[5, 0]], 2: [[1, 1], [2, 2]], 3: [[0, 0]]}})
    message = _refused(folder)
    assert message.startswith("3 problems:")
    assert "receiver layer 0: The sharer has the layers 0 to 4. Got 5." in message
    assert "receiver layer 2: A layer takes one pair" in message
    assert "Got [[1, 1], [2, 2]]" in message
    assert "receiver layer 3: The receiver has the layers 0 to 2. Got 3." in message


def test_missing_and_unreferenced_files_are_named(folder: Path) -> None:
    (folder / "projector_1.pt").unlink()
    (folder / "projector_2.json").unlink()
    torch.save(_state(7), folder / "projector_7.pt")
    message = _refused(folder)
    for line in (
        "projector_1.pt: This file is missing.",
        "projector_2.json: This file is missing.",
        "projector_7.pt: projector_config.json names no such projector.",
    ):
        assert line in message


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("{", "JSONDecodeError"),
        ("[]", "class and init_args"),
        ('{"class": "C2CProjector"}', "KeyError: 'init_args'"),
        ('{"class": "AllInOneProjector", "init_args": {}}', "class C2CProjector can be read"),
    ],
)
def test_another_description_is_refused(folder: Path, content: str, part: str) -> None:
    (folder / "projector_0.json").write_text(content)
    assert part in _refused(folder)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"use_swiglu": True}, "projector_1.json: use_swiglu"),
        ({"num_layers": 2}, "projector_1.json: num_layers"),
        ({"hidden_dim": "7"}, "projector_1.json: hidden_dim"),
        ({"dropout": 0.2}, "dropout: All projectors must be built alike; projector 0 has 0.1."),
    ],
)
def test_arguments_are_checked(folder: Path, changes: dict[str, Any], part: str) -> None:
    _arguments(folder, 1, **changes)
    assert part in _refused(folder)


def test_another_model_is_told_by_its_sizes(folder: Path) -> None:
    other = CacheShape(layers=5, heads=2, head_dim=3)  # as large, and yet another
    with pytest.raises(IntegrityError) as caught:
        writing.read(folder, RECEIVER, other)
    message = str(caught.value)
    assert "source_dim: It must be what the sharer has, a head size of 3. Got 6." in message
    assert "source_num_heads: It must be what the sharer has, KV heads of 2. Got 1." in message


def test_every_wrong_tensor_is_named_at_once(folder: Path) -> None:
    first, second = _state(0), _state(1)
    del first["key_in.bias"]
    first["key_extra"] = torch.zeros(1)
    first["value_proj_out.weight"] = torch.zeros(3, 3)
    second["key_in.bias"] = torch.zeros(WIDTH, dtype=torch.long)
    torch.save(first, folder / "projector_0.pt")
    torch.save(second, folder / "projector_1.pt")
    message = _refused(folder)
    assert message.startswith("4 problems:")
    assert "projector_0.pt: key_in.bias: This tensor of real numbers is missing" in message
    assert "projector_0.pt: key_extra: A C2CProjector has no such tensor" in message
    assert "projector_0.pt: value_proj_out.weight: Its shape must be (8, 7)" in message
    assert "projector_1.pt: key_in.bias" in message


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda tensor: tensor.to(torch.float8_e4m3fn), "real numbers is missing"),
        (lambda tensor: tensor.to(torch.complex64), "real numbers is missing"),
        (lambda tensor: tensor.to(torch.int32), "real numbers is missing"),
        (lambda tensor: tensor.to_sparse(), "real numbers is missing"),
        (lambda tensor: tensor.to("meta"), "real numbers is missing"),
        (lambda tensor: tensor * float("nan"), "must be finite"),
        (lambda tensor: tensor / 0, "must be finite"),
        (lambda tensor: tensor.double() + 1e300, "must be finite"),
    ],
)
def test_numbers_are_finite_and_of_a_known_kind(folder: Path, change: Any, rule: str) -> None:
    path = folder / "projector_1.pt"
    state = torch.load(path, weights_only=True)
    name = "key_in.weight"
    torch.save(state | {name: change(state[name])}, path)
    assert f"projector_1.pt: {name}: " in _refused(folder)
    assert rule in _refused(folder)


@pytest.mark.parametrize("value", [0.0, -0.5, 1e-60])
def test_a_temperature_is_above_zero(folder: Path, value: float) -> None:
    for path in folder.glob("*.pt"):
        state = torch.load(path, weights_only=True)
        temperature = torch.tensor(value, dtype=torch.float64)
        torch.save(state | {"gate_temperature": temperature}, path)
    assert "projector_0.pt: gate_temperature: It must be above 0" in _refused(folder)


def test_a_width_is_compared_with_the_tensors_before_anything_is_allocated(folder: Path) -> None:
    for projector in range(3):
        _arguments(folder, projector, hidden_dim=10**9)
    assert "projector_0.pt: key_in.weight: Its shape must be (1000000000, 14)" in _refused(folder)


def test_a_number_stands_once_in_a_map(folder: Path) -> None:
    path = folder / "projector_config.json"
    path.write_text(path.read_text().replace('"0": [[2, 0]]', '"0": [[2, 0]], "00": [[2, 0]]'))
    assert "Each number stands once" in _refused(folder)


def test_more_than_eight_layers_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    config = EXPORTABLE.model_dump() | {"depth": 12}
    torch.manual_seed(0)
    fuser = Fuser(ImportedConfig.model_validate(config), RECEIVER, SHARER).eval()
    writing.write(fuser, folder)
    read = writing.read(folder, RECEIVER, SHARER)
    assert read.config.depth == 12
    for name, tensor in fuser.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor)
    for path in folder.glob("projector_*.json"):
        if path.name != "projector_config.json":
            path.write_text(path.read_text().replace('"num_layers": 12', '"num_layers": 65'))
    with pytest.raises(IntegrityError, match=r"num_layers: .*less than or equal to 64"):
        writing.read(folder, RECEIVER, SHARER)


def test_gates_of_two_temperatures_are_refused(folder: Path) -> None:
    torch.save(_state(1) | {"gate_temperature": torch.tensor(1.0)}, folder / "projector_1.pt")
    assert "one temperature" in _refused(folder)


class _Evil:
    def __reduce__(self) -> Any:
        return print, ("unpickled",)


def test_nothing_is_unpickled(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"key_in.bias": _Evil()}, folder / "projector_0.pt")
    (folder / "projector_1.pt").write_bytes(b"no checkpoint")
    torch.save([1, 2], folder / "projector_2.pt")
    message = _refused(folder)
    assert message.startswith("3 problems:")
    assert "projector_0.pt: It must hold tensors alone" in message
    assert "projector_2.pt: It must be a state dict." in message
    assert "unpickled" not in capsys.readouterr().out


# Writing


def test_a_trained_fuser_is_written(tmp_path: Path) -> None:
    fuser = Fuser(EXPORTABLE, RECEIVER, SHARER).eval()
    for parameter in fuser.parameters():
        torch.nn.init.normal_(parameter)
    writing.write(fuser, tmp_path / "out")
    again = writing.read(tmp_path / "out", RECEIVER, SHARER)
    caches = torch.randn(2, 3, 4, RECEIVER.size), torch.randn(2, 5, 4, SHARER.size)
    assert torch.equal(fuser(*caches), again(*caches))
    assert again.config.layer_alignment == "terminal"


def test_a_share_of_the_layers_is_written(tmp_path: Path) -> None:
    fuser = Fuser(EXPORTABLE.model_copy(update={"layer_share": 0.67}), RECEIVER, SHARER)
    writing.write(fuser, tmp_path / "out")
    again = writing.read(tmp_path / "out", RECEIVER, SHARER)
    assert (again.layers, again.sources.tolist()) == ([1, 2], [[3], [4]])


def test_no_gate_is_written_as_an_open_one(tmp_path: Path) -> None:
    config = EXPORTABLE.model_copy(update={"gate": GateConfig(), "initialisation": "random"})
    fuser = Fuser(config, RECEIVER, SHARER).eval()
    writing.write(fuser, tmp_path / "out")
    again = writing.read(tmp_path / "out", RECEIVER, SHARER)
    assert again.open_share()["eval"] == 1
    caches = torch.randn(2, 3, 4, RECEIVER.size), torch.randn(2, 5, 4, SHARER.size)
    assert torch.equal(fuser(*caches), again(*caches))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"projector": "linear"}, "projector is 'linear', and the layout knows only 'c2c'"),
        ({"depth": 2}, "depth is 2, and the layout begins at 3"),
        ({"activation": "silu"}, "activation is 'silu'"),
        ({"input_activation": True}, "input_activation is true"),
        ({"dynamic_weight": False}, "dynamic_weight is false"),
        ({"weight_granularity": "token"}, "weight_granularity is 'token'"),
        ({"normalisation": "rms"}, "normalisation is 'rms'"),
        ({"gate": GateConfig(granularity="head", rule="hard")}, "gate.granularity is 'head'"),
        ({"gate": GateConfig(granularity="layer")}, "gate.rule is 'soft'"),
        (
            {"gate": GateConfig(granularity="layer", rule="hard", input_dependent=True)},
            "gate.input_dependent is true",
        ),
        ({"layer_alignment": "learned"}, "layer_alignment is 'learned'"),
        ({"sources_per_layer": 2}, "sources_per_layer is 2"),
        ({"token_alignment": "span"}, "token_alignment is 'span'"),
        ({"keys": "unrotated"}, "keys is 'unrotated'"),
        ({"injection": "replace"}, "injection is 'replace'"),
        ({"fuse_response": True}, "fuse_response is true"),
        ({"sharer": "blank"}, "sharer is 'blank'"),
        ({"lora_rank": 2}, "lora_rank is 2, and the layout knows only 0"),
    ],
)
def test_what_the_layout_cannot_say_is_named(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    config = FuserConfig.model_validate(EXPORTABLE.model_dump() | _plain(changes))
    assert reason in "\n".join(writing.obstacles(config))
    with pytest.raises(ConfigError) as caught:
        writing.write(Fuser(config, RECEIVER, SHARER), tmp_path / "out")
    assert reason in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def _plain(changes: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.model_dump() if isinstance(value, GateConfig) else value
        for name, value in changes.items()
    }


def test_all_reasons_are_told_at_once() -> None:
    reasons = writing.obstacles(FuserConfig(depth=1, keys="unrotated"), [[0, 1]])
    told = "\n".join(reasons)
    for part in ("depth is 1", "several sharer", "keys is", "normalisation is", "input_activ"):
        assert part in told
    assert writing.obstacles(EXPORTABLE, [[0], [1]]) == []


def test_tensors_without_a_place_are_never_dropped(tmp_path: Path) -> None:
    fuser = Fuser(EXPORTABLE, RECEIVER, SHARER)
    fuser.register_buffer("novelty", torch.zeros(1))
    with pytest.raises(ConfigError, match="no place for the tensor novelty"):
        writing.write(fuser, tmp_path / "out")


def test_nothing_is_written_over_and_nothing_is_left_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuser = Fuser(EXPORTABLE, RECEIVER, SHARER)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    for path in (tmp_path / "thesis", tmp_path / "thesis" / "chapter1.tex"):
        with pytest.raises(StoreError, match="into an empty folder"):
            writing.write(fuser, path)

    def fails(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(KeyboardInterrupt):
        writing.write(fuser, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]
