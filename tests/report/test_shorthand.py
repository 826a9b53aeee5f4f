from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from c2c_search.report.shorthand import Shorthand
from c2c_search.report.shorthand import differing


def test_words_come_first_and_numbers_after_their_letters() -> None:
    values = {
        "projector": ["linear", "mlp"],
        "learning rate": [],
        "keys": ["rotated", "unrotated"],
        "rank": [None, 32],
        "bias": [True, False],
    }
    short = Shorthand(values)
    settings = {
        "projector": "linear",
        "learning rate": 0.00123,
        "keys": "unrotated",
        "rank": 32,
        "bias": True,
    }
    assert short.line(settings) == "linear/unrot lr1.2e-3 r32 b=yes"
    assert short.line({"rank": None, "learning rate": 0.5}) == "r=none lr0.5"
    assert short.legend([settings]) == "projector/keys, lr learning rate, r rank, b bias"


def test_only_what_differs_is_shown() -> None:
    settings = [{"depth": 1, "rank": 2, "gate": "head"}, {"depth": 1, "rank": 3}]
    assert differing(settings) == [{"rank": 2, "gate": "head"}, {"rank": 3}]
    assert differing([]) == []
    assert differing([{"depth": 1}]) == [{}]


WORDS = st.text(alphabet="abc_ ", min_size=1, max_size=12).map(str.strip).filter(bool)


@given(st.lists(WORDS, unique=True, max_size=8), st.integers(2, 5))
def test_no_two_words_or_names_are_cut_to_the_same(words: list[str], letters: int) -> None:
    short = Shorthand({"kind": words, **{f"{word} of it": [] for word in words}}, letters=letters)
    assert len({short.line({"kind": word}) for word in words}) == len(words)
    assert len({short.line({f"{word} of it": 1}) for word in words}) == len(words)
