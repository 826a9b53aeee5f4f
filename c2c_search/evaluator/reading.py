"""What an evaluation is asked, read and checked before any model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

from c2c_search.errors import ConfigError
from c2c_search.evaluation.lm_eval.run import find_tasks
from c2c_search.evaluator import lm_eval
from c2c_search.evaluator import tasks
from c2c_search.evaluator.request import Request
from c2c_search.evaluator.request import check_folders
from c2c_search.evaluator.request import choose_systems
from c2c_search.evaluator.systems import lacks
from c2c_search.evaluator.target import Target
from c2c_search.evaluator.target import find_target
from c2c_search.evaluator.tasks import Chosen


@dataclass(frozen=True)
class ReadRequest:
    """A request with all that it names, read: who is evaluated, beside whom, on what.

    Args:
        request: What is asked.
        target: What is evaluated.
        systems: Who answers.
        skipped: Who does not, with the reason.
        chosen: The tasks, with their items.
    """

    request: Request
    target: Target
    systems: tuple[str, ...]
    skipped: Mapping[str, str]
    chosen: list[Chosen]


def read_request(request: Request) -> ReadRequest:
    """Read what a request names, and refuse before any model is loaded what cannot hold.

    Raises:
        ConfigError: The request does not hold.
        DataError: A task cannot be read.
    """
    check_folders(request)
    target = find_target(
        request.target,
        root=request.root,
        study=request.study,
        sharer=request.sharer,
        template=request.template,
    )
    systems, skipped = choose_systems(request.systems, target)
    chosen = tasks.choose(request, target)
    _check(request, systems, chosen)
    return ReadRequest(request, target, systems, skipped, chosen)


def _check(request: Request, systems: Sequence[str], chosen: Sequence[Chosen]) -> None:
    """Refuse before anything is loaded what would fail, or find nothing, at the end.

    Raises:
        ConfigError: There is nothing to answer or nobody to answer it, or the harness or one of
            its tasks is not there.
    """
    if not chosen and (request.latency or not request.lm_eval):
        raise ConfigError(
            "Timing needs questions to ask." if request.latency else "An evaluation needs a task.",
            hint="Name tasks with --tasks" + ("." if request.latency else " or --lm-eval."),
        )
    for each in chosen:
        reasons = [lacks(name, each) for name in systems]
        if reasons and all(reasons):
            raise ConfigError(
                f"A system must be able to answer {each.loaded.name}.",
                value=f"{', '.join(systems)}: {reasons[0]}",
                hint="Name further systems with --systems.",
            )
    if request.lm_eval:
        find_tasks(request.lm_eval, request.include_path)
        if not set(systems) & set(lm_eval.ANSWERING):
            raise ConfigError(
                f"lm-evaluation-harness can ask {', '.join(lm_eval.ANSWERING)}.",
                value=", ".join(systems),
                hint="Name one of them with --systems, or leave --lm-eval out.",
            )
