"""Tiny random models for every room: two layers, on the CPU, in milliseconds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from c2c_search.host.threads import usable_cores


if TYPE_CHECKING:
    from collections.abc import Callable

    from c2c_search.inference.model import C2CModel
    from c2c_search.models.loading import LoadedModel
    from c2c_search.models.pair import PairSpec

# How fast a busy machine is says nothing about a property.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# The same arithmetic on every machine; what is about the choice sets it itself.
os.environ.setdefault("C2C_SEARCH_DTYPE", "float32")
# Threads of several workers that share a core spend their time on waiting for one another.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(usable_cores() // workers, 1)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first: a worker that began one last would keep all waiting."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """A byte-level tokenizer with offsets, made here: no training, no download."""
    from tokenizers import Tokenizer
    from tokenizers.decoders import ByteLevel as ByteLevelDecoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import PreTrainedTokenizerFast

    vocabulary = {symbol: place for place, symbol in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens(["<eos>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")


@pytest.fixture(scope="session")
def tiny_model(tiny_tokenizer) -> Callable[..., LoadedModel]:
    """Make a random model: ``tiny_model("llama", layers=2, heads=2, head_dim=8, seed=0)``."""
    import torch
    import transformers

    from c2c_search.models.identity import ModelIdentity
    from c2c_search.models.loading import LoadedModel

    families = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "gemma3": (transformers.Gemma3TextConfig, transformers.Gemma3ForCausalLM),
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    }

    def make(
        family: str = "llama", *, layers: int = 2, heads: int = 2, head_dim: int = 8, seed: int = 0
    ) -> LoadedModel:
        config_class, model_class = families[family]
        config = config_class(
            vocab_size=len(tiny_tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=layers,
            num_attention_heads=2 * heads,
            num_key_value_heads=heads,
            head_dim=head_dim,
            eos_token_id=tiny_tokenizer.eos_token_id,
            pad_token_id=tiny_tokenizer.eos_token_id,
            **({"sliding_window": 8} if family == "gemma3" else {}),
        )
        torch.manual_seed(seed)
        model = model_class(config).eval().requires_grad_(False)
        identity = ModelIdentity(
            source=f"path:{family}-{layers}-{heads}-{head_dim}-{seed}",
            revision=None,
            architecture=model_class.__name__,
            weights_sha256=f"{family}{layers}{heads}{head_dim}{seed}",
            config_sha256="tiny",
            tokenizer_sha256="tiny",
            licence="none",
            licence_url=None,
        )
        return LoadedModel(identity=identity, model=model, tokenizer=tiny_tokenizer)

    return make


@pytest.fixture(scope="session")
def make_pair(tiny_model) -> Callable[..., C2CModel]:
    """A pair whose fuser already says something: ``make_pair(keys="unrotated")``.

    ``receiver=`` and ``sharer=`` are loaded models.
    """
    import torch

    from c2c_search.fuser.config import FuserConfig
    from c2c_search.fuser.fuser import Fuser
    from c2c_search.inference.model import C2CModel
    from c2c_search.inference.model import cache_shape

    def make(*, receiver=None, sharer=None, trained=True, **fields) -> C2CModel:
        receiver = receiver or tiny_model("qwen3", layers=3, heads=2, head_dim=8, seed=1)
        sharer = sharer or tiny_model("llama", layers=2, heads=1, head_dim=12, seed=2)
        torch.manual_seed(0)
        fields = {"width": 8, "normalisation": "none", **fields}
        config = FuserConfig(**fields)
        shape = cache_shape(receiver, adapted=config.lora_rank > 0)
        fuser = Fuser(config, shape, cache_shape(sharer)).eval()
        if trained:
            with torch.no_grad():
                for parameter in fuser.parameters():
                    parameter.add_(0.3 * torch.randn_like(parameter))
        return C2CModel(receiver, sharer, fuser, cache_dtype=torch.float32)

    return make


@pytest.fixture(scope="session")
def tiny_pair(tiny_model, tmp_path_factory) -> PairSpec:
    """Two tiny random models on disk."""
    from c2c_search.models.pair import PairSpec

    paths = {}
    for role, options in {
        "receiver": {"seed": 1},
        "sharer": {"layers": 3, "heads": 1, "head_dim": 12, "seed": 2},
    }.items():
        path = tmp_path_factory.mktemp("models") / role
        loaded = tiny_model("llama", **options)
        loaded.model.save_pretrained(path)
        loaded.tokenizer.save_pretrained(path)
        paths[role] = f"path:{path}"
    return PairSpec(**paths)
