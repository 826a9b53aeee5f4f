"""Rows as others publish them are read, or refused with the line that converts them."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from c2c_search.data.schema import Row
from c2c_search.data.sources import read_files
from c2c_search.errors import DataError


def read(path: Path) -> list[Row]:
    return read_files({"train": [str(path)]})["train"]


def read_row(tmp_path: Path, row: dict[str, Any]) -> Row:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    (read_,) = read(path)
    return read_


def turns(*spoken: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in spoken]


# --- Conversations -----------------------------------------------------------------------------

OPENHERMES = {
    "custom_instruction": None,
    "topic": None,
    "model": None,
    "id": None,
    "system_prompt": None,
    "category": "orca",
    "source": "airoboros2.2",
    "conversations": [
        {"from": "human", "value": "Name a gas.", "weight": None},
        {"from": "gpt", "value": "Argon", "weight": None},
    ],
}


def test_openhermes(tmp_path: Path) -> None:
    row = read_row(tmp_path, OPENHERMES)
    assert row["messages"] == turns(("user", "Name a gas."))
    assert (row["response"], row["group"], row["choices"]) == ("Argon", "orca", [])


def test_sharegpt_with_a_system_prompt_and_several_turns(tmp_path: Path) -> None:
    spoken = ("system", "Be brief."), ("human", "Hi"), ("gpt", "Hello"), ("human", "Bye")
    said = [{"from": role, "value": text} for role, text in (*spoken, ("gpt", "See you"))]
    row = read_row(tmp_path, {"id": "QWJhYvA_0", "conversations": said})
    asked = turns(("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"))
    assert (row["messages"], row["response"], row["id"]) == (asked, "See you", "QWJhYvA_0")
    apart = read_row(tmp_path, {"conversations": said[1:], "system": "Be brief."})
    assert apart["messages"] == asked


def test_conversations_with_role_and_content(tmp_path: Path) -> None:
    spoken = turns(("user", "Hi"), ("assistant", "Hello"))
    assert read_row(tmp_path, {"conversations": spoken})["response"] == "Hello"


ALPACA = {
    "instruction": "Identify the odd one out.",
    "input": "Twitter, Instagram, Telegram",
    "output": "Telegram",
}


def test_alpaca(tmp_path: Path) -> None:
    row = read_row(tmp_path, ALPACA)
    asked = "Identify the odd one out.\nTwitter, Instagram, Telegram"
    assert (row["messages"], row["response"]) == (turns(("user", asked)), "Telegram")
    without = read_row(tmp_path, ALPACA | {"input": ""})
    assert without["messages"] == turns(("user", "Identify the odd one out."))


def test_alpaca_with_history_and_system(tmp_path: Path) -> None:
    more = {"system": "Be brief.", "history": [["Hi", "Hello"]], "input": ""}
    row = read_row(tmp_path, ALPACA | more)
    assert row["messages"] == turns(
        ("system", "Be brief."),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Identify the odd one out."),
    )


def test_dolly(tmp_path: Path) -> None:
    dolly = {
        "instruction": "When did Virgin Australia start?",
        "context": "Virgin Australia commenced services on 31 August 2000.",
        "response": "On 31 August 2000.",
        "category": "closed_qa",
    }
    row = read_row(tmp_path, dolly)
    assert row["messages"][0]["content"] == f"{dolly['instruction']}\n{dolly['context']}"
    assert (row["response"], row["group"]) == ("On 31 August 2000.", "closed_qa")


# --- Questions with options --------------------------------------------------------------------

HUB_ARC = {
    "id": "Mercury_SC_415702",
    "question": "Which skin surface will produce the most heat?",
    "choices": {"text": ["dry palms", "wet palms", "oil", "lotion"], "label": list("ABCD")},
    "answerKey": "A",
}
OPTIONS = ["dry palms", "wet palms", "oil", "lotion"]
ASKED = {"question": HUB_ARC["question"]}
AI2_ARC = {
    "id": "Mercury_SC_415702",
    "question": {
        "stem": HUB_ARC["question"],
        "choices": [
            {"text": text, "label": label} for text, label in zip(OPTIONS, "ABCD", strict=True)
        ],
    },
    "answerKey": "A",
}
DIGITS = HUB_ARC | {"choices": {"text": OPTIONS, "label": list("1234")}, "answerKey": "1"}
OPENBOOKQA = {
    "id": "7-980",
    "question_stem": HUB_ARC["question"],
    "choices": HUB_ARC["choices"],
    "answerKey": "A",
}
CEVAL = {"id": 0, **ASKED, **dict(zip("ABCD", OPTIONS, strict=True)), "answer": "A"}
MMLU_PRO = {
    "question_id": 70,
    **ASKED,
    "options": OPTIONS,
    "answer": "A",
    "answer_index": 0,
    "cot_content": "",
    "category": "physics",
}
MEDQA = {
    **ASKED,
    "answer": "dry palms",
    "options": dict(zip("ABCD", OPTIONS, strict=True)),
    "answer_idx": "A",
}
AQUA = {**ASKED, "options": OPTIONS, "rationale": "Rubbing.", "correct": "A"}


@pytest.mark.parametrize(
    "row",
    [HUB_ARC, AI2_ARC, DIGITS, OPENBOOKQA, CEVAL, CEVAL | {"E": None}, MMLU_PRO, MEDQA, AQUA],
    ids=["hub", "ai2", "digits", "openbookqa", "ceval", "table", "mmlu_pro", "medqa", "aqua"],
)
def test_questions_with_options(tmp_path: Path, row: dict[str, Any]) -> None:
    made = read_row(tmp_path, row)
    assert made["messages"] == turns(("user", HUB_ARC["question"]))
    assert (made["choices"], made["answer"], made["response"]) == (OPTIONS, 0, "dry palms")
    if "id" in row:
        assert made["id"] == str(row["id"])


@pytest.mark.parametrize(
    ("row", "index"),
    [
        (DIGITS | {"answerKey": "4"}, 3),
        (DIGITS | {"answerKey": 4}, 3),
        (HUB_ARC | {"answerKey": "c"}, 2),
        (CEVAL | {"answer": "D"}, 3),
        (CEVAL | {"answer": 3}, 3),
        (CEVAL | {"answer": "lotion"}, 3),
        # The letter of the column, not the text of another.
        (CEVAL | {"A": "B", "B": "A", "answer": "A"}, 0),
        (MMLU_PRO | {"answer": "D", "answer_index": 3}, 3),
        (MEDQA | {"answer": "oil", "answer_idx": "C"}, 2),
    ],
)
def test_the_right_option_is_a_label_an_index_or_a_text(
    tmp_path: Path, row: dict[str, Any], index: int
) -> None:
    assert read_row(tmp_path, row)["answer"] == index


def test_own_rows_are_read_as_before_whatever_stands_beside(tmp_path: Path) -> None:
    own = {**ASKED, "choices": OPTIONS, "answer": 1}
    beside = {"options": ["x", "y"], "A": "x", "B": "y", "instruction": "no", "answerKey": "A"}
    assert read_row(tmp_path, own | beside)["response"] == "wet palms"
    assert read_row(tmp_path, own | {"error_type": "ok"})["response"] == "wet palms"


# --- Refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"conversations": "Hi"}, "conversations must be a list"),
        ({"conversations": ["Hi"]}, "A turn must be an object with from and value"),
        (
            {"conversations": [{"from": "tool", "value": "x"}]},
            "A turn must be from human, gpt or system",
        ),
        (
            {"conversations": [{"from": "humn", "value": "x"}]},
            "Got 'humn'. Did you mean `human`?",
        ),
        ({"conversations": [{"from": ["x"], "value": "x"}]}, "must be from human, gpt or system"),
        ({"conversations": []}, "at least two turns"),
        (ALPACA | {"instruction": 3}, "instruction and input must be strings"),
        (ALPACA | {"history": [["Hi"]]}, "history must be a list of pairs"),
        (HUB_ARC | {"answerKey": "E"}, "The right option must be named by its label"),
        (HUB_ARC | {"answerKey": ""}, "The labels are A, B, C, D."),
        (HUB_ARC | {"choices": {"text": OPTIONS}}, "as many labels as texts"),
        (AI2_ARC | {"question": {"stem": "Which?"}}, "question.choices must be a list"),
        (CEVAL | {"answer": "E"}, "The right option must be named"),
        (CEVAL | {"C": ""}, "choices must be at least two non-empty strings"),
        ({key: CEVAL[key] for key in CEVAL if key != "C"}, "letters from A, none left out"),
        (MMLU_PRO | {"answer_index": 1}, "everywhere the same"),
        (MMLU_PRO | {"options": "A, B"}, "options must be a list"),
    ],
)
def test_what_does_not_fit_its_shape_is_named(
    tmp_path: Path, row: dict[str, Any], rule: str
) -> None:
    with pytest.raises(DataError, match=re.escape(rule)) as error:
        read_row(tmp_path, row)
    assert "rows.jsonl:1: " in str(error.value)


REDUX = {
    **ASKED,
    "choices": OPTIONS,
    "answer": 1,
    "error_type": "wrong_groundtruth",
    "source": "x",
    "correct_answer": "A",
    "potential_reason": None,
}
CONVERTED = [
    (REDUX, "marks as wrong", 0),
    (MMLU_PRO | {"article": "Palms are hands."}, "who reads that", 2),
    (ASKED | {"answer": "Dry ones.\n#### dry"}, "A question without choices", 1),
    ({"prompt": "1 + 1 =", "completion": " 2"}, "Prompt and completion", 1),
    ({"prompt": "1 + 1 =", "response": "2"}, "Prompt and response", 1),
    (
        {"chosen": turns(("user", "Hi"), ("assistant", "Hello")), "rejected": []},
        "A preference between answers",
        1,
    ),
    (ALPACA | {"output": ""}, "output (or response) must be", 0),
    (
        {"conversations": [*OPENHERMES["conversations"], {"from": "human", "value": "More."}]},  # type: ignore[misc]
        "must end with the answer",
        1,
    ),
]


@pytest.mark.parametrize(("row", "rule", "rows"), CONVERTED)
def test_what_must_be_converted_is_refused_with_a_line_that_does(
    tmp_path: Path, row: dict[str, Any], rule: str, rows: int
) -> None:
    """Each line is run, where there is jq; what it makes of the row is read (``rows`` by all)."""
    with pytest.raises(DataError, match=re.escape(rule)) as error:
        read_row(tmp_path, row)
    lines = [line for line in re.findall(r"`([^`]*)`", str(error.value)) if line[:2] == "jq"]
    assert lines
    if shutil.which("jq") is None:
        return
    made = tmp_path / "made.jsonl"
    count = 0
    for line in lines:
        given = json.dumps(row).encode()
        made.write_bytes(
            subprocess.run(shlex.split(line), input=given, capture_output=True).stdout
        )
        count += len(read(made))
    assert count == rows


@pytest.mark.parametrize(
    ("name", "content", "command"),
    [
        ("alpaca.json", b'[\n {"instruction": "Hi"}\n]', "jq -c '.[]' alpaca.json > alpaca.jsonl"),
        ("one.json", b'\xef\xbb\xbf{\n "prompt": "Hi"\n}', "jq -c . one.json > one.jsonl"),
        ("a b.json", b"[]", "jq -c '.[]' 'a b.json' > 'a b.jsonl'"),
        # A shell empties what it is to write before anything is read from it.
        ("a.jsonl", b"[]", "jq -c '.[]' a.jsonl > a-rows.jsonl"),
        ("one.jsonl", b"{\n}", "jq -c . one.jsonl > one-rows.jsonl"),
        ("packed", gzip.compress(b"{}", mtime=0), "gunzip -c packed > packed-rows.jsonl"),
        ("a.jsonl", b"PAR1....", "a-rows.jsonl"),
        ("rows.jsonl.gz", gzip.compress(b"{}", mtime=0), "gunzip -c rows.jsonl.gz > rows.jsonl"),
        ("rows.parquet", b"PAR1....", "pandas.read_parquet("),
        ("rows.csv", b"question,A,B\n", "pandas.read_csv("),
    ],
)
def test_a_file_that_is_no_jsonl_is_one_problem_with_the_way_out(
    tmp_path: Path, name: str, content: bytes, command: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match="1 row does not fit") as error:
        read(path)
    assert command in str(error.value)
    (line,) = re.findall(r"`([^`]*)`", str(error.value))
    if name.endswith(".csv"):
        subprocess.run(shlex.split(line), cwd=tmp_path, check=True)
        assert (tmp_path / "rows.jsonl").is_file()
