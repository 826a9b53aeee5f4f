"""What a reader should know of a task's answers before believing them."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from c2c_search.evaluation.systems.partners import unmatched
from c2c_search.fuser.stored import read_config
from c2c_search.models.chats import chat_notices
from c2c_search.models.context_length import ContextLength


if TYPE_CHECKING:
    from c2c_search.evaluation.items import Item
    from c2c_search.evaluator.target import Target
    from c2c_search.inference.model import C2CModel
    from c2c_search.models.loading import LoadedModel


def task_notes(
    target: Target, pair: C2CModel, items: Sequence[Item], *, known: bool
) -> Iterator[str]:
    """What to tell about a task.

    Args:
        target: What is evaluated.
        pair: Its models.
        items: Of the task.
        known: Whether it is known what the fuser was trained on.
    """
    yield from target.notes
    if target.trial is not None and not known:
        yield "The fuser's training data is not here: what it has seen of these items is unknown."
    if target.fuser_dir is not None:
        yield from _same_facts([item.cluster for item in items])
        yield from _silent(target.fuser_dir, items)
    yield from chat_notices(target.template, pair.receiver, pair.sharer if target.sharer else None)
    models = {"receiver": pair.receiver, "sharer": pair.sharer}
    for role in models if target.sharer else ("receiver",):
        limit = ContextLength.of(models[role].model)
        lengths = token_counts(models[role], items)
        told = limit.check(lengths, role, models[role].identity.source, "questions")
        if told is not None:
            yield told


def _same_facts(clusters: Sequence[str]) -> Iterator[str]:
    """Say where the wrong message cannot always be wrong."""
    same = unmatched(clusters)
    if same and len(set(clusters)) > 1:
        yield (
            f"More than half of these items are about one fact: with a deranged sharer, {same} or "
            f"more of {len(clusters)} hear about their own all the same, so that what the right "
            "message is worth (P) is measured too low."
        )


def _silent(fuser_dir: Path, items: Sequence[Item]) -> Iterator[str]:
    """Say of how many items the fuser says nothing."""
    if not read_config(fuser_dir).contexts_only:
        return
    if silent := sum(not item.sharer_messages for item in items):
        yield (
            f"This fuser was trained on sharer contexts alone, and says nothing without one: "
            f"{silent} of {len(items)} items have none, and are answered as by the receiver alone."
        )


def token_counts(loaded: LoadedModel, items: Sequence[Item]) -> list[int]:
    """Tokens of each question, as a model reads it, without its template."""
    texts = ["\n".join(turn["content"] for turn in item.messages) for item in items]
    encoded = loaded.text_tokenizer(texts, add_special_tokens=False)
    return [len(ids) for ids in encoded["input_ids"]]
