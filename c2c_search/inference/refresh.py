"""A message that grows: every n answer tokens the sharer reads what the receiver has written.

The answer's first n tokens are written by the prompt's message alone, the next n also by what the
sharer says to the first n, and so on. What it says depends on the text and on nothing else, so
that an answer read at once (training, scoring) has it all beforehand, and each token sees its part
of it; written token by token it comes as it is due. Both give the same.

Source: MentorPulse (arXiv 2608.20927), which refreshes every 16 tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from c2c_search.inference.packed.fused_cache import Further
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.inference.packed.kv_cache import RoomyCache
from c2c_search.inference.packed.tokens import Tokens
from c2c_search.inference.reading_along import ReadingAlong


if TYPE_CHECKING:
    from c2c_search.fuser.fuser import Fuser
    from c2c_search.inference.fusion import Rotaries
    from c2c_search.models.loading import LoadedModel
    from c2c_search.prompt_cache.batches import PairBatch


class Refresher:
    """The sharer of a batch, which goes on saying more beside the receiver's tokens.

    Each receiver token is one entry, at its own place.

    Args:
        fuser: With ``refresh``.
        receiver: The model that answers.
        sharer: The model that reads on, behind what it says of the prompts.
        batch: The prompts; where the sharer says nothing of one, it reads nothing on.
        rotaries: Of the pair, where the fuser takes RoPE off.
    """

    def __init__(
        self,
        fuser: Fuser,
        receiver: LoadedModel,
        sharer: LoadedModel,
        batch: PairBatch,
        rotaries: Rotaries | None,
    ) -> None:
        assert fuser.config.refresh is not None
        self.fuser, self.every, self.rotaries = fuser, fuser.config.refresh, rotaries
        self.receiver, self.sharer = receiver, sharer
        self._nothing = batch.receiver[:, :, :0]
        lengths = tuple(len(positions) for positions in batch.sharer_positions)
        self._prompts = FusedCache(batch.sharer, lengths)
        self._speaks = torch.tensor(lengths) > 0

    def cache(self) -> RoomyCache:
        """An empty cache for the receiver; whatever the sharer has read on is forgotten."""
        alignment = self.fuser.config.token_alignment
        self._along = ReadingAlong(self.receiver, self.sharer, alignment, self._prompts)
        none = torch.empty(0, dtype=torch.long)
        self._ids, self._unheard = none, Tokens(none, none, none)
        return RoomyCache()

    def read(self, ids: torch.Tensor, tokens: Tokens, starts: Sequence[int]) -> Further | None:
        """Note what the receiver is about to read, and say what is due.

        The n-th token of an answer stands n behind its prompt's last: it is said to those that
        stand behind it by the next multiple of ``refresh``, itself where it is one.

        Args:
            ids: Receiver tokens, ``(tokens,)``.
            tokens: Where each belongs.
            starts: Position of each prompt's last token, in the receiver.
        """
        first = torch.tensor(starts)
        ahead = tokens.position - first[tokens.prompt]
        (new,) = ((ahead > 0) & self._speaks[tokens.prompt]).nonzero(as_tuple=True)
        self._ids = torch.cat([self._ids, ids[new]])
        self._unheard = self._unheard.then(tokens.at(new))
        told = first[self._unheard.prompt] + self._multiple(self._unheard, first)
        due = self._reached(tokens, self._unheard) >= told
        if not bool(due.any()):
            return None
        heard = replace(self._unheard.at(due), since=told[due])
        due_ids = self._ids[due]
        self._ids, self._unheard = self._ids[~due], self._unheard.at(~due)
        return Further(self._said(due_ids, heard, first), heard)

    def _multiple(self, tokens: Tokens, first: torch.Tensor) -> torch.Tensor:
        """How far behind a prompt's last token each is told of."""
        ahead = tokens.position - first[tokens.prompt]
        return (ahead + self.every - 1) // self.every * self.every

    @staticmethod
    def _reached(tokens: Tokens, unheard: Tokens) -> torch.Tensor:
        """How far the receiver reads in each unheard token's branch; -1 where it does not."""
        most = int(max(each.branch.max() for each in (tokens, unheard) if len(each))) + 2
        seats = [each.prompt * most + each.branch + 1 for each in (tokens, unheard)]
        furthest = torch.full((int(torch.cat(seats).max()) + 1,), -1)
        furthest.scatter_reduce_(0, seats[0], tokens.position, "amax")
        return furthest[seats[1]]

    def _said(self, ids: torch.Tensor, tokens: Tokens, first: torch.Tensor) -> torch.Tensor:
        """What the fuser makes of receiver tokens that the sharer reads now."""
        read, places = self._along.read(ids, tokens, tokens.position - first[tokens.prompt])
        device = self._nothing.device
        rotations = None
        if self.rotaries is not None:
            rotations = self.rotaries.at(tokens.position, places).to(device)
            if self.fuser.config.adds_memory:  # which has no places
                rotations = replace(rotations, receiver=None)
        gate = self.fuser.gate
        with nullcontext() if gate is None else gate.undisturbed():
            said: torch.Tensor = self.fuser(
                self._nothing, read.to(device), rotations, [len(tokens)]
            )
        return said
