"""Whose message each question hears when it hears the wrong one: derangements of a split."""

from __future__ import annotations

from collections import Counter
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass


_CLASSES = 3  # of length within a group, equally many items in each


def draw_partners(
    facts: Sequence[tuple[str, str]], lengths: Sequence[int], count: int = 1
) -> list[list[int]]:
    """Give every item of a split another one, about something else, and nobody to two of them.

    Each derangement is a permutation without fixed points. It stays within a group and a third of
    its lengths where that can be: there prompts differ in what they ask about alone, so what
    changes is what the sharer was asked, not how. Where one fact makes up more than half of such a
    class, or its items have heard each other already, classes of the group are drawn together, as
    many as it takes, and then groups. Nothing is random: the same split has the same partners, and
    the first of several derangements is the one that is drawn alone.

    Args:
        facts: Group and cluster (the fact that it is about) of each item, two at least.
        lengths: Of each item's prompt, in tokens of the sharer.
        count: Derangements.

    Returns:
        For each derangement the partner of each item. If more than half of all items are about
        one fact, some of them have a partner about the same; if there are fewer partners than
        derangements, some have one twice.
    """
    groups: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, (group, length_class) in enumerate(_classes(facts, lengths)):
        groups[group][length_class].append(row)
    ring = _Ring([cluster for _, cluster in facts], [])
    for _ in range(count):
        of_groups = [ring.joined(list(classes.values())) for classes in groups.values()]
        blocks = ring.joined([block for blocks in of_groups for block in blocks])
        partners = {row: other for block in blocks for row, other in ring.turn(block).items()}
        ring.drawn.append([partners[row] for row in range(len(facts))])
    return ring.drawn


def unmatched(clusters: Sequence[str]) -> int:
    """Items that must hear a partner about their own fact, as one makes up more than half."""
    most = max(Counter(clusters).values(), default=0)
    return max(0, 2 * most - len(clusters))


def _classes(facts: Sequence[tuple[str, str]], lengths: Sequence[int]) -> list[tuple[str, int]]:
    """Group and class of length of each item; those of one length are of one class."""
    of_group: dict[str, list[int]] = defaultdict(list)
    for (group, _), length in zip(facts, lengths, strict=True):
        of_group[group].append(length)
    bounds = {}
    for group, each in of_group.items():
        ordered = sorted(each)
        bounds[group] = [ordered[n * len(each) // _CLASSES] for n in range(1, _CLASSES)]
    return [
        (group, sum(length >= bound for bound in bounds[group]))
        for (group, _), length in zip(facts, lengths, strict=True)
    ]


@dataclass(frozen=True)
class _Ring:
    """Items side by side in a ring, fact after fact, which is turned until no two meet again.

    Args:
        clusters: Of each item.
        drawn: Earlier derangements.
    """

    clusters: Sequence[str]
    drawn: list[list[int]]

    def joined(self, blocks: list[list[int]]) -> list[list[int]]:
        """Blocks that can be drawn by themselves; only the last one may be none, if it is all."""
        fit = [self._can_be_drawn(block) for block in blocks]
        apart = [block for block, fits in zip(blocks, fit, strict=True) if fits]
        together = [
            row for block, fits in zip(blocks, fit, strict=True) if not fits for row in block
        ]
        while together and apart and not self._can_be_drawn(together):
            together += apart.pop()
        return [*apart, *([together] if together else [])]

    def turn(self, rows: Sequence[int]) -> dict[int, int]:
        """Each row's partner, as many places on as brings the fewest together again."""
        ring: dict[str, list[int]] = defaultdict(list)
        for row in rows:
            ring[self.clusters[row]].append(row)
        ordered = [row for members in ring.values() for row in members]
        best: tuple[int, dict[int, int]] | None = None
        for shift in _shifts(len(ordered), self._largest(rows)):
            partners = dict(zip(ordered, ordered[shift:] + ordered[:shift], strict=True))
            again = self._again(partners)
            if best is None or again < best[0]:
                best = again, partners
            if not again:
                break
        assert best is not None, "two rows at least"
        return best[1]

    def _can_be_drawn(self, rows: Sequence[int]) -> bool:
        if 2 * self._largest(rows) > len(rows):
            return False
        return not self._again(self.turn(rows))

    def _again(self, partners: dict[int, int]) -> int:
        """How many rows have had their partner before."""
        return sum(
            any(before[row] == partner for before in self.drawn)
            for row, partner in partners.items()
        )

    def _largest(self, rows: Sequence[int]) -> int:
        return max(Counter(self.clusters[row] for row in rows).values())


def _shifts(items: int, largest: int) -> list[int]:
    """By how many places a ring may be turned, those that go on by a whole fact first.

    Where the largest fact leaves room, nobody then meets their own; otherwise any turn will do.
    """
    if 2 * largest > items:
        return [(largest - 1 + turn) % (items - 1) + 1 for turn in range(items - 1)]
    return [
        shift
        for first in range(largest, 2 * largest)
        for shift in range(first, items - largest + 1, largest)
    ]
