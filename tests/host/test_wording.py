from __future__ import annotations

import pytest

from c2c_search.host.wording import counted
from c2c_search.host.wording import in_words


def test_one_is_no_plural() -> None:
    assert counted(1, "finalist") == "1 finalist"
    assert [counted(number, "trial") for number in (0, 2, 1200)] == [
        "0 trials",
        "2 trials",
        "1,200 trials",
    ]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0"),
        (950, "950"),
        (4_096, "4,096"),
        (12_480, "12.48 thousand"),
        (10_930_000, "10.93 million"),
        (1_500_000_000, "1.5 billion"),
    ],
)
def test_no_number_is_rounded_away(number: int, words: str) -> None:
    assert in_words(number) == words
