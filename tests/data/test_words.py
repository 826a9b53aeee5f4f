"""Two texts say the same whatever their case, punctuation, spaces and script."""

from __future__ import annotations

import pytest

from c2c_search.data.schema import Row
from c2c_search.data.words import asked_key
from c2c_search.data.words import question_key
from c2c_search.data.words import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Don't stop -- well-known, isn\u2019t it?",
            ["dont", "stop", "well", "known", "isnt", "it"],
        ),
        ("x_1 = 2.5 (about)", ["x", "1", "2", "5", "about"]),
        ("\uff26\uff55\uff4c\uff4c \uff11\uff12", ["full", "12"]),
        ("STRA\u00dfe Cafe\u0301", ["strasse", "caf\u00e9"]),
        # Vowel signs belong to the word where there are spaces.
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("대한민국 서울", ["대한민국", "서울"]),
        ("中国的首都?", ["中", "国", "的", "首", "都"]),
        ("トーキョー", ["ト", "ー", "キ", "ョ", "ー"]),
        ("ในกรุงเทพ", ["ใ", "น", "ก", "ร", "ง", "เ", "ท", "พ"]),  # กรุง has a vowel mark
        ("in 北京 today", ["in", "北", "京", "today"]),
        ("soft\u00adhyphen", ["softhyphen"]),
        ("?!...", []),
    ],
)
def test_words_of_a_text(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is  DNA?", "what is dna"),
        ("Who wrote 'Emma'?", "Who wrote \u201cEmma\u201d"),
        ("ABC\nDEF", "abc def."),
        ("What is 3 + 4?", "what is 3+4"),
    ],
)
def test_a_question_is_the_same_in_another_dress(one: str, other: str) -> None:
    assert question_key(one) == question_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("3 + 4", "3 - 4"), ("3 * 4", "3 / 4"), ("x > y", "x < y"), ("1.5", "15"), ("ปา", "ป่า")],
)
def test_a_sign_or_a_tone_makes_another_question(one: str, other: str) -> None:
    assert question_key(one) != question_key(other)


def test_a_rows_question_is_its_whole_prompt() -> None:
    def asks(*turns: str) -> str:
        roles = ("user", "assistant", "user")
        messages = [
            {"role": role, "content": turn} for role, turn in zip(roles, turns, strict=False)
        ]
        return asked_key(
            Row(
                id="1",
                group="",
                cluster="",
                messages=messages,
                sharer_messages=[],
                response="",
                choices=[],
                answer=-1,
            )
        )

    assert asks("Who?", "Me.", "Why?") == asks("who", "me", "why")
    assert asks("Who?", "Me.", "Why?") != asks("Who?", "You.", "Why?")
