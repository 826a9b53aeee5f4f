"""A sharer that reads on, one token of its own for each of the receiver's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from c2c_search.inference.packed.context import PackedContext
from c2c_search.tokenization.token_alignment import one_to_one


if TYPE_CHECKING:
    from c2c_search.inference.packed.fused_cache import FusedCache
    from c2c_search.inference.packed.tokens import Tokens
    from c2c_search.models.loading import LoadedModel


class ReadingAlong:
    """What a sharer has read of packed prompts, and reads of the receiver's answers.

    A token must be read before the next one is known, so each is read by itself, as a token
    alignment declares it.

    Args:
        receiver: The model that answers.
        sharer: The model that reads along.
        alignment: A name in `TOKEN_ALIGNMENTS`.
        prompts: The sharer's caches of them.
    """

    def __init__(
        self, receiver: LoadedModel, sharer: LoadedModel, alignment: str, prompts: FusedCache
    ) -> None:
        self._tokenizers = receiver.text_tokenizer, sharer.text_tokenizer
        self._alignment = alignment
        self._context = PackedContext(sharer.model, prompts)

    def read(
        self, ids: torch.Tensor, tokens: Tokens, ahead: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read receiver tokens.

        Args:
            ids: The tokens, ``(tokens,)``.
            tokens: Where each belongs.
            ahead: How far behind its prompt's last token each stands, from 1, ``(tokens,)``.

        Returns:
            The sharer's cache of them, ``(2, layers, tokens, size)``, and their positions there.
        """
        starts = torch.tensor(self._context.next_positions)[tokens.prompt]
        own = tokens.take(torch.arange(len(tokens)), starts + ahead - 1)
        theirs = one_to_one(ids.tolist(), *self._tokenizers, self._alignment)
        with torch.no_grad():
            self._context.feed(torch.tensor(theirs), own, torch.tensor([0]))
        return self._context.newest(len(tokens)), own.position
