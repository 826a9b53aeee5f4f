"""Fused prompts as transformers takes them: the receiver's own `generate` goes on from there."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import nullcontext
from typing import TYPE_CHECKING
from typing import Any

import torch
from transformers import DynamicCache

from c2c_search.errors import ConfigError
from c2c_search.inference.packed.context import PackedContext
from c2c_search.prompt_cache.prefill import cache_argument


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.inference.lora import Adaptation
    from c2c_search.inference.packed.fused_cache import FusedCache
    from c2c_search.inference.packed.side_memory import Memories


class FusedPrompts(Mapping[str, Any]):
    """What ``receiver.generate(**fused)`` takes; padded on the left, a prompt a row.

    The cache holds every prompt but its last token, which the receiver reads. Each access gives
    a new one: `generate` writes into what it is given.

    Args:
        model: The receiver.
        fused: Caches of the prompts.
        prompts: Token ids of each.
        beams: Rows of the cache for each prompt; `generate` repeats all else by itself.

    Raises:
        ConfigError: The fuser reads on while the receiver writes, or beams are to read a memory.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        fused: FusedCache,
        prompts: Sequence[Sequence[int]],
        beams: int = 1,
    ) -> None:
        if fused.reader is not None:
            raise ConfigError(
                "A receiver's own generate goes on from what the sharer has said of the prompt; "
                "this sharer says more while the receiver writes.",
                value=type(fused.reader).__name__,
                hint="Use `C2CModel.generate`, or a fuser without fuse_response and refresh.",
            )
        if fused.memories and beams > 1:
            raise ConfigError(
                "Each row of the receiver's batch must read the memory of its own prompt.",
                value=f"beams={beams}",
                hint="Search no beams, or use a fuser that changes the cache, or appends to it.",
            )
        with torch.no_grad():
            context = PackedContext(model, fused)
        counts = context.lengths
        self._width = max(counts) + 1
        self._layers = [
            tuple(
                _rows(entries[0], counts, self._width - 1).repeat_interleave(beams, dim=0)
                for entries in (layer.keys, layer.values)
            )
            for layer in context.cache.layers
        ]
        self._model = model
        self.memory: Memories | None = context.memories
        self.adaptation: Adaptation | None = fused.adaptation
        lasts = context.next_positions
        device = model.device
        self.input_ids = torch.zeros(len(prompts), self._width, dtype=torch.long, device=device)
        """``(prompts, tokens)``: prompts behind zeros, which are padding or appended entries."""
        self.attention_mask = torch.zeros_like(self.input_ids)
        """1 for tokens and appended entries, 0 for padding."""
        self.position_ids = torch.zeros_like(self.input_ids)
        """Where each last token stands; the others are in the cache, where they were rotated."""
        for row, (ids, count, last) in enumerate(zip(prompts, counts, lasts, strict=True)):
            tokens = torch.tensor([*ids], device=device)
            self.input_ids[row, self._width - len(tokens) :] = tokens
            self.attention_mask[row, self._width - count - 1 :] = 1
            self.position_ids[row, -1] = last

    @property
    def cache(self) -> DynamicCache:
        """A new cache of the prompts without their last tokens."""
        cache = DynamicCache()
        for number, (keys, values) in enumerate(self._layers):
            cache.update(keys.clone(), values.clone(), number)
        return cache

    @contextmanager
    def active(self) -> Iterator[None]:
        """Have the receiver read beside its cache, or be adapted, as its fuser asks for.

        Needed for injection ``side`` and for fusers with a LoRA, and harmless for the others.
        """
        beside = nullcontext() if self.memory is None else self.memory.active()
        adapted = nullcontext() if self.adaptation is None else self.adaptation.active()
        with beside, adapted:
            yield

    def __getitem__(self, name: str) -> Any:
        if name in cache_argument(self._model, DynamicCache()):
            return self.cache
        if name in ("input_ids", "attention_mask", "position_ids"):
            return getattr(self, name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        yield from ("input_ids", "attention_mask", "position_ids")
        yield from cache_argument(self._model, DynamicCache())

    def __len__(self) -> int:
        return 4


def _rows(entries: torch.Tensor, counts: Sequence[int], width: int) -> torch.Tensor:
    """From packed ``(heads, entries, dim)`` to a row a prompt, padded in front."""
    heads, _, dim = entries.shape
    rows = entries.new_zeros(len(counts), heads, width, dim)
    for row, of_row in enumerate(entries.split([*counts], dim=1)):
        rows[row, :, width - counts[row] :] = of_row
    return rows
