"""An imported checkpoint: a champion like any other, that says what nobody measured."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from c2c_search import C2CModel
from c2c_search.champion.export import export
from c2c_search.champion.export import export_rosetta
from c2c_search.champion.imported import import_rosetta
from c2c_search.errors import ConfigError
from c2c_search.errors import IntegrityError
from c2c_search.errors import SourceError
from c2c_search.errors import StoreError
from c2c_search.fuser import checkpoint
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.gate_config import GateConfig
from c2c_search.fuser.rosetta import writing
from c2c_search.fuser.shapes import CacheShape
from c2c_search.inference.manifest import read_manifest
from c2c_search.inference.sums import check_sums
from c2c_search.models import cache_dir
from c2c_search.models.cache_dir import CACHE_VARIABLE
from c2c_search.models.stamps import file_sha256


RECEIVER = CacheShape(layers=2, heads=2, head_dim=4)
SHARER = CacheShape(layers=3, heads=1, head_dim=6)
CONFIG = FuserConfig(
    width=8,
    normalisation="none",
    input_activation=False,
    initialisation="random",
    token_alignment="longest",
    gate=GateConfig(granularity="layer", rule="hard", initial_logit=1.0),
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


def _stub(folder: Path, shape: CacheShape) -> str:
    """A model's folder as far as an import looks into it: it is hashed, and never loaded."""
    folder.mkdir()
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": shape.layers,
        "num_attention_heads": 2 * shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.head_dim,
        "hidden_size": 16,
        "vocab_size": 12,
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"weight": torch.zeros(1000)}, folder / "model.safetensors")
    return f"path:{folder}"


@pytest.fixture
def receiver(tmp_path: Path) -> str:
    return _stub(tmp_path / "receiver", RECEIVER)


@pytest.fixture
def sharer(tmp_path: Path) -> str:
    return _stub(tmp_path / "sharer", SHARER)


@pytest.fixture
def fuser() -> Fuser:
    torch.manual_seed(0)
    return Fuser(CONFIG, RECEIVER, SHARER).eval()


@pytest.fixture
def published(tmp_path: Path, fuser: Fuser) -> Path:
    writing.write(fuser, tmp_path / "final")
    return tmp_path / "final"


def test_a_champion_with_its_provenance(
    tmp_path: Path, published: Path, receiver: str, sharer: str
) -> None:
    (published / "training_state.pt").write_bytes(b"is not read")
    to = import_rosetta(published, tmp_path / "champion", receiver=receiver, sharer=sharer)
    check_sums(to)
    manifest = read_manifest(to)
    origin = manifest.provenance
    assert origin is not None
    assert (origin.layout, origin.folder, manifest.name) == ("rosetta", "final", "rosetta-final")
    assert origin.files == {path.name: file_sha256(path) for path in writing.files(published)}
    assert "training_state.pt" not in origin.files
    assert str(tmp_path) not in origin.model_dump_json()
    assert (manifest.cache_dtype, manifest.template, manifest.verdict) == (
        "float32",
        "plain",
        None,
    )
    assert manifest.pair.receiver.source == receiver
    assert manifest.receiver_size is not None
    assert "imported" in (to / "README.md").read_text()
    assert [path.name for path in to.parent.glob(".*")] == []


