"""Tasks of lm-evaluation-harness, answered by a champion or a model alone.

The harness is an optional extra (``pip install 'c2c-search[lm-eval]'``) and imported late.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from c2c_search.errors import ConfigError
from c2c_search.errors import Problem
from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult


if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

    from c2c_search.evaluation.lm_eval.model import C2CLM
    from c2c_search.inference.model import C2CModel


Sample = Mapping[str, Any]
"""What the harness logs about a document (``log_samples``)."""

# Where a task has several metrics for an item, the one that is its credit.
_CREDIT = ("acc", "exact_match")


def harness_model(
    model: C2CModel, *, batch_size: int = 32, max_length: int | None = None
) -> C2CLM:
    """A model as lm-evaluation-harness takes it; see `C2CLM`.

    Raises:
        ConfigError: The harness is not installed.
    """
    _require()
    from c2c_search.evaluation.lm_eval.model import C2CLM

    return C2CLM(model, batch_size=batch_size, max_length=max_length)


def run(
    model: C2CModel,
    tasks: Sequence[str],
    *,
    limit: int | None = None,
    include_path: Path | str | None = None,
    batch_size: int = 32,
    chat: bool = False,
) -> dict[str, Any]:
    """Answer tasks of lm-evaluation-harness.

    The harness seeds Python's, numpy's and torch's global generators. Its ``use_cache`` is never
    used: its keys do not name the model, so that one model is given another's answers.

    Args:
        model: C2C, or a model alone (`C2CModel` without a fuser).
        tasks: Names of tasks, groups or tags, or paths of task files.
        limit: Documents of each task; all when left out.
        include_path: A folder of further task files.
        batch_size: Contexts answered in one pass.
        chat: Whether prompts are put into the models' chat templates.

    Returns:
        The harness's own results, with ``samples``; see `results_of`.

    Raises:
        ConfigError: The harness is not installed, or there is no such task.
    """
    manager = find_tasks(tasks, include_path)
    import lm_eval

    results: dict[str, Any] = lm_eval.simple_evaluate(
        model=harness_model(model, batch_size=batch_size),
        tasks=list(tasks),
        task_manager=manager,
        limit=limit,
        log_samples=True,
        apply_chat_template=chat,
        batch_size=batch_size,
    )
    return results


def find_tasks(tasks: Sequence[str], include_path: Path | str | None = None) -> TaskManager:
    """Look tasks up, without answering any.

    Args:
        tasks: As for `run`.
        include_path: As for `run`.

    Raises:
        ConfigError: The harness is not installed, or there is no such task.
    """
    _require()
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=None if include_path is None else str(include_path))
    _check_names(tasks, manager.all_tasks)
    return manager


def results_of(samples: Mapping[str, Sequence[Sample]], system: str) -> dict[str, SystemResult]:
    """What the harness logged, as answers that can be paired item by item.

    An item's credit is the task's ``acc`` (choices) or ``exact_match``, else its first metric
    that is a number in [0, 1]. A task that is only measured as a whole (perplexity, BLEU) has no
    credit by item and is left out.

    Args:
        samples: ``run(...)["samples"]``.
        system: Who answered.

    Returns:
        Answers by task; by ``task,filter`` where the harness reads answers in several ways.
    """
    results = {}
    for task, logged in samples.items():
        by_filter: dict[str, list[Sample]] = defaultdict(list)
        for sample in logged:
            by_filter[sample["filter"]].append(sample)
        for name, filtered in by_filter.items():
            items = [_item(sample, task) for sample in filtered]
            if None not in items:
                split = task if len(by_filter) == 1 else f"{task},{name}"
                results[split] = SystemResult(system=system, split=split, items=tuple(items))
    return results


def _item(sample: Sample, task: str) -> ItemResult | None:
    """One document; None if it has no credit of its own."""
    credit = _credit(sample)
    if credit is None:
        return None
    shared = {
        # The number tells documents with the same text apart, the hash notices other data.
        "id": f"{sample['doc_id']}-{sample['doc_hash'][:12]}",
        "group": task,
        "cluster": sample["doc_hash"],
    }
    scores = _scores(sample)
    answer = sample["target"]
    if scores and isinstance(answer, int) and 0 <= answer < len(scores):
        chosen = max(range(len(scores)), key=scores.__getitem__)
        return ItemResult(**shared, answer=answer, chosen=chosen, scores=scores)
    text = parsed = None
    if not scores and isinstance(sample["resps"][0][0], str):
        text, parsed = sample["resps"][0][0], str(sample["filtered_resps"][0])
    return ItemResult(**shared, graded=credit, text=text, parsed=parsed)


def _credit(sample: Sample) -> float | None:
    metrics = sample["metrics"]
    for name in [*(name for name in _CREDIT if name in metrics), *metrics]:
        value = sample[name]
        if isinstance(value, int | float) and 0 <= value <= 1:
            return float(value)
    return None


def _scores(sample: Sample) -> tuple[float, ...]:
    """Log-likelihoods of the choices; empty if this is no multiple choice."""
    answers = sample["filtered_resps"]
    if "acc" not in sample["metrics"] or not all(isinstance(one, tuple) for one in answers):
        return ()
    scores = tuple(float(likelihood) for likelihood, _ in answers)
    # With mutual information, the choices are scored once more without the question.
    return scores[: len(scores) // 2] if "acc_mutual_info" in sample["metrics"] else scores


def _check_names(tasks: Sequence[str], known: Sequence[str]) -> None:
    problems = []
    for task in tasks:
        if task not in known and not Path(task).is_file():
            near = get_close_matches(task, known, n=3)
            hint = f"Did you mean {', '.join(near)}?" if near else ""
            rule = "A task must be one that lm-evaluation-harness knows, or a task file."
            problems.append(Problem("lm-eval", rule, task, hint))
    if problems:
        raise ConfigError.collect(problems)


def _require() -> None:
    try:
        import lm_eval  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "Tasks of lm-evaluation-harness need the optional extra lm-eval.",
            hint="Install it with: pip install 'c2c-search[lm-eval]'",
        ) from error
