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
        sources: Sharer layers of each receiver layer; made from ``config.layer_alignment`` when
            left out (``similarity`` waits for `calibrate`).
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
        if sources is None and config.layer_alignment == "similarity":
            sources = [[0]] * receiver.layers  # until `calibrate` has seen prompt caches
        elif sources is None:
            align = LAYER_ALIGNMENTS[config.layer_alignment]
            sources = align(receiver.layers, sharer.layers, config.alignment_window, None)
        self.register_buffer("sources", torch.tensor(sources, dtype=torch.long))
        self.source_logits: nn.Parameter | None = None
        if config.layer_alignment == "learned":
            logits = torch.zeros(2, receiver.layers, self.sources.shape[1])
            logits[..., 0] = _CENTRE_LOGIT
            self.source_logits = nn.Parameter(logits)
        self.receiver_norm = Normalisation(config.normalisation, receiver.layers, receiver.size)
        self.sharer_norm = Normalisation(config.normalisation, sharer.layers, sharer.size)
        shape = Shape(
            groups=2 * receiver.layers,
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
        tokens = receiver.shape[2]
        parameters_dtype = next(self.parameters()).dtype
        groups = (2 * self.receiver_shape.layers, tokens, -1)
        features = self.receiver_norm(receiver.to(parameters_dtype))
        heard = self._aligned(self.sharer_norm(sharer.to(parameters_dtype)))
        projection = self.projector(features.view(groups), heard.view(groups))
        added = projection.projected
        if projection.weight is not None:
            heads = (*projection.weight.shape, 1)
            per_head = (*heads[:3], self.receiver_shape.head_dim)
            added = (added.view(per_head) * projection.weight.view(heads)).view(added.shape)
        if self.gate is not None:
            added = added * self.gate(projection.hidden)
        added = self.receiver_norm.scale(added.view(2, self.receiver_shape.layers, tokens, -1))
        return receiver + added.to(receiver.dtype)

    def _aligned(self, sharer: torch.Tensor) -> torch.Tensor:
        """Sharer features of each receiver layer, ``(2, receiver_layers, tokens, size)``."""
        if self.config.sharer == "blank":
            shape = (2, self.receiver_shape.layers, *sharer.shape[2:])
            return sharer.new_zeros(shape)
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
        self.receiver_norm.calibrate(Statistics.of(receiver))
        self.sharer_norm.calibrate(Statistics.of(sharer))
        if self.config.layer_alignment == "similarity":
            cka = torch.stack(
                [linear_cka(r.float(), s.float()) for r, s in zip(receiver, sharer, strict=True)]
            ).mean(dim=0)
            align = LAYER_ALIGNMENTS["similarity"]
            sources = align(
                self.receiver_shape.layers,
                self.sharer_shape.layers,
                self.config.alignment_window,
                cka,
            )
            self.sources.copy_(torch.tensor(sources))

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
