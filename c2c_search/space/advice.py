"""What to change of a space after a study: which ranges end too soon, what hardly matters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING
from typing import Any
from typing import Literal

import yaml
from pydantic import ValidationError

from c2c_search.space.declaration import SECTIONS
from c2c_search.space.declaration import into
from c2c_search.space.dimensions import Dimension
from c2c_search.space.dimensions import Value
from c2c_search.space.dimensions import named
from c2c_search.space.importance import INDICATIVE_BELOW
from c2c_search.space.importance import Weighed


if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

End = Literal["lowest", "highest"]

_BORDER = 0.1  # of a range, on either side
_FEWEST_BEST = 3
_UNIMPORTANT = 0.05


@dataclass(frozen=True)
class Border:
    """A range at whose end the best trials lie.

    Args:
        name: Of the dimension.
        end: Which one.
        wider: The range to search next; None where the field goes no further.
    """

    name: str
    end: End
    wider: Dimension | None


def best_of(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The best tenth of trials that ran to their end, 3 at least, the best first.

    Those within the bounds, which are their constraints, come before all others.
    """

    def rank(trial: FrozenTrial) -> tuple[bool, float, int]:
        beyond = any(value > 0 for value in trial.constraints.values())
        return beyond, -(trial.value or 0.0), trial.number

    ranked = sorted(trials, key=rank)
    return ranked[: max(_FEWEST_BEST, math.ceil(len(trials) / 10))]


def borders(
    dimensions: Mapping[str, Dimension],
    trials: Sequence[FrozenTrial],
    importances: Sequence[Mapping[str, Weighed]],
) -> list[Border]:
    """The ranges in whose outer tenth the best trials lie, by their median.

    Of what has a share below 5 % by every measure, where the best lie says nothing.

    Args:
        dimensions: The space's.
        trials: Those that ran to their end.
        importances: By each measure.
    """
    found = []
    best = best_of(trials)
    for name, dimension in dimensions.items():
        values = [each.params[name] for each in best if name in each.params]
        known = [each[name].value for each in importances if name in each]
        if dimension.choices is not None or max(known, default=0.0) < _UNIMPORTANT:
            continue
        if len(values) < _FEWEST_BEST:
            continue
        middle = median(_place(dimension, value) for value in values)
        if _BORDER < middle < 1 - _BORDER:
            continue
        end: End = "lowest" if middle <= _BORDER else "highest"
        found.append(Border(name, end, _wider(name, dimension, end)))
    return found


def _place(dimension: Dimension, value: float) -> float:
    """Where a value stands in a range, whose ends are 0 and 1."""
    ends = dimension.integers or dimension.floats or (0.0, 1.0)
    low, high, at = (math.log(one) if dimension.log else one for one in (*ends, value))
    return (at - low) / (high - low)


def unimportant(
    dimensions: Mapping[str, Dimension],
    trials: Sequence[FrozenTrial],
    importances: Sequence[Mapping[str, Weighed]],
) -> dict[str, Value]:
    """Dimensions to freeze, with the best trial's value.

    Those whose share is surely below 5 % by every measure, on which nothing is conditional, and
    that applied to the best trial; none as long as importances are only indicative.

    Args:
        dimensions: The space's.
        trials: Those that ran to their end.
        importances: By each measure.
    """
    if len(trials) < INDICATIVE_BELOW:
        return {}
    (best, *_), decisive = best_of(trials), named(dimensions)
    frozen = {}
    for name in dimensions:
        known = [each[name] for each in importances if name in each]
        small = bool(known) and all(one.high < _UNIMPORTANT for one in known)
        if small and name not in decisive and name != "pair" and name in best.params:
            value: Value = best.params[name]
            # Settings that agree to four digits train the same.
            frozen[name] = float(f"{value:.4g}") if isinstance(value, float) else value
    return frozen


def difference(
    dimensions: Mapping[str, Dimension],
    wide: Sequence[Border],
    frozen: Mapping[str, Value],
) -> str:
    """What to change in the space file, as a unified diff without line numbers; empty if nothing.

    What is frozen becomes fixed or, where it is conditional, has one choice left.
    """
    others = {each.name: each.wider for each in wide if each.wider and each.name not in frozen}
    fixed = {name: value for name, value in frozen.items() if not dimensions[name].when}
    others |= {
        name: Dimension.model_validate({"choices": [value], "when": dimensions[name].when})
        for name, value in frozen.items()
        if name not in fixed
    }
    if not others and not fixed:
        return ""
    lines = [" dimensions:"]
    for name, dimension in dimensions.items():
        if name in others or name in fixed:
            lines.append(f"-  {name}: {_flow(dimension)}")
        if (instead := others.get(name)) is not None:
            lines.append(f"+  {name}: {_flow(instead)}")
    if fixed:
        lines.append(" fixed:")
        lines += [f"+  {name}: {_inline(value)}" for name, value in fixed.items()]
    return "\n".join(lines)


def _flow(dimension: Dimension) -> str:
    return _inline(dimension.model_dump(mode="json", by_alias=True, exclude_defaults=True))


def _inline(content: Any) -> str:
    text = yaml.safe_dump(content, default_flow_style=True, sort_keys=False, width=math.inf)
    return text.removesuffix("...\n").strip()


def _wider(name: str, dimension: Dimension, end: End) -> Dimension | None:
    """A range half as long again at one end, or a quarter, if the field has such values."""
    for part in (0.5, 0.25):
        low, high = dimension.integers or dimension.floats or (0, 0)
        if dimension.log:
            factor = (high / low) ** part
            low, high = (low / factor, high) if end == "lowest" else (low, high * factor)
        else:
            more = (high - low) * part
            low, high = (low - more, high) if end == "lowest" else (low, high + more)
        found = _bounded(dimension, low, high, end)
        if found is not None and _valid(name, found.extremes[0 if end == "lowest" else 1]):
            return found
    return None


def _bounded(dimension: Dimension, low: float, high: float, end: End) -> Dimension | None:
    """The dimension between these ends; the new one is round, or on a step."""
    kind: str = "floats"
    bounds: tuple[float, float] = (low, high)
    if dimension.integers is not None:
        kind, step = "integers", dimension.step or 1
        first, last = dimension.integers
        if end == "lowest":
            bounds = (first - round((first - low) / step) * step, last)
        else:
            bounds = (first, last + round((high - last) / step) * step)
    else:
        bounds = (_round(low), high) if end == "lowest" else (low, _round(high))
    if bounds == (dimension.integers or dimension.floats) or (dimension.log and bounds[0] <= 0):
        return None
    return dimension.model_copy(update={kind: bounds})


def _round(number: float) -> float:
    return float(f"{number:.2g}")


def _valid(name: str, value: Value) -> bool:
    """Whether the field of a dotted name can have a value, whatever the others have."""
    section, *path = name.split(".")
    content: dict[str, Any] = {}
    *above, last = path
    into(content, above)[last] = value
    try:
        SECTIONS[section].model_validate(content, strict=True)
    except ValidationError as error:
        return all(list(each["loc"][: len(path)]) != path for each in error.errors())
    return True
