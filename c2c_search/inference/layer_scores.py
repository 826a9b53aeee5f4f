"""Inference room: how well each receiver layer's attention can be told from the sharer's cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from typing import Any

import torch
from transformers import AttentionInterface

from c2c_search.errors import ConfigError
from c2c_search.fuser import ridge
from c2c_search.fuser.layer_alignment import proportional
from c2c_search.inference.attention import attention
from c2c_search.inference.decoding import PackedContext
from c2c_search.inference.fusion import FusedCache
from c2c_search.inference.tokens import TRUNK
from c2c_search.inference.tokens import Tokens


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.fuser.rotations import Rotations
    from c2c_search.inference.model import C2CModel
    from c2c_search.pair.batches import PairBatch


_PENALTY = 0.1
_PROBE = "c2c_search_probe"


@torch.no_grad()
def attention_cosine(
    model: C2CModel, batch: PairBatch, rotations: Rotations | None
) -> torch.Tensor:
    """Cosine between each layer's attention output on its own and on a mapped cache.

    Each receiver layer's keys and values are predicted from the sharer's (closed-form ridge from
    the layer at the same relative depth, fitted on half of the prompts). The other half's last
    tokens then attend twice: to the receiver's own cache, and to the predicted one.

    Args:
        model: The pair.
        batch: Calibration prompts, aligned token by token.
        rotations: Where the tokens stand, if keys are mapped unrotated.

    Returns:
        ``(receiver_layers,)``, in [-1, 1].

    Raises:
        ConfigError: The receiver's attention cannot be looked into.

    Source: arXiv 2608.03893 finds this measure to predict what a mapped cache retains
    (r = +0.57), where the fit's R² does not (r = -0.20).
    """
    split = len(batch.lengths) // 2
    border = sum(batch.lengths[:split])
    mapped = _predicted(batch, rotations, border)
    lengths = batch.lengths[split:]
    own, mapped = batch.receiver[:, :, border:], mapped[:, :, border:]
    tokens = Tokens(
        prompt=torch.arange(len(lengths)),
        branch=torch.full((len(lengths),), TRUNK),
        position=torch.tensor(lengths),
    )
    receiver = model.receiver.model
    with _probing(receiver, mapped) as cosines:
        # Made here: a context asks which attention the model has, and this one runs in no blocks.
        context = PackedContext(receiver, FusedCache(own, lengths))
        context.feed(torch.tensor(batch.last_ids[split:]), tokens, torch.tensor([0]))
    if set(cosines) != set(range(own.shape[1])):
        raise ConfigError(
            "layer_choice attention needs a receiver whose attention transformers lets one look "
            "into, layer by layer.",
            value=receiver.config.model_type,
            hint="Set fuser.layer_choice to last.",
        )
    return torch.stack([cosines[layer] for layer in sorted(cosines)])


def _predicted(batch: PairBatch, rotations: Rotations | None, border: int) -> torch.Tensor:
    """The receiver's cache as the sharer's predicts it, fitted on tokens before ``border``."""
    layers = range(batch.receiver.shape[1])
    receiver, sharer = batch.receiver, batch.sharer
    if rotations is not None:
        receiver = rotations.undo_receiver(receiver, layers)
        sharer = rotations.undo_sharer(sharer)
    sources = proportional(len(layers), sharer.shape[1], 1, None)
    heard = sharer[:, [source for (source,) in sources]].flatten(0, 1)
    targets = receiver.flatten(0, 1)
    weight, bias = ridge.fit(heard[:, :border], targets[:, :border], _PENALTY)
    predicted = torch.baddbmm(bias, heard.float(), weight).unflatten(0, (2, len(layers)))
    return predicted if rotations is None else rotations.apply_receiver(predicted, layers)


@contextmanager
def _probing(model: PreTrainedModel, mapped: torch.Tensor) -> Iterator[dict[int, torch.Tensor]]:
    """Have every attention attend a second time, to a mapped cache; gives the cosines by layer."""
    config = model.config.get_text_config()
    implementation = config._attn_implementation
    found: dict[int, torch.Tensor] = {}

    def probe(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **kwargs: Any,
    ) -> Any:
        attend = attention(implementation, module)
        output = attend(module, query, key, value, attention_mask, **kwargs)
        layer = getattr(module, "layer_idx", None)
        if isinstance(layer, int):
            heads, _, dim = key.shape[1:]
            told = mapped[:, layer].to(key.dtype).unflatten(-1, (heads, dim)).transpose(1, 2)
            count = told.shape[2]
            other = attend(
                module,
                query,
                torch.cat([told[0][None], key[:, :, count:]], dim=2),
                torch.cat([told[1][None], value[:, :, count:]], dim=2),
                attention_mask,
                **kwargs,
            )
            by_token = torch.nn.functional.cosine_similarity(
                output[0].flatten(2).float(), other[0].flatten(2).float(), dim=-1
            )
            found[layer] = by_token.mean()
        return output

    AttentionInterface.register(_PROBE, probe)
    config._attn_implementation = _PROBE
    try:
        yield found
    finally:
        config._attn_implementation = implementation
