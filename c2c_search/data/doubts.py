"""What fits the format of a data file and is still most likely a mistake: told, not refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from typing import Any

from c2c_search.data.schema import Row
from c2c_search.data.words import asked_key


_FIRST = 3  # lines shown of each kind
_ENOUGH = 10  # answers by number, of which one at least would be 0 were they counted from 0
_OPTIONAL = ("cluster", "draft", "group", "sharer_context")
# What others call the text that the sharer alone is to read.
_CONTEXTS = ("background", "context", "document", "passage", "sharer", "text")


class Doubts:
    """Collects what is odd about rows, and says it once: how often, and where first."""

    def __init__(self) -> None:
        self._twice: list[str] = []
        self._unread: list[str] = []
        self._contradictory: list[str] = []
        self._numbers: dict[str, list[int]] = defaultdict(list)
        self._asked: dict[str, list[tuple[str, Row]]] = defaultdict(list)

    def repeated_key(self, where: str, key: str) -> None:
        """A line has a key twice, of which JSON keeps the last."""
        self._twice.append(f"{where} ({key})")

    def unread_keys(self, where: str, row: Row, keys: Iterable[str]) -> None:
        """A line has keys that nothing reads, of which one may be an optional key, misspelt."""
        for key in keys:
            meant = _meant(key)
            if meant and not (meant == "sharer_context" and row["sharer_messages"]):
                self._unread.append(f"{where} (`{key}`; did you mean `{meant}`?)")
                return

    def row(self, where: str, file: str, row: Row, answer: Any) -> None:
        """Look at a row.

        Args:
            where: File and line.
            file: The file alone.
            row: As it was read.
            answer: As the line gives it.
        """
        if not row["choices"]:
            return
        if isinstance(answer, int):
            self._numbers[file].append(answer)
        same = self._asked[asked_key(row)]
        # A question that only its options tell from another may have another answer.
        against = next((place for place, other in same if _contradict(row, other)), None)
        if against is not None:
            self._contradictory.append(f"{where} (and {against})")
        same.append((where, row))

    def sentences(self) -> Iterator[str]:
        """What to tell, a sentence for each kind."""
        if self._twice:
            yield _told(self._twice, "have a key twice, of which the last counts")
        if self._unread:
            yield _told(self._unread, "have a key that nothing reads")
        if self._contradictory:
            yield _told(
                self._contradictory, "ask what another row asks, and have another right answer"
            )
        for file, numbers in self._numbers.items():
            if len(numbers) >= _ENOUGH and 0 not in numbers:
                yield (
                    f"None of {len(numbers)} answers by number in {file} is 0: they are counted "
                    "from 0 here. If they are counted from 1 there, every one is read wrongly."
                )


@cache
def _meant(key: str) -> str:
    """The optional key that one most likely stands for; empty for any other."""
    if key.lower() in _CONTEXTS:
        return "sharer_context"
    return next(iter(get_close_matches(key.lower(), _OPTIONAL, n=1, cutoff=0.85)), "")


def misspelt(keys: Collection[str], *needed: str) -> str:
    """The way out of a row that lacks every key needed: which of those it has is near, if any."""
    if not set(needed).isdisjoint(keys):
        return ""
    near = ((key, get_close_matches(key, needed, n=1, cutoff=0.7)) for key in sorted(keys))
    return next((f"Is `{key}` meant to be `{found[0]}`?" for key, found in near if found), "")


def _contradict(one: Row, other: Row) -> bool:
    return (
        one["response"] != other["response"]
        and one["response"] in other["choices"]
        and other["response"] in one["choices"]
    )


def _told(places: list[str], what: str) -> str:
    more = f" and {len(places) - _FIRST} more" if len(places) > _FIRST else ""
    return f"Rows that {what}: {len(places)}, at {', '.join(places[:_FIRST])}{more}."
