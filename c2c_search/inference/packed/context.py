"""What a model has read of many prompts, and what it reads on: one sequence, no padding.

Prompts are packed: their caches stand one after the other in one sequence, and an attention mask
keeps them apart, or blocks of attention where that is less work. Nothing is padded in what a
model's other layers do, and options of a question share its cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch

from c2c_search.inference.packed.attention import attending
from c2c_search.inference.packed.attention import lends
from c2c_search.inference.packed.blocks import Blocks
from c2c_search.inference.packed.kv_cache import RoomyCache
from c2c_search.inference.packed.masks import Sight
from c2c_search.inference.packed.masks import masks
from c2c_search.inference.packed.side_memory import Memories
from c2c_search.inference.packed.tokens import TRUNK
from c2c_search.inference.packed.tokens import Tokens
from c2c_search.inference.packed.tokens import onto
from c2c_search.models.geometry import geometry
from c2c_search.prompt_cache.prefill import cache_argument
from c2c_search.prompt_cache.prefill import check_positions
from c2c_search.prompt_cache.prefill import takes


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.inference.packed.fused_cache import Further
    from c2c_search.inference.packed.fused_cache import FusedCache


class PackedContext:
    """What a model has read: the caches of packed prompts, and what was fed on top.

    Args:
        model: The model that goes on.
        fused: Its (fused) prompt caches, and what is read beside them. Gradients flow back into
            them. Tokens that are unread are read here.
    """

    def __init__(self, model: PreTrainedModel, fused: FusedCache) -> None:
        self.model = model
        self.reader = fused.reader
        self.adaptation = fused.adaptation
        self.memories = Memories(fused.memories) if fused.memories else None
        self.lends = lends(model)
        self.next_positions = fused.next_positions or fused.lengths
        self.cache = RoomyCache() if self.reader is None else self.reader.cache()
        self._keep(fused.packed)
        counts = torch.tensor(fused.lengths)
        positions = fused.positions or [torch.arange(length) for length in fused.lengths]
        self.read = Tokens(
            prompt=torch.repeat_interleave(torch.arange(len(counts)), counts),
            branch=torch.full((fused.packed.shape[2],), TRUNK),
            position=torch.cat([position.cpu() for position in positions]),
        )
        self.lengths = [fused.tokens_of(row) for row in range(len(fused.lengths))]
        """Entries of each prompt in the cache before its last token."""
        if any(fused.unread):
            self._read_prompts(fused.unread)

    def _keep(self, packed: torch.Tensor) -> None:
        """Put entries ``(2, layers, entries, size)`` behind those that the cache has."""
        kinds, layers, entries, _ = packed.shape
        shape = geometry(self.model)
        by_head = packed.to(self.model.dtype).view(
            kinds, layers, 1, entries, shape.kv_heads, shape.head_dim
        )
        keys, values = by_head.transpose(3, 4).unbind(0)
        for layer, (key, value) in enumerate(zip(keys.unbind(0), values.unbind(0), strict=True)):
            self.cache.update(key, value, layer)

    def _hear(self, further: Further) -> None:
        """Take up what the sharer says beside what was read."""
        if self.memories is not None:
            self.memories.grow(further)
            return
        self._keep(further.packed)
        self.read = self.read.then(further.tokens)

    def _read_prompts(self, unread: Sequence[Sequence[int]]) -> None:
        """Read what stands before the prompts' last tokens; nothing is predicted from it."""
        counts = torch.tensor([len(ids) for ids in unread])
        ends = torch.tensor(self.next_positions)
        places = [torch.arange(end - n, end) for n, end in zip(counts, ends, strict=True)]
        tokens = Tokens(
            prompt=torch.repeat_interleave(torch.arange(len(unread)), counts),
            branch=torch.full((int(counts.sum()),), TRUNK),
            position=torch.cat(places),
        )
        ids = torch.tensor([token for of_prompt in unread for token in of_prompt])
        self.feed(ids, tokens, torch.tensor([0]), of_prompt=True)

    def feed(
        self,
        ids: torch.Tensor,
        tokens: Tokens,
        keep: torch.Tensor | None = None,
        *,
        of_prompt: bool = False,
    ) -> torch.Tensor:
        """Feed tokens; each sees the trunk of its prompt and its own branch, up to itself.

        Args:
            ids: ``(tokens,)``.
            tokens: Where each belongs.
            keep: Which of them predict a next token, ``(kept,)``; all if left out. Only these go
                through the model's head.
            of_prompt: Whether they stand before the prompts' last tokens.

        Returns:
            The model's own logits, ``(kept, vocabulary)``.

        Raises:
            ConfigError: A position is not within the model's `rope_window`.
        """
        check_positions(self.model, int(tokens.position.max()))
        device, dtype = self.cache.layers[0].keys.device, self.model.dtype
        if self.reader is not None:
            further = self.reader.read(ids, tokens, self.next_positions)
            if further is not None:
                self._hear(further)
        self.read = self.read.then(tokens)
        blocks = Blocks.of(tokens, self.read, device, dtype) if self.lends else None
        if blocks is None:
            sights = [Sight.of_pack(tokens, self.read)]
        else:
            sights = Sight.of_blocks(tokens, self.read, blocks)
        kept = None if keep is None else onto(keep, device)
        # The whole model, not its trunk and head: many scale or cap their logits in between.
        sliced = keep is not None and takes(type(self.model).forward, "logits_to_keep")
        adapted = nullcontext() if self.adaptation is None else self.adaptation.active()
        # A token alone gains nothing by it: its answer comes at the model's own speed.
        gains = self.lends and (blocks is not None or len(tokens) > 1)
        lent = attending(self.model, blocks) if gains else nullcontext()
        beside = (
            nullcontext()
            if self.memories is None
            else self.memories.read_by(tokens, of_prompt=of_prompt)
        )
        with adapted, beside, lent:
            output = self.model(
                input_ids=onto(ids[None], device),
                attention_mask=masks(self.model, sights, len(self.read), device),
                position_ids=onto(tokens.position[None], device),
                use_cache=True,
                **cache_argument(self.model, self.cache),
                **({"logits_to_keep": kept} if sliced else {}),
            )
        logits: torch.Tensor = output.logits[0]
        return logits if kept is None or sliced else logits[kept]

    def newest(self, count: int) -> torch.Tensor:
        """What was kept of the last tokens fed, ``(2, layers, count, size)``."""
        layers = [
            torch.stack([layer.keys[0, :, -count:], layer.values[0, :, -count:]])
            for layer in self.cache.layers
        ]
        return torch.stack(layers, dim=1).transpose(2, 3).flatten(3)
