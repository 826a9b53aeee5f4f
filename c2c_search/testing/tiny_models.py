"""Random models of a few layers and bytes for tokens: no download, on the CPU, in milliseconds."""

from __future__ import annotations

from functools import cache

import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from c2c_search.models.identity import ModelIdentity
from c2c_search.models.loading import LoadedModel


_FAMILIES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "gemma3": (transformers.Gemma3TextConfig, transformers.Gemma3ForCausalLM),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
}


@cache
def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with offsets: a token for every byte, and an end of sequence."""
    vocabulary = {symbol: index for index, symbol in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens(["<eos>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")


def random_model(
    family: str = "llama", *, layers: int = 2, heads: int = 2, head_dim: int = 8, seed: int = 0
) -> LoadedModel:
    """A model of hidden size 32, with `byte_tokenizer`.

    Args:
        family: ``llama``, ``gemma3`` (with a sliding window of 8) or ``qwen3``.
        layers: How many.
        heads: Key-value heads; twice as many query heads.
        head_dim: Of each head.
        seed: Of the weights.
    """
    tokenizer = byte_tokenizer()
    config_class, model_class = _FAMILIES[family]
    config = config_class(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=2 * heads,
        num_key_value_heads=heads,
        head_dim=head_dim,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
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
    return LoadedModel(identity=identity, model=model, tokenizer=tokenizer)
