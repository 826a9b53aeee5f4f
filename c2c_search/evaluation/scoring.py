"""Any system answers questions, and each answer becomes an item's result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from c2c_search.errors import NotFiniteError
from c2c_search.evaluation.grading import grade
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.systems.prompts import batches
from c2c_search.evaluation.systems.system import OptionScores
from c2c_search.inference.model import C2CModel
from c2c_search.inference.model import model_alone
from c2c_search.prompt_cache.batches import PairPrompts


if TYPE_CHECKING:
    from c2c_search.config.pipeline import EvaluationConfig
    from c2c_search.data.schema import Row
    from c2c_search.evaluation.items import Method
    from c2c_search.evaluation.systems.prompts import QuestionPrompts
    from c2c_search.evaluation.systems.system import Decoding
    from c2c_search.evaluation.systems.system import Progress
    from c2c_search.evaluation.systems.system import System
    from c2c_search.evaluation.systems.system import Written
    from c2c_search.evaluation.tasks.task import Task
    from c2c_search.fuser.fuser import Fuser


def answer_questions(
    system: System,
    prompts: QuestionPrompts,
    task: Task,
    method: Method,
    *,
    length_normalised: bool,
    decoding: Decoding,
) -> tuple[ItemResult, ...]:
    """Let a system answer questions of a task.

    Args:
        system: What answers.
        prompts: The questions, worded for the method.
        task: Judges what is written.
        method: How they are answered.
        length_normalised: Whether ``cloze`` divides an option's log-likelihood by its tokens.
        decoding: How ``generate`` writes.

    Returns:
        What was answered, in the questions' order.
    """
    items = [question.item for question in prompts.questions]
    if method == "generate":
        written = system.write(prompts, decoding)
        return tuple(
            _heard(_written(item, task, each), system)
            for item, each in zip(items, written, strict=True)
        )
    normalised = length_normalised and method == "cloze"
    return choose_options(system, prompts, length_normalised=normalised)


def choose_options(
    system: System,
    prompts: QuestionPrompts,
    *,
    length_normalised: bool,
    progress: Progress | None = None,
) -> tuple[ItemResult, ...]:
    """Let a system choose among the options of every question, in the questions' order."""
    chosen = system.choose(prompts, progress)
    return tuple(
        _heard(_chosen(question.item, each, length_normalised), system)
        for question, each in zip(prompts.questions, chosen, strict=True)
    )


def answer(
    model: C2CModel,
    rows: Sequence[Row],
    prompts: PairPrompts,
    config: EvaluationConfig,
    *,
    partners: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> tuple[ItemResult, ...]:
    """Choose, for every item, the option whose text the model finds most likely.

    Args:
        model: C2C, or a model alone (`C2CModel` without a fuser).
        rows: The items, each with choices.
        prompts: Their prompts and caches, row by row.
        config: Scoring, and items in one pass.
        partners: The row whose sharer each row hears; its own when left out.
        progress: Called with items done and items in all.
    """
    results: dict[int, ItemResult] = {}
    lengths = [len(prompt.receiver_ids) for prompt in prompts.encoded]
    for chosen in batches(lengths, [row["choices"] for row in rows], config.batch_size):
        speakers = None if partners is None else [partners[row] for row in chosen]
        batch = model.batch(prompts, chosen, speakers)
        scored = model.score(batch, [rows[row]["choices"] for row in chosen])
        for row, (scores, tokens) in zip(chosen, scored, strict=True):
            found = OptionScores(tuple(scores.tolist()), tuple(tokens))
            results[row] = _chosen(Item.of_row(rows[row]), found, config.length_normalised)
        if progress is not None:
            progress(len(results), len(rows))
    return tuple(results[row] for row in range(len(rows)))


def sharer_alone(model: C2CModel, prompts: PairPrompts) -> tuple[C2CModel, PairPrompts]:
    """The pair's sharer as a system of its own, on the caches it already has.

    Args:
        model: The pair.
        prompts: Under token alignment ``span``: under others the sharer reads no text of its own.
    """
    return model_alone(model, model.sharer, "sharer"), prompts.of_sharer()


def with_fuser(pair: C2CModel, fuser: Fuser | None, kind: type[C2CModel] = C2CModel) -> C2CModel:
    """The pair's loaded models with another fuser (None: without), reading as the pair does."""
    return kind(
        pair.receiver,
        pair.sharer,
        fuser,
        template=pair.template,
        cache_dtype=pair.cache_dtype,
        date=pair.date,
        draft_template=pair.draft_template,
    )


def receiver_alone(model: C2CModel) -> C2CModel:
    """The pair's receiver as a system of its own."""
    return with_fuser(model, None)


def _heard(result: ItemResult, system: System) -> ItemResult:
    said = system.heard.get(result.id)
    return result if said is None else result.model_copy(update={"heard": said})


def _chosen(item: Item, found: OptionScores, normalised: bool) -> ItemResult:
    """The likeliest option; the first of several that are equally likely, see `ItemResult.credit`.

    Raises:
        NotFiniteError: A likelihood is no number.
    """
    if found.repeats:
        times = (replace(found, repeats=()), *found.repeats)
        return _repeated(item, [_chosen(item, each, normalised) for each in times])
    scores = list(found.likelihoods)
    if not all(map(math.isfinite, scores)):
        raise NotFiniteError("system", f"item {item.id}", "log-likelihoods")
    if normalised:
        scores = [score / length for score, length in zip(scores, found.lengths, strict=True)]
    return ItemResult(
        id=item.id,
        group=item.group,
        cluster=item.cluster,
        answer=item.answer,
        chosen=max(range(len(scores)), key=scores.__getitem__),
        scores=tuple(scores),
        lengths=found.lengths,
    )


def _written(item: Item, task: Task, found: Written) -> ItemResult:
    if found.repeats:
        times = (replace(found, repeats=()), *found.repeats)
        return _repeated(item, [_written(item, task, each) for each in times])
    graded = grade(task, item, found.text)
    return ItemResult(
        id=item.id,
        group=item.group,
        cluster=item.cluster,
        text=found.text,
        parsed=graded.parsed,
        graded=graded.credit,
        likelihood=found.likelihood,
    )


def _repeated(item: Item, answers: Sequence[ItemResult]) -> ItemResult:
    return ItemResult(
        id=item.id,
        group=item.group,
        cluster=item.cluster,
        answer=answers[0].answer,
        repeats=tuple(answers),
    )
