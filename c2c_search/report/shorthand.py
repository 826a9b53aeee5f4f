"""Settings of trials in a few characters, for a line of a table and the name of a run."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence


_SPARED = 3  # letters more than those that are left of a longer word, and it is not cut


class Shorthand:
    """How the settings of one study are shortened, each name and each word in one way.

    Words stand by themselves, joined by slashes (``linear/replace/ridge``); numbers follow the
    first letters of what they are the number of (``r32``, ``lr1e-3``).

    Args:
        values: Every setting's values, as far as they are known, by its name in words.
        letters: So many are left of a long word, if they tell it from others.
    """

    def __init__(self, values: Mapping[str, Iterable[object]], *, letters: int = 5) -> None:
        self._letters_of_word = letters
        known = {name: list(each) for name, each in values.items()}
        self._letters = _distinct(list(known), _initials)
        self._words = {
            name: _distinct([value for value in each if isinstance(value, str)], self._cut)
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
        """What these settings' words are, in their order, and the letters before numbers."""
        found = [(name, isinstance(each[name], str)) for each in settings for name in each]
        words = dict.fromkeys(name for name, is_word in found if is_word)
        rest = dict.fromkeys(name for name, is_word in found if not is_word)
        letters = [f"{self._letters[name]} {name}" for name in rest]
        return ", ".join(filter(None, ["/".join(words), *letters]))

    def _cut(self, word: str, extra: int) -> str:
        letters = self._letters_of_word + extra
        return word if len(word) <= letters + _SPARED else word[:letters].rstrip("_-")


def differing(settings: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """The settings without those that all of them share."""
    names = dict.fromkeys(name for each in settings for name in each)
    missing = object()
    kept = [name for name in names if len({each.get(name, missing) for each in settings}) > 1]
    return [{name: each[name] for name in kept if name in each} for each in settings]


def _distinct(names: Sequence[str], shorten: Callable[[str, int], str]) -> dict[str, str]:
    """Each name as short as it may be while no two are the same."""
    short: dict[str, str] = {}
    for name in sorted(names, key=len):
        for extra in range(len(name) + 1):
            cut = shorten(name, extra)
            alike = any(shorten(other, extra) == cut for other in names if other != name)
            if not alike and cut not in short.values():
                break
        else:
            cut = name
        short[name] = cut
    return short


def _initials(name: str, extra: int) -> str:
    first, *others = name.split() or [name]
    return first[: 1 + extra] + "".join(word[0] for word in others)


def _value(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "=none", True: "=yes", False: "=no"}[value]
    if isinstance(value, float):
        short = f"{value:.1e}" if 0 < abs(value) < 0.01 else f"{value:.2g}"
        return short.replace("e-0", "e-").replace("e+0", "e+").replace(".0e", "e")
    return str(value)
