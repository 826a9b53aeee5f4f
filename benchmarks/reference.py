"""What the published C2C code does in a step, in our own words and for fusers equal to ours.

Facts about the published code (github.com/thu-nics/C2C, wrapper and training script), all of which
are imitated here:

- Both frozen models read the prompts of a batch in every step, all tokens but the last, padded on
  the right to the longest, through the whole language model: its head predicts at every position.
- A Python loop goes over the receiver's layers. Each has projectors of its own, of plain
  `torch.nn` modules, one for keys and one for values.
- The receiver then reads each prompt's last token and its response, padded to the longest, on top
  of the fused cache, with labels: its head predicts at every position here too.

Supported is what the comparison needs: projector ``c2c`` without a gate, residual injection,
rotated keys, one sharer layer for each of the receiver's, token alignment ``span`` (the sharer
reads its own tokens, and its cache is gathered where the receiver's tokens are), prompts that are
shorter than a sliding window of the models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import DynamicCache

from c2c_search.errors import ConfigError
from c2c_search.fuser.projectors import C2CProjector
from c2c_search.fuser.stacked import StackedBlock
from c2c_search.fuser.stacked import StackedLinear
from c2c_search.prompt_cache.prefill import cache_argument
from c2c_search.training.engine import schedule


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.config.training import TrainingConfig
    from c2c_search.fuser.config import FuserConfig
    from c2c_search.fuser.fuser import Fuser
    from c2c_search.fuser.normalisation import Normalisation
    from c2c_search.tokenization.token_alignment import EncodedPrompt


_IGNORED = -100  # label of a position whose prediction does not count


class LayerLoopFuser(nn.Module):
    """A fuser's weights as plain modules, two for every fused layer, called one by one.

    Args:
        fuser: Where the weights are copied from.

    Raises:
        ConfigError: The fuser is of a kind that is not imitated.
    """

    def __init__(self, fuser: Fuser) -> None:
        super().__init__()
        _refuse_others(fuser.config)
        self.layers = list(fuser.layers)
        self.sources = [source for (source,) in fuser.sources.tolist()]
        self.projectors = nn.ModuleList(
            nn.ModuleList(LayerProjector(fuser, kind, index) for kind in range(2))
            for index in range(len(self.layers))
        )

    def fuse(self, receiver: DynamicCache, sharer: DynamicCache, alignment: torch.Tensor) -> None:
        """Put fused layers into the receiver's cache; gradients flow.

        Args:
            receiver: Caches of ``(batch, kv_heads, tokens, head_dim)``; changed.
            sharer: The same of the sharer.
            alignment: For each token of the receiver's, which of the sharer's it is fused with,
                ``(batch, tokens)``.
        """
        for index, (layer, source) in enumerate(zip(self.layers, self.sources, strict=True)):
            fused, read = receiver.layers[layer], sharer.layers[source]
            keys, values = self.projectors[index]
            fused.keys = _fused(keys, fused.keys, read.keys, alignment)
            fused.values = _fused(values, fused.values, read.values, alignment)

    def parameter_groups(
        self, learning_rate: float, weight_decay: float
    ) -> list[dict[str, object]]:
        """As `Fuser.parameter_groups`: decay on matrices alone."""
        matrices = [parameter for parameter in self.parameters() if parameter.dim() > 1]
        vectors = [parameter for parameter in self.parameters() if parameter.dim() == 1]
        return [
            {"params": matrices, "lr": learning_rate, "weight_decay": weight_decay},
            {"params": vectors, "lr": learning_rate, "weight_decay": 0.0},
        ]


class LayerProjector(nn.Module):
    """The projector of one layer's keys, or of its values.

    Args:
        fuser: Where the weights are copied from.
        kind: 0 for keys, 1 for values.
        index: Which of the fused layers.
    """

    def __init__(self, fuser: Fuser, kind: int, index: int) -> None:
        super().__init__()
        projector = fuser.projector
        assert isinstance(projector, C2CProjector)
        group = kind * len(fuser.layers) + index
        (source,) = fuser.sources[index].tolist()
        self.receiver_norm = LayerNormalisation(fuser.receiver_norm, kind, index)
        self.sharer_norm = LayerNormalisation(fuser.sharer_norm, kind, source)
        self.compress = _plain(projector.from_sharer, group)
        assert isinstance(self.compress, nn.Linear)
        assert projector.from_receiver is not None
        from_receiver = _plain(projector.from_receiver, group)
        weights = [self.compress.weight, from_receiver.weight]
        # Side by side, as published: one map of both models' features.
        self.compress.weight = nn.Parameter(torch.cat(weights, dim=1).detach())
        self.compressed = projector.compressed
        self.trunk = _plain(projector.trunk, group)
        self.projection = _plain(projector.projection, group)
        self.weight = None if projector.weight is None else _plain(projector.weight, group)

    def forward(self, receiver: torch.Tensor, sharer: torch.Tensor) -> torch.Tensor:
        """The fused layer, ``(batch, tokens, receiver_size)``, from both models' features."""
        dtype = next(self.parameters()).dtype
        parts = self.sharer_norm(sharer.to(dtype)), self.receiver_norm(receiver.to(dtype))
        features = torch.cat(parts, dim=-1)
        hidden = self.trunk(self.compressed(self.compress(features)))
        change = self.receiver_norm.scale(self.projection(hidden))
        if self.weight is not None:
            weight = self.weight(hidden)
            change = change * weight.repeat_interleave(change.shape[-1] // weight.shape[-1], -1)
        return receiver + change.to(receiver.dtype)


class LayerNormalisation(nn.Module):
    """Of one layer's keys or values, ``(batch, tokens, size)``; see `Normalisation`."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, stacked: Normalisation, kind: int, layer: int) -> None:
        super().__init__()
        self.kind = stacked.kind
        if self.kind == "calibrated":
            self.register_buffer("mean", stacked.mean[kind, layer].clone())
            self.register_buffer("deviation", stacked.deviation[kind, layer].clone())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if self.kind == "calibrated":
            return (features - self.mean) / self.deviation
        if self.kind == "rms":
            return features * torch.rsqrt(features.square().mean(dim=-1, keepdim=True) + 1e-6)
        return features

    def scale(self, added: torch.Tensor) -> torch.Tensor:
        """What is added to the cache, in its units."""
        return added * self.deviation if self.kind == "calibrated" else added


class Block(nn.Module):
    """A residual block of one layer; see `StackedBlock`."""

    def __init__(self, stacked: StackedBlock, group: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(stacked.norm.weight.shape[-1], eps=stacked.norm.eps)
        self.norm.weight = nn.Parameter(stacked.norm.weight.detach()[group, 0].clone())
        self.w1 = _plain(stacked.w1, group)
        self.w2 = _plain(stacked.w2, group)
        self.dropout = nn.Dropout(stacked.dropout.p)
        self.activation = stacked.activation

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + self.dropout(self.w2(self.activation(self.w1(self.norm(features)))))


class ReferenceStyle:
    """Reads, fuses and answers as the published code does.

    Args:
        receiver: The model that answers.
        sharer: The model that speaks.
        fuser: What joins them.
    """

    def __init__(
        self, receiver: PreTrainedModel, sharer: PreTrainedModel, fuser: LayerLoopFuser
    ) -> None:
        self.receiver = receiver
        self.sharer = sharer
        self.fuser = fuser.to(receiver.device)

    def loss(
        self, prompts: Sequence[EncodedPrompt], responses: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """Mean loss (nats) over the tokens of a batch's responses."""
        loss, _ = self._read(prompts, responses)
        return loss

    @torch.no_grad()
    def score(self, prompt: EncodedPrompt, option: Sequence[int]) -> float:
        """Log-likelihood (nats) of one option, for which the whole prompt is read."""
        _, logits = self._read([prompt], [option])
        likelihoods = logits[0, :-1].float().log_softmax(dim=-1)
        targets = torch.tensor(option, device=logits.device)
        return float(likelihoods.gather(1, targets[:, None]).sum())

    def _read(
        self, prompts: Sequence[EncodedPrompt], responses: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss, and logits at the last prompt token and every response token."""
        device = self.receiver.device
        receiver, read = padded_prefill(
            self.receiver, [prompt.receiver_ids[:-1] for prompt in prompts]
        )
        sharer, _ = padded_prefill(self.sharer, [prompt.sharer_ids for prompt in prompts])
        alignment, _ = right_padded([prompt.alignment[:-1] for prompt in prompts])
        self.fuser.fuse(receiver, sharer, alignment.to(device))
        fed, mask = right_padded(
            [
                [prompt.receiver_ids[-1], *response]
                for prompt, response in zip(prompts, responses, strict=True)
            ]
        )
        labels = fed.masked_fill(mask == 0, _IGNORED)
        labels[:, 0] = _IGNORED
        first = torch.tensor([len(prompt.receiver_ids) - 1 for prompt in prompts])
        positions = first[:, None] + torch.arange(fed.shape[1])
        output = self.receiver(
            input_ids=fed.to(device),
            attention_mask=torch.cat([read, mask.to(device)], dim=1),
            position_ids=positions.to(device),
            labels=labels.to(device),
            use_cache=True,
            **cache_argument(self.receiver, receiver),
        )
        return output.loss, output.logits


class ReferenceTraining:
    """Steps of a training with torch's plain optimizer, at our rates.

    Args:
        style: What is trained.
        config: Rates, clipping and steps.
    """

    def __init__(self, style: ReferenceStyle, config: TrainingConfig) -> None:
        self.style = style
        self.clipping = config.gradient_clipping
        groups = style.fuser.parameter_groups(config.learning_rate, config.weight_decay)
        self.optimizer = torch.optim.AdamW(groups)
        self.rate = torch.optim.lr_scheduler.LambdaLR(self.optimizer, schedule(config))

    def step(
        self, prompts: Sequence[EncodedPrompt], responses: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """Learn from a batch; the loss before it."""
        self.style.fuser.train()
        loss = self.style.loss(prompts, responses)
        self.backward_and_step(loss)
        return loss.detach()

    def backward_and_step(self, loss: torch.Tensor) -> None:
        """Gradients, their clipping, and the optimizer's step."""
        self.optimizer.zero_grad()
        loss.backward()
        if self.clipping:
            nn.utils.clip_grad_norm_(self.style.fuser.parameters(), self.clipping)
        self.optimizer.step()
        self.rate.step()


@torch.no_grad()
def padded_prefill(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]]
) -> tuple[DynamicCache, torch.Tensor]:
    """Caches of prompts that are padded to the longest, through the whole model.

    Returns:
        The cache, and which of its tokens are no padding, ``(batch, tokens)``.
    """
    ids, mask = right_padded(prompts)
    mask = mask.to(model.device)
    cache = DynamicCache()
    model(
        input_ids=ids.to(model.device),
        attention_mask=mask,
        use_cache=True,
        **cache_argument(model, cache),
    )
    return cache, mask


