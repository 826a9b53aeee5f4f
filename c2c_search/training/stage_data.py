"""What each stage of a training learns from, put together in one set of examples."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from c2c_search.config.stages import files_of
from c2c_search.data.reconstruction import of_examples
from c2c_search.data.reconstruction import read_texts
from c2c_search.data.reconstruction import reconstruction_row
from c2c_search.data.reconstruction import unseen
from c2c_search.data.sources import read_files
from c2c_search.errors import DataError
from c2c_search.training.course import Lesson


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from c2c_search.config.stages import StageConfig
    from c2c_search.config.training import TrainingConfig
    from c2c_search.config.trial import TrialConfig
    from c2c_search.data.schema import DataConfig
    from c2c_search.data.schema import Row
    from c2c_search.fuser.config import FuserConfig
    from c2c_search.prompt_cache.batches import PairPrompts
    from c2c_search.tokenization.token_alignment import EncodedPrompt
    from c2c_search.training.loop import TrainingData


Read = Callable[[str, Sequence["Row"]], "PairPrompts"]
"""Rows, under a name of their own, as both models read them for a fuser, with their caches."""

Drafted = Callable[["EncodedPrompt"], str]
"""What a sharer has drafted to a prompt, in words."""

_SHOWN = 5
_BLIND = "train, the question unread"


def hears_another(fuser: FuserConfig) -> bool:
    """Whether a fuser's training hears a sharer that reads what its receiver does not."""
    return fuser.sharer not in ("blank", "self")


def course_of(training: TrainingConfig, *, hears: bool) -> tuple[StageConfig, ...]:
    """The stages of a training; of one that hears nobody, those that it can learn from.

    There is nothing to reconstruct from without a message. Such a training (the no-sharer twin,
    the self-sharer, LoRA, the cartridge) takes these steps too, and learns the answers of the
    next stage's rows in them, so that it has had as many.
    """
    if hears:
        return training.course
    found: list[StageConfig] = []
    files: tuple[str, ...] | None = None
    repeats = training.course[0].kind != "reconstruction"
    for stage in reversed(training.course):
        changes: dict[str, object] = {} if repeats else {"replay": 0.0}
        if stage.kind == "reconstruction":
            changes |= {"kind": "answer", "files": files}
        else:
            files = stage.files
        found.append(stage.model_copy(update=changes))
    return tuple(reversed(found))


def with_stages(
    data: TrainingData,
    config: TrialConfig,
    texts: Sequence[Row],
    read: Read,
    tokenizer: PreTrainedTokenizerFast,
    *,
    hears: bool,
    drafted: Drafted | None = None,
) -> TrainingData:
    """What a training is on, stage by stage; the same data, where that is the train split alone.

    Args:
        data: The train split, as all trials have it.
        config: The trial.
        texts: Rows of ``data.files.reconstruction``.
        read: Gives what is not the train split's.
        tokenizer: The receiver's, whose tokens texts are cut by.
        hears: Whether a sharer is heard; see `course_of`.
        drafted: A prompt's draft in words. Where the message is that alone, it is what is
            reconstructed: of the text itself nothing is said.

    Raises:
        DataError: A stage has no rows, or a task stage rows without choices.
    """
    sees = config.training.receiver_sees if hears else "always"
    if sees == "always" and not config.training.stages:
        return data
    table = _Table(data)
    added = added_rows(config.training, data.train, texts, tokenizer, hears=hears)
    places = {}
    for name, rows in added.items():
        prompts = read(name, rows)
        if name != _BLIND and drafted is not None and config.fuser.message == "draft":
            drafts = map(drafted, prompts.encoded)
            rows = [{**row, "response": text} for row, text in zip(rows, drafts, strict=True)]
        places[name] = table.add(rows, prompts)
    seen = places[_BLIND] if sees == "never" else range(len(data.train))
    lessons = []
    for stage in course_of(config.training, hears=hears):
        chosen = rows_of(stage, config.data, data.train, texts)
        where, unread = seen, places.get(_BLIND) if sees == "half" else None
        if stage.kind == "reconstruction":
            where, unread = places[_name(stage)], None
        blind = None if unread is None else [unread[row] for row in chosen]
        lessons.append(Lesson(stage, [where[row] for row in chosen], blind))
    return replace(data, train=table.rows, train_prompts=table.prompts, lessons=tuple(lessons))


