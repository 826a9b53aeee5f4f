"""What would stop a study later, found before anything is spent.

Models that are not there or cannot work, rows that do not fit, limits that nothing keeps. Nothing
is fetched; what is still to be fetched is taken to be what it says.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

from c2c_search.config.document import Document
from c2c_search.config.document import read
from c2c_search.config.stages import StageConfig
from c2c_search.config.training import TrainingConfig
from c2c_search.config.trial import TrialConfig
from c2c_search.data.quiz import has_questions
from c2c_search.data.schema import SPLITS
from c2c_search.data.splits import split_rows
from c2c_search.errors import C2CError
from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.errors import Problem
from c2c_search.errors import SourceError
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.layers import chosen
from c2c_search.fuser.layers import given_sources
from c2c_search.fuser.shapes import CacheShape
from c2c_search.models.at_hand import config_at_hand
from c2c_search.models.at_hand import folder_at_hand
from c2c_search.models.cache_dir import default_cache_dir
from c2c_search.models.identity import count_numbers
from c2c_search.space.declaration import BYTES_PER_PARAMETER
from c2c_search.space.declaration import PRESET
from c2c_search.space.declaration import Limits
from c2c_search.space.dimensions import Dimension
from c2c_search.space.dimensions import Value
from c2c_search.space.dimensions import walk
from c2c_search.space.schema import Space
from c2c_search.study.sizes import adapted_receivers
from c2c_search.study.sizes import remembering_receivers
from c2c_search.study.sizes import shape_in
from c2c_search.training.stage_data import check_stages


_CANDIDATES = 200
_SECONDS = 5.0
_LEAST_BYTES = 2  # of a number that a model computes with


def check_ready(space: Space, file: Path) -> None:
    """Refuse a study that could not come to its end.

    Args:
        space: The space.
        file: Where it was read from; problems are placed there.

    Raises:
        ConfigError: With every problem, one line each.
        DataError: The data alone is wrong.
    """
    problems = unready(space, file)
    try:
        check_data(space)
    except DataError as error:
        if not problems:
            raise
        problems.append(Problem(f"{file} pipeline", str(error)))
    if problems:
        raise ConfigError.collect(problems)


def unready(space: Space, file: Path) -> list[Problem]:
    """What would stop the study, but for its data; see `check_ready`."""
    document = read(file)
    problems = [*_models(space, document)]
    problems += [*_layers(space, document)] or _limits(space, document)
    return [*problems, *_harm_tasks(space, file)]


def _models(space: Space, document: Document) -> Iterator[Problem]:
    adapted, remembering = adapted_receivers(space), remembering_receivers(space)
    for name, pair in space.pairs.items():
        for role, source in pair:
            try:
                config = config_at_hand(source)
                if config is not None:
                    shape_in(config, adapted=role == "receiver" and source in adapted)
                    if role == "receiver" and source in remembering:
                        _check_queries(config)
            except (SourceError, ConfigError) as error:
                at = ("pairs", name, role)
                yield document.problem(at, error.rule, value=error.value, hint=error.hint)


def _check_queries(config: Mapping[str, Any]) -> None:
    """Refuse a receiver that can read no side memory, as far as its configuration tells.

    Raises:
        ConfigError: It is one.
    """
    # Found once for each model and kept: it takes torch, transformers and seconds.
    told = f"{json.dumps(config, sort_keys=True, default=str)} {version('transformers')}"
    known = default_cache_dir() / "side_memory" / hashlib.sha256(told.encode()).hexdigest()
    if known.exists():
        return
    from c2c_search.inference.queries import Queries
    from c2c_search.models.attention_maps import skeleton_of

    Queries(skeleton_of(config))
    with suppress(OSError):  # a cache that cannot be written is no fault of the space
        known.parent.mkdir(parents=True, exist_ok=True)
        known.touch()


def _layers(space: Space, document: Document) -> Iterator[Problem]:
    """Layers that are counted or listed and that a pair at hand does not have."""
    shapes = _shapes(space)
    names = [*space.dimensions, *space.fixed]
    told = {name for name in ("fuser.layers", "fuser.layer_count", PRESET) if name in names}
    if shapes is None or not told:
        return
    wrong: dict[str, ConfigError] = {}
    for trial in _small_trials(space):
        try:
            chosen(trial.fuser, shapes[trial.pair.receiver].layers)
            given_sources(trial.fuser, shapes[trial.pair.sharer].layers)
        except ConfigError as error:
            wrong[str(error)] = error
    for each in wrong.values():
        name = min(told, key=lambda name: (not each.rule.startswith(name), name == PRESET))
        at = ("dimensions" if name in space.dimensions else "fixed", name)
        yield document.problem(at, each.rule, value=each.value, hint=each.hint)


def _harm_tasks(space: Space, file: Path) -> Iterator[Problem]:
    champion = space.pipeline.champion
    if not champion.harmless_on:
        return
    # Late: what reads tasks imports torch.
    from c2c_search.evaluation.harm_tasks import check_harm_task

    for spec in champion.harmless_on:
        try:
            check_harm_task(spec, limit=champion.harm_limit)
        except (ConfigError, DataError) as error:
            yield Problem(
                f"{file} pipeline, champion.harmless_on",
                error.rule,
                value=error.value,
                hint=error.hint,
            )


def check_data(space: Space) -> None:
    """Read the data of a space as its study would.

    Raises:
        DataError: It does not fit, or a stage has none.
    """
    data = space.pipeline.data
    if data.source == "jsonl" or data.files.guard or data.files.reconstruction:
        rows, _ = split_rows(data)
        for stages in _stages_of(space):
            training = TrainingConfig(stages=stages)
            check_stages(training, data, rows["train"], rows.get("reconstruction", ()))
    for split in SPLITS if data.source == "quiz" else ():
        groups = getattr(data.groups, split)
        if not has_questions(groups, split):
            raise DataError(
                f"The {split} split must have at least one question.",
                value=list(groups),
                hint="Give it more groups of the quiz.",
            )


def _stages_of(space: Space) -> Iterator[tuple[StageConfig, ...]]:
    """Every list of stages that a trial of the space may have."""
    yield space.pipeline.training.stages
    dimension = space.dimensions.get("training.stages")
    chosen = dimension.extremes if dimension else (space.fixed.get("training.stages", ()),)
    for value in chosen:
        yield TrainingConfig.model_validate({"stages": value}).stages


def _limits(space: Space, document: Document) -> Iterator[Problem]:
    limits = space.limits
    if limits.max_memory_gb is not None:
        sources = {source for pair in space.pairs.values() for _, source in pair}
        weights = sum(map(_weight_bytes, sources))
        if not limits.allow_memory(weights):
            rule = (
                f"The models of all pairs take {weights / 1e9:.3g} GB before anything is trained."
            )
            hint = "Raise the limit, or leave out pairs."
            at = ("limits", "max_memory_gb")
            yield document.problem(at, rule, value=limits.max_memory_gb, hint=hint)
    if limits.model_copy(update={"max_memory_gb": None}) != Limits():
        smallest = _smallest(space)
        if smallest is not None and not limits.allow(smallest):
            rule = (
                "Some candidate must keep to the limits, but of a sample of them the smallest has "
                f"{smallest:,} parameters ({smallest * BYTES_PER_PARAMETER:,} bytes)."
            )
            hint = "Raise the limits or narrow the dimensions."
            yield document.problem(("limits",), rule, hint=hint)


def _weight_bytes(source: str) -> int:
    """The least that a model's weights take on a device; 0 for one that is not at hand."""
    try:
        folder = folder_at_hand(source)
        return 0 if folder is None else _LEAST_BYTES * count_numbers(folder)
    except C2CError:  # told by `_models`
        return 0


