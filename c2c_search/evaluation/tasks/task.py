"""What a task is, and the register of all tasks by name."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import TypeVar

from c2c_search.data.schema import SplitName
from c2c_search.evaluation.grading.grader import Grade
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.items import Method
from c2c_search.plugins import Register


HubRow = Mapping[str, Any]
"""A row in the columns of the task's hub data set.

Where that has several configurations, ``configuration`` is added, the name of the row's own.
"""

Convert = Callable[[HubRow, str], "Item | None"]
"""Makes an item of a hub row and an id to use where the row has none; None leaves it out."""

Adapt = Callable[[Item], Item]
"""Changes an item, whether it came in the hub's columns or in the workbench's own."""

BuiltIn = Callable[[SplitName], Sequence[HubRow]]
"""Makes the rows of a split, for a task that needs no data set."""

_Plugin = TypeVar("_Plugin", bound=Convert)


@dataclass(frozen=True)
class Hub:
    """Where a task's data is published.

    Args:
        repository: Its id on the hub, e.g. ``allenai/ai2_arc``.
        configuration: Of the data set, e.g. ``ARC-Easy``; several are read one after the other.
        split: What is reported on.
        exemplars: The split that examples for few-shot prompts come from; None if there is none.
        columns: Those that `Task.convert` needs; a local file that has them is read like the
            hub's, any other as the workbench's own JSONL.
    """

    repository: str
    configuration: str | tuple[str, ...] | None
    split: str
    exemplars: str | None
    columns: frozenset[str]


@dataclass(frozen=True)
class Task:
    """A benchmark: where its items come from, how they are asked and how answers are judged.

    Args:
        name: As in ``--tasks``.
        reference: The paper or page it comes from.
        hub: Where its data is published; None for tasks that are built in or read from a file.
        convert: Makes an item of a hub row.
        built_in: Makes the rows, of the split ``test`` and exemplars of ``train``.
        split_evidence: Whether every item has something that the sharer alone reads.
        adapt: What is done to every item, whatever its columns were; None leaves it as it is.
        methods: How it can be answered; the first is the default.
        metric: What credit means, e.g. ``accuracy``, ``exact_match``, ``chrf``, ``f1``.
        grader: Judges a written answer: a name, a dotted path or a function; None for `choice`
            or `exact_match`, as the item has choices or references.
        instruction: Stands above the question where the answer is written.
        max_new_tokens: Of a written answer.
    """

    name: str
    reference: str
    hub: Hub | None
    convert: Convert
    built_in: BuiltIn | None = None
    split_evidence: bool = False
    adapt: Adapt | None = None
    methods: tuple[Method, ...] = ("cloze", "letter", "generate")
    metric: str = "accuracy"
    grader: str | Grade | None = None
    instruction: str = ""
    max_new_tokens: int = 256


_HERE = "c2c_search.evaluation.tasks"

TASKS: Register[Task] = Register(
    "task",
    {
        "2wiki": f"{_HERE}.hotpotqa",
        "arc_challenge": f"{_HERE}.arc",
        "arc_easy": f"{_HERE}.arc",
        "boolq": f"{_HERE}.boolq",
        "ceval": f"{_HERE}.ceval",
        "gpqa": f"{_HERE}.gpqa",
        "gsm8k": f"{_HERE}.gsm8k",
        "hotpotqa": f"{_HERE}.hotpotqa",
        "longbench": f"{_HERE}.longbench",
        "math500": f"{_HERE}.math500",
        "mmlu_pro": f"{_HERE}.mmlu_pro",
        "mmlu_redux": f"{_HERE}.mmlu_redux",
        "musique": f"{_HERE}.musique",
        "openbookqa": f"{_HERE}.openbookqa",
        "qasc": f"{_HERE}.qasc",
        "quiz": f"{_HERE}.quiz",
        "ropes": f"{_HERE}.ropes",
        "squad": f"{_HERE}.squad",
        "translation": f"{_HERE}.translation",
        "truthfulqa_mc": f"{_HERE}.truthfulqa_mc",
        "winogrande": f"{_HERE}.winogrande",
    },
)
"""Every task by name; none is imported before it is asked for."""


def task(
    name: str,
    *,
    reference: str,
    hub: Hub | None = None,
    built_in: BuiltIn | None = None,
    split_evidence: bool = False,
    adapt: Adapt | None = None,
    methods: tuple[Method, ...] = ("cloze", "letter", "generate"),
    metric: str = "accuracy",
    grader: str | Grade | None = None,
    instruction: str = "",
    max_new_tokens: int = 256,
) -> Callable[[_Plugin], _Plugin]:
    """Register a task: decorates the function that makes an item of a hub row; see `Task`.

    Raises:
        ConfigError: The name is taken.
    """

    def register(convert: _Plugin) -> _Plugin:
        made = Task(
            name=name,
            reference=reference,
            hub=hub,
            convert=convert,
            built_in=built_in,
            split_evidence=split_evidence,
            adapt=adapt,
            methods=methods,
            metric=metric,
            grader=grader,
            instruction=instruction,
            max_new_tokens=max_new_tokens,
        )
        TASKS.add(name, convert, made)
        return convert

    return register
