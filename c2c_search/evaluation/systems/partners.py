"""Whose sharer each question hears when it hears the wrong one."""

from __future__ import annotations

from collections import Counter
from collections import defaultdict
from collections.abc import Sequence


def draw_partners(facts: Sequence[tuple[str, str]]) -> list[int]:
    """For every item of a split another one, about something else, and nobody for two of them.

    A permutation without fixed points. It stays within a group where that can be: there prompts
    differ in what they ask about alone, so what changes is what the sharer was asked, not how.
    Groups of which one fact makes up more than half are drawn together, and with as many of the
    others as it takes. Nothing is random: the same split has the same partners.

    Args:
        facts: Group and cluster (the fact that it is about) of each item, two at least.

    Returns:
        The partner of each item. If more than half of all items are about one fact, some of them
        have a partner about the same.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for row, (group, _) in enumerate(facts):
        groups[group].append(row)
    clusters = [cluster for _, cluster in facts]
    apart = [rows for rows in groups.values() if _can_be_drawn(rows, clusters)]
    together = [
        row for rows in groups.values() if not _can_be_drawn(rows, clusters) for row in rows
    ]
    while together and apart and not _can_be_drawn(together, clusters):
        together += apart.pop()
    partners = {
        row: partner
        for rows in (*apart, together)
        for row, partner in _shifted(rows, clusters).items()
    }
    return [partners[row] for row in range(len(facts))]


def _largest(rows: Sequence[int], clusters: Sequence[str]) -> int:
    return max(Counter(clusters[row] for row in rows).values(), default=0)


def _can_be_drawn(rows: Sequence[int], clusters: Sequence[str]) -> bool:
    return 2 * _largest(rows, clusters) <= len(rows)


def _shifted(rows: Sequence[int], clusters: Sequence[str]) -> dict[int, int]:
    """Each row's partner: with clusters in a ring, as far on as the largest of them is long."""
    ring: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        ring[clusters[row]].append(row)
    ordered = [row for members in ring.values() for row in members]
    shift = _largest(rows, clusters)
    if len(ring) == 1:
        shift = 1
    return {row: ordered[(at + shift) % len(ordered)] for at, row in enumerate(ordered)}
