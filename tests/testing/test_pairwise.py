"""Every two values meet, in few tuples."""

from __future__ import annotations

from itertools import combinations
from itertools import product

import pytest

from c2c_search.testing.pairwise import pairwise


@pytest.mark.parametrize(
    ("sizes", "most"), [((3, 4), 12), ((2, 2, 2), 4), ((3, 4, 5), 20), ((5, 3, 3, 2), 16)]
)
def test_every_two_values_meet_in_hardly_more_tuples_than_the_longest_axes_have_pairs(
    sizes: tuple[int, ...], most: int
) -> None:
    axes = [[f"{axis}{value}" for value in range(size)] for axis, size in enumerate(sizes)]
    chosen = pairwise(*axes)
    met = {pair for each in chosen for pair in combinations(each, 2)}
    assert met == {pair for a, b in combinations(axes, 2) for pair in product(a, b)}
    assert all(value in axis for each in chosen for value, axis in zip(each, axes, strict=True))
    assert len(chosen) == len(set(chosen)) <= most
    assert chosen == pairwise(*axes)


def test_of_one_axis_alone_every_value_is_taken() -> None:
    assert pairwise("abc") == [("a",), ("b",), ("c",)]
