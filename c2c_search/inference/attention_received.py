"""How much attention each token of a prompt receives from those after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from c2c_search.inference.packed.context import PackedContext
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.inference.packed.tokens import TRUNK
from c2c_search.inference.packed.tokens import Tokens
from c2c_search.inference.probing import by_layer
from c2c_search.inference.probing import probing
from c2c_search.models.geometry import cache_shape


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.inference.probing import Attend


@torch.no_grad()
def attention_received(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
    """Attention that each cached token receives from all later ones of its prompt.

    The last token of a prompt is not cached, but its attention counts: it reads the cache.

    Args:
        model: What reads, on any device.
        prompts: Token ids of each.

    Returns:
        Sums over later tokens, means over the query heads of a KV head, ``(layers, kv_heads,
        tokens)`` in float32: of all prompts' tokens but their last, one prompt after the other.

    Raises:
        ConfigError: The model's attention cannot be looked into.
    """
    shape = cache_shape(model.config)
    counts = [len(prompt) for prompt in prompts]
    tokens = Tokens(
        prompt=torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)),
        branch=torch.full((sum(counts),), TRUNK),
        position=torch.cat([torch.arange(count) for count in counts]),
    )
    nothing = torch.zeros(2, shape.layers, 0, shape.size, dtype=model.dtype, device=model.device)
    with probing(model, _received) as found:
        context = PackedContext(model, FusedCache(nothing, (0,) * len(counts)))
        ids = torch.tensor([each for prompt in prompts for each in prompt])
        context.feed(ids, tokens, torch.tensor([0]))
    setting, hint = "fuser.ridge_weighting attention", "Set fuser.ridge_weighting to none."
    masses = by_layer(found, model, shape.layers, setting, hint)
    last = torch.tensor(counts).cumsum(0) - 1
    cached = torch.ones(sum(counts), dtype=torch.bool)
    cached[last] = False
    return masses[..., cached.to(masses.device)]


def _received(
    layer: int,
    attend: Attend,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
) -> torch.Tensor:
    """Of one layer, ``(kv_heads, tokens)``, without a matrix of all tokens by all tokens.

    What an attention gives is linear in its values. Its gradient by one number of each value is
    the attention that the value's token receives, whatever kernel computes it, and however the
    architecture caps, scales or sinks. Values that each mark one of the tokens that attend tell
    what these give themselves, which is taken off.
    """
    heads, dim = value.shape[1], value.shape[-1]
    group = query.shape[1] // heads
    received = torch.zeros(value.shape[1:3], device=value.device)
    for rows in torch.arange(query.shape[2]).split(dim):
        few = slice(int(rows[0]), int(rows[-1]) + 1)
        marks = torch.zeros_like(value)
        marks[:, :, few] = torch.eye(len(rows), dim, dtype=value.dtype, device=value.device)
        seen = None if mask is None else mask[:, :, few]
        with torch.enable_grad():
            marks.requires_grad_()
            output = attend(query[:, :, few], key, marks, seen)
            (gradient,) = torch.autograd.grad(output[..., 0].sum(), marks)
        to_itself = output.detach()[0].float().diagonal(dim1=0, dim2=2)  # (query heads, rows)
        received += gradient[0, :, :, 0].float()
        received[:, few] -= to_itself.unflatten(0, (heads, group)).sum(dim=1)
    # What is left of rounding is no weight.
    return received.clamp_min(0) / group
