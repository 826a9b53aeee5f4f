"""The tasks on which a champion must do no harm, read and checked."""

from __future__ import annotations

from c2c_search.errors import ConfigError
from c2c_search.evaluation.items import Method
from c2c_search.evaluation.tasks.loading import LoadedTask
from c2c_search.evaluation.tasks.loading import load_task
from c2c_search.evaluation.tasks.task import TASKS


def task_name(spec: str) -> str:
    """Name of the task of a ``NAME`` or ``NAME=PATH``."""
    return spec.partition("=")[0]


def check_harm_task(spec: str, *, limit: int) -> None:
    """Check a task as far as nothing must be fetched: a local copy is read, of others the name.

    Raises:
        ConfigError: There is no such task, or it cannot be answered by choosing.
        DataError: The local copy cannot be read.
    """
    if spec != task_name(spec):
        load_harm_task(spec, limit=limit)
    else:
        choosing(spec)


def load_harm_task(spec: str, *, limit: int) -> LoadedTask:
    """Load a task, of which both models of a pair read the same.

    Args:
        spec: ``NAME`` (from the hub) or ``NAME=PATH`` (a local copy).
        limit: Most items, spread over the groups; always the same ones.

    Raises:
        ConfigError: There is no such task, it cannot be answered by choosing, or the sharer is
            to read something else than the receiver: then the receiver alone is no yardstick.
        DataError: The task cannot be read.
    """
    choosing(spec)
    loaded = load_task(spec, limit=limit)
    if any(item.sharer_messages for item in loaded.items):
        raise _private(spec)
    return loaded


def choosing(spec: str) -> Method:
    """How a task is answered: its first method that compares options.

    Raises:
        ConfigError: There is no such task, none of its methods does, or the sharer alone reads
            what its questions are about.
    """
    name = task_name(spec)
    if name not in TASKS:
        raise ConfigError(
            "A task of champion.harmless_on must be known: NAME or NAME=PATH.",
            value=spec,
            hint=f"Tasks: {', '.join(TASKS)}.",
        )
    methods = [method for method in TASKS[name].methods if method != "generate"]
    if not methods:
        raise ConfigError(
            "A task of champion.harmless_on is answered by choosing, and this one in words.",
            value=spec,
            hint="Name a task with options, e.g. arc_easy.",
        )
    if TASKS[name].split_evidence:
        raise _private(spec)
    return methods[0]


def _private(spec: str) -> ConfigError:
    return ConfigError(
        "Harm is measured on questions that both models read.",
        value=spec,
        hint="In this task the sharer reads something else; name another one.",
    )
