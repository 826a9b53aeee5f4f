"""Which option a free text chooses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_search.evaluation.grading.choices import choice
from c2c_search.evaluation.grading.choices import read_choice
from c2c_search.evaluation.items import Item


CITIES = ("Paris", "Lyon", "Nice", "A dog")


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        # A letter, however it is written.
        ("B", 1),
        ("b", 1),
        ("B.", 1),
        ("B) Lyon", 1),
        ("(B)", 1),
        ("**B**", 1),
        ("**B. Lyon**", 1),
        ("\u201cB\u201d", 1),
        ("Option B", 1),
        ("B\n\nQuestion: which of (A) and (C)?", 1),
        # Said outright.
        ("Answer: B", 1),
        ("Answer:\nB", 1),
        ("Answer: b", 1),
        ("The answer is **B**.", 1),
        ("The correct option is (B) Lyon.", 1),
        ("The best answer would be option B", 1),
        ("So \\boxed{B}", 1),
        ("The answer is $\\boxed{\\text{B}}$.", 1),
        ("B is correct.", 1),
        ("I'd go with B", 1),
        ("The answer is A because it is the capital.", 0),
        # In Chinese, full-width too.
        ("答案是B", 1),
        ("答案\uff1a\uff22", 1),
        ("故选B\u3002", 1),
        # An option's text.
        ("Lyon", 1),
        ("lyon.", 1),
        ("It must be Lyon, clearly.", 1),
        ("The answer is Lyon.", 1),
        ("Answer: A dog", 3),
        ("A dog", 3),
        # The last explicit statement wins over those before and over any mention.
        ("Answer: A. No, wait: the final answer is (B).", 1),
        ("I thought of A first, but the answer is B.", 1),
        ("Answer: B, though (C) and Nice come close.", 1),
        ("(A) is wrong, and (C) too; so (B)", 1),
        ("Paris is large.\n\nB", 1),
        # Nothing chosen.
        ("", None),
        ("I do not know.", None),
        ("The answer is not B", None),
        ("E", None),
        ("The answer is E", None),
        ("Paris or Lyon", None),
        ("A big city", None),
        ("Parisian", None),
    ],
)
def test_the_option_that_a_text_chooses(text, chosen):
    assert read_choice(CITIES, text) == chosen


def test_a_longer_option_is_not_the_shorter_one_that_begins_it():
    assert read_choice(("carbon", "carbon dioxide"), "It is carbon dioxide.") == 1
    assert read_choice(("4", "4.5"), "Answer: 4.5") == 1
    assert read_choice(("4", "40"), "Answer: 40") == 1


def test_an_option_whose_text_begins_with_a_letter_is_not_that_letter():
    assert read_choice(("a mouse", "C. elegans", "a fly"), "C. elegans") == 1


def test_options_that_are_letters_are_read_by_their_own_letter():
    # The first option says B, and is A.
    assert read_choice(("B", "C", "A"), "Answer: A") == 0


def test_yes_and_no_are_texts():
    assert read_choice(("no", "yes"), "Yes, it does.") == 1
    assert read_choice(("no", "yes"), "No") == 0
    assert read_choice(("no", "yes"), "There is nothing known.") is None


def item(answer: int) -> Item:
    return Item(id="1", group="g", cluster="1", messages=(), choices=CITIES, answer=answer)


def test_credit_is_for_the_right_option():
    right, wrong = choice(item(1), "Answer: B"), choice(item(0), "Answer: B")
    assert (right.credit, right.parsed) == (1.0, "B")
    assert (wrong.credit, wrong.parsed) == (0.0, "B")


def test_no_choice_earns_nothing():
    graded = choice(item(1), "Who knows?")
    assert (graded.credit, graded.parsed) == (0.0, None)


LETTERED = [
    "{}",
    "{}.",
    "({})",
    "Answer: {}",
    "The answer is {}.",
    "Because of this and that, the answer is ({}).",
    "\\boxed{{{}}}",
    "**{}**",
]


@given(index=st.integers(0, 9), form=st.sampled_from(LETTERED))
def test_every_letter_is_read_in_every_form(index, form):
    options = [f"number {place}" for place in range(10)]
    assert read_choice(options, form.format("ABCDEFGHIJ"[index])) == index


@given(st.text(max_size=60), st.lists(st.text(max_size=12), min_size=2, max_size=5))
def test_any_text_is_read_without_an_error(text, options):
    found = read_choice(options, text)
    assert found is None or 0 <= found < len(options)
