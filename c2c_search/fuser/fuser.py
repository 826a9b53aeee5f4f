"""The network that is searched, trained and shipped."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.gates import Gate
from c2c_search.fuser.granularities import GATES
from c2c_search.fuser.layers import chosen
from c2c_search.fuser.layers import concatenates_sources
from c2c_search.fuser.layers import first_sources
from c2c_search.fuser.layers import weighs_sources
from c2c_search.fuser.lora import Lora
from c2c_search.fuser.measuring import Parts
from c2c_search.fuser.measuring import choose_layers
from c2c_search.fuser.measuring import fit_map
from c2c_search.fuser.measuring import measure_channels
from c2c_search.fuser.normalisation import Normalisation
from c2c_search.fuser.parameter_groups import parameter_groups
from c2c_search.fuser.pooling import Pool
from c2c_search.fuser.pooling import whole_prompts
from c2c_search.fuser.projectors import Shape
from c2c_search.fuser.shapes import CacheShape


if TYPE_CHECKING:
    from c2c_search.fuser.rotations import Rotations


_TOKENS_AT_ONCE = 128
"""Where nothing is kept for a backward pass, on the CPU: what so many need fits its caches."""

_CENTRE_LOGIT = 2.0  # a learned combination starts close to the layer it is centred on


class Fuser(nn.Module):
    """Fuses the sharer's prompt cache into the receiver's.

    ``fused = receiver + gate * weight * projected`` for keys and for values (C2C, arXiv
    2510.03215, section 3.3). Prompts are packed: all tokens of a batch stand in one dimension,
    without padding, so that padding cannot leak. All layers run as one batched product.

    Args:
        config: The architecture.
        receiver: Cache shape of the receiver; with its projections for ``config.lora_rank``.
        sharer: Cache shape of the sharer.
        layers: The receiver layers that are fused, in rising order; those of ``config`` when
            left out (``layers: attention`` waits for `calibrate`).
        sources: Sharer layers of each fused receiver layer; made from
            ``config.layer_alignment`` when left out (a measured one waits for `calibrate`).

    Raises:
        ValueError: Sources or projections that must be given are not.
        ConfigError: The pair has no such layers as ``config.layers`` lists.
    """

    sources: torch.Tensor

    contexts_only = False
    """Whether it says nothing of a prompt whose sharer has read no more than the receiver: it was
    trained on contexts (``sharer_context``) alone, and would spoil what it never met."""

    recomputes = False
    """Whether the backward pass computes activations again, so that none of them are kept."""

    def __init__(
        self,
        config: FuserConfig,
        receiver: CacheShape,
        sharer: CacheShape,
        *,
        layers: Sequence[int] | None = None,
        sources: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.receiver_shape = receiver
        self.sharer_shape = sharer
        self.layers = chosen(config, receiver.layers) if layers is None else list(layers)
        count = len(self.layers)
        if sources is None:
            sources = first_sources(config, self.layers, (receiver.layers, sharer.layers))
        self.register_buffer("sources", torch.tensor(sources, dtype=torch.long))
        per_layer = self.sources.shape[1]
        self.source_logits: nn.Parameter | None = None
        if per_layer > 1 and weighs_sources(config):
            logits = torch.zeros(2, count, per_layer)
            logits[..., 0] = _CENTRE_LOGIT
            self.source_logits = nn.Parameter(logits)
        self.concatenated = per_layer if concatenates_sources(config) else 1
        self.receiver_norm = Normalisation(config.normalisation, count, receiver.size)
        size, kinds = sharer.heard_size(config.source), 2 if config.source == "kv" else 1
        self.sharer_norm = Normalisation(config.normalisation, sharer.layers, size, kinds=kinds)
        shape = Shape(
            count,
            receiver.size,
            receiver.heads,
            self.concatenated * size,
            gates_keys=not config.stands_beside,
            sharer_kinds=kinds if self.source_logits is None else 2,
        )
        self.projector = config.family.build(config, shape)
        granularity = GATES[config.gate.granularity]
        self.gate: Gate | None = granularity.build(config.gate, shape, self.projector.hidden_size)
        self.pool: Pool | None = None
        if config.slots is not None:
            self.pool = Pool(config.slots, count, shape.sharer_size, shape.sharer_kinds)
            self.pool.requires_grad_(config.sharer != "blank")  # zeros, however they are weighed
        # Last, so that the rest starts with the numbers that it has without.
        self.lora: Lora | None = None
        if config.lora_rank:
            if not receiver.projections:
                raise ValueError("lora_rank needs the receiver's projections: `adaptable_shape`")
            self.lora = Lora(config.lora_rank, receiver.layers, receiver.projections)

    def forward(
        self,
        receiver: torch.Tensor,
        sharer: torch.Tensor,
        rotations: Rotations | None = None,
        lengths: Sequence[int] | None = None,
    ) -> torch.Tensor:
        """Fuse packed prompt caches.

        Args:
            receiver: ``(2, receiver_layers, tokens, receiver_size)``, keys then values.
            sharer: The sharer's cache at the aligned position of every receiver token,
                ``(2, sharer_layers, tokens, sharer_size)``, or, of ``source: hidden``, what its
                layers put out, ``(1, sharer_layers, tokens, hidden_size)``; of every sharer
                token where entries or memory are added.
            rotations: Where the tokens stand, for ``keys: unrotated``.
            lengths: Sharer tokens of each prompt, which ``slots`` keep apart; one prompt when
                left out.

        Returns:
            The fused cache, of ``receiver``'s shape and dtype; where entries or memory are added,
            these alone, ``(2, fused layers, entries, receiver_size)``: one for each sharer token,
            or the ``slots`` of each prompt.
        """
        lengths = [sharer.shape[2]] if lengths is None else lengths
        many = sharer.shape[2] > _TOKENS_AT_ONCE
        if self.recomputes and torch.is_grad_enabled():
            inputs = (receiver, sharer, rotations, lengths)
            fused, logit = checkpoint(self._fuse, *inputs, use_reentrant=False)
        elif many and receiver.device.type == "cpu" and not torch.is_grad_enabled():
            fused, logit = self._fuse_in_parts(receiver, sharer, rotations, lengths)
        else:
            fused, logit = self._fuse(receiver, sharer, rotations, lengths)
        if self.gate is not None:
            self.gate.remember(logit)
        return fused

    def _fuse_in_parts(
        self,
        receiver: torch.Tensor,
        sharer: torch.Tensor,
        rotations: Rotations | None,
        lengths: Sequence[int],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        parts, logits = [], []
        for few, entries, of_part in self._parts(lengths):
            same = receiver if self.config.stands_beside else receiver[:, :, few]
            turned = None
            if rotations is not None:
                turned = rotations.take(_indices(entries), _indices(few))
            fused, logit = self._fuse(same, sharer[:, :, few], turned, of_part)
            parts.append(fused)
            if logit is not None:
                logits.append(logit)
        return torch.cat(parts, dim=2), torch.cat(logits, dim=1) if logits else None

    def _parts(self, lengths: Sequence[int]) -> Iterator[tuple[slice, slice, Sequence[int]]]:
        """Some tokens at a time: where they stand, where theirs of the result do, and lengths."""
        if self.pool is not None:
            yield from whole_prompts(lengths, self.pool.slots, _TOKENS_AT_ONCE)
            return
        total = sum(lengths)
        for first in range(0, total, _TOKENS_AT_ONCE):
            few = slice(first, min(first + _TOKENS_AT_ONCE, total))
            yield few, few, [few.stop - first]

    def _fuse(
        self,
        receiver: torch.Tensor,
        sharer: torch.Tensor,
        rotations: Rotations | None,
        lengths: Sequence[int],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What `forward` returns, and the gate's logit where it depends on the input."""
        fused_layers = self._fused_layers(receiver)
        beside = self.config.stands_beside
        # What stands beside has positions of its own, if any, not those of the receiver's tokens.
        unrotated = fused_layers if beside else self.unrotated(fused_layers, rotations)
        own, said = self._features(unrotated, sharer, rotations)
        projection = self.projector(own, said if self.pool is None else self.pool(said, lengths))
        projected = projection.projected.unflatten(0, (2, len(self.layers)))
        injected = self.config.injected.inject(projected, unrotated, self.receiver_norm)
        opened, logit = (None, None) if self.gate is None else self.gate(projection.hidden)
        if beside:
            gated = torch.cat([injected[:1], self._through(injected[1:], opened)])
            return self._rotated(gated, rotations).to(receiver.dtype), logit
        change = self._through(self._through(injected, projection.weight), opened)
        fused = fused_layers + self._rotated(change, rotations).to(fused_layers.dtype)
        if fused_layers is receiver:
            return fused, logit
        whole = receiver.clone()
        whole[:, self.layers] = fused
        return whole, logit

    @torch.no_grad()
    def calibrate(
        self,
        parts: Parts,
        *,
        layer_scores: torch.Tensor | None = None,
    ) -> None:
        """Measure, on calibration prompts, all that is not trained.

        That is: which layers are fused (``layers: attention``), which sharer layers feed
        them (``similarity``), normalisation statistics, and closed-form maps.

        Args:
            parts: Gives the prompts, some at a time, anew at every call.
            layer_scores: How well each receiver layer can be told from the sharer,
                ``(receiver_layers,)``; needed by ``layers: attention``.

        Raises:
            ValueError: ``layer_scores`` is missing.
        """
        choose_layers(self, parts, layer_scores)
        if self.config.normalisation == "calibrated":
            measure_channels(self, parts)
        if self.config.fitted:
            fit_map(self, parts)

    def anneal(self, progress: float) -> None:
        """Tell the gate how much of the trial's budget is spent, in [0, 1]."""
        if self.gate is not None:
            self.gate.anneal(progress)

    def penalty(self) -> torch.Tensor | None:
        """What open gates add to the loss (nats), of the last forward pass; None for nothing."""
        if self.gate is None or not self.config.gate.sparsity:
            return None
        return self.config.gate.sparsity * self.gate.penalty()

    def open_share(self) -> dict[str, float]:
        """How far the gates are open, as training and as evaluation reads them, in [0, 1]."""
        if self.gate is None:
            return dict.fromkeys(("train", "eval", "eval_keys", "eval_values"), 1.0)
        return self.gate.open_share()

    @property
    def trainable(self) -> bool:
        """Whether there is anything to train; a ridge map is fitted."""
        return any(parameter.requires_grad for parameter in self.parameters())

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Optimizer groups: gates and LoRA at rates of their own, decay on matrices alone."""
        return parameter_groups(self, learning_rate, weight_decay)

    def _fused_layers(self, receiver: torch.Tensor) -> torch.Tensor:
        """Those layers of the receiver's cache; the cache itself if it is all."""
        return receiver if len(self.layers) == receiver.shape[1] else receiver[:, self.layers]

    def _features(
        self, unrotated: torch.Tensor, sharer: torch.Tensor, rotations: Rotations | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised features of the fused layers, and of the sharer layers that feed them."""
        dtype = next(self.parameters()).dtype
        sharer_features = self.aligned(sharer, rotations, dtype)
        if not self.config.reads_receiver:
            return unrotated, sharer_features
        return self.receiver_norm(unrotated.to(dtype)), sharer_features

    def unrotated(self, cache: torch.Tensor, rotations: Rotations | None) -> torch.Tensor:
        """A cache of the receiver's fused layers before RoPE, where there are rotations."""
        return cache if rotations is None else rotations.undo_receiver(cache, self.layers)

    def _rotated(self, cache: torch.Tensor, rotations: Rotations | None) -> torch.Tensor:
        return cache if rotations is None else rotations.apply_receiver(cache, self.layers)

    def _through(self, change: torch.Tensor, factor: torch.Tensor | None) -> torch.Tensor:
        """What passes a weight or a gate of ``(groups, tokens, 1, heads or values)``."""
        if factor is None:
            return change
        size = self.receiver_shape.size
        if 1 < factor.shape[-1] < size:
            factor = factor.repeat_interleave(size // factor.shape[-1], dim=-1)
        return change * factor.unflatten(0, (-1, len(self.layers)))

    def aligned(
        self, sharer: torch.Tensor, rotations: Rotations | None, dtype: torch.dtype
    ) -> torch.Tensor:
        """Sharer features of each fused receiver layer, ``(2, layers, tokens, size)``."""
        count, per_layer = self.sources.shape
        sharer = sharer.expand(2, -1, -1, -1)  # what layers put out is of keys and of values
        if self.config.sharer == "blank":
            size = self.concatenated * sharer.shape[-1]
            return sharer.new_zeros(2, count, sharer.shape[2], size, dtype=dtype)
        sources = self._sources_normalised(sharer, rotations, dtype)
        if per_layer == 1:
            return sources
        chosen = sources.unflatten(1, (count, per_layer))
        if self.source_logits is not None:
            weights = torch.softmax(self.source_logits, dim=-1)
            return torch.einsum("kls,klstd->kltd", weights, chosen)
        if self.concatenated > 1:
            return chosen.transpose(2, 3).flatten(3)
        return chosen.mean(dim=2)

    def _sources_normalised(
        self, sharer: torch.Tensor, rotations: Rotations | None, dtype: torch.dtype
    ) -> torch.Tensor:
        """What feeds the fused layers, one after the other, ``(2, sources, tokens, size)``."""
        few = self.few_sources()
        features = self.sharer_norm(self.unrotated_sources(sharer, rotations).to(dtype), few)
        return features if few is not None else features.index_select(1, self.sources.flatten())

    def unrotated_sources(self, sharer: torch.Tensor, rotations: Rotations | None) -> torch.Tensor:
        """The sharer layers of `few_sources`, or all of them, before RoPE where there is any."""
        few = self.few_sources()
        if few is not None:
            sharer = sharer.index_select(1, few)
        return sharer if rotations is None else rotations.undo_sharer(sharer, few)

    def few_sources(self) -> torch.Tensor | None:
        """The sharer layers to look at, in the order of `sources`; None for all of them.

        Few layers cost what few cost; where many share theirs, each is brought to scale once.
        """
        sources = self.sources.flatten()
        return sources if len(sources) < self.sharer_shape.layers else None


def _indices(part: slice) -> torch.Tensor:
    return torch.arange(part.start, part.stop)
