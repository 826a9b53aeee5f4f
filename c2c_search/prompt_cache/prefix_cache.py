"""Caches of what models read last, by its tokens; what several texts begin with is kept once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from threading import Lock
from typing import TYPE_CHECKING
from typing import Any


if TYPE_CHECKING:
    import torch


KEPT_BYTES = 512 * 2**20
"""Kept by default."""

_BLOCK = 16  # a run of tokens is parted at multiples of these, so that none is kept by itself


@dataclass(eq=False)
class _Node:
    """A run of tokens that texts have in common, behind its parent's.

    Args:
        ids: The tokens.
        entries: Theirs, ``(tokens, …)``, in memory of their own.
        parent: None for what an owner's texts begin from.
        children: What goes on from here.
        notes: By the tokens up to which a text ends here, and a name.
    """

    ids: tuple[int, ...]
    entries: torch.Tensor | None
    parent: _Node | None
    children: list[_Node] = field(default_factory=list)
    notes: dict[tuple[int, Hashable], Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        return 0 if self.entries is None else self.entries.nbytes


class PrefixCache:
    """Entries of texts, of several owners; those that were used longest ago go first.

    Each owner has a radix tree: what its texts begin with in common is kept once, and counted
    once. Several threads may use it at once.

    Args:
        most_bytes: Of all entries together; a run of tokens that takes more is not kept.
        told: Called with the tokens that were read and those that were not for being kept.

    Source: the radix tree of SGLang (Zheng et al., 2024), with memory of its own for each run.
    """

    def __init__(
        self,
        most_bytes: float = KEPT_BYTES,
        told: Callable[[int, int], None] = lambda read, reused: None,
    ) -> None:
        self.most_bytes, self.told = most_bytes, told
        self.bytes = 0
        """Kept now."""
        self._roots: dict[Hashable, _Node] = {}
        # A node was never used later than its parent: the first one has no children.
        self._used: OrderedDict[_Node, None] = OrderedDict()
        self._lock = Lock()

    def longest(self, owner: Hashable, ids: Sequence[int]) -> int:
        """Tokens at a text's beginning whose entries are kept."""
        with self._lock:
            return _tokens(self._path(owner, ids))

    def entries(self, owner: Hashable, ids: Sequence[int]) -> list[torch.Tensor]:
        """Entries of the longest beginning of a text that is kept, in parts, ``(tokens, …)``.

        They count as used now.
        """
        with self._lock:
            path = self._path(owner, ids)
            self._use(path)
            return [node.entries[:count] for node, count in path if node.entries is not None]

    def put(self, owner: Hashable, ids: Sequence[int], entries: torch.Tensor) -> None:
        """Keep a text, in the place of others where there is no room.

        Args:
            owner: Whose.
            ids: Its tokens.
            entries: Theirs, ``(tokens, …)``; of those that are kept already, none is taken.
        """
        with self._lock:
            path = self._path(owner, ids)
            if _tokens(path) < len(ids):
                self._put_behind(path, owner, ids, entries)
            self._use(path)
            while self.bytes > self.most_bytes:
                self._drop(next(iter(self._used)))

    def _put_behind(
        self,
        path: list[tuple[_Node, int]],
        owner: Hashable,
        ids: Sequence[int],
        entries: torch.Tensor,
    ) -> None:
        """Put what is new of a text behind a path, which grows by it."""
        leaves, inside = None, 0
        if path and path[-1][1] < len(path[-1][0].ids):
            leaves, inside = path.pop()
            inside -= inside % _BLOCK
        known = _tokens(path) + inside
        own = entries[known:]
        if own.nbytes > self.most_bytes:
            return
        if leaves is not None and inside:
            path.append((self._part(leaves, inside), inside))
        if own.untyped_storage().nbytes() > own.nbytes:  # a view would keep all of it
            own = own.clone()
        root = self._roots.setdefault(owner, _Node((), None, None))
        leaf = _Node(tuple(ids[known:]), own, path[-1][0] if path else root)
        self._add(leaf)
        path.append((leaf, len(own)))

    def note(self, owner: Hashable, ids: Sequence[int], name: Hashable, value: Any) -> None:
        """Remember something of a text for as long as it is kept."""
        with self._lock:
            path = self._path(owner, ids)
            if path and _tokens(path) == len(ids):
                node, count = path[-1]
                node.notes[count, name] = value

    def noted(self, owner: Hashable, ids: Sequence[int], name: Hashable) -> Any:
        """What was noted of a text by this name; None if nothing is."""
        with self._lock:
            path = self._path(owner, ids)
            if not path or _tokens(path) < len(ids):
                return None
            node, count = path[-1]
            return node.notes.get((count, name))

    def _path(self, owner: Hashable, ids: Sequence[int]) -> list[tuple[_Node, int]]:
        """The nodes that a text goes through, and how many of each one's tokens are its own."""
        found: list[tuple[_Node, int]] = []
        node, rest = self._roots.get(owner), tuple(ids)
        while node is not None:
            of_each = [(child, common(child.ids, rest)) for child in node.children]
            node, count = max(of_each, key=lambda each: each[1], default=(None, 0))
            if node is None or not count:
                break
            found.append((node, count))
            rest = rest[count:]
            if count < len(node.ids):
                break
        return found

    def _use(self, path: Sequence[tuple[_Node, int]]) -> None:
        for node, _ in reversed(path):
            self._used.move_to_end(node)

    def _part(self, node: _Node, count: int) -> _Node:
        """Part a node behind so many of its tokens; returns what is in front."""
        assert node.parent is not None
        assert node.entries is not None
        front = _Node(node.ids[:count], node.entries[:count].clone(), node.parent, [node])
        node.parent.children.remove(node)
        self._add(front)
        notes, node.notes = node.notes, {}
        for (end, name), value in notes.items():
            of = front if end <= count else node
            of.notes[end if end <= count else end - count, name] = value
        self.bytes -= node.nbytes
        node.ids, node.entries, node.parent = node.ids[count:], node.entries[count:].clone(), front
        self.bytes += node.nbytes
        return front

    def _add(self, node: _Node) -> None:
        assert node.parent is not None
        node.parent.children.append(node)
        self._used[node] = None
        self.bytes += node.nbytes

    def _drop(self, node: _Node) -> None:
        assert node.parent is not None
        node.parent.children.remove(node)
        del self._used[node]
        self.bytes -= node.nbytes


def _tokens(path: Sequence[tuple[_Node, int]]) -> int:
    return sum(count for _, count in path)


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens that both begin with."""
    for index, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine != theirs:
            return index
    return min(len(one), len(other))
