from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_search.space import alike
from c2c_search.space.alike import SAME
from c2c_search.space.alike import Tried


_NUMBERS = st.one_of(
    st.sampled_from([0.0, 1.0, 1.0004, 1.0006, -1.0, -1.0004, 1e-9, 2.5]),
    st.floats(-1e3, 1e3, allow_nan=False),
)
_SETTINGS = st.dictionaries(
    st.sampled_from("abcd"), st.one_of(_NUMBERS, st.integers(0, 2), st.sampled_from(["x", None]))
)


def _pairwise(params: dict[str, Any], other: dict[str, Any]) -> bool:
    return params.keys() == other.keys() and all(
        math.isclose(value, other[name], rel_tol=SAME)
        if isinstance(value, float) and isinstance(other[name], float)
        else (type(value), value) == (type(other[name]), other[name])
        for name, value in params.items()
    )


@given(st.lists(_SETTINGS), _SETTINGS)
def test_it_says_what_comparing_each_with_each_would(
    settings: list[dict[str, Any]], params: dict[str, Any]
) -> None:
    assert (params in Tried(settings)) == any(_pairwise(params, each) for each in settings)


def test_few_are_compared_however_many_were_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def same(row: tuple[float, ...], other: tuple[float, ...]) -> bool:
        compared.append(1)
        return original(row, other)

    original = alike._same
    monkeypatch.setattr(alike, "_same", same)
    counts = []
    for number in (100, 2000):
        tried = Tried({"rate": 1.0 + index, "depth": 1} for index in range(number))
        compared.clear()
        assert {"rate": 50.0, "depth": 1} in tried
        assert {"rate": 50.5, "depth": 1} not in tried
        assert {"rate": 50.0, "depth": 2} not in tried
        counts.append(len(compared))
    assert counts[0] == counts[1] <= 2
