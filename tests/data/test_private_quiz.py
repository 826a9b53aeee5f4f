from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import ValidationError

from c2c_search.data.invented import KINDS
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
    seed=st.integers(0, 10**6),
)


def passage(row) -> str:
    return row["sharer_messages"][0]["content"].partition("\nQuestion: ")[0]


def names(row) -> set[str]:
    """Every invented name of a row: the words that no template has."""
    words = set(re.findall(r"\b[A-Z][a-z]+\b", f"{passage(row)} {' '.join(row['choices'])}"))
    known = re.findall(
        r"\b[A-Z][a-z]+\b", " ".join(s for k in KINDS.values() for a in k for s in a.statements)
    )
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
