"""A look into a model's attention while it reads, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from typing import Any
from typing import Protocol

import torch
from transformers import AttentionInterface

from c2c_search.errors import ConfigError
from c2c_search.inference.packed.attention import attention


if TYPE_CHECKING:
    from transformers import PreTrainedModel


_PROBE = "c2c_search_probe"

Attend = Callable[..., torch.Tensor]
"""``(query, key, value, mask)`` to what a layer's attention gives, ``(1, tokens, heads, dim)``."""


class Look(Protocol):
    """Computes something of a layer's attention."""

    def __call__(
        self,
        layer: int,
        attend: Attend,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Look.

        Args:
            layer: The layer.
            attend: Its attention.
            query: ``(1, heads, tokens, dim)``.
            key: ``(1, kv_heads, entries, dim)``, as for `value`.
            value: What is read.
            mask: Which entries each token sees, ``(1, 1, tokens, entries)``; None where a
                single token sees all.
        """


@contextmanager
def probing(model: PreTrainedModel, look: Look) -> Iterator[dict[int, torch.Tensor]]:
    """Have a look into every attention that runs within the block; gives what came of it by layer.

    Args:
        model: What reads.
        look: Called in every layer, beside the layer's own attention.
    """
    config = model.config.get_text_config()
    implementation = config._attn_implementation
    found: dict[int, torch.Tensor] = {}

    def probe(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **kwargs: Any,
    ) -> Any:
        function = attention(implementation, module)

        def attend(*inputs: torch.Tensor | None) -> torch.Tensor:
            output: torch.Tensor = function(module, *inputs, **kwargs)[0]
            return output

        layer = getattr(module, "layer_idx", None)
        if isinstance(layer, int):
            found[layer] = look(layer, attend, query, key, value, attention_mask)
        return function(module, query, key, value, attention_mask, **kwargs)

    AttentionInterface.register(_PROBE, probe)
    config._attn_implementation = _PROBE
    try:
        yield found
    finally:
        config._attn_implementation = implementation


def by_layer(
    found: dict[int, torch.Tensor], model: PreTrainedModel, layers: int, setting: str, hint: str
) -> torch.Tensor:
    """What was found in every layer, stacked.

    Args:
        found: See `probing`.
        model: What read.
        layers: How many it has.
        setting: What needs the look.
        hint: The way out.

    Raises:
        ConfigError: The model's attention cannot be looked into.
    """
    if set(found) != set(range(layers)):
        raise ConfigError(
            f"{setting} needs a receiver whose attention transformers lets one look into, layer "
            "by layer.",
            value=model.config.model_type,
            hint=hint,
        )
    return torch.stack([found[layer] for layer in sorted(found)])
