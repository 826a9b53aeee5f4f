"""Study room: how much of a device the trials of a space take, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import torch

from c2c_search.data.splits import load_splits
from c2c_search.pair.arithmetic import default_dtype
from c2c_search.pair.loading import default_device
from c2c_search.pair.loading import resolve
from c2c_search.pair.token_alignment import encode_all
from c2c_search.training.memory import Rehearsal
from c2c_search.training.memory import StepMemory
from c2c_search.training.memory import heaviest_batches
from c2c_search.training.memory import model_bytes


if TYPE_CHECKING:
    from c2c_search.data.schema import Row
    from c2c_search.pair.loading import LoadedModel
    from c2c_search.space.schema import Space
    from c2c_search.trial import TrialConfig


def memory_of_trials(
    space: Space, device: torch.device | None = None
) -> Callable[[TrialConfig], StepMemory]:
    """Tells how much memory a trial of a space takes at the peak of its heaviest step.

    The worker keeps the models of all the space's pairs, so all of them count for each trial. Of
    trials that train at once, the others are taken to be as large.

    Args:
        space: The space.
        device: Where trials run; a GPU if there is one, when left out.
    """
    place = device or default_device()
    dtype = default_dtype(place)
    rehearsal = Rehearsal(place)

    @cache
    def model(source: str) -> LoadedModel:
        return rehearsal.model(resolve(source), dtype)

    @cache
    def rows() -> list[Row]:
        return list(load_splits(space.pipeline.data).train)

    def of_trial(trial: TrialConfig) -> StepMemory:
        receiver, sharer = model(trial.pair.receiver), model(trial.pair.sharer)
        steps = []
        for places in heaviest_batches(trial, rows()):
            batch = [rows()[place] for place in places]
            encoded = encode_all(
                [row["messages"] for row in batch],
                trial.data.template,
                receiver.text_tokenizer,
                sharer.text_tokenizer,
                trial.fuser.token_alignment,
                sharer_conversations=[row["sharer_messages"] for row in batch],
            )
            steps.append(rehearsal.step(trial, receiver, sharer, batch, encoded))
        heaviest = max(steps, key=lambda step: step.total)
        sources = {source for pair in space.pairs.values() for _, source in pair}
        models = sum(model_bytes(model(source).model) for source in sources)
        return replace(heaviest, models=models).of_several(space.search.trials_per_device)

    return of_trial
