"""JSONL rows of three kinds become canonical rows; the others are named by file and line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from c2c_search.data.schema import Row
from c2c_search.data.schema import SplitFiles
from c2c_search.data.sources import file_provenance
from c2c_search.data.sources import read_files
from c2c_search.errors import DataError


SHARED = Path(__file__).parents[3] / "shared" / "data"
CHOICE = {"question": "Which?", "choices": ["one", "two", "three"], "answer": 1}


def write(path: Path, *rows: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def read(path: str) -> list[Row]:
    return read_files({"train": [path]})["train"]


def test_a_file_may_mix_the_kinds(tmp_path: Path) -> None:
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
    ]
    path = write(
        tmp_path / "mixed.jsonl",
        {"id": 7, "messages": chat, "category": "greeting"},
        "",
        CHOICE | {"id": "q", "group": "pick", "cluster": "fact"},
        {"prompt": "1 + 1?", "answer": "2", "sharer_context": "Sums: 1 + 1 = 2."},
    )
    assert read(path) == [
        Row(
            id="7",
            group="greeting",
            cluster="7",
            messages=chat[:2],
            sharer_messages=[],
            response="Hello",
            choices=[],
            answer=-1,
        ),
        Row(
            id="q",
            group="pick",
            cluster="fact",
            messages=[{"role": "user", "content": "Which?"}],
            sharer_messages=[],
            response="two",
            choices=["one", "two", "three"],
            answer=1,
        ),
        Row(
            id="mixed/mixed:4",
            group="mixed",
            cluster="mixed/mixed:4",
            messages=[{"role": "user", "content": "1 + 1?"}],
            sharer_messages=[{"role": "user", "content": "Sums: 1 + 1 = 2."}],
            response="2",
            choices=[],
            answer=-1,
        ),
    ]


@pytest.mark.parametrize(
    ("answer", "index"), [(0, 0), (2, 2), ("two", 1), ("A", 0), ("c", 2), (" B ", 1)]
)
def test_an_answer_is_an_index_a_letter_or_the_text(
    tmp_path: Path, answer: Any, index: int
) -> None:
    (row,) = read(write(tmp_path / "a.jsonl", CHOICE | {"answer": answer}))
    assert row["answer"] == index
    assert row["response"] == row["choices"][index]


def test_the_text_of_a_choice_comes_before_its_letter(tmp_path: Path) -> None:
    row = {"question": "Which letter is first?", "choices": ["B", "A"], "answer": "A"}
    assert read(write(tmp_path / "a.jsonl", row))[0]["answer"] == 1


def test_equal_wrong_choices_are_let_through(tmp_path: Path) -> None:
    row = CHOICE | {"choices": ["sky", "leaves", "sky"]}
    assert read(write(tmp_path / "a.jsonl", row))[0]["response"] == "leaves"


def test_a_file_named_after_its_split_lends_its_folder_s_name(tmp_path: Path) -> None:
    (row,) = read(write(tmp_path / "arc" / "dev.jsonl", CHOICE))
    assert row["group"] == "arc"
    assert row["id"] == "arc/dev:1"


def test_rows_about_one_document_are_one_cluster(tmp_path: Path) -> None:
    asked = [
        CHOICE | {"question": text, "sharer_context": f"{document}\nQuestion: {text}"}
        for document, text in (("It is two.", "Which?"), ("It is two.", "Who?"), ("No.", "Who?"))
    ]
    bare = [CHOICE | {"question": text, "sharer_context": "It is two."} for text in ("A?", "B?")]
    rows = read(write(tmp_path / "a.jsonl", *asked, *bare, CHOICE | {"cluster": "own"}))
    first, second, other, *rest = (row["cluster"] for row in rows)
    assert first == second == rows[0]["id"]
    assert other == rows[2]["id"]
    assert rest == [first, first, "own"]


def test_rows_that_ask_the_same_are_one_cluster(tmp_path: Path) -> None:
    rows = read(write(tmp_path / "a.jsonl", CHOICE, CHOICE | {"answer": 0}))
    assert rows[0]["cluster"] == rows[1]["cluster"] == rows[0]["id"]


def test_byte_order_mark_and_line_separators(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    row = {"prompt": "one\u2028line", "answer": "yes"}
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(row, ensure_ascii=False).encode() + b"\r\n")
    assert read(str(path))[0]["messages"][0]["content"] == "one\u2028line"


USER, ASSISTANT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ("{not json", "one JSON object in UTF-8"),
        ('{"prompt": "\\ud800", "answer": "x"}', "one JSON object in UTF-8"),
        ("[1, 2]", "one JSON object. Got [1, 2]"),
        ({"text": "plain"}, "A row must have messages"),
        ({"messages": [USER]}, "at least two turns"),
        (CHOICE | {"sharer_context": " "}, "sharer_context must be a non-empty string"),
        ({"messages": "Hi"}, "at least two turns"),
        ({"messages": [USER, "Hello"]}, "A turn must have a role"),
        ({"messages": [USER, {"role": "tool", "content": "x"}]}, "one of system, user, assistant"),
        ({"messages": [USER, ASSISTANT | {"content": " "}]}, "content must be a non-empty string"),
        ({"messages": [ASSISTANT, USER]}, "must end with a user's turn and the answer to it"),
        ({"question": "Which?", "answer": 0}, "choices must be at least two"),
        (CHOICE | {"question": ""}, "question must be a non-empty string"),
        (CHOICE | {"choices": ["one"]}, "choices must be at least two"),
        (CHOICE | {"choices": ["one", 2]}, "choices must be at least two"),
        (CHOICE | {"choices": ["two", "two", "one"]}, "The right choice must be there once"),
        (CHOICE | {"answer": 3}, "answer must be an index from 0"),
        (CHOICE | {"answer": -1}, "answer must be an index from 0"),
        (CHOICE | {"answer": "D"}, "answer must be an index from 0"),
        (CHOICE | {"answer": "four"}, "answer must be an index from 0"),
        (CHOICE | {"answer": True}, "answer must be an index from 0"),
        (CHOICE | {"answer": None}, "There are 3 choices."),
        (CHOICE | {"id": ""}, "id must be a non-empty string or a whole number"),
        (CHOICE | {"group": ["a"]}, "group must be a non-empty string or a whole number"),
        ({"prompt": "Why?"}, "answer must be a non-empty string"),
        ({"prompt": "Why?", "answer": 4}, "answer must be a non-empty string"),
        ({"prompt": None, "answer": "x"}, "prompt must be a non-empty string"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path: Path, row: Any, rule: str) -> None:
    path = write(tmp_path / "a.jsonl", CHOICE, row)
    with pytest.raises(DataError, match=re.escape(rule)) as error:
        read(path)
    assert f"{path}:2: " in str(error.value)


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"prompt": "caf\xe9", "answer": "x"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:1: .*UTF-8"):
        read(str(path))


def test_all_bad_rows_of_all_files_come_together(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", CHOICE, {"prompt": ""}, {})
    two = write(tmp_path / "two.jsonl", *[{}] * 30)
    with pytest.raises(DataError, match="32 rows do not fit") as error:
        read_files({"train": [one], "test": [two]})
    lines = str(error.value).splitlines()
    assert len(lines) == 22
    assert lines[1].startswith(f"  {one}:2: ")
    assert lines[-1] == "  ... and 12 more"


def test_an_id_given_twice_is_named_with_both_places(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", CHOICE | {"id": "a"})
    two = write(tmp_path / "two.jsonl", CHOICE | {"id": "a"})
    with pytest.raises(DataError, match=r"two\.jsonl:1: .*one\.jsonl:1 has it too"):
        read_files({"train": [one, two]})


def test_missing_files_are_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must exist.*nowhere.jsonl.*Relative paths start at"):
        read(str(tmp_path / "nowhere.jsonl"))


def test_provenance_is_the_files_sums(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", CHOICE)
    assert len(file_provenance(SplitFiles(train=(path,)))[path]) == 64


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")
def test_published_sets_are_read_whole() -> None:
    for path in sorted(SHARED.glob("*/*.jsonl")):
        # The larger ones add nothing but seconds.
        if path.stat().st_size < 1_000_000:
            with path.open(encoding="utf-8") as lines:
                count = sum(1 for _ in lines)
            rows = read(str(path))
            assert len(rows) == count
            assert {row["group"] for row in rows}


def test_a_row_may_bring_a_draft(tmp_path: Path) -> None:
    own, given = read(write(tmp_path / "a.jsonl", CHOICE, CHOICE | {"id": "q", "draft": "Two."}))
    assert "draft" not in own
    assert given["draft"] == "Two."
    of_others = {"question": "Which?", "options": ["one", "two"], "answer": "B", "draft": "Two."}
    assert read(write(tmp_path / "b.jsonl", of_others))[0]["draft"] == "Two."


@pytest.mark.parametrize("draft", ["", "  ", 7, ["two"]], ids=repr)
def test_a_draft_that_says_nothing_is_refused(draft: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="draft must be a non-empty string"):
        read(write(tmp_path / "a.jsonl", CHOICE | {"draft": draft}))


@pytest.mark.parametrize(
    ("row", "hint"),
    [
        ({"qestion": "Which?", "choices": ["a", "b"], "answer": 0}, "Is `qestion` meant to be `q"),
        ({"question": "Which?", "choice": ["a", "b"], "answer": 0}, "Is `choice` meant to be `c"),
        ({"question": "Which?", "choices": ["a", "b"], "anwser": 0}, "Is `anwser` meant to be `a"),
        ({"promt": "Which?", "answer": "a"}, "Is `promt` meant to be `prompt`?"),
    ],
)
def test_a_misspelt_key_is_named(tmp_path: Path, row: Any, hint: str) -> None:
    path = write(tmp_path / "a.jsonl", row)
    with pytest.raises(DataError, match=re.escape(hint)):
        read_files({"train": (str(path),)})


def test_a_line_that_is_no_json_is_shown_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes("{'q': 'Zoë'}\n".encode() + b"\xff\n")
    with pytest.raises(DataError) as error:
        read_files({"train": (str(path),)})
    assert "in UTF-8. Got \"{'q': 'Zoë'}\"." in str(error.value)
    assert "Got '\\\\xff'." in str(error.value)
