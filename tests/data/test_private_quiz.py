from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import ValidationError

from c2c_search.data.invented import BEFORE
from c2c_search.data.invented import BEHIND
from c2c_search.data.invented import KINDS
from c2c_search.data.invented import STATEMENTS
from c2c_search.data.private_quiz import private_rows
from c2c_search.data.schema import SPLITS
from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import Passages
from c2c_search.data.schema import PrivateQuiz
from c2c_search.data.splits import load_splits


FEW = Passages(train=60, validation=20, test=20)

configs = st.builds(
    PrivateQuiz,
    passages=st.just(Passages(train=12, validation=4, test=4)),
    sentences=st.integers(4, 20),
    hops=st.sampled_from((1, 2)),
    wrong_choices=st.sampled_from(("same_passage", "other_passages")),
    wordings=st.integers(1, 8),
    bystanders=st.integers(0, 2),
    asides=st.booleans(),
    seed=st.integers(0, 10**6),
)
# Of the rows of all splits, as they were before there were further wordings.
ROWS = {
    PrivateQuiz(): "cd6d31c59abe06771e837800da9a8d70e9c110891d6a88edf5226206dd7a5fb7",
    PrivateQuiz(hops=2, sentences=12, seed=3, wrong_choices="other_passages"): (
        "99acaeb591d260b695196d8b66bd5839ff0a24a6a78880f5827c9c221daf5f65"
    ),
}


def passage(row) -> str:
    return row["sharer_messages"][0]["content"].partition("\nQuestion: ")[0]


def names(row) -> set[str]:
    """Every invented name of a row: the words that no template has."""
    words = set(re.findall(r"\b[A-Z][a-z]+\b", f"{passage(row)} {' '.join(row['choices'])}"))
    said = [s for k in KINDS.values() for a in k for s in a.statements]
    known = re.findall(r"\b[A-Z][a-z]+\b", " ".join([*said, *STATEMENTS, *BEFORE]))
    return words - set(known)


@settings(max_examples=30)
@given(configs)
def test_every_answer_can_be_read_in_the_passage_and_nowhere_else(config: PrivateQuiz) -> None:
    for row in private_rows(config, "train"):
        assert len(set(row["choices"])) == 4
        assert row["response"] == row["choices"][row["answer"]]
        assert row["response"] in passage(row)
        asked = row["messages"][0]["content"]
        assert not any(choice in asked for choice in row["choices"])
        inside = [choice in passage(row) for choice in row["choices"]]
        assert sum(inside) == (4 if config.wrong_choices == "same_passage" else 1)
        assert row["sharer_messages"][0]["content"].endswith(f"\nQuestion: {asked}")
        assert len(re.findall(r"\.(?: |$)", passage(row))) == config.sentences


@settings(max_examples=20)
@given(configs)
def test_no_name_is_in_two_splits_or_two_passages(config: PrivateQuiz) -> None:
    by_split = {split: [names(row) for row in private_rows(config, split)] for split in SPLITS}
    for found in by_split.values():
        assert not any(one & other for one, other in combinations(found, 2))
    everything = {split: set().union(*found) for split, found in by_split.items()}
    assert not any(one & other for one, other in combinations(everything.values(), 2))


def test_two_hops_name_neither_the_middle_nor_its_kind() -> None:
    for row in private_rows(PrivateQuiz(passages=FEW, hops=2), "test"):
        told = [s for s in re.split(r"(?<=\.) ", passage(row)) if row["response"] in s]
        subject = row["cluster"].split()[-1]
        assert subject in row["messages"][0]["content"]
        assert all(subject not in sentence for sentence in told)


@pytest.mark.parametrize("config", ROWS, ids=["default", "other"])
def test_what_is_not_asked_for_changes_no_row_and_no_hash(config: PrivateQuiz) -> None:
    rows = json.dumps([private_rows(config, split) for split in SPLITS])
    assert hashlib.sha256(rows.encode()).hexdigest() == ROWS[config]
    assert not {"wordings", "kinds", "bystanders", "asides"} & config.model_dump().keys()
    asked = PrivateQuiz(wordings=4, bystanders=1, asides=True)
    assert PrivateQuiz.model_validate(asked.model_dump()) == asked


