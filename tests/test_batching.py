"""Portions keep to every budget, keep the order, and are as long as they can be."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from c2c_search.batching import portions


SIZES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30)


@given(SIZES, st.tuples(st.integers(0, 20), st.integers(0, 20)))
def test_portions_are_within_their_budgets_and_no_shorter(sizes, limits):
    found = list(portions(range(len(sizes)), lambda item: sizes[item], limits))
    assert [item for portion in found for item in portion] == list(range(len(sizes)))

    def fits(items):
        sums = [sum(sizes[item][budget] for item in items) for budget in range(2)]
        return all(total <= limit for total, limit in zip(sums, limits, strict=True))

    assert all(portion and (len(portion) == 1 or fits(portion)) for portion in found)
    assert not any(fits([*one, other[0]]) for one, other in pairwise(found))
