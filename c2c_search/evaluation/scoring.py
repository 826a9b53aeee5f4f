"""Evaluation room: any system answers a split of multiple-choice items, item by item."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from collections.abc import Sequence
from typing import TYPE_CHECKING

from c2c_search.evaluation.results import ItemResult
from c2c_search.inference.model import C2CModel
from c2c_search.pair.batches import PairPrompts


if TYPE_CHECKING:
    from c2c_search.data.schema import Row
    from c2c_search.pipeline.schema import EvaluationConfig


def answer(
    model: C2CModel,
    rows: Sequence[Row],
    prompts: PairPrompts,
    config: EvaluationConfig,
    *,
    partners: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ItemResult, ...]:
    """Choose, for every item, the option whose text the model finds most likely.

    Args:
        model: C2C, or a model alone (`C2CModel` without a fuser).
        rows: The items, each with choices.
        prompts: Their prompts and caches, row by row.
        config: Scoring, and items in one pass.
        partners: Mismatched-sharer control: the item whose sharer cache each item hears.
        progress: Called with items done and items in all.
    """
    results: dict[int, ItemResult] = {}
    # Prompts of one length need no padding.
    order = sorted(range(len(rows)), key=lambda row: len(prompts.encoded[row].receiver_ids))
    for first in range(0, len(order), config.batch_size):
        chosen = order[first : first + config.batch_size]
        heard = None if partners is None else [partners[row] for row in chosen]
        batch = model.batch(prompts, chosen, heard)
        scored = model.score(batch, [rows[row]["choices"] for row in chosen])
        for row, (scores, lengths) in zip(chosen, scored, strict=True):
            values = scores.tolist()
            if config.length_normalised:
                values = [score / length for score, length in zip(values, lengths, strict=True)]
            results[row] = ItemResult(
                id=rows[row]["id"],
                group=rows[row]["group"],
                cluster=rows[row]["cluster"],
                answer=rows[row]["answer"],
                chosen=max(range(len(values)), key=values.__getitem__),
                scores=tuple(values),
            )
        if progress is not None:
            progress(len(results), len(rows))
    return tuple(results[row] for row in range(len(rows)))


def sharer_alone(model: C2CModel, prompts: PairPrompts) -> tuple[C2CModel, PairPrompts]:
    """The pair's sharer as a system of its own, on the caches it already has."""
    alone = C2CModel(model.sharer, model.sharer, None, template=model.template)
    return alone, prompts.of_sharer()


def receiver_alone(model: C2CModel) -> C2CModel:
    """The pair's receiver as a system of its own."""
    return C2CModel(model.receiver, model.sharer, None, template=model.template)


def mismatched_partners(rows: Sequence[Row]) -> list[int]:
    """For every item another one of its group, about something else; any other if there is none.

    Within a group the prompts differ in what they ask about alone, so what changes is what the
    sharer was asked, not how.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        groups[row["group"]].append(place)
    partners = []
    for place, row in enumerate(rows):
        group = groups[row["group"]]
        start = group.index(place) + 1
        candidates = [*group[start:], *group[:start], *range(len(rows))]
        partners.append(
            next(
                (other for other in candidates if rows[other]["cluster"] != row["cluster"]),
                (place + 1) % len(rows),
            )
        )
    return partners
