"""Settings of trials in a few characters, for a line of a table and the name of a run."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence


_WHOLE = 8  # letters of a word that is not cut
_CUT = 5  # letters that are left of a longer one, if they tell it from others


class Shorthand:
    """How the settings of one study are shortened, each name and each word in one way.

    Words stand by themselves, joined by slashes (``linear/replace/ridge``); numbers follow the
    first letters of what they are the number of (``r32``, ``lr1e-3``).

    Args:
        values: Every setting's values, as far as they are known, by its name in words.
    """

    def __init__(self, values: Mapping[str, Iterable[object]]) -> None:
        known = {name: list(each) for name, each in values.items()}
        self._letters = _distinct(list(known), _initials)
        self._words = {
            name: _distinct([value for value in each if isinstance(value, str)], _cut)
            for name, each in known.items()
        }

    def line(self, settings: Mapping[str, object]) -> str:
        """Settings in short, words first, in their own order otherwise."""
        words = [
            self._words[name].get(value, value)
            for name, value in settings.items()
            if isinstance(value, str)
        ]
        rest = [
            f"{self._letters[name]}{_value(value)}"
            for name, value in settings.items()
            if not isinstance(value, str)
        ]
        return " ".join(filter(None, ["/".join(words), *rest]))

    def legend(self, settings: Iterable[Mapping[str, object]]) -> str:
        """What the letters before numbers stand for, of those that these settings need."""
        needed = dict.fromkeys(
            name for each in settings for name, value in each.items() if not isinstance(value, str)
        )
        return ", ".join(f"{self._letters[name]} {name}" for name in needed)


def differing(settings: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """The settings without those that all of them share."""
    names = dict.fromkeys(name for each in settings for name in each)
    missing = object()
    kept = [name for name in names if len({each.get(name, missing) for each in settings}) > 1]
    return [{name: each[name] for name in kept if name in each} for each in settings]


def _distinct(names: Sequence[str], shorten: Callable[[str, int], str]) -> dict[str, str]:
    """Each name as short as it may be while no two are the same."""
    short: dict[str, str] = {}
    for name in names:
        for extra in range(len(name) + 1):
            cut = shorten(name, extra)
            if all(shorten(other, extra) != cut for other in names if other != name):
                break
        short[name] = cut
    return short


def _initials(name: str, extra: int) -> str:
    first, *others = name.split() or [name]
    return first[: 1 + extra] + "".join(word[0] for word in others)


def _cut(word: str, extra: int) -> str:
    return word if len(word) <= _WHOLE + extra else word[: _CUT + extra].rstrip("_-")


def _value(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "=none", True: "=yes", False: "=no"}[value]
    if isinstance(value, float):
        return f"{value:.2g}".replace("e-0", "e-").replace("e+0", "e+")
    return str(value)
