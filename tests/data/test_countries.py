"""Which countries the quiz knows, what it calls them, and which split each is in."""

from __future__ import annotations

from collections import Counter

import pytest

from c2c_search.data.countries import TEST_COUNTRIES
from c2c_search.data.countries import VALIDATION_COUNTRIES
from c2c_search.data.countries import countries
from c2c_search.data.countries import country_splits
from c2c_search.data.countries import name_words
from c2c_search.data.countries import short_name


@pytest.mark.parametrize(
    ("official", "short"),
    [
        ("Hong Kong SAR China", "Hong Kong"),
        ("Myanmar (Burma)", "Myanmar"),
        ("Cocos (Keeling) Islands", "Cocos Islands"),
        ("Congo - Kinshasa", "Congo-Kinshasa"),
        ("St. Kitts & Nevis", "Saint Kitts and Nevis"),
        ("France", "France"),
    ],
)
def test_short_names(official: str, short: str) -> None:
    assert short_name(official) == short


def test_names_are_distinct_and_plain() -> None:
    names = [country.name for country in countries().values()]
    assert len(set(names)) == len(names) >= 245
    assert not [name for name in names if any(mark in name for mark in "()&\u2019")]
    assert {"Turkey", "Ivory Coast"} <= set(names)


def test_every_country_has_one_split() -> None:
    assert country_splits().keys() == countries().keys()
    sizes = Counter(country_splits().values())
    assert sizes["test"] == TEST_COUNTRIES
    assert sizes["validation"] == VALIDATION_COUNTRIES
    assert sizes["train"] >= 160


def test_no_one_is_tested_on_uninhabited_islands() -> None:
    held_out = [code for code, split in country_splits().items() if split != "train"]
    assert min(countries()[code].population for code in held_out) >= 100_000


def test_no_word_of_a_name_crosses_splits() -> None:
    seen: dict[str, str] = {}
    for code, split in country_splits().items():
        for word in name_words(countries()[code].name):
            assert seen.setdefault(word, split) == split, word


@pytest.mark.parametrize("kin", [("KP", "KR"), ("NE", "NG"), ("CN", "HK", "MO"), ("GN", "PG")])
def test_kin_stay_together(kin: tuple[str, ...]) -> None:
    assert len({country_splits()[code] for code in kin}) == 1
