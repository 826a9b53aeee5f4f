"""Several sharers, each with a fuser of its own, speak to one receiver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import Literal

from c2c_search.errors import ConfigError
from c2c_search.inference.fusion import Fuse
from c2c_search.inference.model import C2CModel
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.prompt_cache.batches import PairBatch
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.tokenization.templates import Message


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
            parallel: each reads the receiver's own cache, and their changes are summed.

    Raises:
        ConfigError: The models have not one receiver, or a fuser appends, fuses the response or
            adapts the receiver.

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
        )
        self.models = tuple(models)
        self.fusion = fusion

    def prompts(  # type: ignore[override]
        self,
        conversations: Sequence[Sequence[Message]],
        sharer_conversations: Sequence[Sequence[Message]] | None = None,
    ) -> MultiSharerPrompts:
        """Tokenize conversations and compute the caches of all models."""
        return MultiSharerPrompts(
            tuple(model.prompts(conversations, sharer_conversations) for model in self.models)
        )

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
            of_pairs=batches,
        )

    def pairs_of(self, batch: PairBatch) -> list[tuple[C2CModel, PairBatch]]:
        """Each sharer's pair with its part of a batch."""
        assert isinstance(batch, MultiSharerBatch)
        return list(zip(self.models, batch.of_pairs, strict=True))

    def fuse(self, batch: PairBatch, through: Fuse | None = None) -> FusedCache:
        """The cache that all sharers have spoken into."""
        assert isinstance(batch, MultiSharerBatch)
        receiver = batch.receiver.to(self.device)
        total = receiver
        for model, of_pair in zip(self.models, batch.of_pairs, strict=True):
            if self.fusion == "sequential":
                total = model.fuse(replace(of_pair, receiver=total)).packed
            else:
                total = total + (model.fuse(of_pair).packed - receiver)
        return FusedCache(total, batch.lengths)

    def cached(self, encoded: object) -> PairPrompts:
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
            f"lora_rank {config.lora_rank}": config.lora_rank > 0,
        }
        if any(others.values()):
            raise ConfigError(
                "Several sharers can be heard together where each changes the prompt's cache in "
                "place, and nothing else.",
                value=", ".join(name for name, given in others.items() if given),
                hint="Choose fusers with injection residual or replace, without fuse_response "
                "and lora_rank.",
            )