def test_more_wordings_say_and_ask_it_in_more_ways() -> None:
    def ways(**changes) -> tuple[int, int]:
        rows = private_rows(PrivateQuiz(passages=Passages(train=600), **changes), "train")
        plain = [re.sub(r"[A-Z][a-z]{3,}", "X", passage(row)) for row in rows]
        asked = [re.sub(r"[A-Z][a-z]{3,}", "X", row["messages"][0]["content"]) for row in rows]
        return len({s for text in plain for s in re.split(r"(?<=\.) ", text)}), len({*asked})

    (said, asked), (more_said, more_asked) = ways(), ways(wordings=8)
    assert more_said > 2 * said
    assert more_asked > 2 * asked


def test_one_wording_says_and_asks_each_thing_in_one_way() -> None:
    rows = private_rows(PrivateQuiz(passages=FEW, wordings=1, kinds=("country",)), "train")
    first = KINDS["country"]
    said = {a.statements[0].partition("{")[0] for a in first}
    for row in rows:
        assert row["messages"][0]["content"] in {
            a.questions[0].format(x=row["cluster"].split()[-1]) for a in first
        }
        for sentence in re.split(r"(?<=\.) ", passage(row)):
            assert any(sentence.startswith(start) for start in said)


def test_passages_are_about_the_kinds_that_are_named() -> None:
    quiz = PrivateQuiz(passages=FEW, kinds=("town", "event"))
    assert {row["group"] for row in private_rows(quiz, "train")} == {
        "one-hop/town",
        "one-hop/event",
    }
    assert PrivateQuiz.model_validate(quiz.model_dump()) == quiz
    everything = PrivateQuiz(kinds=("town", "event", "person", "country", "company"))
    assert everything.model_dump() == PrivateQuiz().model_dump()
    with pytest.raises(ValidationError, match="each kind once"):
        PrivateQuiz(kinds=("town", "town"))


def test_bystanders_have_what_is_asked_too() -> None:
    rows = private_rows(PrivateQuiz(passages=FEW, sentences=6, bystanders=4), "train")
    for row in rows:
        subject = row["cluster"].split()[-1]
        assert passage(row).count(subject) == 2
    with pytest.raises(ValidationError, match="at most 3 of 5 sentences, not 4"):
        PrivateQuiz(hops=2, bystanders=4)


def test_asides_leave_what_is_said() -> None:
    rows = private_rows(PrivateQuiz(passages=FEW, asides=True), "train")
    found = [text for text in (*BEFORE, *BEHIND) for row in rows if text in passage(row)]
    assert set(found) == {*BEFORE, *BEHIND}
    assert not any(re.search(r", (The|Most|People|In|On) ", passage(row)) for row in rows)


def test_more_passages_only_add_to_the_end() -> None:
    more = private_rows(PrivateQuiz(passages=Passages(train=70)), "train")
    assert private_rows(PrivateQuiz(passages=FEW), "train") == more[:60]


def test_the_right_option_stands_anywhere() -> None:
    rows = private_rows(PrivateQuiz(), "train")
    counts = Counter(row["answer"] for row in rows)
    assert len(rows) == 1200
    assert min(counts.values()) > 250


def test_another_seed_invents_another_world() -> None:
    one, other = (private_rows(PrivateQuiz(passages=FEW, seed=seed), "test") for seed in (0, 1))
    assert not {row["response"] for row in one} & {row["response"] for row in other}


def test_splits_are_the_same_every_time() -> None:
    config = DataConfig(source="private_quiz", private_quiz=PrivateQuiz(passages=FEW))
    splits = load_splits(config)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (60, 20, 20)
    assert not splits.contamination.found
    assert splits.hashes == load_splits(config).hashes
    assert splits.provenance == {"private_quiz": "1"}


def test_its_settings_belong_to_it() -> None:
    with pytest.raises(ValidationError, match="private_quiz belongs to source private_quiz"):
        DataConfig(private_quiz=PrivateQuiz(hops=2))


def test_every_kind_has_enough_to_say() -> None:
    for attributes in KINDS.values():
        assert len(attributes) >= 5
        for each in attributes:
            assert all("{x}" in text for text in (each.phrase, *each.statements, *each.questions))
            assert all("{v}" in text for text in each.statements)
            assert each.leads_to is None or each.leads_to in KINDS
