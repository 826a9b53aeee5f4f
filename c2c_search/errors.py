"""The errors that every folder raises, each with rule, value, way out and exit code."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from itertools import islice
from typing import Any
from typing import ClassVar


_NO_VALUE: Any = object()
_SHOWN = 30
_MOST_PROBLEMS = 20
_LONGEST_VALUE = 1000
_DEEPEST_VALUE = 40
# Control characters (a terminal obeys those of C0 and C1), bidirectional marks, lone surrogates.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def shown(text: str) -> str:
    """Foreign text as it may reach a terminal, a note or a report: ``\\x1b`` for an escape.

    Tab and line feed stay; whoever writes one line puts the text in ``repr``.
    """
    return _OBEYED.sub(lambda found: _spelled(found.group()), text)


def _spelled(char: str) -> str:
    return repr(char)[1:-1] if not char.isprintable() else f"\\u{ord(char):04x}"


def in_yaml(value: object) -> str:
    """A value as a YAML or JSON file has it: ``null`` and ``true``, ``[1, 2]`` for a tuple.

    Texts stay in ``repr``, which keeps them on one line; of a long or deep value the rest is left
    out.
    """
    return _in_yaml(value, _DEEPEST_VALUE)


def _in_yaml(value: object, depth: int) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if type(value) is date:
        return value.isoformat()
    if not isinstance(value, Mapping | list | tuple):
        return repr(value)
    if not depth:
        return "..."
    if isinstance(value, Mapping):
        pairs = (
            f"{_in_yaml(key, depth - 1)}: {_in_yaml(each, depth - 1)}"
            for key, each in islice(value.items(), _LONGEST_VALUE)
        )
        return f"{{{', '.join(pairs)}}}"
    return f"[{', '.join(_in_yaml(each, depth - 1) for each in value[:_LONGEST_VALUE])}]"


def _told(rule: str, value: Any, hint: str) -> str:
    """A rule, what was found, shortened, and the way out, as sentences."""
    behind = []
    if value is not _NO_VALUE:
        text = in_yaml(value)
        short = text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "..."
        behind.append(f"Got {short}.")
    if hint:
        behind.append(hint)
    stop = "." if behind and rule[-1:].isalnum() else ""
    return " ".join([rule + stop, *behind])


class C2CError(Exception):
    """Something the user can put right; the CLI prints it without a traceback.

    Args:
        rule: What must hold, as one sentence.
        value: What was found instead; shown by `in_yaml`.
        hint: The way out, as one sentence.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, rule: str, *, value: Any = _NO_VALUE, hint: str = "") -> None:
        self.rule = rule
        self.value = None if value is _NO_VALUE else value
        self.hint = hint
        super().__init__(shown(_told(rule, value, hint)))


@dataclass(frozen=True)
class Problem:
    """One thing wrong in one place of a file.

    Args:
        where: ``file:line:column`` (or the file alone), then the key, as the user would look for
            it.
        rule: What must hold.
        value: What was found.
        hint: The way out, e.g. the nearest valid name.
    """

    where: str
    rule: str
    value: Any = _NO_VALUE
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {_told(self.rule, self.value, self.hint)}"


class ConfigError(C2CError):
    """A space, pipeline, trial or fuser configuration that cannot hold.

    Attributes:
        problems: What it was collected from; empty if it is about no file.
    """

    problems: tuple[Problem, ...] = ()

    @classmethod
    def collect(cls, problems: Iterable[Problem]) -> ConfigError:
        """Put the problems of a file (or of several) into one error, one line each.

        Of many, the first are shown and the rest are counted.
        """
        found = list(problems)
        lines = [str(problem) for problem in found[:_MOST_PROBLEMS]]
        if more := len(found) - len(lines):
            lines.append(f"... and {more:,} more")
        several = f"{len(found):,} problems:\n" + "\n".join(f"  {line}" for line in lines)
        error = cls(lines[0] if len(found) == 1 else several)
        error.problems = tuple(found)
        return error


class SourceError(C2CError):
    """A model source that is unknown, unreachable, or not what it should be."""


class DataError(C2CError):
    """Data that is missing, malformed, or crosses a split."""


class StoreError(C2CError):
    """A store (prompt caches, Optuna, MLflow, disk) that cannot be read or written."""


class IntegrityError(C2CError):
    """A package whose bytes, models or answers are not those that were measured."""


class NotFiniteError(C2CError):
    """A model or a fuser computes something that is no finite number.

    Args:
        role: ``receiver``, ``sharer`` or ``fuser``; ``model`` where that is not known.
        name: Source of the model, or what the fuser is called.
        what: Which numbers, e.g. ``log-likelihoods``.
    """

    def __init__(self, role: str, name: str, what: str) -> None:
        self.role, self.name, self.what = role, name, what
        super().__init__(
            f"The {role}'s {what} must be finite numbers, and some are NaN or infinite.",
            value=name,
            hint="Its weights are damaged, or too large for the dtype that they compute in: load "
            "it anew, or set C2C_SEARCH_DTYPE=float32.",
        )

    def of(self, role: str) -> NotFiniteError:
        """The same of a model whose role is known."""
        return NotFiniteError(role, self.name, self.what)


class NoChampionError(C2CError):
    """The study ended and no fuser beat its controls; nothing was promoted."""

    exit_code: ClassVar[int] = 3


class StudyStoppedError(C2CError):
    """The study stopped itself: failures of one class in a row, or a fatal one."""

    exit_code: ClassVar[int] = 4


def suggestion(name: object, names: Iterable[str]) -> str:
    """The way out of a wrong name: the nearest valid one, or those there are."""
    valid = sorted(names)
    near = get_close_matches(str(name), valid, n=1, cutoff=0.6)
    if near:
        return f"Did you mean `{near[0]}`?"
    shown = ", ".join(valid[:_SHOWN]) + (", ..." if len(valid) > _SHOWN else "")
    return f"Valid: {shown}." if valid else ""
