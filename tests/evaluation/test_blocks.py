"""Items in blocks of whole clusters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from c2c_search.evaluation.blocks import MOST_BLOCKS
from c2c_search.evaluation.blocks import by_block
from c2c_search.evaluation.blocks import credits
from c2c_search.evaluation.blocks import deal
from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult


def _item(number: int, cluster: int, right: bool = True) -> ItemResult:
    return ItemResult(
        id=f"q{number}", group="g", cluster=f"c{cluster}", answer=0, chosen=int(not right)
    )


@given(st.lists(st.integers(0, 40), min_size=1, max_size=120))
def test_every_item_is_in_one_block_with_its_cluster(clusters: list[int]) -> None:
    items = [_item(number, cluster) for number, cluster in enumerate(clusters)]
    blocks = deal(items)
    if len({*clusters}) < 2:
        assert blocks == []
        return
    assert len(blocks) == min(MOST_BLOCKS, len({*clusters}))
    assert sorted(index for block in blocks for index in block) == [*range(len(items))]
    homes = [{clusters[index] for index in block} for block in blocks]
    assert sum(map(len, homes)) == len({*clusters})


def test_blocks_are_about_as_large() -> None:
    items = [_item(number, number // 3) for number in range(300)]
    assert {len(block) for block in deal(items)} == {15}


def test_an_objective_on_each_block() -> None:
    clusters = (0, 0, 1, 1)
    right, wrong = (
        SystemResult(
            system="c2c",
            split="validation",
            items=tuple(_item(n, c, n in given) for n, c in enumerate(clusters)),
        )
        for given in ({0, 1, 2}, {3})
    )

    def gain(accuracy: float, deranged: float | None) -> float:
        return accuracy - (0.25 if deranged is None else deranged)

    assert by_block(right, wrong, gain) == (1.0, 0.0)
    assert by_block(right, None, gain) == (0.75, 0.25)


def test_the_credit_of_each_block() -> None:
    items = [_item(0, 0, True), _item(1, 0, False), _item(2, 1, True)]
    assert credits(items, deal(items)) == [0.5, 1.0]
