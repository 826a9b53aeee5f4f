from __future__ import annotations

import pytest

from c2c_search.host.wording import about
from c2c_search.host.wording import counted
from c2c_search.host.wording import in_bytes
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


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (1, "1 byte"),
        (250, "250 bytes"),
        (12_480, "12.5 kB"),
        (41_600_000, "41.6 MB"),
        (2 * 10**9, "2.0 GB"),
    ],
)
def test_no_size_is_rounded_away(size: int, words: str) -> None:
    assert in_bytes(size) == words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1 s"),
        (8.6, "9 s"),
        (54, "55 s"),
        (58, "1 min"),
        (59, "1 min"),
        (12.4 * 60, "12 min"),
        (43 * 60, "45 min"),
        (59 * 60, "1 h"),
        (200 * 60, "3 h 20 min"),
        (20.4 * 3600, "20 h"),
        (100 * 3600, "4 days"),
    ],
)
def test_about_a_time(seconds: float, text: str) -> None:
    assert about(seconds) == text
