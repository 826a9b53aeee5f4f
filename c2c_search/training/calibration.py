"""Shows a fuser the pair's prompt caches, before it is trained."""

from __future__ import annotations

import random
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from c2c_search.batching import portions
from c2c_search.errors import ConfigError
from c2c_search.fuser.calibration_part import CalibrationPart
from c2c_search.inference.attention_received import attention_received
from c2c_search.inference.fusion import rotations_of
from c2c_search.inference.layer_scores import attention_cosine
from c2c_search.inference.reading import heard


if TYPE_CHECKING:
    import torch

    from c2c_search.fuser.rotations import Rotations
    from c2c_search.inference.model import C2CModel
    from c2c_search.inference.queries import Queries
    from c2c_search.prompt_cache.batches import PairBatch
    from c2c_search.prompt_cache.batches import PairPrompts


PROMPTS = 200
"""How many a fuser is shown, at most."""

_TOKENS = 512  # in memory at once, about


def calibrate(model: C2CModel, prompts: PairPrompts, seed: int) -> None:
    """Show a model's fuser the pair's caches of a few training prompts; see `Fuser.calibrate`.

    Raises:
        ConfigError: ``layers: attention`` has no prompt to fit on beside one to judge by.
    """
    fuser = model.fuser
    assert fuser is not None
    prompts = heard(prompts, fuser.config)
    count = min(PROMPTS, len(prompts))
    rows = sorted(random.Random(seed).sample(range(len(prompts)), count))

    def batches(some: Sequence[int]) -> Iterator[PairBatch]:
        for few in groups(some):
            # Aligned token by token also where entries will be appended: a map needs pairs to fit.
            yield prompts.batch(few).to(model.device)

    def groups(some: Sequence[int]) -> Iterator[list[int]]:
        return portions(some, lambda row: [len(prompts.encoded[row].receiver_ids)], [_TOKENS])

    attention: list[torch.Tensor | None] = [None for _ in groups(rows)]
    if fuser.config.ridge_weighting == "attention":
        attention = [
            attention_received(
                model.receiver.model, [prompts.encoded[row].receiver_ids for row in few]
            ).cpu()
            for few in groups(rows)
        ]

    def parts() -> Iterator[CalibrationPart]:
        for batch, received in zip(batches(rows), attention, strict=True):
            rotations = rotations_of(batch, model.rotaries)
            if model.queries is None:
                yield CalibrationPart(batch.receiver, batch.sharer, rotations, received)
            else:
                yield _remembered(batch, rotations, model.queries, received)

    scores = None
    # Layers are chosen by what a map fitted on one half of the prompts says of the other.
    if fuser.config.scores_layers:
        half = count // 2
        if not half:
            raise ConfigError(
                "fuser.layers attention needs at least two training examples.",
                value=count,
                hint="Give more, or set fuser.layers to last or spread.",
            )
        scores = attention_cosine(model, batches(rows[:half]), batches(rows[half:]))
    fuser.calibrate(parts, layer_scores=scores)


def _remembered(
    batch: PairBatch,
    rotations: Rotations | None,
    queries: Queries,
    attention: torch.Tensor | None,
) -> CalibrationPart:
    """The receiver's own cache as a side memory would have it, before the receiver's key norm."""
    receiver = batch.receiver
    if rotations is not None:
        receiver = rotations.undo_receiver(receiver, range(receiver.shape[1]))
        rotations = replace(rotations, receiver=None)
    keys, values = receiver.float()
    return CalibrationPart(
        torch.stack([queries.unnormed_keys(keys), values]), batch.sharer, rotations, attention
    )