def right_padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of numbers with zeros behind them, and 1 where there is a number, on the CPU."""
    padded = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    return padded.long(), (torch.arange(padded.shape[1]) < lengths[:, None]).long()


def _fused(
    projector: nn.Module, receiver: torch.Tensor, sharer: torch.Tensor, alignment: torch.Tensor
) -> torch.Tensor:
    """One layer's fused keys or values, ``(batch, kv_heads, tokens, head_dim)``."""
    features = sharer.transpose(1, 2).flatten(2)
    index = alignment[..., None].expand(-1, -1, features.shape[-1])
    fused: torch.Tensor = projector(receiver.transpose(1, 2).flatten(2), features.gather(1, index))
    return fused.unflatten(-1, (receiver.shape[1], receiver.shape[3])).transpose(1, 2)


def _plain(module: nn.Module, group: int) -> nn.Module:
    """A module of stacked layers as torch's own modules, of one layer."""
    if isinstance(module, StackedLinear):
        inputs, outputs = module.weight.shape[1:]
        linear = nn.Linear(inputs, outputs, bias=module.bias is not None)
        linear.weight = nn.Parameter(module.weight.detach()[group].T.contiguous())
        if module.bias is not None:
            linear.bias = nn.Parameter(module.bias.detach()[group, 0].clone())
        return linear
    if isinstance(module, StackedBlock):
        return Block(module, group)
    if isinstance(module, nn.Sequential):
        return nn.Sequential(*(_plain(part, group) for part in module))
    return module


def _refuse_others(config: FuserConfig) -> None:
    supported = {
        "projector": "c2c",
        "injection": "residual",
        "keys": "rotated",
        "sharer": "real",
        "sources_per_layer": 1,
        "lora_rank": 0,
        "fuse_response": False,
    }
    wrong = {
        name: getattr(config, name)
        for name, value in supported.items()
        if getattr(config, name) != value
    }
    if config.gate.granularity != "none":
        wrong["gate.granularity"] = config.gate.granularity
    if config.layer_alignment == "learned":
        wrong["layer_alignment"] = "learned"
    if wrong:
        raise ConfigError(
            "The reference-style step imitates one family of fusers.",
            value=", ".join(f"{name} {value}" for name, value in wrong.items()),
            hint=f"Take {supported}, without a gate and without learned layer alignment.",
        )
