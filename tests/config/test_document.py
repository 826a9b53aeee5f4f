from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.config.document import dump
from c2c_search.config.document import parse
from c2c_search.config.document import read
from c2c_search.config.document import spell


_TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\n\r\x85"), max_size=8
)
_TREES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**15) + 1, 10**15 - 1),
        st.floats(allow_nan=False),
        _TEXT,
        st.sampled_from(["1e-3", "yes", "0x1F", "1_000", "12:30", "=", "<<", "2020-01-01", "~"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_TEXT, inner, max_size=3)
    ),
    max_leaves=9,
)


def _problem(text: str) -> str:
    (problem,) = parse(text, "a.yaml").problems
    return str(problem)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(_TEXT, _TREES, max_size=3))
def test_what_is_dumped_is_parsed_back(content: dict[str, Any]) -> None:
    document = parse(dump(content), "a.yaml")
    assert document.problems == ()
    assert document.data == content


def test_scalars_follow_the_core_schema() -> None:
    text = "a: 1e-4\nb: no\nc: 012\nd: ~\ne: 1_000\nf: True\ng: '1'\nh: -.inf\ni: .5\nj:\nk: none"
    assert parse(text, "a.yaml").data == {
        "a": 1e-4,
        "b": "no",
        "c": 12,
        "d": None,
        "e": "1_000",
        "f": True,
        "g": "1",
        "h": float("-inf"),
        "i": 0.5,
        "j": None,
        "k": "none",
    }


def test_lines_are_remembered() -> None:
    document = parse("a: 1\nb:\n  c.d:\n    - x\n    - y: 2\n", "a.yaml")
    assert document.lines == {
        (): 1,
        ("a",): 1,
        ("b",): 2,
        ("b", "c.d"): 3,
        ("b", "c.d", 0): 4,
        ("b", "c.d", 1): 5,
        ("b", "c.d", 1, "y"): 5,
    }


def test_columns_are_remembered() -> None:
    document = parse("a: 1\nb:\n  c.d:\n    - x\n    - y: {\u00e9\u00e9: 2, z: 3}\n", "a.yaml")
    assert document.columns == {
        (): 1,
        ("a",): 1,
        ("b",): 1,
        ("b", "c.d"): 3,
        ("b", "c.d", 0): 7,
        ("b", "c.d", 1): 7,
        ("b", "c.d", 1, "y"): 7,
        ("b", "c.d", 1, "y", "\u00e9\u00e9"): 11,
        ("b", "c.d", 1, "y", "z"): 18,
    }


def test_a_missing_key_has_its_parents_line() -> None:
    document = parse("a: 1\nb:\n  c: 1\n", "a.yaml")
    assert str(document.problem(("b", "x"), "Rule.")) == "a.yaml:2:1 b.x: Rule."
    assert str(document.problem((), "Rule.")) == "a.yaml:1:1: Rule."


def test_anchors_are_resolved() -> None:
    assert parse("a: &x [1, 2]\nb: *x\n", "a.yaml").data == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: [1,\n", "a.yaml:3:1: Must be valid YAML, but"),
        ("a: b: c", "a.yaml:1:5: Must be valid YAML, but mapping values are not allowed here."),
        ("a: 1\n---\nb: 2", "a.yaml:2:1: Must be valid YAML, but"),
        ("", "a.yaml: Must be a mapping of keys to values."),
        ("\n- 1", "a.yaml:2:1: Must be a mapping of keys to values."),
        ("a: 1\nb: 2\na: 3", "a.yaml:3:1 a: This key stands here already, on line 1."),
        ("a:\n  1: x", "a.yaml:2:3 a: A key must be a word; put it in quotes. Got 1."),
        ("a:\n  [1]: x", "a.yaml:2:3 a: A key must be a word"),
        ("a: !!python/name:os.system", "a.yaml:1:4 a: YAML tags have no meaning here"),
        ("a: &a [*a]", "a.yaml:1:4 a[0]: An anchor must not contain itself."),
        ("a: \x07", "a.yaml: Must be valid YAML, but"),
        ("a: !!int five", "a.yaml:1:4 a: YAML tags have no meaning here"),
        ("a: !!float x", "a.yaml:1:4 a: YAML tags have no meaning here"),
        ("a: !!bool 3", "a.yaml:1:4 a: YAML tags have no meaning here"),
        ("a: !!set {b, c}", "a.yaml:1:4 a: YAML tags have no meaning here"),
        ('a: "\\ud800"', "a.yaml:1:4 a: Text must not hold control characters"),
        ('"\\ud800": 1', "a.yaml:1:1: Text must not hold control characters"),
        ('a: "b\\0"', "a.yaml:1:4 a: Text must not hold control characters"),
        ('a: "\\e[31m"', "a.yaml:1:4 a: Text must not hold control characters"),
        ('a: "\\UFFFFFFFF"', "a.yaml: Must be valid YAML, but"),
        (
            f"a: {'1' * 5000}",
            "a.yaml:1:4 a: A whole number must not have more than 15 digits. Got 1",
        ),
        ("a: " + "[" * 33, "a.yaml:1:35: Lists and mappings must not be deeper than 32."),
        ("a: " + "[" * 200_000, "a.yaml:1:35: Lists and mappings must not be deeper than 32."),
        (
            "a: [" + "1," * 20_001 + "]",
            "a.yaml:1:39999: A document must not hold more than 20,000 val",
        ),
    ],
)
def test_bad_yaml_is_a_problem_with_its_line(text: str, expected: str) -> None:
    assert _problem(text).startswith(expected)


def test_aliases_are_counted_as_what_they_stand_for() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise("abcdefghi")]
    assert _problem("\n".join(lines)).endswith("more than 20,000 values, aliases written out.")


def test_fifteen_digits_are_a_number() -> None:
    assert parse("a: -999999999999999\nb: 0000000000000000001", "a.yaml").data == {
        "a": -999999999999999,
        "b": 1,
    }


def test_every_duplicate_is_reported() -> None:
    assert len(parse("a: 1\na: 2\nb: {c: 1, c: 2}", "a.yaml").problems) == 2


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: caf\xe9")
    assert "does not exist" in str(read(tmp_path / "no.yaml").problems[0])
    assert "not at byte 6" in str(read(tmp_path / "latin.yaml").problems[0])
    assert "cannot be read" in str(read(tmp_path).problems[0])
    assert "cannot be read" in str(read(tmp_path / ("x" * 500)).problems[0])
    assert "cannot be read" in str(read(tmp_path / "a\0").problems[0])
    (tmp_path / "large.yaml").write_text("a: 1\n" * 60_000)
    assert "larger than 256 KiB" in str(read(tmp_path / "large.yaml").problems[0])


def test_locations_are_spelled_as_users_write_them() -> None:
    assert spell(("enqueue", 0, "fuser.depth")) == "enqueue[0].fuser.depth"
