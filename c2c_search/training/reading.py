"""Questions as the worker reads them: with prompt caches and drafts that are stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from c2c_search.errors import NotFiniteError
from c2c_search.evaluation.items import Question
from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.host.files import write_text
from c2c_search.models.sources import short_name
from c2c_search.prompt_cache import draft_lists
from c2c_search.prompt_cache import entries
from c2c_search.prompt_cache.drafts import DraftStore
from c2c_search.prompt_cache.store import PromptCacheStore
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Notice
from c2c_search.training.protocol import Progress


if TYPE_CHECKING:
    from c2c_search.config.pipeline import Pipeline
    from c2c_search.data.schema import Row
    from c2c_search.evaluation.systems.prompts import Ids
    from c2c_search.fuser.shapes import Source
    from c2c_search.inference.drafting import Drafter
    from c2c_search.inference.model import C2CModel
    from c2c_search.models.loading import LoadedModel
    from c2c_search.prompt_cache.batches import PairPrompts
    from c2c_search.prompt_cache.caches import PromptCaches


class StoredReader:
    """Reads questions by what is stored, and stores what is not there yet.

    Args:
        pipeline: Says what caches are rounded to, and how many are kept.
        cache_dir: Where both stores lie.
        emit: Hears of progress, and of what a user should know.
    """

    def __init__(self, pipeline: Pipeline, cache_dir: Path, emit: Callable[[Event], None]) -> None:
        self.dtype: torch.dtype = getattr(torch, pipeline.caches.dtype)
        self._batch_size = pipeline.evaluation.batch_size
        self._emit = emit
        self.caches = PromptCacheStore(
            cache_dir / entries.FOLDER, dtype=self.dtype, budget=pipeline.caches.budget
        )
        self.drafts = DraftStore(cache_dir / draft_lists.FOLDER)

    def splits(
        self, model: C2CModel, rows: Mapping[str, Sequence[Row]]
    ) -> dict[str, QuestionPrompts]:
        """The questions of each split, by its name; trainings learn from those of ``train``."""
        return {
            split: self.questions(
                model, split, [*map(Question.of_row, of)], learned=split == "train"
            )
            for split, of in rows.items()
        }

    def questions(
        self, model: C2CModel, split: str, questions: Sequence[Question], *, learned: bool = False
    ) -> QuestionPrompts:
        """Questions of a split or a task.

        Args:
            model: The pair.
            split: What progress calls them.
            questions: What is asked.
            learned: Whether trainings learn from them; see `PromptCacheStore.get`.
        """

        def role(loaded: LoadedModel) -> str:
            return "receiver" if loaded is model.receiver else "sharer"

        def caches(loaded: LoadedModel, ids: Ids, source: Source) -> PromptCaches:
            name = f"{split}, {short_name(loaded.identity.source)}"
            times = len(ids) if len(set(ids)) == 1 else 1  # an instruction that all rows share
            try:
                found = self.caches.get(
                    loaded,
                    ids[: len(ids) // times],
                    source=source,
                    learned=learned,
                    progress=self._progress(name),
                    notify=self._notify,
                )
            except NotFiniteError as error:
                raise error.of(role(loaded)) from error
            return found.near(loaded.model.device).repeated(times)

        def drafts(drafter: Drafter, ids: Ids, read: PromptCaches) -> list[tuple[int, ...]]:
            loaded = drafter.loaded
            try:
                return self.drafts.get(
                    drafter.key(self.caches.key(loaded, ids)),
                    drafter.batches(ids, read),
                    drafter.tokens,
                    lambda rows: drafter.draft(ids, read, rows),
                    model=loaded.identity.source,
                    progress=self._progress(
                        f"{split}, drafts of {short_name(loaded.identity.source)}"
                    ),
                    notify=self._notify,
                )
            except NotFiniteError as error:
                raise error.of(role(loaded)) from error

        return QuestionPrompts(
            model, questions, batch_size=self._batch_size, caches=caches, drafts=drafts
        )

    def _progress(self, name: str) -> Callable[[int, int], None]:
        return lambda done, total: self._emit(
            Progress(stage="prefill", done=done, total=total, message=name)
        )

    def _notify(self, message: str) -> None:
        self._emit(Notice(message=message))


def write_drafts(path: Path, rows: Sequence[Row], prompts: PairPrompts, drafter: Drafter) -> None:
    """Write what a sharer drafts to questions, a JSON object with id, question and draft a line.

    Args:
        path: Of the file.
        rows: The examples.
        prompts: Their prompts, row by row.
        drafter: Whose drafts they are.
    """
    lines = [
        json.dumps(
            {
                "id": row["id"],
                "question": row["messages"][-1]["content"],
                "draft": drafter.text(prompt),
            }
        )
        for row, prompt in zip(rows, prompts.encoded, strict=True)
    ]
    write_text(path, "".join(f"{line}\n" for line in lines))
