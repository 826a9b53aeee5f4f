"""The dimensions of a space and the conditions under which they apply."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from graphlib import CycleError
from graphlib import TopologicalSorter
from random import Random
from typing import Annotated
from typing import Any
from typing import Self

from pydantic import BeforeValidator
from pydantic import Field
from pydantic import PlainValidator
from pydantic import ValidationError
from pydantic import model_validator

from c2c_search.config.frozen import FrozenModel
from c2c_search.config.problems import sentence
from c2c_search.config.stages import StageConfig
from c2c_search.config.stages import written
from c2c_search.errors import in_yaml


def _scalar(value: Any) -> Any:
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return _stages(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(
        "must be null, a boolean, a number or a word; name a structure by a word, as layers by "
        "'18, 20' or '18:14, 20:16'"
    )


def _stages(value: list[dict[str, Any]]) -> str:
    """A list of stages as the line that stands for it in tables and in a study's record."""
    try:
        return written([StageConfig.model_validate(each) for each in value])
    except ValidationError as error:
        said = "; ".join(sentence(each) for each in error.errors())
        raise ValueError(f"a list of mappings must be one of stages: {said}") from None


def _as_list(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _word(value: Value) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


Value = None | bool | int | float | str
Scalar = Annotated[Value, PlainValidator(_scalar)]
Condition = Annotated[
    tuple[Scalar, ...],
    BeforeValidator(_as_list, json_schema_input_type=Value | tuple[Scalar, ...]),
    Field(min_length=1),
]
Params = dict[str, Value]

_OTHER = "\0"  # a value that no file can name


class Dimension(FrozenModel):
    """One thing that is searched: a list of choices, or a range of integers or of floats."""

    choices: tuple[Scalar, ...] | None = Field(
        None, min_length=1, description="The values to choose from, in no order."
    )
    integers: tuple[int, int] | None = Field(
        None, alias="int", description="Lowest and highest integer, both possible."
    )
    floats: tuple[float, float] | None = Field(
        None, alias="float", description="Lowest and highest number, both possible."
    )
    step: int | None = Field(None, ge=1, description="Distance of the integers of a range.")
    log: bool = Field(False, description="Sample a range evenly in its logarithm.")
    when: dict[str, Condition] = Field(
        default={},
        description="Other dimensions and their values under which this one is sampled at all.",
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [self.choices, self.integers, self.floats]
        if sum(kind is not None for kind in given) != 1:
            raise ValueError("needs exactly one of choices, int and float")
        if self.choices is not None:
            self._check_choices(self.choices)
        if self.integers is not None:
            self._check_range(self.integers)
            self._check_step(self.integers)
        if self.floats is not None:
            self._check_range(self.floats)
            if self.step is not None:
                raise ValueError("step belongs to a range of integers; drop it")
        return self

    def _check_choices(self, choices: tuple[Value, ...]) -> None:
        seen: set[Value] = set()
        for value in choices:
            if value in seen:
                raise ValueError(f"choices must differ, but {in_yaml(value)} stands there twice")
            seen.add(value)
        if self.log or self.step is not None:
            raise ValueError("log and step belong to ranges; drop them")

    def _check_range(self, bounds: tuple[float, float]) -> None:
        low, high = bounds
        if low >= high:
            raise ValueError(f"a range must rise, but goes from {low} to {high}")
        if self.log and low <= 0:
            raise ValueError(f"a range with log must start above 0, but starts at {low}")

    def _check_step(self, bounds: tuple[int, int]) -> None:
        low, high = bounds
        if self.step is None:
            return
        if self.log:
            raise ValueError("a range has a step or is log, not both")
        if (high - low) % self.step:
            raise ValueError(
                f"the range must end on a step, but {high} is no multiple of {self.step} "
                f"above {low}; end it at {high - (high - low) % self.step}"
            )

    @property
    def values(self) -> Sequence[Value] | None:
        """Every possible value, those of a range not listed; None for a range of floats."""
        if self.integers is not None:
            low, high = self.integers
            return range(low, high + 1, self.step or 1)
        return self.choices

    @property
    def kind(self) -> str:
        """The key that says what is possible: ``choices``, ``int`` or ``float``."""
        return "choices" if self.choices else "int" if self.integers else "float"

    @property
    def extremes(self) -> tuple[Value, ...]:
        """The values that decide what is valid: every choice, or both ends of a range."""
        return self.choices or self.integers or self.floats or ()

    def contains(self, value: Value) -> bool:
        """Whether ``value`` is possible here; ``True`` is not 1."""
        if self.integers is not None:
            return type(value) is int and value in range(
                self.integers[0], self.integers[1] + 1, self.step or 1
            )
        if self.choices is not None:
            return any(value == own and type(value) is type(own) for own in self.choices)
        if self.floats is None or isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.floats[0] <= value <= self.floats[1]

    def draw(self, rng: Random) -> Value:
        """A value by chance: every choice, or every part of the range, alike."""
        if self.values is not None and not self.log:
            return rng.choice(self.values)
        low, high = self.integers or self.floats or (math.nan, math.nan)
        if not self.log:
            return rng.uniform(low, high)
        value = math.exp(rng.uniform(math.log(low), math.log(high)))
        return round(value) if self.integers else min(max(value, low), high)

    @property
    def condition(self) -> str:
        """``when`` in words; empty if the dimension always applies."""
        return " and ".join(
            f"{other} is {' or '.join(_word(value) for value in values)}"
            for other, values in self.when.items()
        )

    def __str__(self) -> str:
        if self.choices is not None:
            return ", ".join(_word(value) for value in self.choices)
        low, high = self.integers or self.floats or (math.nan, math.nan)
        kind = ", log" if self.log else f", step {self.step}" if self.step else ""
        return f"{low} to {high}{kind}"


def in_order(dimensions: Mapping[str, Dimension]) -> list[str]:
    """Names of the dimensions, each after those that its condition refers to.

    Raises:
        ValueError: With the circle, if conditions refer to each other in one.
    """
    graph = {
        name: [other for other in dimension.when if other in dimensions]
        for name, dimension in dimensions.items()
    }
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise ValueError(" -> ".join(error.args[1])) from None


def applies(dimension: Dimension, params: Mapping[str, Value]) -> bool:
    """Whether the condition of ``dimension`` holds; a dimension that is absent holds nothing."""
    return all(
        other in params and params[other] in values for other, values in dimension.when.items()
    )


def walk(dimensions: Mapping[str, Dimension], pick: Callable[[str, Dimension], Value]) -> Params:
    """Pick a value for every dimension that applies, those that others depend on first."""
    params: Params = {}
    for name in in_order(dimensions):
        if applies(dimensions[name], params):
            params[name] = pick(name, dimensions[name])
    return params


def named(dimensions: Mapping[str, Dimension]) -> dict[str, set[Value]]:
    """By dimension that conditions refer to, the values that they name."""
    found: dict[str, set[Value]] = {}
    for dimension in dimensions.values():
        for other, values in dimension.when.items():
            found.setdefault(other, set()).update(values)
    return found


def count(dimensions: Mapping[str, Dimension]) -> int | None:
    """Number of different `walk` results; None if a range of floats makes them endless."""
    order, conditions = in_order(dimensions), named(dimensions)
    # Of what was picked so far, what decides how many ways there are from here on.
    relevant = [named({name: dimensions[name] for name in order[at:]}) for at in range(len(order))]
    known: dict[tuple[int, tuple[tuple[str, Value], ...]], float] = {}

    def below(index: int, params: Params) -> float:
        if index == len(order):
            return 1
        decisive = tuple(item for item in params.items() if item[0] in relevant[index])
        key = (index, decisive)
        if key not in known:
            known[key] = ways(index, params)
        return known[key]

    def ways(index: int, params: Params) -> float:
        name, dimension = order[index], dimensions[order[index]]
        if not applies(dimension, params):
            return below(index + 1, params)
        if dimension.values is None:
            return math.inf
        told_apart = [each for each in conditions.get(name, ()) if dimension.contains(each)]
        total = sum(below(index + 1, {**params, name: each}) for each in told_apart)
        # To conditions, all other values are alike.
        if others := len(dimension.values) - len(told_apart):
            total += others * below(index + 1, {**params, name: _OTHER})
        return total

    total = below(0, {})
    return None if math.isinf(total) else int(total)
