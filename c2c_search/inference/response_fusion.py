"""The sharer reads on while the receiver answers, and its tokens are fused too.

A token's keys and values are fused as they enter the cache, layer by layer, by whatever
architecture the receiver is: reading an answer at once (training, scoring) and writing it token
by token give the same. (The published ``include_response`` runs every token twice, in one
architecture, and reads the first run's unfused context where it scores.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

import torch

from c2c_search.fuser.selection import LayerByLayer
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.inference.packed.kv_cache import RoomyCache
from c2c_search.inference.reading_along import ReadingAlong


if TYPE_CHECKING:
    from c2c_search.fuser.fuser import Fuser
    from c2c_search.fuser.rotations import Rotations
    from c2c_search.inference.fusion import Rotaries
    from c2c_search.inference.packed.tokens import Tokens
    from c2c_search.models.loading import LoadedModel
    from c2c_search.prompt_cache.batches import PairBatch


@dataclass(frozen=True)
class _Arriving:
    """What the sharer says to the tokens that the receiver reads now.

    Args:
        slots: Which of those tokens it reads too.
        sharer: Its cache of them, ``(2, layers, tokens, size)``.
        rotations: Of both.
    """

    slots: torch.Tensor
    sharer: torch.Tensor
    rotations: Rotations | None


class FusingCache(RoomyCache):
    """A cache that fuses tokens as they come in.

    Args:
        layers: Fuses one layer's tokens.
    """

    def __init__(self, layers: LayerByLayer) -> None:
        super().__init__()
        self._fuse = layers
        self.arriving: _Arriving | None = None

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Fuse, then keep; keys and values are ``(1, heads, tokens, head_dim)``."""
        if self.arriving is not None:
            key_states, value_states = self._fused(
                key_states, value_states, layer_idx, self.arriving
            )
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)

    def _fused(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, arriving: _Arriving
    ) -> tuple[torch.Tensor, torch.Tensor]:
        _, heads, _, dim = keys.shape
        read = torch.stack([keys[0], values[0]])  # (2, heads, tokens, dim)
        chosen = read[:, :, arriving.slots].transpose(1, 2).flatten(2)[:, None]
        fused = self._fuse(layer, chosen, arriving.sharer, arriving.rotations)
        by_head = fused[:, 0].unflatten(-1, (heads, dim)).transpose(1, 2)
        whole = read.index_copy(2, arriving.slots, by_head.to(read.dtype))
        return whole[0][None], whole[1][None]


class SharerReader:
    """The sharer of a batch, reading what the receiver reads.

    Args:
        fuser: With ``fuse_response``.
        receiver: The model that answers.
        sharer: The model that reads along.
        batch: With the sharer's whole prompts.
        rotaries: Of the pair, where the keys are projected unrotated.
    """

    def __init__(
        self,
        fuser: Fuser,
        receiver: LoadedModel,
        sharer: LoadedModel,
        batch: PairBatch,
        rotaries: Rotaries | None,
    ) -> None:
        assert batch.context is not None
        self.rotaries = rotaries
        self.device = receiver.model.device
        self.layers = LayerByLayer(fuser)
        prompts = FusedCache(batch.context.packed, batch.context.lengths)
        self.along = ReadingAlong(receiver, sharer, fuser.config.token_alignment, prompts)

    def cache(self) -> FusingCache:
        """An empty cache for the receiver, to be fed by one context."""
        self._cache = FusingCache(self.layers)
        return self._cache

    def read(self, ids: torch.Tensor, tokens: Tokens, starts: Sequence[int]) -> None:
        """Read what the receiver is about to read; a prompt's last token is never fused.

        Args:
            ids: Receiver tokens, ``(tokens,)``.
            tokens: Where each belongs.
            starts: Position of each prompt's last token, in the receiver.
        """
        ahead = tokens.position - torch.tensor(starts)[tokens.prompt]
        (slots,) = (ahead > 0).nonzero(as_tuple=True)
        self._cache.arriving = None
        if not len(slots):
            return
        heard = tokens.at(slots)
        said, places = self.along.read(ids[slots], heard, ahead[slots])
        rotations = None
        if self.rotaries is not None:
            rotations = self.rotaries.at(heard.position, places).to(self.device)
        self._cache.arriving = _Arriving(slots.to(self.device), said.to(self.device), rotations)