def _smallest(space: Space) -> int | None:
    """Fewest parameters of sampled candidates, or the first that keep to the limits.

    None if the models' shapes are not known yet, or if the sample takes too long.
    """
    shapes = _shapes(space)
    if shapes is None:
        return None
    # Late, because most spaces have no limits and this imports torch.
    from c2c_search.fuser.cost import parameters

    sizes: dict[FuserConfig, int] = {}
    until = time.monotonic() + _SECONDS
    for trial in _small_trials(space):
        if trial.fuser not in sizes:
            pair = shapes[trial.pair.receiver], shapes[trial.pair.sharer]
            sizes[trial.fuser] = parameters(trial.fuser, *pair)
        if space.limits.allow(sizes[trial.fuser]):
            return sizes[trial.fuser]
        if time.monotonic() > until:
            return None
    return min(sizes.values())


def _small_trials(space: Space) -> Iterator[TrialConfig]:
    """Points of the space, every other one with its numbers as small as they can be."""
    rng = Random(space.search.seed)

    def smallest(name: str, dimension: Dimension) -> Value:
        drawn = dimension.draw(rng)
        numbers = [value for value in dimension.extremes if type(value) is int]
        return min(numbers) if numbers and drawn is not None else drawn

    for _ in range(_CANDIDATES // 2):
        yield space.configuration(walk(space.dimensions, smallest))
        yield space.configuration(walk(space.dimensions, lambda _, each: each.draw(rng)))


def _shapes(space: Space) -> dict[str, CacheShape] | None:
    adapted, shapes = adapted_receivers(space), {}
    for pair in space.pairs.values():
        for _, source in pair:
            try:
                config = config_at_hand(source)
                if config is None:
                    return None
                shapes[source] = shape_in(config, adapted=source in adapted)
            except C2CError:  # told by `_models`
                return None
    return shapes
