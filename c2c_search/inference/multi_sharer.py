"""Several sharers, each with a fuser of its own, speak to one receiver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Literal

from c2c_search.errors import ConfigError
from c2c_search.inference.fusion import Fuse
from c2c_search.inference.model import C2CModel
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.inference.queries import Queries
from c2c_search.prompt_cache.batches import PairBatch
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.tokenization.templates import Message


if TYPE_CHECKING:
    from c2c_search.fuser.config import FuserConfig
    from c2c_search.inference.packed.side_memory import SideMemory


Fusion = Literal["sequential", "parallel"]


@dataclass(frozen=True)
class MultiSharerPrompts:
    """The same prompts for every pair, in the order of the models."""

    of_pairs: tuple[PairPrompts, ...]

    def __len__(self) -> int:
        return len(self.of_pairs[0])


@dataclass(frozen=True)
class MultiSharerBatch(PairBatch):
    """The same prompts packed for every pair; as a batch, it is the first one's."""

    of_pairs: tuple[PairBatch, ...] = ()


class MultiSharerModel(C2CModel):
    """A receiver that hears several sharers.

    Args:
        models: One for each sharer, with its fuser; all with the same receiver and template of it.
        fusion: sequential: each fuser reads the cache that the one before it has fused;
            parallel: each reads the receiver's own cache, and their changes are summed. A side
            memory is read by itself, whichever it is.

    Raises:
        ConfigError: The models have not one receiver, or a fuser appends, fuses the response,
            puts words in front or adapts the receiver, or has the receiver read its prompt anew
            beside one that changes its cache.

    Source: the published C2C's ``multi_source_fusion_mode``.

    Example:
        >>> models = [C2CModel.from_pretrained(folder) for folder in ("gemma", "qwen")]
        >>> MultiSharerModel(models, fusion="parallel").generate("Where is Timbuktu?")
        'Mali'
    """

    def __init__(self, models: Sequence[C2CModel], *, fusion: Fusion = "sequential") -> None:
        _check(models, fusion)
        first = models[0]
        super().__init__(
            first.receiver,
            first.sharer,
            first.fuser,
            template=first.template,
            cache_dtype=first.cache_dtype,
            date=first.date,
            draft_template=first.draft_template,
        )
        self.models = tuple(models)
        self.fusion = fusion
        if any(each.queries is not None for each in models):
            # Of this receiver: each model may have loaded one of its own.
            self.queries = Queries.of(self.receiver.model)

    def prompts(  # type: ignore[override]
        self,
        conversations: Sequence[Sequence[Message]],
        sharer_conversations: Sequence[Sequence[Message]] | None = None,
        *,
        kept: bool = False,
    ) -> MultiSharerPrompts:
        """Tokenize conversations and compute the caches of all models."""
        of_pairs = (
            model.prompts(conversations, sharer_conversations, kept=kept) for model in self.models
        )
        return MultiSharerPrompts(tuple(of_pairs))

    def batch(  # type: ignore[override]
        self,
        prompts: MultiSharerPrompts,
        rows: Sequence[int] | None = None,
        partners: Sequence[int] | None = None,
    ) -> MultiSharerBatch:
        """Pack some prompts for every pair."""
        batches = tuple(
            model.batch(one, rows, partners)
            for model, one in zip(self.models, prompts.of_pairs, strict=True)
        )
        first = batches[0]
        return MultiSharerBatch(
            first.receiver,
            first.sharer,
            first.lengths,
            first.last_ids,
            first.sharer_positions,
            texts=first.texts,
            receiver_ids=first.receiver_ids,
            of_pairs=batches,
        )

    def pairs_of(self, batch: PairBatch) -> list[tuple[C2CModel, PairBatch]]:
        """Each sharer's pair with its part of a batch."""
        assert isinstance(batch, MultiSharerBatch)
        return list(zip(self.models, batch.of_pairs, strict=True))

    def fused_cache(self, batch: PairBatch, through: Fuse | None = None) -> FusedCache:
        """The cache that all sharers have spoken into."""
        assert isinstance(batch, MultiSharerBatch)
        receiver = batch.receiver.to(self.device)
        total = FusedCache(receiver, batch.lengths)
        memories: list[SideMemory] = []
        for model, of_pair in zip(self.models, batch.of_pairs, strict=True):
            before = total.packed
            if self.fusion == "sequential" and not total.unread:
                of_pair = replace(of_pair, receiver=before)
            fused = model.fused_cache(of_pair)
            if self.queries is not None:  # those of the receiver that answers
                memories += [replace(each, queries=self.queries) for each in fused.memories]
            if fused.unread:
                total = fused
            elif not fused.memories and self.fusion == "sequential":
                total = replace(total, packed=fused.packed)
            elif not fused.memories:
                total = replace(total, packed=before + (fused.packed - receiver))
        return replace(total, memories=tuple(memories))

    def cached(self, encoded: object, *, kept: bool = False) -> PairPrompts:
        """Several sharers read texts, not one tensor of token ids.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "Several sharers are asked in text: each reads token ids of its own.",
            hint="Use generate(question) or prompts(conversations).",
        )


def _check(models: Sequence[C2CModel], fusion: str) -> None:
    if fusion not in ("sequential", "parallel"):
        raise ConfigError("fusion must be sequential or parallel.", value=fusion)
    if not models:
        raise ConfigError("At least one model is needed.", value=[])
    identities = [model.receiver.identity for model in models]
    weights = {(one.weights_sha256, one.config_sha256) for one in identities}
    if len(weights) > 1 or len({(model.receiver_template, model.date) for model in models}) > 1:
        raise ConfigError(
            "Several sharers speak to one receiver, which reads one template of one date.",
            value=[
                f"{model.receiver.identity.source} ({model.receiver_template}"
                + (")" if model.date is None else f", {model.date})")
                for model in models
            ],
            hint="Choose fusers that were trained for the same receiver and template.",
        )
    for model in models:
        if model.fuser is None:
            continue
        config = model.fuser.config
        # Each LoRA was trained with the cache of its own fuser: together they are untried.
        others = {
            f"injection {config.injection}": config.adds_entries,
            "fuse_response": config.fuse_response,
            "refresh": config.refresh is not None,
            f"anchors {config.anchors}": config.anchored,
            f"lora_rank {config.lora_rank}": config.lora_rank > 0,
        }
        if any(others.values()):
            raise ConfigError(
                "Several sharers can be heard together where each changes the prompt's cache in "
                "place or is read beside it, and nothing else.",
                value=", ".join(name for name, given in others.items() if given),
                hint="Choose fusers with injection residual, replace or side, without "
                "fuse_response, refresh, anchors and lora_rank.",
            )
    _check_who_reads([model.fuser.config for model in models if model.fuser is not None])


def _check_who_reads(configs: Sequence[FuserConfig]) -> None:
    """Refuse a change of the prompt's cache that another fuser has the receiver make anew."""
    if not any(config.reads_from == "all" for config in configs):
        return
    if changing := [config.injection for config in configs if not config.adds_memory]:
        raise ConfigError(
            "With reads_from all the receiver reads its prompt anew, so that no other fuser can "
            "change that prompt's cache.",
            value=f"injection {', '.join(changing)}",
            hint="Choose fusers with injection side, or with reads_from last.",
        )
