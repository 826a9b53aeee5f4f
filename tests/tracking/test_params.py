from __future__ import annotations

from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.tracking.params import MAX_VALUE
from c2c_search.tracking.params import flatten


NAMES = st.text("abc_", min_size=1, max_size=5)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text("a é", max_size=3)
    | st.lists(st.integers())
)


def test_nested_values_get_dotted_names_and_text() -> None:
    values = {"fuser": {"depth": 3, "gate": {"rule": "soft"}}, "rate": 1e-4, "rungs": (0.5, 1.0)}
    assert flatten(values) == {
        "fuser.depth": "3",
        "fuser.gate.rule": "soft",
        "rate": "0.0001",
        "rungs": "[0.5, 1.0]",
    }


def test_none_and_booleans_are_written_as_in_yaml() -> None:
    assert flatten({"a": None, "b": True, "c": False}) == {"a": "none", "b": "true", "c": "false"}


def test_a_long_value_is_split_and_loses_nothing() -> None:
    text = "".join(chr(97 + i % 26) for i in range(2 * MAX_VALUE + 1))
    flat = flatten({"groups": text})
    assert list(flat) == ["groups", "groups.part2", "groups.part3"]
    assert "".join(flat.values()) == text


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner, max_size=3)))
def test_every_leaf_has_one_short_value(value: object) -> None:
    def leaves(value: object) -> int:
        return sum(map(leaves, value.values())) if isinstance(value, dict) else 1

    flat = flatten({"root": value})
    assert len(flat) == leaves({"root": value})
    assert all(isinstance(text, str) and len(text) <= MAX_VALUE for text in flat.values())


def test_names_made_of_data_are_fit_for_mlflow() -> None:
    flat = flatten({"pairs": {"Q&A/../x": {"receiver": "path:a"}, "q": {"receiver": "path:b"}}})
    assert flat == {
        "pairs.Q-A.x-8f8d8a0ebc.receiver": "path:a",
        "pairs.q.receiver": "path:b",
    }
