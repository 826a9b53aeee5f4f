"""Two models and a fuser: what they read, and the cache that comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Self

import torch

from c2c_search.errors import ConfigError
from c2c_search.host.dtypes import convert
from c2c_search.inference.anchors import saying
from c2c_search.inference.anchors import with_anchors
from c2c_search.inference.drafting import drafter_of
from c2c_search.inference.drafting import with_drafts
from c2c_search.inference.fusion import Fuse
from c2c_search.inference.fusion import Rotaries
from c2c_search.inference.fusion import fuse
from c2c_search.inference.loading import check_beside
from c2c_search.inference.loading import check_shapes
from c2c_search.inference.lora import Adaptation
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.inference.queries import Queries
from c2c_search.inference.reading import heard
from c2c_search.inference.reading import read_alone
from c2c_search.inference.reading import read_pair
from c2c_search.inference.refresh import Refresher
from c2c_search.inference.response_fusion import SharerReader
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.prefix_cache import PrefixCache
from c2c_search.tokenization.templates import template_of
from c2c_search.tokenization.token_alignment import EncodedPrompt
from c2c_search.tokenization.token_alignment import encode_all


if TYPE_CHECKING:
    from c2c_search.fuser.fuser import Fuser
    from c2c_search.inference.packed.fused_cache import Reader
    from c2c_search.models.loading import LoadedModel
    from c2c_search.prompt_cache.batches import PairBatch
    from c2c_search.tokenization.templates import Message
    from c2c_search.tokenization.templates import RoleTemplates
    from c2c_search.tokenization.templates import Template


class FusedPair:
    """A receiver whose prompt caches a fuser changes by what a sharer has read.

    Args:
        receiver: The model that answers.
        sharer: The model that speaks; the receiver does where the fuser's ``sharer`` is ``self``.
        fuser: What joins them; None for the two models alone.
        template: How a prompt is written, for both or for each role.
        cache_dtype: What prompt caches are rounded to, as the fuser was trained on.
        date: The day that dated chat templates write, as the fuser was trained on; see `render`.
        draft_template: How a prompt is written for a sharer that drafts; ``template`` if None.

    Raises:
        ConfigError: The models are not of the shapes that the fuser is for, or are not to be had
            for what it does.
    """

    def __init__(
        self,
        receiver: LoadedModel,
        sharer: LoadedModel,
        fuser: Fuser | None,
        *,
        template: Template | RoleTemplates = "plain",
        cache_dtype: torch.dtype = torch.bfloat16,
        date: str | None = None,
        draft_template: Template | None = None,
    ) -> None:
        if fuser is not None and fuser.config.sharer == "self":
            sharer = receiver
        self.receiver, self.sharer = receiver, sharer
        self.template = template
        self.cache_dtype = cache_dtype
        self.date = date
        self.draft_template = draft_template
        self.fuser = fuser
        self.kept = PrefixCache()
        self.rotaries: Rotaries | None = None
        self.adaptation: Adaptation | None = None
        self.queries: Queries | None = None
        if fuser is not None:
            check_shapes(fuser, receiver, sharer)
            fuser.to(self.device)
            self.adaptation = Adaptation.of(fuser, receiver.model)
            self.rotaries = Rotaries.between(fuser.config, receiver.model, sharer.model)
            if fuser.config.adds_memory:
                self.queries = Queries.of(receiver.model)

    @property
    def device(self) -> torch.device:
        """Where the receiver is."""
        device: torch.device = self.receiver.model.device
        return device

    def to(self, *where: torch.device | str | torch.dtype) -> Self:
        """Move both models and the fuser to a device, or have both models compute in a dtype.

        In place, as transformers does, also for other pairs of the same models. The fuser keeps
        the dtype that it was trained in.

        Args:
            where: A device, a floating dtype, or one of each.

        Raises:
            ConfigError: It is neither.
        """
        for each in where:
            if isinstance(each, torch.dtype) and not each.is_floating_point:
                raise ConfigError("Models compute in a floating dtype.", value=str(each))
            if not isinstance(each, torch.dtype | torch.device | str):
                raise ConfigError("A pair moves to a device or a dtype.", value=each)
        for each in where:
            for loaded in (self.receiver, self.sharer):
                if isinstance(each, torch.dtype):
                    convert(loaded.model, each)
                else:
                    loaded.model.to(each)
        if self.fuser is not None:
            self.fuser.to(self.device)
        self.kept = PrefixCache()
        return self

    @property
    def receiver_template(self) -> Template:
        """How the prompts that are answered are written."""
        return template_of(self.template, "receiver")

    def encoded(
        self,
        conversations: Sequence[Sequence[Message]],
        sharer_conversations: Sequence[Sequence[Message]] | None = None,
    ) -> tuple[EncodedPrompt, ...]:
        """Tokenize conversations for both models; see `prompts`."""
        if sharer_conversations is not None:
            check_beside(self.fuser)
        drafter = drafter_of(self)
        return encode_all(
            conversations,
            self.template,
            self.receiver.text_tokenizer,
            self.sharer.text_tokenizer,
            "span" if self.fuser is None else self.fuser.config.token_alignment,
            sharer_conversations=sharer_conversations,
            date=self.date,
            sharer_template=None if drafter is None else drafter.template,
        )

    def prompts(
        self,
        conversations: Sequence[Sequence[Message]],
        sharer_conversations: Sequence[Sequence[Message]] | None = None,
        *,
        kept: bool = False,
    ) -> PairPrompts:
        """Tokenize conversations for both models and compute both models' prompt caches.

        Args:
            conversations: What the receiver reads.
            sharer_conversations: What the sharer reads, where it is something else.
            kept: As for `cached`.

        Raises:
            ConfigError: The sharer is to read something else and the fuser changes the cache.
        """
        return self.cached(self.encoded(conversations, sharer_conversations), kept=kept)

    def cached(self, encoded: Sequence[EncodedPrompt], *, kept: bool = False) -> PairPrompts:
        """Prompts that are token ids already, drafts and anchors, with both models' caches.

        Args:
            encoded: The prompts.
            kept: Whether what is kept of their beginnings is taken, and they are kept.
        """
        config = None if self.fuser is None else self.fuser.config
        before = self.kept if kept else None
        drafted = with_drafts(self, encoded, before)
        encoded = with_anchors(drafted, config, self.receiver, self.sharer)
        return read_pair(encoded, self.receiver, self.sharer, config, self.cache_dtype, before)

    def batch(
        self,
        prompts: PairPrompts,
        rows: Sequence[int] | None = None,
        partners: Sequence[int] | None = None,
    ) -> PairBatch:
        """Pack some prompts as the fuser needs them; see `PairPrompts.batch`.

        Where rows hear partners, they read the anchors of these, which is computed here. Nothing
        is said of contexts that nobody has read, where the fuser has learned of contexts alone.
        """
        config = None if self.fuser is None else self.fuser.config
        rows = range(len(prompts)) if rows is None else rows
        batch = heard(prompts, config).batch(
            rows,
            partners,
            whole=config is not None and config.stands_beside,
            draft=config is not None and config.message == "draft",
            context=config is not None and config.fuse_response,
            silent=self._silent(prompts, rows if partners is None else partners),
        )
        if partners is None or config is None or not config.anchored:
            return batch
        return saying(self, batch, [prompts.encoded[other].anchors for other in partners])

    def _silent(self, prompts: PairPrompts, speakers: Sequence[int]) -> set[int]:
        """Prompts whose sharer has read nothing of its own, where the fuser speaks of that alone.

        Raises:
            SourceError: A model has no tokenizer, of prompts that are token ids.
        """
        if self.fuser is None or not self.fuser.contexts_only:
            return set()
        return {
            row
            for row in {*speakers}
            if not read_alone(prompts.encoded[row], self.receiver, self.sharer)
        }

    def pairs_of(self, batch: PairBatch) -> Sequence[tuple[FusedPair, PairBatch]]:
        """Each sharer's pair with its part of a batch."""
        return [(self, batch)]

    def fused_cache(self, batch: PairBatch, through: Fuse | None = None) -> FusedCache:
        """The fused cache of packed prompts; gradients flow into the fuser.

        Args:
            batch: Prompts; see `batch`.
            through: Called instead of the fuser, e.g. the engine around it.
        """
        batch = batch.to(self.device)
        if self.fuser is None:
            return FusedCache(batch.receiver, batch.lengths)
        if not batch.sharer.shape[2]:  # nobody says anything
            return FusedCache(batch.receiver, batch.lengths)
        fused = fuse(through or self.fuser, self.fuser, batch, self.rotaries, self.queries)
        reader: Reader | None = None
        if self.fuser.config.fuse_response:
            reader = SharerReader(self.fuser, self.receiver, self.sharer, batch, self.rotaries)
        elif self.fuser.config.refresh is not None:
            reader = Refresher(self.fuser, self.receiver, self.sharer, batch, self.rotaries)
        return replace(fused, reader=reader, adaptation=self.adaptation)
