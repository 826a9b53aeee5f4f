from __future__ import annotations

from itertools import product
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import ValidationError

from c2c_search.space.dimensions import Dimension
from c2c_search.space.dimensions import applies
from c2c_search.space.dimensions import count
from c2c_search.space.dimensions import in_order
from c2c_search.space.dimensions import walk


def _dimension(**content: Any) -> Dimension:
    return Dimension.model_validate(content)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, "exactly one of choices, int and float"),
        ({"choices": [1], "int": [1, 2]}, "exactly one of choices, int and float"),
        ({"choices": []}, "at least 1 item"),
        ({"choices": [1, 2, 1]}, "1 stands there twice"),
        ({"choices": [1, [2]]}, "name a structure by a word, as layers by '18, 20'"),
        ({"choices": [1, 2], "log": True}, "log and step belong to ranges"),
        ({"int": [2, 1]}, "a range must rise, but goes from 2 to 1"),
        ({"int": [1, 2, 3]}, "at most 2 items"),
        ({"int": [0, 4], "log": True}, "must start above 0, but starts at 0"),
        ({"int": [1, 4], "step": 2}, "end it at 3"),
        ({"int": [1, 4], "step": 3, "log": True}, "a step or is log, not both"),
        ({"float": [0.0, 1.0], "step": 1}, "step belongs to a range of integers"),
        ({"float": [0.0, 1.0], "log": True}, "must start above 0"),
        ({"choices": [1], "when": {"x": []}}, "at least 1 item"),
    ],
)
def test_dimensions_that_cannot_be(content: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        _dimension(**content)


def test_choices_keep_their_types() -> None:
    values = _dimension(choices=[None, True, 2, 3.0, "4"]).values
    assert values == (None, True, 2, 3.0, "4")
    assert [type(value) for value in values or ()] == [type(None), bool, int, float, str]


def test_one_value_is_a_condition_too() -> None:
    assert _dimension(choices=[1], when={"x": "a"}).when == {"x": ("a",)}


def test_what_a_dimension_contains() -> None:
    steps = _dimension(int=[1, 7], step=3)
    assert [value for value in range(9) if steps.contains(value)] == [1, 4, 7]
    assert not steps.contains(True)
    assert not steps.contains("1")
    numbers = _dimension(float=[0.5, 2])
    assert numbers.contains(0.5)
    assert numbers.contains(2)
    assert not numbers.contains(2.1)
    assert not numbers.contains(True)
    assert _dimension(choices=[None]).contains(None)


@pytest.mark.parametrize(
    "content",
    [
        {"choices": [1, "a"]},
        {"int": [1, 7], "step": 3},
        {"int": [1, 1000], "log": True},
        {"float": [0.1, 0.3]},
        {"float": [1e-8, 1e-1], "log": True},
    ],
)
def test_draws_are_possible_values(content: dict[str, Any]) -> None:
    dimension, rng = _dimension(**content), Random(0)
    assert all(dimension.contains(dimension.draw(rng)) for _ in range(200))


def test_dimensions_in_words() -> None:
    assert str(_dimension(choices=[None, True, "a", 1.5])) == "null, true, a, 1.5"
    assert str(_dimension(int=[1, 9], step=2)) == "1 to 9, step 2"
    assert str(_dimension(float=[0.5, 9], log=True)) == "0.5 to 9.0, log"
    condition = _dimension(choices=[1], when={"x": ["a", False], "y": 1}).condition
    assert condition == "x is a or false and y is 1"


def test_a_circle_of_conditions() -> None:
    circle = {name: _dimension(choices=[1], when={other: 1}) for name, other in ("ab", "ba")}
    with pytest.raises(ValueError, match="->"):
        in_order(circle)


@st.composite
def _spaces(draw: st.DrawFn) -> dict[str, Dimension]:
    """A few finite dimensions with conditions on earlier ones, in any order."""
    dimensions: dict[str, Dimension] = {}
    for index in range(draw(st.integers(1, 5))):
        size = draw(st.integers(1, 3))
        earlier = draw(st.sets(st.sampled_from(sorted(dimensions)), max_size=2)) if index else ()
        when = {
            other: draw(st.lists(st.integers(0, 2), min_size=1, max_size=2))
            for other in sorted(earlier)
        }
        dimensions[f"d{index}"] = _dimension(choices=list(range(size)), when=when)
    return dict(draw(st.permutations(sorted(dimensions.items()))))


@settings(max_examples=60, deadline=None)
@given(_spaces())
def test_count_is_the_number_of_different_walks(dimensions: dict[str, Dimension]) -> None:
    names = list(dimensions)
    every = product(*(dimensions[name].values or () for name in names))
    walks = set()
    for values in every:
        chosen = dict(zip(names, values, strict=True))
        walks.add(frozenset(walk(dimensions, lambda name, _, c=chosen: c[name]).items()))
    assert count(dimensions) == len(walks)


@settings(max_examples=60, deadline=None)
@given(_spaces(), st.integers(0, 99))
def test_walks_hold_exactly_what_applies(dimensions: dict[str, Dimension], seed: int) -> None:
    rng = Random(seed)
    params = walk(dimensions, lambda _, dimension: dimension.draw(rng))
    for name, dimension in dimensions.items():
        assert (name in params) == applies(dimension, params)


def test_a_range_of_floats_is_endless_only_where_it_applies() -> None:
    never = _dimension(float=[0, 1], when={"x": 9})
    assert count({"x": _dimension(choices=[1, 2]), "y": never}) == 2
    assert count({"x": _dimension(choices=[1, 9]), "y": never}) is None
