"""How many hours of GPUs a study takes, from configurations alone: no weights, and no GPU."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch

from c2c_search.data.schema import WITH_GUARD
from c2c_search.data.splits import split_rows
from c2c_search.fuser.cost import parameters
from c2c_search.models.arithmetic import ModelSize
from c2c_search.models.cache_dir import default_cache_dir
from c2c_search.models.published import known_config
from c2c_search.prompt_cache.budget import budget
from c2c_search.prompt_cache.entries import FOLDER
from c2c_search.space.forecast import CacheList
from c2c_search.space.forecast import CachePlan
from c2c_search.space.forecast import DeviceHours
from c2c_search.space.forecast import Forecast
from c2c_search.space.forecast import GpuHours
from c2c_search.space.plan import Plan
from c2c_search.space.plan import plan
from c2c_search.study.counted_pace import BETWEEN
from c2c_search.study.counted_pace import UTILISATION
from c2c_search.study.counted_pace import CountedPace
from c2c_search.study.counted_pace import Lengths
from c2c_search.study.estimate import Reading
from c2c_search.study.estimate import estimate
from c2c_search.study.sizes import adapted_receivers
from c2c_search.study.sizes import shape_in
from c2c_search.study.trial_work import counted_work


if TYPE_CHECKING:
    from c2c_search.config.trial import TrialConfig
    from c2c_search.data.schema import Row
    from c2c_search.fuser.config import FuserConfig
    from c2c_search.fuser.shapes import CacheShape
    from c2c_search.space.schema import Space


PEAKS = {"A100": 312, "H100": 989, "B200": 2250}
"""TFLOP/s in bfloat16 without sparsity, as the vendor states them."""

SIDE_BY_SIDE = 8

_ASSUMED = Lengths(prompt=200, response=200, options=24, read=400)  # tokens, where no data tells
_JUDGED = 1000  # questions of a split that nothing is known of
_BYTES_PER_TOKEN = 4  # of text, about
_SAMPLE = 2000  # rows that lengths are taken from


def gpu_hours(space: Space, *, data: bool = True) -> tuple[Plan, CachePlan, GpuHours] | None:
    """Plan a study for GPUs; None where the configuration of a model is not known.

    Args:
        space: The space.
        data: Whether its data is here; if not, what is assumed of it is told.

    Raises:
        C2CError: A model's configuration, or the data, is wrong.
    """
    sources = list(dict.fromkeys(one for pair in space.pairs.values() for _, one in pair))
    configs = {source: known_config(source) for source in sources}
    known = {source: config for source, config in configs.items() if config is not None}
    if known.keys() < configs.keys():
        return None
    adapted = adapted_receivers(space)
    shapes = {one: shape_in(config, adapted=one in adapted) for one, config in known.items()}

    @cache
    def counted(fuser: FuserConfig, receiver: CacheShape, sharer: CacheShape) -> int:
        return parameters(fuser, receiver, sharer)

    def size(trial: TrialConfig) -> int:
        return counted(trial.fuser, *(shapes[source] for _, source in trial.pair))

    rows, lengths, basis = _texts(space, data)
    sizes = {source: ModelSize.of(config) for source, config in known.items()}
    by_pair = dict.fromkeys(space.pairs.values(), lengths)
    work = counted_work(sizes, by_pair, size, rows["validation"])
    made = plan(space, geometries=shapes, parameters=counted, work=work)
    caches = _caches(space, shapes, rows, lengths)
    reading = Reading(rows, caches, private=False)

    def forecast(peak: float, workers: int) -> Forecast:
        pace = CountedPace(peak * 1e12 * UTILISATION, sizes, lengths, size, basis=basis)
        return estimate(space, made, reading, pace, workers=workers)

    devices = tuple(
        DeviceHours(name, peak, forecast(peak, 1).total, forecast(peak, SIDE_BY_SIDE).total)
        for name, peak in PEAKS.items()
    )
    told = forecast(1.0, 1).basis
    return made, caches, GpuHours(devices, SIDE_BY_SIDE, told)


def _texts(space: Space, data: bool) -> tuple[dict[str, int], Lengths, tuple[str, ...]]:
    """Rows of each split, tokens of their texts, and what both rest on."""
    at = f"at {UTILISATION:.0%} of the peak, between {BETWEEN[0]:.0%} and {BETWEEN[1]:.0%}"
    counted = f"Counted from the models' configurations, {at}; nothing was measured."
    if data:
        rows, _ = split_rows(space.pipeline.data)
        counts = {str(name): len(rows[name]) for name in rows if name in WITH_GUARD}
        told = f"A token is taken to be {_BYTES_PER_TOKEN} bytes of text."
        return counts, _lengths(rows["train"][:_SAMPLE], rows["validation"]), (counted, told)
    training, limit = space.pipeline.training, space.pipeline.data.limit
    seen = training.steps * training.batch_size * training.passes
    counts = {
        "train": limit.train or seen,
        "validation": limit.validation or _JUDGED,
        "test": limit.test or _JUDGED,
    }
    told = ", ".join(f"{number:,} of {split}" for split, number in counts.items())
    assumed = (
        f"Of the missing data this is assumed: rows {told}; {_ASSUMED.prompt:g} tokens of a "
        f"prompt, {_ASSUMED.response:g} of a response, {_ASSUMED.options:g} of all options of a "
        "question."
    )
    return counts, _ASSUMED, (counted, assumed)


def _lengths(train: Sequence[Row], judged: Sequence[Row]) -> Lengths:
    def tokens(texts: Sequence[str]) -> float:
        return sum(len(text.encode()) for text in texts) / _BYTES_PER_TOKEN

    # Where the sharer reads something else, that is the longer text, and what is kept of it.
    said = [turn["content"] for row in train for turn in row["sharer_messages"] or row["messages"]]
    asked = [turn["content"] for row in train for turn in row["messages"]]
    return Lengths(
        read=(tokens(said) + tokens(asked)) / len(train),
        prompt=tokens(said) / len(train),
        response=tokens([row["response"] for row in train]) / len(train),
        options=tokens([choice for row in judged for choice in row["choices"]]) / len(judged),
    )


def _caches(
    space: Space, shapes: Mapping[str, CacheShape], rows: Mapping[str, int], lengths: Lengths
) -> CachePlan:
    """One list for each model, split and token alignment; none of them is there."""
    name = "fuser.token_alignment"
    alignments = space.dimensions[name].choices or () if name in space.dimensions else ()
    item = getattr(torch, space.pipeline.caches.dtype).itemsize
    lists = []
    for source, shape in shapes.items():
        for split, count in rows.items():
            tokens = round(count * lengths.prompt) * max(1, len(alignments))
            size = tokens * 2 * shape.layers * shape.size * item
            lists.append(CacheList(source, split, count, tokens, size, 0, tokens))
    folder = default_cache_dir() / FOLDER
    return CachePlan(tuple(lists), budget(folder, space.pipeline.caches.budget, 0))