def added_rows(
    training: TrainingConfig,
    train: Sequence[Row],
    texts: Sequence[Row],
    tokenizer: PreTrainedTokenizerFast,
    *,
    hears: bool = True,
) -> dict[str, list[Row]]:
    """Rows beside the train split that a training is on, by a name of their own.

    Args:
        training: Its stages, and what its receiver sees.
        train: The train split.
        texts: Rows of ``data.files.reconstruction``.
        tokenizer: The receiver's.
        hears: Whether a sharer is heard; who hears none needs none of them.
    """
    found: dict[str, list[Row]] = {}
    if hears and training.receiver_sees != "always":
        found[_BLIND] = [unseen(row) for row in train]
    for stage in course_of(training, hears=hears):
        if stage.kind == "reconstruction" and _name(stage) not in found:
            found[_name(stage)] = cut_texts(texts or of_examples(train), tokenizer, stage.tokens)
    return found


def _name(stage: StageConfig) -> str:
    return f"texts of {stage.tokens} tokens"


def check_stages(
    training: TrainingConfig, data: DataConfig, train: Sequence[Row], texts: Sequence[Row]
) -> None:
    """Check that every stage has what it is to learn from.

    Raises:
        DataError: A stage has no rows, or a task stage rows without choices.
    """
    for hears in (True, False):
        for stage in course_of(training, hears=hears):
            rows_of(stage, data, train, texts)


def rows_of(
    stage: StageConfig, data: DataConfig, train: Sequence[Row], texts: Sequence[Row]
) -> Sequence[int]:
    """Which rows of the train split (reconstruction: of the texts) a stage is on.

    Raises:
        DataError: None, or a task stage's without choices.
    """
    rows = train
    if stage.kind == "reconstruction":
        rows = texts or train  # which are made into texts, row by row
    chosen: Sequence[int] = range(len(rows))
    if stage.files is not None:
        paths = files_of(stage, data)
        found = (
            read_texts(paths)
            if stage.kind == "reconstruction"
            else read_files({"train": paths})["train"]
        )
        ids = {row["id"] for row in found}
        chosen = [number for number, row in enumerate(rows) if row["id"] in ids]
    if not chosen:
        raise DataError(
            f"A {stage.kind} stage must have at least one row.",
            value=stage.files,
            hint="All of them overlap with what is judged, or are held out or beyond the limit; "
            "give it more files.",
        )
    if stage.kind == "task":
        without = [rows[row]["id"] for row in chosen if not rows[row]["choices"]]
        if without:
            raise DataError(
                "Every row of a task stage needs choices, which it learns to choose among; "
                f"{len(without)} have none.",
                value=without[:_SHOWN],
                hint="Name files of rows with choices under the stage's `files`, or make it an "
                "answer stage.",
            )
    return chosen


def cut_texts(rows: Sequence[Row], tokenizer: PreTrainedTokenizerFast, tokens: int) -> list[Row]:
    """Texts to reconstruct, each cut after so many tokens.

    Both models read what is left, so that all of a message can be written down.
    """
    whole = [row["response"] for row in rows]
    read = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    cut = []
    for row, places in zip(rows, read["offset_mapping"], strict=True):
        if len(places) > tokens:
            text = row["response"][: places[tokens - 1][1]].rstrip()
            row = reconstruction_row(row["id"], text, group=row["group"], cluster=row["cluster"])
        cut.append(row)
    return cut


class _Table:
    """Examples of several kinds, one after the other."""

    def __init__(self, data: TrainingData) -> None:
        self.rows: list[Row] = list(data.train)
        self.prompts = data.train_prompts

    def add(self, rows: Sequence[Row], prompts: PairPrompts) -> range:
        """Put more behind; returns where they stand."""
        begin = len(self.rows)
        self.rows += rows
        self.prompts = self.prompts.followed_by(prompts)
        return range(begin, len(self.rows))