def test_a_folder_named_by_a_dot_keeps_its_name(
    tmp_path: Path,
    published: Path,
    receiver: str,
    sharer: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(published)
    to = import_rosetta(Path(), tmp_path / "champion", receiver=receiver, sharer=sharer)
    assert read_manifest(to).name == "rosetta-final"


def test_there_and_back_again_every_bit_is_the_same(
    tmp_path: Path, published: Path, receiver: str, sharer: str, fuser: Fuser
) -> None:
    first = import_rosetta(published, tmp_path / "first", receiver=receiver, sharer=sharer)
    export_rosetta(first, tmp_path / "out")
    second = import_rosetta(
        tmp_path / "out", tmp_path / "second", receiver=receiver, sharer=sharer
    )
    for folder in (first, second):
        found = checkpoint.load(folder)
        for name, tensor in fuser.state_dict().items():
            assert torch.equal(found.state_dict()[name], tensor), name
    for name in ("fuser_config.json", "fuser.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_an_import_is_exported_with_its_runtime(
    tmp_path: Path, published: Path, receiver: str, sharer: str
) -> None:
    to = import_rosetta(published, tmp_path / "champion", receiver=receiver, sharer=sharer)
    export(to, tmp_path / "out")
    check_sums(tmp_path / "out")
    runtime = tmp_path / "out" / "runtime" / "c2c_search" / "fuser"
    assert (runtime / "rosetta" / "writing.py").is_file()


def test_a_wrong_folder_is_told_before_a_model_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"projector_config\.json"):
        import_rosetta(tmp_path, tmp_path / "to", receiver="nonsense", sharer="nonsense")
    assert not (tmp_path / "to").exists()


def test_other_models_are_refused_and_nothing_is_left(
    tmp_path: Path, published: Path, receiver: str, sharer: str
) -> None:
    with pytest.raises(IntegrityError, match="what the sharer has"):
        import_rosetta(published, tmp_path / "to", receiver=sharer, sharer=receiver)
    with pytest.raises(SourceError, match="folder that exists"):
        import_rosetta(published, tmp_path / "to", receiver=receiver, sharer="path:missing")
    with pytest.raises(ConfigError, match="must be in the checkpoint"):
        import_rosetta(
            published, tmp_path / "to", receiver=receiver, sharer=sharer, sharer_index=3
        )
    assert not (tmp_path / "to").exists()


def test_another_champion_is_replaced_only_when_asked(
    tmp_path: Path, published: Path, receiver: str, sharer: str
) -> None:
    to = import_rosetta(published, tmp_path / "to", receiver=receiver, sharer=sharer)
    torch.manual_seed(1)
    writing.write(Fuser(CONFIG, RECEIVER, SHARER), tmp_path / "other")
    with pytest.raises(StoreError, match="only when that is asked for"):
        import_rosetta(tmp_path / "other", to, receiver=receiver, sharer=sharer)
    import_rosetta(tmp_path / "other", to, receiver=receiver, sharer=sharer, replace=True)
    assert read_manifest(to).name == "rosetta-other"


def test_a_full_disk_is_told_before_anything_is_written(
    tmp_path: Path,
    published: Path,
    receiver: str,
    sharer: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to = import_rosetta(published, tmp_path / "to", receiver=receiver, sharer=sharer)
    monkeypatch.setattr(cache_dir.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000))
    with pytest.raises(StoreError, match="free disk space"):
        import_rosetta(published, tmp_path / "more", receiver=receiver, sharer=sharer)
    with pytest.raises(StoreError, match="free disk space"):
        export_rosetta(to, tmp_path / "out")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"cache", "final", "receiver", "sharer", "to"}


def _model(folder: Path, shape: CacheShape, seed: int) -> str:
    """A model that can be loaded, without a tokenizer."""
    from transformers import LlamaConfig
    from transformers import LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=12,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=shape.layers,
        num_attention_heads=2 * shape.heads,
        num_key_value_heads=shape.heads,
        head_dim=shape.head_dim,
        eos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return f"path:{folder}"


def test_a_pair_without_tokenizers_is_loaded_and_reads_token_ids(
    tmp_path: Path, published: Path
) -> None:
    receiver = _model(tmp_path / "receiver", RECEIVER, 0)
    sharer = _model(tmp_path / "sharer", SHARER, 1)
    to = import_rosetta(published, tmp_path / "champion", receiver=receiver, sharer=sharer)
    model = C2CModel.from_pretrained(to, device="cpu")
    ids = torch.tensor([[1, 5, 3, 7]])
    output = model(receiver_input_ids=ids, sharer_input_ids=ids)
    assert output.logits.shape == (1, 1, 12)
    generated = model.generate(receiver_input_ids=ids, sharer_input_ids=ids, max_new_tokens=3)
    assert generated.shape == (1, 7)
    with pytest.raises(SourceError, match="has no tokenizer"):
        model.generate("Who?")
