"""The attention function of packed prompts, lent to a model for one forward pass.

transformers asks a model's configuration, in every layer, which attention function to call.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import AttentionInterface
from transformers import AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from c2c_search.inference.packed.blocks import Blocks


_LENT = {"sdpa": "c2c_search_sdpa", "eager": "c2c_search_eager"}
_UNLENT = {lent: name for name, lent in _LENT.items()}


Watch = Callable[["nn.Module", torch.Tensor, "float | None"], None]
"""Called with a module that attends, its queries ``(batch, heads, tokens, dim)`` and scaling."""


@dataclass(frozen=True)
class _Pass:
    """A forward pass that has the attention function."""

    blocks: Blocks | None
    watch: Watch | None


# Whoever runs the model beside a pass, in another thread, finds none here.
_now: ContextVar[_Pass | None] = ContextVar("c2c_search_pass", default=None)

# How many passes each configuration serves now, by its id.
_passes: Counter[int] = Counter()

# Whether all of a model's attention asks its one configuration; looked up once, not in every pass.
_asks_one: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
_lock = Lock()


def lends(model: PreTrainedModel) -> bool:
    """Whether all attention of a model can be lent another function."""
    config = model.config.get_text_config()
    if config._attn_implementation not in {*_LENT, *_UNLENT}:
        return False
    if model not in _asks_one:
        # Not so where a model calls functions of its own (Falcon), or asks other configurations.
        attentions = [module for module in model.modules() if hasattr(module, "layer_idx")]
        configs = {id(module.config) for module in attentions if hasattr(module, "config")}
        backend = getattr(model, "_supports_attention_backend", False)
        _asks_one[model] = backend and configs == {id(config)}
    return _asks_one[model]


@contextmanager
def attending(
    model: PreTrainedModel, blocks: Blocks | None, watch: Watch | None = None
) -> Iterator[None]:
    """Lend a model the attention function within the block, for what this thread has it do.

    Passes of several threads may overlap; the last one to end gives the model its own back.

    Args:
        model: One that `lends`.
        blocks: Where its attention runs in blocks, and gets their masks as its own.
        watch: Called whenever it attends.
    """
    config = model.config.get_text_config()
    with _lock:
        _passes[id(config)] += 1
        if config._attn_implementation in _LENT:
            config._attn_implementation = _LENT[config._attn_implementation]
    before = _now.set(_Pass(blocks, watch))
    try:
        yield
    finally:
        _now.reset(before)
        with _lock:
            _passes[id(config)] -= 1
            if not _passes[id(config)]:
                del _passes[id(config)]
                now = config._attn_implementation
                config._attn_implementation = _UNLENT.get(now, now)


def attention(implementation: str, module: nn.Module) -> Callable[..., Any]:
    """The function that a module would call by itself.

    Args:
        implementation: What its configuration names.
        module: One that attends.
    """
    if implementation in ALL_ATTENTION_FUNCTIONS:
        found: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS[implementation]
    else:  # every architecture has an eager one of its own
        found = sys.modules[type(module).__module__].eager_attention_forward
    return found


def _attend(
    implementation: str,
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What transformers calls: ``(1, heads, tokens, dim)`` in, ``(1, tokens, heads, dim)`` out."""
    attend = attention(implementation, module)
    now = _now.get()
    if now is not None and now.watch is not None:
        now.watch(module, query, kwargs.get("scaling"))
    if now is not None and implementation == "sdpa" and _groups_on_cpu(query, key, kwargs):
        attend = _grouped
    if now is None or now.blocks is None:
        output: tuple[torch.Tensor, torch.Tensor | None] = attend(
            module, query, key, value, attention_mask, **kwargs
        )
        return output
    assert attention_mask is not None
    blocks = now.blocks
    parts = zip(
        blocks.fed.blocks(query),
        blocks.read.blocks(key),
        blocks.read.blocks(value),
        blocks.masks(attention_mask),
        strict=True,
    )
    outputs = [attend(module, *part, **kwargs)[0] for part in parts]
    return blocks.fed.pack(outputs), None


def _groups_on_cpu(query: torch.Tensor, key: torch.Tensor, more: dict[str, Any]) -> bool:
    """Whether KV heads need not be repeated: with a mask, only CUDA's fast kernels need that.

    transformers repeats them on the CPU too, but where each prompt has a single token.
    """
    special = any(more.get(name) is not None for name in ("position_bias", "softcap"))
    groups = query.shape[1] != key.shape[1] and query.shape[2] > 1
    return query.device.type == "cpu" and groups and not special


def _grouped(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    output = torch.nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=attention_mask,
        dropout_p=dropout,
        scale=scaling,
        enable_gqa=True,
    )
    return output.transpose(1, 2).contiguous(), None


for _name, _lent in _LENT.items():
    AttentionInterface.register(_lent, partial(_attend, _name))
    # What runs beside a pass makes masks of its own.
    AttentionMaskInterface.register(_lent, ALL_MASK_ATTENTION_FUNCTIONS[_name])
