"""The published reference's own numbers: imported, fused, generated, and exported back.

The two cases lie beside the checkout (``shared/golden``, its README says how they were made); the
tests are skipped where they are not.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from c2c_search import C2CModel
from c2c_search.cli import main
from c2c_search.fuser import checkpoint
from c2c_search.models.cache_dir import CACHE_VARIABLE


GOLDEN = Path(__file__).parents[2] / "shared" / "golden"
CASES = ("qwen3_from_qwen2", "llama_from_llama_deep")
CLOSE = {"rtol": 0.0, "atol": 1e-4}
KINDS = ("key", "value")

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"{GOLDEN} is not there")

Champion = Callable[[str, str], Path]


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


def _command(*arguments: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["c2c-search", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
    assert not left.value.code


def _import(case: str, layout: Path, to: Path) -> Path:
    models = [("--receiver", "receiver"), ("--sharer", "sharer")]
    named = [part for option, name in models for part in (option, f"path:{GOLDEN / case / name}")]
    _command("import-rosetta", layout, *named, "--to", to)
    return to


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Champion:
    """Champions by case: imported once, or imported, exported and imported again."""
    made: dict[tuple[str, str], Path] = {}

    def champion(case: str, way: str) -> Path:
        if (case, way) not in made:
            folder = tmp_path_factory.mktemp(case)
            first = _import(case, GOLDEN / case / "checkpoint", folder / "once")
            made[case, "once"] = first
            _command("export", "--format", "rosetta", "--from", first, "--to", folder / "out")
            made[case, "again"] = _import(case, folder / "out", folder / "again")
        return made[case, way]

    return champion


@pytest.fixture(params=["once", "again"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def expected(case: str) -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / case / "expected.safetensors")


@pytest.fixture
def model(champion: Champion, case: str, way: str) -> C2CModel:
    return C2CModel.from_pretrained(champion(case, way), device="cpu")


def _packed(cache: torch.Tensor) -> torch.Tensor:
    """``(batch, heads, tokens, dim)`` to packed tokens, ``(batch * tokens, heads * dim)``."""
    return cache.transpose(1, 2).flatten(0, 1).flatten(1)


def test_the_layer_map_is_the_references(champion: Champion, case: str, way: str) -> None:
    stated = json.loads((GOLDEN / case / "case.json").read_text())
    fuser = checkpoint.load(champion(case, way))
    layers = {int(layer): sources for layer, sources in stated["layer_mapping"].items()}
    assert dict(zip(fuser.layers, fuser.sources.tolist(), strict=True)) == layers
    names = {"last_aligned": "terminal", "k_nearest": "proportional"}
    assert fuser.config.layer_alignment == names[stated["mapping"]]


def test_a_projector_alone(
    champion: Champion, case: str, way: str, expected: dict[str, torch.Tensor]
) -> None:
    fuser = checkpoint.load(champion(case, way))
    tokens = len(_packed(expected["projector0.target_key"]))
    receiver = torch.zeros(2, fuser.receiver_shape.layers, tokens, fuser.receiver_shape.size)
    sharer = torch.zeros(2, fuser.sharer_shape.layers, tokens, fuser.sharer_shape.size)
    source = int(fuser.sources[0, 0])
    for place, kind in enumerate(KINDS):
        receiver[place, 0] = _packed(expected[f"projector0.target_{kind}"])
        sharer[place, source] = _packed(expected[f"projector0.source_{kind}"])
    with torch.no_grad():
        fused = fuser(receiver, sharer)
    for place, kind in enumerate(KINDS):
        wanted = _packed(expected[f"projector0.out_{kind}"])
        torch.testing.assert_close(fused[place, 0], wanted, **CLOSE)
        assert (fused[place, 0] - receiver[place, 0]).abs().max() > 0.1


def test_the_last_tokens_logits_and_the_fused_cache(
    model: C2CModel, expected: dict[str, torch.Tensor]
) -> None:
    output = model(
        receiver_input_ids=expected["receiver_input_ids"],
        sharer_input_ids=expected["sharer_input_ids"],
    )
    torch.testing.assert_close(output.logits[:, 0], expected["fused_logits"], **CLOSE)
    assert output.logits.shape[1] == 1
    # The sharer is heard: the numbers are not the receiver's own.
    assert (output.logits[:, 0] - expected["receiver_alone_logits"]).abs().max() > 0.01
    for number, layer in enumerate(output.past_key_values.layers):
        for kind, found in zip(KINDS, (layer.keys, layer.values), strict=True):
            torch.testing.assert_close(found, expected[f"fused_{kind}.{number}"], **CLOSE)


def test_the_greedy_tokens(model: C2CModel, expected: dict[str, torch.Tensor]) -> None:
    ids = model.generate(
        receiver_input_ids=expected["receiver_input_ids"],
        sharer_input_ids=expected["sharer_input_ids"],
        max_new_tokens=12,
    )
    assert torch.equal(ids, expected["greedy_ids"])


def test_a_round_trip_changes_no_bit(champion: Champion, case: str) -> None:
    once, again = (checkpoint.load(champion(case, way)) for way in ("once", "again"))
    assert once.config == again.config
    for name, tensor in once.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
