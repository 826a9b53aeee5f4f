"""Which of the packed tokens see which, in each kind of layer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

import torch

from c2c_search.inference.packed.tokens import onto
from c2c_search.prompt_cache.prefill import takes


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.inference.packed.blocks import Blocks
    from c2c_search.inference.packed.tokens import Tokens


@dataclass(frozen=True)
class Sight:
    """Who sees whom by whatever a layer does, and where all of them stand.

    Args:
        visible: ``(..., fed, read)``.
        fed: Positions of the tokens fed, ``(..., fed, 1)``.
        read: Positions of the tokens read, ``(..., 1, read)``.
    """

    visible: torch.Tensor
    fed: torch.Tensor
    read: torch.Tensor

    @classmethod
    def of_pack(cls, tokens: Tokens, read: Tokens) -> Sight:
        """Of all tokens fed and read, ``(fed, read)``; those fed were read last."""
        slots = torch.arange(len(read))
        fed_slots = slots[len(read) - len(tokens) :]
        visible = tokens.prompt[:, None] == read.prompt[None, :]
        visible &= tokens.at(torch.arange(len(tokens))[:, None]).see(read)
        visible &= slots[None, :] <= fed_slots[:, None]
        return cls(visible, tokens.position[:, None], read.position[None, :])

    @classmethod
    def of_blocks(cls, tokens: Tokens, read: Tokens, blocks: Blocks) -> list[Sight]:
        """The same in every group of blocks, ``(prompts, fed, read)``; padding is not seen."""
        first = len(read) - len(tokens)
        sights = []
        for group in blocks.groups:
            fed, slots = group.fed[:, :, None], group.read[:, None, :]
            visible = tokens.at(fed).see(read.at(slots))
            visible &= slots <= first + fed
            visible &= (torch.arange(slots.shape[-1]) < group.lengths[:, None])[:, None, :]
            sights.append(cls(visible, tokens.position[fed], read.position[slots]))
        return sights

    def __and__(self, seen: torch.Tensor) -> Sight:
        return Sight(self.visible & seen, self.fed, self.read)

    def within(self, window: int) -> Sight:
        """What a layer sees that looks back so many tokens, itself included."""
        return self & (self.fed - self.read < window)

    def chunked(self, size: int) -> Sight:
        """What a layer sees that begins anew after so many positions."""
        return self & (self.fed // size == self.read // size)


def masks(
    model: PreTrainedModel, sights: list[Sight], read: int, device: torch.device
) -> torch.Tensor | dict[str, torch.Tensor | None] | None:
    """Additive masks for a model; a dict if it has layers of several types.

    Args:
        model: The model that goes on.
        sights: What the tokens fed see: one of the pack, or one of each group of blocks.
        read: Tokens read.
        device: Where the masks are needed.

    Returns:
        ``(1, 1, fed, read)`` for one sight of the pack, None where a single token sees all that
        was read: faster kernels take no mask. Otherwise ``(1, 1, 1, all groups' values)``.
    """
    config = model.config.get_text_config()
    # A file may state what its architecture ignores, so ask the architecture, not the file.
    architecture: Callable[..., Any] = type(config)
    if not takes(architecture, "layer_types"):
        module = sys.modules[type(model.base_model.get_decoder()).__module__]
        window = getattr(config, "sliding_window", None)
        if window is not None and hasattr(module, "create_sliding_window_causal_mask"):
            sights = [sight.within(window) for sight in sights]
            # Without a mask it makes its own, of slots in the cache instead of positions.
            if read >= window:
                return _additive(sights, model.dtype, device)
        return _needed(sights, model.dtype, device)
    by_kind = {"full_attention": sights, "attention": sights}
    kinds = set(config.layer_types)
    if "sliding_attention" in kinds:
        window = config.sliding_window
        by_kind["sliding_attention"] = [sight.within(window) for sight in sights]
    if "chunked_attention" in kinds:
        size = config.attention_chunk_size
        by_kind["chunked_attention"] = [sight.chunked(size) for sight in sights]
    return {kind: _needed(by_kind[kind], model.dtype, device) for kind in sorted(kinds)}


def _needed(sights: list[Sight], dtype: torch.dtype, device: torch.device) -> torch.Tensor | None:
    (first, *others) = sights
    in_pack = not others and first.visible.dim() == 2
    if in_pack and len(first.visible) == 1 and bool(first.visible.all()):
        return None
    return _additive(sights, dtype, device)


def _additive(sights: list[Sight], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    if sights[0].visible.dim() == 2:
        hidden = ~sights[0].visible
    else:
        hidden = ~torch.cat([sight.visible.flatten() for sight in sights])[None]
    hidden = onto(hidden, device)  # a byte each
    mask = torch.zeros(hidden.shape, dtype=dtype, device=device)
    return mask.masked_fill_(hidden, torch.finfo(dtype).min)[None, None]
