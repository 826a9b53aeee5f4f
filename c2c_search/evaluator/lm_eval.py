"""Tasks of lm-evaluation-harness, answered by the target and its models alone."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from typing import TYPE_CHECKING

from c2c_search.config.trial import canonical_hash
from c2c_search.errors import ConfigError
from c2c_search.evaluation.comparison import compare
from c2c_search.evaluation.comparison import too_small
from c2c_search.evaluation.lm_eval.run import results_of
from c2c_search.evaluation.lm_eval.run import run as run_harness
from c2c_search.evaluation.record import TaskRecord
from c2c_search.evaluation.scoring import with_fuser
from c2c_search.evaluation.systems.passes import reads_plain
from c2c_search.evaluator.output import Results
from c2c_search.evaluator.request import Request
from c2c_search.evaluator.scores import SUBJECTS
from c2c_search.evaluator.target import Target
from c2c_search.inference.model import C2CModel
from c2c_search.inference.model import model_alone
from c2c_search.tokenization.templates import template_of


if TYPE_CHECKING:
    from c2c_search.evaluation.results import SystemResult
    from c2c_search.report.progress import Tell


METHOD = "lm-eval"
REFERENCE = "https://github.com/EleutherAI/lm-evaluation-harness"

ANSWERING = ("receiver", "sharer", "c2c")
"""Systems that the harness can ask: it hands over text, not questions."""


def answer(
    request: Request, target: Target, pair: C2CModel, systems: Sequence[str], tell: Tell
) -> tuple[list[TaskRecord], Results]:
    """Let the harness ask every system that it can ask, and compare them task by task.

    Args:
        request: With the harness's tasks.
        target: What is evaluated.
        pair: Its models.
        systems: That answer in this evaluation.
        tell: Hears which system answers.

    Raises:
        ConfigError: The harness is not installed, or does not know a task.
    """
    found: Results = {}
    answering = [name for name in ANSWERING if name in systems]
    for number, name in enumerate(answering):
        tell(f"lm-eval: {name}", number, len(answering))
        model = _model(name, target, pair)
        logged = run_harness(
            model,
            request.lm_eval,
            limit=request.limit,
            include_path=request.include_path,
            batch_size=request.batch_size,
            # A base model beside a chat model reads plain text.
            chat=not reads_plain(model),
        )
        for task, result in results_of(logged["samples"], name).items():
            found.setdefault(f"{METHOD}-{task}", {})[name] = [result]
    return list(_records(found, request)), found


def _model(name: str, target: Target, pair: C2CModel) -> C2CModel:
    if name == "sharer":
        return model_alone(pair, pair.sharer, "sharer")
    if name == "c2c" and (
        template_of(pair.template, "receiver"),
        template_of(pair.template, "sharer"),
    ) == ("plain", "chat"):
        raise ConfigError(
            "lm-evaluation-harness hands over plain text, which a sharer that reads chats was not "
            "trained on.",
            value=str(pair.template),
            hint="Name receiver and sharer with --systems, or ask with --tasks.",
        )
    return with_fuser(pair, target.fuser() if name == "c2c" else None)


def _records(found: Results, request: Request) -> Iterator[TaskRecord]:
    for task, results in found.items():
        subject = next(name for name in (*SUBJECTS, *results) if name in results)
        mine: SystemResult = results[subject][0]
        warning = too_small(mine, level=request.level, wished=request.wished)
        yield TaskRecord(
            task=task,
            reference=REFERENCE,
            source="lm-evaluation-harness",
            split=mine.split,
            sha256=canonical_hash([item.id for item in mine.items]),
            items=len(mine.items),
            clusters=len({item.cluster for item in mine.items}),
            method=METHOD,
            metric="as the harness's task has it",
            length_normalised=None,
            subject=subject,
            level=request.level,
            scores=compare(results, subject, level=request.level, seed=request.seed),
            notes=() if warning is None else (warning,),
        )
