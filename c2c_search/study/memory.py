"""How much of a device the trials of a space take, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import torch

from c2c_search.data.schema import WITH_GUARD
from c2c_search.data.splits import load_splits
from c2c_search.host.dtypes import default_dtype
from c2c_search.models.chats import chat_notices
from c2c_search.models.loading import default_device
from c2c_search.models.loading import resolve
from c2c_search.training.lengths import length_notices
from c2c_search.training.memory.prediction import Rehearsal
from c2c_search.training.memory.prediction import model_bytes
from c2c_search.training.memory.rows import Rows
from c2c_search.training.memory.trial_memory import TrialMemory
from c2c_search.training.preparation import read_rows


if TYPE_CHECKING:
    from c2c_search.config.trial import TrialConfig
    from c2c_search.models.loading import LoadedModel
    from c2c_search.space.schema import Space


def lengths_of_pairs(space: Space) -> list[str]:
    """What a user should know of texts that a space's models read otherwise than asked.

    They are longer than a model was made for, or chats that it has no template for.

    Nothing is loaded but tokenizers and configurations.

    Raises:
        ConfigError: Some texts are longer than a model can read.
        TemplateRefusedError: A chat template cannot write a row's conversation.
    """
    rehearsal, data = Rehearsal(torch.device("cpu")), space.pipeline.data
    loaded = load_splits(data)
    # Texts to reconstruct are cut, for each model's tokens, once it reads them.
    splits = {
        str(name): list(getattr(loaded, name)) for name in loaded.hashes if name in WITH_GUARD
    }
    told: list[str] = []
    for pair in space.pairs.values():
        receiver, sharer = (
            rehearsal.model(resolve(source), torch.float32)
            for source in (pair.receiver, pair.sharer)
        )
        prompts = {
            name: (rows, read_rows(receiver, sharer, data, rows, date=data.date))
            for name, rows in splits.items()
        }
        told += chat_notices(data.template, receiver, sharer)
        told += length_notices(receiver, sharer, data.template, prompts)
    return list(dict.fromkeys(told))


def memory_of_trials(
    space: Space, device: torch.device | None = None
) -> Callable[[TrialConfig], TrialMemory]:
    """Tells how much memory a trial of a space takes at its peak.

    The worker keeps the models of all the space's pairs, so all of them count for each trial. Of
    trials that train at once, the others are taken to be as large; they are validated in turn.

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
    def rows() -> Rows:
        splits = load_splits(space.pipeline.data)
        return Rows(
            splits.train, splits.validation, splits.guard or (), splits.reconstruction or ()
        )

    def of_trial(trial: TrialConfig) -> TrialMemory:
        models = model(trial.pair.receiver), model(trial.pair.sharer)
        together = space.search.places
        memory = rehearsal.trial(trial, *models, rows(), together=together)
        sources = {source for pair in space.pairs.values() for _, source in pair}
        return replace(memory, models=sum(model_bytes(model(one).model) for one in sources))

    return of_trial
