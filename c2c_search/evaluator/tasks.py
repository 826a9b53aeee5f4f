"""The tasks of an evaluation, with how each is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING

from c2c_search.config.trial import TrialConfig
from c2c_search.data.splits import load_splits
from c2c_search.data.splits import spread
from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.evaluation.grading import grade
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.items import Method
from c2c_search.evaluation.systems.system import Decoding
from c2c_search.evaluation.tasks.loading import LoadedTask
from c2c_search.evaluation.tasks.loading import items_hash
from c2c_search.evaluation.tasks.loading import load_tasks
from c2c_search.evaluation.tasks.task import Task
from c2c_search.evaluator.request import Request
from c2c_search.evaluator.target import Target


if TYPE_CHECKING:
    from c2c_search.data.schema import Row


OWN = "test"
"""The target's own test split, as a task."""

SHOTS = 4
"""Worked examples in front of a question, for few-shot prompts."""


@dataclass(frozen=True)
class Chosen:
    """A task and how it is answered.

    Args:
        loaded: The task with its items.
        method: How they are answered.
        length_normalised: How options are compared; None where answers are written.
        decoding: How answers are written.
    """

    loaded: LoadedTask
    method: Method
    length_normalised: bool | None
    decoding: Decoding

    @property
    def exemplars(self) -> tuple[Item, ...]:
        """The worked examples in front of every question, from all over what there is."""
        rows = self.loaded.exemplars
        spread = [round(n * (len(rows) - 1) / max(1, SHOTS - 1)) for n in range(SHOTS)]
        return tuple(rows[index] for index in dict.fromkeys(spread)) if rows else ()


def choose(request: Request, target: Target) -> list[Chosen]:
    """Load every task of a request; a fuser's own test split where none is named.

    Raises:
        ConfigError: A task cannot be answered by the method asked for, or is unknown.
        DataError: A task cannot be read.
    """
    named = request.tasks
    if not named and not request.lm_eval and target.trial is not None:
        named = (OWN,)
    others = [spec for spec in dict.fromkeys(named) if spec != OWN]
    read = load_tasks(others, limit=request.limit, seed=request.seed)
    loaded = dict(zip(others, read, strict=True))
    if OWN in named:
        loaded[OWN] = _own(target, request)
    chosen = [_chosen(loaded[spec], spec, request, target) for spec in dict.fromkeys(named)]
    _check_names(chosen)
    return chosen


def rehashed(loaded: LoadedTask, items: Sequence[Item]) -> LoadedTask:
    """The same task with fewer items."""
    return replace(loaded, items=tuple(items), sha256=items_hash(items))


def _chosen(loaded: LoadedTask, spec: str, request: Request, target: Target) -> Chosen:
    task = loaded.task
    method = request.method or task.methods[0]
    if method not in task.methods:
        raise ConfigError(
            f"{loaded.name} can be answered by: {', '.join(task.methods)}.",
            value=method,
            hint="Leave --method out, or evaluate this task apart.",
        )
    if method == "generate":
        _check_graders(loaded)
    return Chosen(
        loaded=loaded,
        method=method,
        length_normalised=None if method == "generate" else _normalised(method, request, target),
        decoding=Decoding(
            max_new_tokens=request.max_new_tokens or task.max_new_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
        ),
    )


def _check_graders(loaded: LoadedTask) -> None:
    """Grade an empty answer to an item of each group, before hours of answers are written.

    Raises:
        ConfigError: A grader needs a package that is not installed.
    """
    for item in {item.group: item for item in loaded.items}.values():
        grade(loaded.task, item, "")


def _normalised(method: Method, request: Request, target: Target) -> bool:
    if method == "letter":  # letters are as long as each other
        return False
    if request.length_normalised is not None:
        return request.length_normalised
    return True if target.trial is None else target.trial.evaluation.length_normalised


def _own(target: Target, request: Request) -> LoadedTask:
    """The test split of the target's trial; what came to it is disjoint from its training."""
    if target.trial is None:
        raise ConfigError(
            f"Only a trial, or the champion of a study, has a {OWN} split of its own.",
            value=target.name,
            hint="Name other tasks.",
        )
    splits = load_splits(target.trial.data)
    rows: list[Row] = spread(list(splits.test), request.limit, request.seed)
    if not rows:
        raise DataError("The test split is empty.", value=target.name)
    items = tuple(Item.of_row(row) for row in rows)
    source = target.trial.data.source
    task = Task(
        name=OWN,
        reference="the test split of the trial's own data",
        hub=None,
        convert=lambda row, fallback: None,
        methods=("cloze", "letter", "generate"),
    )
    return LoadedTask(
        task=task,
        name=f"{source}-{OWN}",
        items=items,
        # What is trained on may also be answered in words; what is judged never is.
        exemplars=tuple(Item.of_row(row) for row in splits.train if row["choices"]),
        source=_sources(target.trial),
        split=OWN,
        sha256=items_hash(items),
    )


def _sources(trial: TrialConfig) -> str:
    files = trial.data.files.test or trial.data.files.train
    return ", ".join(files) if trial.data.source == "jsonl" else "built-in quiz"


def _check_names(chosen: Sequence[Chosen]) -> None:
    names = [each.loaded.name for each in chosen]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            "Two tasks of an evaluation need two names.",
            value=", ".join(twice),
            hint="Give their files other names, or evaluate them apart with another --to.",
        )
