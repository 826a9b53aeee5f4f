"""Partners: a permutation of the split, nobody its own, about something else."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_search.evaluation.systems.partners import draw_partners


def facts(text):
    """``"x1 x2"``: one item of group x about 1, and one about 2."""
    return [(item[0], item[1]) for item in text.split()]


@pytest.mark.parametrize(
    ("split", "partners"),
    [
        # Of groups whose facts have an item each, the next one of the group.
        ("x1 y4 x2 y5 x3", [2, 3, 4, 1, 0]),
        # With two items about one fact, the second next.
        ("x1 x1 x2 x2", [2, 3, 0, 1]),
        # Wherever the items of a fact stand.
        ("x1 x2 x1 x2", [1, 0, 3, 2]),
        # No group can be drawn by itself: 1 is two of x's three, y and z have one item each.
        ("x1 x1 x2 y3 z3", [2, 3, 4, 0, 1]),
        # The lone y borrows a group that could have been drawn by itself.
        ("x1 x2 y3", [1, 2, 0]),
    ],
)
def test_by_hand(split, partners):
    assert draw_partners(facts(split)) == partners


def test_where_nearly_all_is_about_one_fact_some_partners_are_too():
    partners = draw_partners(facts("x1 x1 x1 x2"))
    assert sorted(partners) == [0, 1, 2, 3]
    assert all(partner != row for row, partner in enumerate(partners))


SPLITS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("12345")), min_size=2, max_size=30
)


@given(SPLITS)
def test_partners_are_a_permutation_and_about_something_else(split):
    partners = draw_partners(split)
    assert sorted(partners) == list(range(len(split)))
    assert all(partner != row for row, partner in enumerate(partners))
    largest = max(Counter(cluster for _, cluster in split).values())
    if 2 * largest <= len(split):
        assert all(split[row][1] != split[partner][1] for row, partner in enumerate(partners))


@given(SPLITS)
def test_partners_are_of_the_same_group_where_every_group_has_them(split):
    members = Counter(group for group, _ in split)
    of_fact = Counter(split)
    if all(2 * count <= members[group] for (group, _), count in of_fact.items()):
        partners = draw_partners(split)
        assert all(split[row][0] == split[partner][0] for row, partner in enumerate(partners))
