"""Whatever stands in a data file is read, or is a `DataError`: never another error, never slow.

The seed is fixed; `C2C_SEARCH_FUZZ=20000` has more rows tried.
"""

from __future__ import annotations

import json
import os
import tempfile
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.data.schema import SPLITS
from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import Row
from c2c_search.data.schema import features
from c2c_search.data.sources import read_files
from c2c_search.data.splits import load_splits
from c2c_search.data.words import question_key
from c2c_search.errors import DataError


TRIED = int(os.environ.get("C2C_SEARCH_FUZZ", "400"))
fuzzed = settings(
    derandomize=True,
    max_examples=TRIED,
    deadline=10_000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
SAID = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
OPTIONS = {"text": ["one", "two"], "label": ["A", "B"]}
SHAPES: list[dict[str, Any]] = [
    {"messages": TURNS},
    {"question": "Which?", "choices": ["one", "two"], "answer": 1, "cluster": "c"},
    {"prompt": "1 + 1?", "answer": "2", "sharer_context": "Sums."},
    {"conversations": SAID, "system": "Be brief."},
    {"instruction": "Add.", "input": "1 + 1", "output": "2", "history": [["Hi", "Hello"]]},
    {"question": "Which?", "choices": OPTIONS, "answerKey": "B"},
    {"question_stem": "Which?", "choices": OPTIONS, "answerKey": "B"},
    {
        "question": {"stem": "Which?", "choices": [{"text": "one", "label": "A"}] * 2},
        "answerKey": "A",
    },
    {"question": "Which?", "A": "one", "B": "two", "answer": "B", "id": 3},
    {"question": "Which?", "options": ["one", "two"], "answer": "B", "answer_index": 1},
    {"question": "Which?", "options": {"A": "one", "B": "two"}, "answer_idx": "B", "group": "g"},
    {"question": "Which?", "choices": ["one", "two"], "answer": 1, "error_type": "ok"},
    {"prompt": "1 + 1?", "completion": "2"},
]
KEYS = sorted({key for shape in SHAPES for key in shape} | {"role", "content", "from", "value"})

odd_texts = st.sampled_from(
    ["", " ", "ß", "\x00", "\x1b[2J", "\u2028", "\ud800", "\U0001f600", "é" * 70, "A", "0", "None"]
)
odd_numbers = st.sampled_from(
    [-1, 2**31, 2**63, 10**4000, -(10**400), 0.5, 1e308, float("nan"), float("inf"), True, False]
)
scalars = st.none() | odd_texts | odd_numbers | st.text(max_size=8) | st.integers(-2, 5)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    below = [(*at, key) for key, _ in inner] if isinstance(value, dict | list) else []
    return [*below, *(each for place in below for each in _places_in(value, place, len(at)))]


def _places_in(value: Any, place: tuple[Any, ...], depth: int) -> list[tuple[Any, ...]]:
    inner = value[place[depth]]
    return _places(inner, place) if isinstance(inner, dict | list) else []


@st.composite
def rows(draw: st.DrawFn) -> Any:
    """A row of a known shape with up to three values, keys or elements put wrong."""
    row = json.loads(json.dumps(draw(st.sampled_from(SHAPES))))
    for _ in range(draw(st.integers(0, 3))):
        places = _places(row)
        if not places:
            break
        *path, last = draw(st.sampled_from(places))
        holder = row
        for part in path:
            holder = holder[part]
        how = draw(st.sampled_from(["other", "gone", "key", "nested", "more", "more"]))
        if how == "other":
            holder[last] = draw(values)
        elif how == "gone":
            del holder[last]
        elif how == "nested":
            holder[last] = [holder[last]]
        elif isinstance(holder, dict) and how == "more":
            holder.setdefault(draw(st.sampled_from(KEYS)), draw(values))
        elif isinstance(holder, dict):
            holder[draw(st.sampled_from(KEYS))] = holder.pop(last)
    return row


lines = (
    rows().map(lambda row: json.dumps(row).encode())
    | rows().map(lambda row: json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    | values.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=40)
)


def read(content: bytes) -> list[Row] | DataError:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(content)
        try:
            return read_files({"train": [str(path)]})["train"]
        except DataError as error:
            return error


@fuzzed
@given(st.lists(lines, min_size=1, max_size=4))
def test_any_lines_are_rows_or_a_data_error(written: list[bytes]) -> None:
    found = read(b"\n".join(written))
    if isinstance(found, DataError):
        assert len(str(found)) < 20_000
        return
    for row in found:
        assert set(row) | {"draft"} == set(features())  # which only a row that has one has
        assert all(isinstance(row[key], str) and row[key] for key in ("id", "group", "cluster"))
        assert row["response"].strip()
        turns = (*row["messages"], *row["sharer_messages"])
        assert all(turn["content"].strip() for turn in turns)
        if row["choices"]:
            assert row["choices"][row["answer"]] == row["response"]
        else:
            assert row["answer"] == -1


questions = st.builds(
    lambda start, cluster, mark: {
        "question": start + mark,
        "choices": ["one", "two"],
        "answer": 0,
        **({"cluster": cluster} if cluster else {}),
    },
    st.sampled_from(["Why", "WHY", "How", "Who", "\ufdfa", "ß", "?", "..."]),
    st.sampled_from(["", "", "c", "d", "e"]),
    st.sampled_from(["", "?", " !", "\x00"]),
)


def asked(row: Row) -> str:
    text = row["messages"][0]["content"]
    return question_key(text) or text


@settings(fuzzed, max_examples=max(1, TRIED // 4))
@given(
    *[st.lists(questions, min_size=1, max_size=8)] * 3,
    st.sampled_from(["exclude", "report", "refuse"]),
)
def test_splits_share_nothing_unless_that_is_asked_for(
    train: list[Any], validation: list[Any], test: list[Any], rule: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for split, part in zip(SPLITS, (train, validation, test), strict=True):
            path = Path(folder) / f"{split}_rows.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
            paths[split] = str(path)
        config = {"source": "jsonl", "files": paths, "contamination": rule}
        try:
            splits = load_splits(DataConfig.model_validate(config))
        except DataError:
            assert rule != "report"
            return
    found = splits.contamination, splits.selection
    assert len(splits.test) == len(test)
    if rule == "report":
        assert (len(splits.train), len(splits.validation)) == (len(train), len(validation))
        return
    assert rule == "exclude" or not any(each.found for each in found)
    for one, other in combinations((splits.train, splits.validation, splits.test), 2):
        assert not {*one["cluster"]} & {*other["cluster"]}
        assert not set(map(asked, one)) & set(map(asked, other))


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"messages": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"question": "Which?", "choices": ["one", "two"], "answer": ' + b"9" * 5000 + b"}",
        b'{"prompt": "x", "answer": "' + b"y" * 1_000_000,
        b"\xff\xfe{\x00}\x00",
        b"\x00" * 1000,
    ],
    ids=["lists", "objects", "turns", "digits", "unfinished", "utf-16", "zeros"],
)
def test_what_is_deep_long_or_no_text_is_a_data_error(content: bytes) -> None:
    assert isinstance(read(b"\n" + content), DataError)
