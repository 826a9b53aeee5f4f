"""Where communication helped and hurt: every count and rate by hand on nine items."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st

from c2c_search.errors import DataError
from c2c_search.evaluation.analysis import REGIONS
from c2c_search.evaluation.analysis import Analysis
from c2c_search.evaluation.analysis import analyse
from c2c_search.evaluation.analysis import breakdown
from c2c_search.evaluation.analysis import harm_rate
from c2c_search.evaluation.analysis import quarters
from c2c_search.evaluation.analysis import transfer_rate
from c2c_search.evaluation.analysis import venn
from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics import paired_bootstrap
from c2c_search.evaluation.statistics import share_interval
from tests.evaluation.answers import chosen
from tests.evaluation.answers import graded


# One character an item, 1 where it is right. Items 0 to 8.
RECEIVER = "110110000"
SHARER = "101011100"
C2C = "110001101"
GROUPS = "aaabbbbcc"


def _system(right: str, groups: str = GROUPS, scores: tuple[float, ...] = ()) -> SystemResult:
    items = tuple(
        ItemResult(id=f"i{i}", group=group, cluster=str(i), answer=0, chosen=int(ok == "0"))
        for i, (ok, group) in enumerate(zip(right, groups, strict=True))
    )
    if scores:
        # The probability of the first of two choices grows with the score.
        items = tuple(
            item.model_copy(update={"scores": (score, 0.0)})
            for item, score in zip(items, scores, strict=True)
        )
    return SystemResult(system="s", split="test", items=items)


def _nine(**options: object) -> Analysis:
    return analyse(_system(RECEIVER), _system(SHARER), _system(C2C), **options)  # type: ignore[arg-type]


# Who is right


def test_venn_counts_each_item_in_one_of_eight_regions() -> None:
    assert venn(_system(RECEIVER), _system(SHARER), _system(C2C)) == {
        "receiver+sharer+c2c": 1,  # 0
        "receiver+sharer": 1,  # 4
        "receiver+c2c": 1,  # 1
        "sharer+c2c": 2,  # 5, 6
        "receiver": 1,  # 3
        "sharer": 1,  # 2
        "c2c": 1,  # 8
        "none": 1,  # 7
    }


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1))
def test_venn_regions_add_up_to_all_items_and_to_each_systems_right_ones(
    rows: list[tuple[bool, bool, bool]],
) -> None:
    systems = [chosen([row[who] for row in rows]) for who in range(3)]
    counts = venn(*systems)
    assert tuple(counts) == REGIONS
    assert sum(counts.values()) == len(rows)
    for name, system in zip(("receiver", "sharer", "c2c"), systems, strict=True):
        right = sum(count for region, count in counts.items() if name in region.split("+"))
        assert right == sum(item.correct for item in system.items)


def test_graded_credit_is_right_from_one_half_on() -> None:
    counts = venn(graded([0.5, 0.49]), graded([0.2, 0.9]), graded([0.1, 1.0]))
    assert counts["receiver"] == 1
    assert counts["sharer+c2c"] == 1


# Rates


def test_transfer_rate_is_what_c2c_recovers_of_what_only_the_sharer_knew() -> None:
    # Sharer right and receiver wrong: 2, 5, 6. C2C has 5 and 6.
    found = transfer_rate(_system(RECEIVER), _system(SHARER), _system(C2C))
    assert found == share_interval([False, True, True], ["2", "5", "6"])
    assert found is not None
    assert found.value == pytest.approx(2 / 3)


def test_harm_rate_is_what_c2c_breaks_of_what_the_receiver_knew() -> None:
    # Receiver right: 0, 1, 3, 4. C2C breaks 3 and 4.
    found = harm_rate(_system(RECEIVER), _system(C2C))
    assert found == share_interval([False, False, True, True], ["0", "1", "3", "4"])
    assert found is not None
    assert found.value == 0.5


def test_rates_are_by_clusters() -> None:
    # Ten items of two facts, all recovered: worth two items, not ten.
    facts = [i // 5 for i in range(10)]
    wrong, right = chosen([False] * 10, facts), chosen([True] * 10, facts)
    transfer, harm = transfer_rate(wrong, right, right), harm_rate(right, wrong)
    assert transfer == harm == share_interval([True, True], ["0", "1"])


def test_there_is_no_rate_of_no_items() -> None:
    knows, knows_nothing = chosen([True, True]), chosen([False, False])
    assert transfer_rate(knows, knows, knows) is None
    assert transfer_rate(knows_nothing, knows_nothing, knows) is None
    assert harm_rate(knows_nothing, knows) is None


# Parts


def test_each_group_has_its_counts_and_accuracies() -> None:
    parts = _nine().by_group
    counts = {p.name: (p.items, p.helped, p.harmed, p.unchanged) for p in parts}
    # a: 110 and 110; b: 1100 and 0011; c: 00 and 01.
    assert counts == {"a": (3, 0, 0, 3), "b": (4, 2, 2, 0), "c": (2, 1, 0, 1)}
    assert [part.receiver for part in parts] == pytest.approx([2 / 3, 0.5, 0.0])
    assert [part.c2c for part in parts] == pytest.approx([2 / 3, 0.5, 0.5])


def test_a_part_has_the_interval_of_its_items_where_they_differ() -> None:
    a, b, _ = _nine(resamples=500).by_group
    assert a.difference is None
    assert b.difference == paired_bootstrap(
        chosen([False, False, True, True], [3, 4, 5, 6]),
        chosen([True, True, False, False], [3, 4, 5, 6]),
        resamples=500,
    )


def test_a_single_cluster_has_no_interval() -> None:
    mine, fused = chosen([False, True], [0, 0]), chosen([True, True], [0, 0])
    (part,) = breakdown(mine, fused, [("all", [0, 1])])
    assert part.difference is None
    assert part.gain == 0.5


def test_lengths_are_told_in_quarters_of_tokens() -> None:
    # The quartiles of these nine lengths are 3, 5 and 7: three, two, two and two items.
    parts = _nine(lengths=[1, 2, 3, 4, 5, 6, 7, 8, 9]).by_length
    assert [(part.name, part.items, part.helped, part.harmed) for part in parts] == [
        ("1 to 3 tokens", 3, 0, 0),
        ("4 to 5 tokens", 2, 0, 2),
        ("6 to 7 tokens", 2, 2, 0),
        ("8 to 9 tokens", 2, 1, 0),
    ]


def test_confidence_is_told_in_quarters_least_confident_first() -> None:
    receiver = _system("1101", "aaaa", (3.0, 0.0, 2.0, 1.0))
    parts = analyse(receiver, receiver, receiver).by_confidence
    # 1 / (1 + e^-x) of 0, 1, 2, 3.
    assert [part.name for part in parts] == [
        "0.50 to 0.50",
        "0.73 to 0.73",
        "0.88 to 0.88",
        "0.95 to 0.95",
    ]
    # Two options of which neither is likelier are a choice by lot.
    assert [part.receiver for part in parts] == [0.5, 1, 0, 1]


def test_what_does_not_differ_is_not_broken_down() -> None:
    found = _nine(lengths=[4] * 9)
    assert found.by_length == found.by_confidence == ()
    assert _nine().by_length == ()


@given(st.lists(st.integers(0, 20), min_size=1, max_size=50))
@example([0, 1, 1, 1, 1])  # where most items have the largest value
def test_quarters_hold_every_item_once_in_order(values: list[int]) -> None:
    parts = quarters(values)
    if not parts:
        assert len(set(values)) == 1
        return
    assert 2 <= len(parts) <= 4
    assert sorted(place for part in parts for place in part[2]) == list(range(len(values)))
    for low, high, places in parts:
        assert low == min(values[place] for place in places)
        assert high == max(values[place] for place in places)
    for before, after in pairwise(parts):
        assert before[1] < after[0]


# The whole


def test_analysis_lists_the_items_that_changed() -> None:
    found = _nine()
    assert found.helped == ("i5", "i6", "i8")
    assert found.harmed == ("i3", "i4")
    assert (found.whole.items, found.whole.helped, found.whole.harmed) == (9, 3, 2)
    assert found.whole.gain == pytest.approx(1 / 9)


def test_analysis_survives_json() -> None:
    found = _nine(lengths=list(range(9)))
    assert Analysis.model_validate_json(found.model_dump_json()) == found


def test_markdown_shows_rates_regions_and_parts() -> None:
    page = _nine(lengths=list(range(9))).markdown()
    assert "| 0.667 |" in page
    assert "| harm rate: C2C wrong where the receiver is right | 0.500 |" in page
    assert "| sharer, c2c | 2 |" in page
    assert "| a | 3 | 0 | 0 | 3 | 0.667 | 0.667 | +0.000 | - |" in page
    assert "tokens |" in page
    assert "95 % interval" in page
    widths = [line.count("|") for line in page.splitlines() if line]
    assert set(widths) == {3, 4, 10}


def test_markdown_shows_the_largest_change_first_whichever_way() -> None:
    # a gains nothing, b loses a half, c gains a third.
    receiver, fused = _system("11110001", "aabbcccd"), _system("11100011", "aabbcccd")
    page = analyse(receiver, receiver, fused).markdown()
    places = [page.index(f"\n| {name} |") for name in "bcad"]
    assert places == sorted(places)


def test_markdown_of_many_groups_says_what_it_leaves_out() -> None:
    letters = "".join(chr(ord("A") + i) for i in range(35))
    receiver = _system("0" * 35, letters)
    fused = _system("1" * 20 + "0" * 15, letters)
    page = analyse(receiver, fused, fused, resamples=100).markdown()
    assert "5 more groups, changed by 0.0 points at most, are in the JSON file." in page
    assert f"\n| {letters[29]} |" in page
    assert f"\n| {letters[30]} |" not in page


def test_a_bar_in_a_groups_name_does_not_break_the_table() -> None:
    system = _system("10", "|a")
    assert "| \\| | 1 |" in analyse(system, system, system).markdown()


def test_other_items_cannot_be_analysed() -> None:
    a, other = chosen([True, False]), chosen([True])
    for systems in ((other, a, a), (a, other, a), (a, a, other)):
        with pytest.raises(DataError, match="same items in the same order"):
            analyse(*systems)


def test_lengths_of_other_items_are_refused() -> None:
    with pytest.raises(DataError, match="one prompt length for every item"):
        _nine(lengths=[1, 2])
