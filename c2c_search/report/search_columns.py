"""What a leaderboard measures of every trial and control, a column each."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from c2c_search.report.leaderboard import SearchRow


_OBJECTIVES = {
    "gain": "above what the pair's receiver does without a sharer",
    "margin": "above the best of what does not communicate",
}


@dataclass(frozen=True)
class Column:
    """What is measured of every row.

    Args:
        word: The head.
        letter: The head where there is no room for the word.
        of: The number of a row; None where it has none.
        write: How it is written.
        about: What it is, for the legend.
        narrow: Whether the head is the letter.
    """

    word: str
    letter: str
    of: Callable[[SearchRow], float | None]
    write: Callable[[float | None], str]
    about: str = ""
    narrow: bool = False

    @property
    def head(self) -> str:
        """What stands above it."""
        return self.letter if self.narrow else self.word

    @property
    def width(self) -> int:
        """Characters, with the blank before it."""
        return 1 + max(len(self.head), len(self.write(-1.0)))

    def cell(self, row: SearchRow) -> str:
        """What a row has in it."""
        return self.write(self.of(row))


def measured(
    rows: Sequence[SearchRow], objective: str, further: Sequence[str] = ()
) -> list[Column]:
    """What was measured of any row, and first the objective, if it is none of the others.

    Args:
        rows: What the columns are of.
        objective: What the search maximises.
        further: Its other objectives; parameters have a column in any case.
    """
    columns = []
    if objective in _OBJECTIVES and any(row.objective is not None for row in rows):
        columns.append(_objective(objective))
    columns += [_FURTHER[name] for name in further if name in _FURTHER]
    if all(row.deranged is None for row in rows):
        return [*columns, _ACCURACY]
    columns += [_MATCHED, _DERANGED, _PAIRING_GAIN]
    return columns if all(row.system_gain is None for row in rows) else [*columns, _SYSTEM_GAIN]


def fitting(columns: Sequence[Column], room: int) -> list[Column]:
    """Those that the room is enough for; first words go, then what others can be told from."""

    def too_wide(columns: Sequence[Column]) -> bool:
        return sum(column.width for column in columns) > room

    if too_wide(columns):
        columns = [replace(column, narrow=True) for column in columns]
    for least in (_SYSTEM_GAIN, _PAIRING_GAIN):
        if too_wide(columns):
            columns = [column for column in columns if column.word != least.word]
    return list(columns)


def legend(columns: Sequence[Column]) -> str:
    """What the columns hold, as far as their heads do not say it."""

    def named(column: Column) -> str:
        word = "" if column.head == column.word else f"{column.word}, "
        return f"{column.head}: {word}{column.about}"

    return "; ".join(named(column) for column in columns if column.about)


def number(value: float | None) -> str:
    """An accuracy with three decimals; a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"


def difference(value: float | None) -> str:
    """A difference of accuracies with its sign; a dash where there is none."""
    return "-" if value is None else f"{value:+.3f}"


def minus(value: float | None, other: float | None) -> float | None:
    """A difference; None where there is nothing to take it of."""
    return None if value is None or other is None else value - other


def _objective(name: str) -> Column:
    return Column(name, name, lambda row: row.objective, difference, _OBJECTIVES[name])


def _one_decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _score(name: str, about: str) -> Column:
    return Column(name, name, lambda row: row.measures.get(name), difference, about)


def _cost(name: str, word: str, letter: str, about: str) -> Column:
    return Column(word, letter, lambda row: row.measures.get(name), _one_decimal, about)


_FURTHER = {
    **{name: _score(name, about) for name, about in _OBJECTIVES.items()},
    "latency_ms": _cost("latency_ms", "latency", "ms", "ms to the first token"),
    "peak_memory_mb": _cost("peak_memory_mb", "memory", "MB", "MB at its peak"),
}

_ACCURACY = Column("acc.", "acc.", lambda row: row.accuracy, number)
_MATCHED = Column(
    "matched", "M", lambda row: row.accuracy, number, "accuracy with the right message"
)
_DERANGED = Column("deranged", "D", lambda row: row.deranged, number, "with another item's")
_PAIRING_GAIN = Column("P", "P", lambda row: row.pairing_gain, difference, "matched - deranged")
_SYSTEM_GAIN = Column(
    "G", "G", lambda row: row.system_gain, difference, "matched - receiver alone"
)
