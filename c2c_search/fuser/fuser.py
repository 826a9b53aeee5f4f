"""Fuser room: the network that is searched, trained and shipped."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from c2c_search.fuser.config import CacheShape
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.gates import Gate
from c2c_search.fuser.layer_alignment import LAYER_ALIGNMENTS
from c2c_search.fuser.layer_alignment import linear_cka
from c2c_search.fuser.normalisation import Normalisation
from c2c_search.fuser.normalisation import Statistics
from c2c_search.fuser.projectors import PROJECTORS
from c2c_search.fuser.projectors import Shape


_CENTRE_LOGIT = 2.0  # a learned alignment starts close to the proportional layer


class Fuser(nn.Module):
    """Fuses the sharer's prompt cache into the receiver's.

    ``fused = receiver + gate * weight * projected`` for keys and for values, each with its own
    network (C2C, arXiv 2510.03215, section 3.3). Prompts are packed: all tokens of a batch stand
    in one dimension, without padding, so that padding cannot leak. All layers run as one batched
    product.

    Args:
        config: The architecture.
        receiver: Cache shape of the receiver.
        sharer: Cache shape of the sharer.
        sources: Sharer layers of each fused receiver layer; made from
            ``config.layer_alignment`` when left out (``similarity`` waits for `calibrate`).
    """

    sources: torch.Tensor

    def __init__(
        self,
        config: FuserConfig,
        receiver: CacheShape,
        sharer: CacheShape,
        *,
        sources: list[list[int]] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.receiver_shape = receiver
        self.sharer_shape = sharer
        self.layers = receiver.last_layers(config.layer_share)
        if sources is None and config.layer_alignment == "similarity":
            sources = [[0]] * self.layers  # until `calibrate` has seen prompt caches
        elif sources is None:
            sources = self._align(None)
        self.register_buffer("sources", torch.tensor(sources, dtype=torch.long))
        self.source_logits: nn.Parameter | None = None
        if config.layer_alignment == "learned":
            logits = torch.zeros(2, self.layers, self.sources.shape[1])
            logits[..., 0] = _CENTRE_LOGIT
            self.source_logits = nn.Parameter(logits)
        self.receiver_norm = Normalisation(config.normalisation, self.layers, receiver.size)
        self.sharer_norm = Normalisation(config.normalisation, sharer.layers, sharer.size)
        shape = Shape(
            groups=2 * self.layers,
            receiver_size=receiver.size,
            receiver_heads=receiver.heads,
            sharer_size=sharer.size,
        )
        self.projector = PROJECTORS[config.projector](config, shape)
        self.gate = None if config.gate.granularity == "none" else Gate(config, shape)

    def forward(self, receiver: torch.Tensor, sharer: torch.Tensor) -> torch.Tensor:
        """Fuse packed prompt caches.

        Args:
            receiver: ``(2, receiver_layers, tokens, receiver_size)``, keys then values.
            sharer: The sharer's cache at the aligned position of every receiver token,
                ``(2, sharer_layers, tokens, sharer_size)``.

        Returns:
            The fused cache, of ``receiver``'s shape and dtype.
        """
        dtype = next(self.parameters()).dtype
        untouched, fused = self._split(receiver)
        features = self.receiver_norm(fused.to(dtype)).flatten(0, 1)
        heard = self._aligned(self.sharer_norm(sharer.to(dtype))).flatten(0, 1)
        projection = self.projector(features, heard)
        added = projection.projected
        if projection.weight is not None:
            by_head = added.unflatten(-1, (self.receiver_shape.heads, -1))
            added = (by_head * projection.weight[..., None]).flatten(-2)
        if self.gate is not None:
            added = added * self.gate(projection.hidden)
        added = self.receiver_norm.scale(added.unflatten(0, (2, self.layers)))
        return torch.cat([untouched, fused + added.to(fused.dtype)], dim=1)

    def _split(self, receiver: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A receiver cache's layers that stay as they are, and those that are fused."""
        first = self.receiver_shape.layers - self.layers
        return receiver[:, :first], receiver[:, first:]

    def _align(self, cka: torch.Tensor | None) -> list[list[int]]:
        align = LAYER_ALIGNMENTS[self.config.layer_alignment]
        window = self.config.alignment_window
        sources = align(self.receiver_shape.layers, self.sharer_shape.layers, window, cka)
        return sources[-self.layers :]

    def _aligned(self, sharer: torch.Tensor) -> torch.Tensor:
        """Sharer features of each fused receiver layer, ``(2, layers, tokens, size)``."""
        if self.config.sharer == "blank":
            return sharer.new_zeros(2, self.layers, *sharer.shape[2:])
        if self.source_logits is None:
            return sharer.index_select(1, self.sources[:, 0])
        weights = torch.softmax(self.source_logits, dim=-1)
        return torch.stack(
            [
                sum(
                    weights[:, layer, place, None, None] * sharer[:, source]
                    for place, source in enumerate(sources)
                )
                for layer, sources in enumerate(self.sources.tolist())
            ],
            dim=1,
        )

    @torch.no_grad()
    def calibrate(self, receiver: torch.Tensor, sharer: torch.Tensor) -> None:
        """Measure normalisation statistics and, for ``similarity``, the layer alignment.

        Args:
            receiver: Packed prompt caches of calibration prompts, as in `forward`.
            sharer: The sharer's at the aligned positions, as in `forward`.
        """
        self.receiver_norm.calibrate(Statistics.of(self._split(receiver)[1]))
        self.sharer_norm.calibrate(Statistics.of(sharer))
        if self.config.layer_alignment == "similarity":
            cka = torch.stack(
                [linear_cka(r.float(), s.float()) for r, s in zip(receiver, sharer, strict=True)]
            ).mean(dim=0)
            self.sources.copy_(torch.tensor(self._align(cka)))

    def anneal(self, progress: float) -> None:
        """Tell the gate how much of the trial's budget is spent, in [0, 1]."""
        if self.gate is not None:
            self.gate.anneal(progress)

    def open_share(self) -> dict[str, float]:
        """How far the gates are open, as training and as evaluation reads them, in [0, 1]."""
        return {"train": 1.0, "eval": 1.0} if self.gate is None else self.gate.open_share()

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Optimizer groups: gates at their own rate, and no decay on gates, norms and biases."""
        gate = [] if self.gate is None else list(self.gate.parameters())
        if self.source_logits is not None:
            gate.append(self.source_logits)
        gate_ids = {id(parameter) for parameter in gate}
        rest = [(n, p) for n, p in self.named_parameters() if id(p) not in gate_ids]
        matrices = [p for n, p in rest if p.shape[-2] > 1]
        vectors = [p for n, p in rest if p.shape[-2] == 1]
        gate_rate = learning_rate * self.config.gate.learning_rate_multiplier
        groups = [
            {"params": matrices, "lr": learning_rate, "weight_decay": weight_decay},
            {"params": vectors, "lr": learning_rate, "weight_decay": 0.0},
            {"params": gate, "lr": gate_rate, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]
