"""Which prompts a study's models read, and what their caches take, before anything is computed."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from c2c_search.data.schema import WITH_GUARD
from c2c_search.data.splits import split_rows
from c2c_search.evaluation.items import Question
from c2c_search.evaluation.systems.prompts import Ids
from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.evaluation.systems.registry import SYSTEMS
from c2c_search.host.dtypes import default_dtype
from c2c_search.models.arithmetic import ModelSize
from c2c_search.models.loading import default_cache_dir
from c2c_search.models.loading import default_device
from c2c_search.models.loading import resolve
from c2c_search.prompt_cache.budget import budget
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.entries import FOLDER
from c2c_search.prompt_cache.entries import Entry
from c2c_search.prompt_cache.entries import entries
from c2c_search.prompt_cache.hidden import planned
from c2c_search.prompt_cache.hidden import token_shape
from c2c_search.prompt_cache.store import PromptCacheStore
from c2c_search.space.candidates import first_trial
from c2c_search.space.candidates import random_trials
from c2c_search.space.forecast import CacheList
from c2c_search.space.forecast import CachePlan
from c2c_search.study.counted_pace import Lengths
from c2c_search.tokenization.continuations import response_ids
from c2c_search.training.memory.prediction import Rehearsal
from c2c_search.training.preparation import pair_of
from c2c_search.training.stage_data import added_rows


if TYPE_CHECKING:
    from c2c_search.config.trial import TrialConfig
    from c2c_search.data.schema import Row
    from c2c_search.fuser.shapes import Source
    from c2c_search.inference.model import C2CModel
    from c2c_search.models.loading import LoadedModel
    from c2c_search.models.pair import PairSpec
    from c2c_search.space.schema import Space


_SAMPLE = 200  # candidates that are asked what they hear, and rows whose answers are counted


@dataclass(frozen=True)
class PromptList:
    """Prompts that one model reads, whose caches are kept together.

    Args:
        loaded: The model, without weights.
        of: The split, or what else is read.
        ids: Token ids of each prompt.
        source: What of the model is kept.
    """

    loaded: LoadedModel
    of: str
    ids: Ids
    source: Source

    @property
    def model(self) -> str:
        """Its source."""
        return self.loaded.identity.source


class PromptLists:
    """The prompts of a space's trials as the worker reads them; no weights are loaded.

    Drafts, and what follows them, are left out: their lengths are not known.

    Args:
        space: The space; its models are at hand.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        data = space.pipeline.data
        rows, _ = split_rows(data)
        self.rows = {str(name): list(rows[name]) for name in rows if name in WITH_GUARD}
        """Examples of each split."""
        self.texts = list(rows.get("reconstruction", ()))
        self._dtype: torch.dtype = getattr(torch, space.pipeline.caches.dtype)
        self._device = default_device()
        rehearsal, dtype = Rehearsal(self._device), default_dtype(self._device)
        self._model = cache(lambda source: rehearsal.model(resolve(source), dtype))
        self._found: dict[tuple[str, str, Ids], PromptList] = {}
        self.lengths: dict[PairSpec, Lengths] = {}
        """Tokens of an example, by pair."""
        for pair in space.pairs.values():
            self._read(pair)

    @property
    def lists(self) -> list[PromptList]:
        """All of them, each once."""
        return list(self._found.values())

    @property
    def sizes(self) -> dict[str, ModelSize]:
        """Of the models, by their sources."""
        sources = {source for pair in self.space.pairs.values() for _, source in pair}
        return {one: ModelSize.of_model(self._model(one).model) for one in sorted(sources)}

    @property
    def private(self) -> bool:
        """Whether sharers read in a question what its receiver does not."""
        judged = (row for name, rows in self.rows.items() if name != "guard" for row in rows)
        return any(row["sharer_messages"] for row in judged)

    def plan(self, cache_dir: Path | None = None) -> CachePlan:
        """What their caches take, and which are there.

        Args:
            cache_dir: Where models and prompt caches are kept; the user's by default.
        """
        folder = (cache_dir or default_cache_dir()) / FOLDER
        store = PromptCacheStore(folder, dtype=self._dtype)
        taken = sum(entry.size for entry in entries(folder)) if folder.exists() else 0
        return CachePlan(
            lists=tuple(self._planned(each, store) for each in self.lists),
            budget=budget(folder, self.space.pipeline.caches.budget, taken),
        )

    def _planned(self, one: PromptList, store: PromptCacheStore) -> CacheList:
        model, prefill = one.loaded.model, planned(one.loaded.model, one.ids, one.source)
        there = Entry.read(store.directory / store.key(one.loaded, one.ids, one.source)).there
        shards = [sum(prefill.lengths(number)) for number in range(len(prefill.batches))]
        missing = sum(tokens for number, tokens in enumerate(shards) if number not in there)
        token = prod(token_shape(model, one.source)) * self._dtype.itemsize
        tokens = sum(shards)
        return CacheList(
            model=one.model,
            of=one.of,
            prompts=len(one.ids),
            tokens=tokens,
            size=tokens * token,
            stored=(tokens - missing) * token,
            missing=missing,
        )

    def _read(self, pair: PairSpec) -> None:
        data, training = self.space.pipeline.data, self.space.pipeline.training
        receiver, sharer = self._model(pair.receiver), self._model(pair.sharer)
        model = pair_of(receiver, sharer, data, self._dtype, datetime.date.today().isoformat())
        splits = {split: self._questions(model, split, rows) for split, rows in self.rows.items()}
        added = added_rows(training, self.rows["train"], self.texts, receiver.text_tokenizer)
        more = {key: self._questions(model, key, rows) for key, rows in added.items()}
        for prompts in (*splits.values(), *more.values()):
            prompts.read()
        self.lengths[pair] = self._lengths(model, splits)
        first = first_trial(self.space, pair)
        for trial in self._heard_otherwise(pair, first):
            for split, prompts in (splits | more).items():
                if split != "test" or trial is first:
                    prompts.read(trial.fuser.without_anchors())

    def _lengths(self, model: C2CModel, splits: Mapping[str, QuestionPrompts]) -> Lengths:
        """Of what a pair learns from, and of the options of what it is judged by."""
        read = {split: splits[split].read().encoded for split in ("train", "validation")}
        texts = {
            "train": [[row["response"]] for row in self.rows["train"]],
            "validation": [row["choices"] for row in self.rows["validation"]],
        }
        said = {}
        for split, prompts in read.items():
            some = prompts[:_SAMPLE]
            found = response_ids(
                [prompt.receiver_text for prompt in some],
                texts[split][: len(some)],
                model.receiver_template,
                model.receiver.text_tokenizer,
            )
            said[split] = fmean(sum(map(len, each)) for each in found)
        ours, theirs = (
            fmean(len(ids) for ids in each)
            for each in (
                [prompt.receiver_ids for prompt in read["train"]],
                [prompt.sharer_ids for prompt in read["train"]],
            )
        )
        end = 1  # a response is learned with its end
        return Lengths(max(ours, theirs), said["train"] + end, said["validation"], ours + theirs)

    def _heard_otherwise(self, pair: PairSpec, first: TrialConfig) -> Iterator[TrialConfig]:
        """A trial of a pair for each way in which its prompts are heard, its first one before."""
        known = set()
        others = (trial for trial in random_trials(self.space, _SAMPLE) if trial.pair == pair)
        for trial in (first, *_controls(self.space, first), *others):
            fuser = trial.fuser
            key = fuser.token_alignment, fuser.source, fuser.sharer == "self"
            if not fuser.drafts and key not in known:
                known.add(key)
                yield trial

    def _questions(self, model: C2CModel, of: str, rows: Sequence[Row]) -> QuestionPrompts:
        def told(loaded: LoadedModel, ids: Ids, source: Source) -> PromptCaches:
            times = len(ids) if len(set(ids)) == 1 else 1  # an instruction that all rows share
            kept = tuple(ids[: len(ids) // times])
            key = (loaded.identity.source, source, kept)
            self._found.setdefault(key, PromptList(loaded, of, kept, source))
            return PromptCaches((), ())

        return QuestionPrompts(model, [*map(Question.of_row, rows)], caches=told)


def _controls(space: Space, trial: TrialConfig) -> Iterable[TrialConfig]:
    """Fusers that a finalist's controls train."""
    for name in space.pipeline.champion.controls:
        recipe = SYSTEMS[name].recipe
        if recipe is not None and recipe.learner == "fuser":
            yield recipe.variant(trial)
