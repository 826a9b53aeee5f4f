"""How well each receiver layer's attention can be told from the sharer's cache."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from c2c_search.fuser import ridge
from c2c_search.fuser.layer_alignment import proportional
from c2c_search.fuser.moments import Moments
from c2c_search.inference.fusion import rotations_of
from c2c_search.inference.packed.context import PackedContext
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.inference.packed.tokens import TRUNK
from c2c_search.inference.packed.tokens import Tokens
from c2c_search.inference.probing import by_layer
from c2c_search.inference.probing import probing


if TYPE_CHECKING:
    from c2c_search.fuser.rotations import Rotations
    from c2c_search.inference.model import C2CModel
    from c2c_search.inference.probing import Attend
    from c2c_search.prompt_cache.batches import PairBatch


_PENALTY = 0.1


@torch.no_grad()
def attention_cosine(
    model: C2CModel, fitted_on: Iterable[PairBatch], judged_on: Iterable[PairBatch]
) -> torch.Tensor:
    """Cosine between each layer's attention output on its own and on a mapped cache.

    Each receiver layer's keys and values are predicted from the sharer's (closed-form ridge from
    the layer at the same relative depth). The last tokens of other prompts then attend twice: to
    the receiver's own cache, and to the predicted one.

    Args:
        model: The pair.
        fitted_on: Calibration prompts, aligned token by token, some at a time.
        judged_on: Others.

    Returns:
        ``(receiver_layers,)``, in [-1, 1].

    Raises:
        ConfigError: The receiver's attention cannot be looked into.

    Source: arXiv 2608.03893 finds this measure to predict what a mapped cache retains
    (r = +0.57), where the fit's R² does not (r = -0.20).
    """
    moments = Moments()
    for batch in fitted_on:
        receiver, inputs = _between(batch, rotations_of(batch, model.rotaries))
        moments.add(inputs, receiver.flatten(0, 1))
    weight, bias = ridge.fit(moments, _PENALTY)
    weight, bias = weight.to(model.device), bias.to(model.device)
    total, prompts = torch.zeros((), device=model.device), 0
    for batch in judged_on:
        rotations = rotations_of(batch, model.rotaries)
        receiver, inputs = _between(batch, rotations)
        mapped = torch.baddbmm(bias, inputs.float(), weight).unflatten(0, receiver.shape[:2])
        if rotations is not None:
            mapped = rotations.apply_receiver(mapped, range(receiver.shape[1]))
        total = total + len(batch.lengths) * _cosines(model, batch, mapped)
        prompts += len(batch.lengths)
    return total / prompts


def _between(batch: PairBatch, rotations: Rotations | None) -> tuple[torch.Tensor, torch.Tensor]:
    """What is mapped to, ``(2, layers, tokens, size)``, and what from, its layers in one row."""
    receiver, sharer = batch.receiver, batch.sharer
    layers = range(receiver.shape[1])
    if rotations is not None:
        receiver = rotations.undo_receiver(receiver, layers)
        sharer = rotations.undo_sharer(sharer)
    sources = proportional(len(layers), sharer.shape[1], 1, None)
    sharer = sharer.expand(2, -1, -1, -1)  # what layers put out is of keys and of values
    return receiver, sharer[:, [source for (source,) in sources]].flatten(0, 1)


def _cosines(model: C2CModel, batch: PairBatch, mapped: torch.Tensor) -> torch.Tensor:
    """Mean over prompts, ``(receiver_layers,)``."""
    tokens = Tokens(
        prompt=torch.arange(len(batch.lengths)),
        branch=torch.full((len(batch.lengths),), TRUNK),
        position=torch.tensor(batch.lengths),
    )
    receiver = model.receiver.model

    def look(
        layer: int,
        attend: Attend,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Attend a second time, to the mapped cache."""
        heads, _, dim = key.shape[1:]
        predicted = mapped[:, layer].to(key.dtype).unflatten(-1, (heads, dim)).transpose(1, 2)
        count = predicted.shape[2]
        caches = (
            torch.cat([ours[None], own[:, :, count:]], dim=2)
            for ours, own in zip(predicted, (key, value), strict=True)
        )
        both = attend(query, key, value, mask), attend(query, *caches, mask)
        one, other = (output[0].flatten(2).float() for output in both)
        return torch.nn.functional.cosine_similarity(one, other, dim=-1).mean()

    with probing(receiver, look) as cosines:
        # Made here: a context asks which attention the model has, and this one runs in no blocks.
        context = PackedContext(receiver, FusedCache(batch.receiver, batch.lengths))
        context.feed(torch.tensor(batch.last_ids), tokens, torch.tensor([0]))
    hint = "Set fuser.layers to last or spread."
    return by_layer(cosines, receiver, batch.receiver.shape[1], "fuser.layers attention", hint)
