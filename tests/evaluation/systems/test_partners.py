"""Partners: a permutation of the split, nobody its own, about something else."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_search.evaluation.systems.partners import draw_partners
from c2c_search.evaluation.systems.partners import unmatched


def facts(text):
    """``"x1 x2"``: one item of group x about 1, and one about 2."""
    return [(item[0], item[1]) for item in text.split()]


def drawn(split):
    """The first derangement of prompts of one length."""
    return draw_partners(split, [9] * len(split))[0]


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
    assert drawn(facts(split)) == partners


def test_where_nearly_all_is_about_one_fact_some_partners_are_too():
    partners = drawn(facts("x1 x1 x1 x2"))
    assert sorted(partners) == [0, 1, 2, 3]
    assert all(partner != row for row, partner in enumerate(partners))


SPLITS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("12345")), min_size=2, max_size=30
)


@given(st.lists(st.sampled_from("aaaab"), min_size=2, max_size=12))
def test_as_many_hear_about_their_own_fact_as_must(clusters):
    (partners,) = draw_partners([("g", each) for each in clusters], [0] * len(clusters))
    same = [each == clusters[other] for each, other in zip(clusters, partners, strict=True)]
    assert unmatched(clusters) == sum(same)


@given(SPLITS)
def test_partners_are_a_permutation_and_about_something_else(split):
    partners = drawn(split)
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
        partners = drawn(split)
        assert all(split[row][0] == split[partner][0] for row, partner in enumerate(partners))


def test_lengths_of_a_group_stay_among_themselves():
    """Four short prompts, four longer and four long ones: each hears one as long, three times."""
    split = [("x", str(number)) for number in range(12)]
    lengths = [10 + number % 3 * 90 + number // 3 for number in range(12)]
    for partners in draw_partners(split, lengths, 3):
        assert all(abs(lengths[row] - lengths[partners[row]]) < 10 for row in range(12))


def test_several_derangements_by_hand():
    # Five facts in a ring: one place on, then two, then three; a sixth is the first again.
    split = facts("x1 x2 x3 x4 x5")
    found = draw_partners(split, [9] * 5, 5)
    assert found == [
        [1, 2, 3, 4, 0],
        [2, 3, 4, 0, 1],
        [3, 4, 0, 1, 2],
        [4, 0, 1, 2, 3],
        [1, 2, 3, 4, 0],
    ]
    # Two items to a fact: the next fact, then the one after it.
    pairs = facts("x1 x1 x2 x2 x3 x3 x4 x4")
    assert draw_partners(pairs, [9] * 8, 2) == [
        [2, 3, 4, 5, 6, 7, 0, 1],
        [4, 5, 6, 7, 0, 1, 2, 3],
    ]


def test_a_class_that_has_heard_itself_out_is_drawn_with_others():
    # x is two items: they hear each other, and then must hear y.
    first, second = draw_partners(facts("x1 x2 y3 y4"), [9] * 4, 2)
    assert first == [1, 0, 3, 2]
    assert sorted(second) == [0, 1, 2, 3]
    assert all(row != second[row] != first[row] for row in range(4))


LENGTHS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("12345678"), st.integers(5, 30)),
    min_size=2,
    max_size=40,
)


@given(LENGTHS)
def test_every_derangement_is_one_and_the_first_is_the_one_drawn_alone(rows):
    split, lengths = [row[:2] for row in rows], [row[2] for row in rows]
    found = draw_partners(split, lengths, 3)
    assert found[:1] == draw_partners(split, lengths)
    largest = max(Counter(cluster for _, cluster in split).values())
    for partners in found:
        assert sorted(partners) == list(range(len(split)))
        assert all(partner != row for row, partner in enumerate(partners))
        if 2 * largest <= len(split):
            assert all(split[row][1] != split[other][1] for row, other in enumerate(partners))


@given(st.lists(st.sampled_from("123456789"), min_size=6, max_size=40), st.integers(1, 4))
def test_of_one_group_and_length_all_derangements_differ_for_everybody(clusters, count):
    split = [("x", cluster) for cluster in clusters]
    largest = max(Counter(clusters).values())
    if len(split) - 2 * largest + 1 >= count:
        found = draw_partners(split, [9] * len(split), count)
        assert all(len(set(partners)) == count for partners in zip(*found, strict=True))


@given(st.integers(1, 3), st.integers(1, 4), st.integers(2, 4))
def test_partners_are_of_the_same_length_class_where_every_class_has_them(groups, items, kinds):
    """Short, middle and long prompts of each group, each of them about every fact."""
    split, lengths = [], []
    for group in range(groups):
        for length in (30, 10, 20):
            split += [(f"g{group}", str(number % kinds)) for number in range(items * kinds)]
            lengths += [length] * items * kinds
    (partners,) = draw_partners(split, lengths)
    for row, other in enumerate(partners):
        assert (split[row][0], lengths[row]) == (split[other][0], lengths[other])
        assert split[row][1] != split[other][1]
