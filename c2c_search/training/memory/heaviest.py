"""Which of a trial's batches take the most memory, in each of its stages."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from typing import TYPE_CHECKING

from c2c_search.data.reconstruction import of_examples
from c2c_search.data.reconstruction import reconstruction_row
from c2c_search.evaluation.systems.prompts import batches
from c2c_search.training.course import Course
from c2c_search.training.course import Lesson
from c2c_search.training.stage_data import course_of
from c2c_search.training.stage_data import cut_texts
from c2c_search.training.stage_data import hears_another
from c2c_search.training.stage_data import rows_of


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from c2c_search.config.trial import TrialConfig
    from c2c_search.data.schema import Row
    from c2c_search.tokenization.templates import Message
    from c2c_search.tokenization.token_alignment import EncodedPrompt


def heaviest_steps(
    trial: TrialConfig,
    train: Sequence[Row],
    texts: Sequence[Row],
    tokenizer: PreTrainedTokenizerFast,
) -> Iterator[tuple[TrialConfig, list[Row]]]:
    """Batches of every stage that may take most memory, and the trial with that stage alone.

    A question takes no less than the instruction that a receiver may read in its place.

    Args:
        trial: The trial.
        train: The train split.
        texts: Rows of ``data.files.reconstruction``.
        tokenizer: The receiver's.
    """
    training = trial.training
    course = course_of(training, hears=hears_another(trial.fuser))
    training = training.model_copy(update={"stages": course})
    whole = trial.model_copy(update={"training": training})
    for number, stage in enumerate(course):
        chosen, rows = rows_of(stage, trial.data, train, texts), train
        if stage.kind == "reconstruction":
            rows = cut_texts(texts or of_examples(train), tokenizer, stage.tokens)
            if trial.fuser.message == "draft":
                rows = _as_drafted(rows, tokenizer, trial.fuser.draft_tokens)
        only = {"stages": (stage.model_copy(update={"replay": 0.0}),)}
        alone = trial.model_copy(update={"training": training.model_copy(update=only)})
        for indices in heaviest_batches(whole, rows, number, chosen):
            yield alone, [rows[row] for row in indices]


def _as_drafted(rows: Sequence[Row], tokenizer: PreTrainedTokenizerFast, tokens: int) -> list[Row]:
    """Texts of which a draft is written in their place, as long as it may be."""
    long = reconstruction_row("", " ".join([rows[0]["response"]] * tokens))
    (drafted,) = cut_texts([long], tokenizer, tokens)
    return [{**row, "response": drafted["response"]} for row in rows]


def heaviest_batches(
    trial: TrialConfig, rows: Sequence[Row], stage: int = 0, chosen: Sequence[int] | None = None
) -> list[list[int]]:
    """Of a stage's batches, in its own order, those that may take most memory; see `_heaviest`.

    Lengths are taken in characters.

    Args:
        trial: The trial.
        rows: Examples.
        stage: Number of the stage, from 0.
        chosen: Those of the examples that it is on; all of them when left out.

    Returns:
        Indices into ``rows``.
    """
    prompts = [_characters(row["messages"]) + _characters(row["sharer_messages"]) for row in rows]
    every = range(len(rows)) if chosen is None else chosen
    lessons = [Lesson(each, every) for each in trial.training.course]
    dealt = Course(trial.seed, trial.training, lessons).dealt(stage)
    read = [[row["response"]] for row in rows]
    if lessons[stage].stage.kind == "task":
        read = [row["choices"] for row in rows]
    return _heaviest(dealt, prompts, [sum(map(len, texts)) for texts in read])


def heaviest_passes(
    trial: TrialConfig, rows: Sequence[Row], encoded: Sequence[EncodedPrompt]
) -> list[list[int]]:
    """Of the passes that validate a trial, those that may take most memory; see `_heaviest`.

    Returns:
        Indices into ``rows``.
    """
    prompts = [len(prompt.receiver_ids) for prompt in encoded]
    options = [row["choices"] for row in rows]
    passes = batches(prompts, options, trial.evaluation.batch_size)
    return _heaviest(list(passes), prompts, [sum(map(len, texts)) for texts in options])


def longest_prompts(rows: Sequence[Row], count: int) -> list[int]:
    """The training examples whose prompts have the most characters, at most so many.

    Returns:
        Indices into ``rows``.
    """
    lengths = [_characters(row["messages"]) for row in rows]
    return sorted(range(len(rows)), key=lambda row: -lengths[row])[:count]


def _heaviest(
    batches: Sequence[list[int]], prompts: Sequence[int], responses: Sequence[int]
) -> list[list[int]]:
    """The batch of the longest prompts, that of the longest responses, that of most of both.

    Prompts weigh by what the fuser is, responses by what the receiver is.
    """
    both = [
        prompt / (sum(prompts) or 1) + response / (sum(responses) or 1)
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    found: list[list[int]] = []
    for weights in (prompts, responses, both):
        batch = max(batches, key=lambda batch: sum(weights[row] for row in batch))
        if batch not in found:
            found.append(batch)
    return found


def _characters(messages: Sequence[Message] | None) -> int:
    return sum(len(message["content"]) for message in messages or ())
