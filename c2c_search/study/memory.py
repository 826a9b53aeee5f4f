"""Study room: how much of a device the trials of a space take, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
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
from c2c_search.training.memory import TrialMemory
from c2c_search.training.memory import heaviest_batches
from c2c_search.training.memory import heaviest_passes
from c2c_search.training.memory import model_bytes


if TYPE_CHECKING:
    from c2c_search.data.schema import Row
    from c2c_search.pair.loading import LoadedModel
    from c2c_search.pair.spec import PairSpec
    from c2c_search.pair.token_alignment import EncodedPrompt
    from c2c_search.space.schema import Space
    from c2c_search.trial import TrialConfig


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
    splits = cache(lambda: load_splits(space.pipeline.data))

    @cache
    def model(source: str) -> LoadedModel:
        return rehearsal.model(resolve(source), dtype)

    def read(pair: PairSpec, rows: Sequence[Row], alignment: str) -> tuple[EncodedPrompt, ...]:
        return encode_all(
            [row["messages"] for row in rows],
            space.pipeline.data.template,
            model(pair.receiver).text_tokenizer,
            model(pair.sharer).text_tokenizer,
            alignment,
            sharer_conversations=[row["sharer_messages"] for row in rows],
        )

    @cache
    def questions(pair: PairSpec, alignment: str) -> tuple[EncodedPrompt, ...]:
        return read(pair, splits().validation, alignment)

    def of_trial(trial: TrialConfig) -> TrialMemory:
        pair, alignment = trial.pair, trial.fuser.token_alignment
        models = model(pair.receiver), model(pair.sharer)
        steps = []
        for places in heaviest_batches(trial, splits().train):
            batch = [splits().train[row] for row in places]
            steps.append(rehearsal.step(trial, *models, batch, read(pair, batch, alignment)))
        heaviest = max(steps, key=lambda step: step.total)
        together = heaviest.of_several(space.search.trials_per_device)
        asked, rows = questions(pair, alignment), splits().validation
        for places in heaviest_passes(trial, rows, asked):
            few = [rows[row] for row in places], [asked[row] for row in places]
            together = together.with_validation(rehearsal.validation(trial, *models, *few))
        sources = {source for pair in space.pairs.values() for _, source in pair}
        return replace(together, models=sum(model_bytes(model(one).model) for one in sources))

    return of_trial
