"""What the messages of a space's trials take, before anything is loaded: bytes, and drafting."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

import torch

from c2c_search.batching import portions
from c2c_search.data.schema import WITH_GUARD
from c2c_search.data.splits import load_splits
from c2c_search.fuser import cost
from c2c_search.inference.drafting import BATCH
from c2c_search.models.loading import resolve
from c2c_search.space.plan import DraftPlan
from c2c_search.training.memory.prediction import Rehearsal
from c2c_search.training.memory.rows import encoded_rows


if TYPE_CHECKING:
    from c2c_search.config.trial import TrialConfig
    from c2c_search.data.schema import Row
    from c2c_search.models.loading import LoadedModel
    from c2c_search.space.schema import Space
    from c2c_search.study.sizes import ShapeOf


class Messages:
    """Tells of a space's trials how large their messages are, and what their drafts take.

    Prompts are tokenized, no weights are loaded, and a draft is taken to be as long as it may.

    Args:
        space: The space.
        shape_of: Gives the shape of a model's KV-cache by its source.
    """

    def __init__(self, space: Space, shape_of: ShapeOf) -> None:
        self._shape_of = shape_of
        splits = load_splits(space.pipeline.data)
        names = [str(name) for name in splits.hashes if name in WITH_GUARD]
        self._splits: list[list[Row]] = [list(getattr(splits, name)) for name in names]
        rehearsal = Rehearsal(torch.device("cpu"))
        model: Callable[[str], LoadedModel] = cache(
            lambda source: rehearsal.model(resolve(source), torch.float32)
        )

        @cache
        def lengths(key: str) -> list[list[int]]:
            trial = self._trials[key]
            pair = model(trial.pair.receiver), model(trial.pair.sharer)
            return [
                [len(prompt.sharer_ids) for prompt in encoded_rows(trial, *pair, rows)]
                for rows in self._splits
            ]

        self._lengths = lengths
        self._trials: dict[str, TrialConfig] = {}

    def bytes_of(self, trial: TrialConfig) -> int:
        """Bytes of the message of a prompt of mean length; see `cost.message_bytes`.

        Anchors are taken to be as many as may be.
        """
        config = trial.fuser
        tokens = 0
        if config.message != "draft":
            lengths = [each for split in self._lengths_of(trial) for each in split]
            tokens += round(sum(lengths) / len(lengths))
        if config.drafts:
            tokens += config.draft_tokens
        if config.aligned.measured:  # numbers decide by which layers it is fed
            config = config.model_copy(update={"layer_alignment": "terminal"})
        shapes = self._shape_of(trial.pair.receiver), self._shape_of(trial.pair.sharer)
        fuser = cost.unfilled(config, *shapes)
        words = min(config.anchor_tokens, tokens) if config.anchored else 0
        return cost.message_bytes(fuser, tokens, getattr(torch, trial.cache_dtype), words)

    def drafting(self, trials: Iterable[TrialConfig]) -> DraftPlan | None:
        """What writing the drafts of trials takes, once for all of them; None if none drafts.

        Each sharer writes those of all splits, the longest that a trial wants.
        """
        longest: dict[str, TrialConfig] = {}
        for trial in trials:
            if not trial.fuser.drafts:
                continue
            known = longest.setdefault(trial.pair.sharer, trial)
            if trial.fuser.draft_tokens > known.fuser.draft_tokens:
                longest[trial.pair.sharer] = trial
        if not longest:
            return None
        prompts = tokens = passes = stored = 0
        for source, trial in longest.items():
            most, shape = trial.fuser.draft_tokens, self._shape_of(source)
            heard = trial.fuser.source
            numbers = (2 if heard == "kv" else 1) * shape.layers * shape.heard_size(heard)
            size = numbers * getattr(torch, trial.cache_dtype).itemsize
            for lengths in self._lengths_of(trial):
                batches = portions(sorted(lengths), lambda length: (1, length), BATCH)
                passes += most * sum(1 for _ in batches)
                prompts, tokens = prompts + len(lengths), tokens + most * len(lengths)
                stored += size * (sum(lengths) + most * len(lengths))
        return DraftPlan(prompts, tokens, passes, stored)

    def _lengths_of(self, trial: TrialConfig) -> list[list[int]]:
        """Sharer tokens of the prompts of each split."""
        key = f"{trial.pair} {trial.fuser.token_alignment} {trial.fuser.drafts}"
        self._trials.setdefault(key, trial)
        return self._lengths(key)
