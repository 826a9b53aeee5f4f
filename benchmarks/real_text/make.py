"""Makes a study on real text: what the sharer learns to hand on, and space and pipeline beside it.

Texts and short questions are Dolly 15k's (CC BY-SA 3.0), invented passages the private quiz's, and
questions about paragraphs your own rows with a ``sharer_context`` (docs/data.md), e.g. of XQuAD.
A tenth of the training rows' documents becomes validation; no document is in two splits:

    python benchmarks/real_text/make.py databricks-dolly-15k.jsonl \\
      --rows train.jsonl --test dev.jsonl --to real_text
    c2c-search study --space real_text/space.yaml
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from c2c_search.data.private_quiz import private_rows
from c2c_search.data.schema import PrivateQuiz
from c2c_search.data.schema import Row
from c2c_search.data.sources import document_of
from c2c_search.data.sources import read_files


HERE = Path(__file__).parent
KINDS = ("company", "country", "event", "person", "town")
PASSAGES, WORDINGS = 3600, 4
"""Invented passages, one question about each, and the ways in which each thing is said."""
TEXTS, TEXT_WORDS = 3600, 60
"""Texts to reconstruct, and how much of each: what is long makes every step of that stage long."""
PASSAGE_WORDS, ANSWER_WORDS = range(25, 161), range(1, 21)
"""Of Dolly's questions that are asked about a passage; a written text without one is `TOLD`."""
TOLD = range(30, 121)
VALIDATED = 0.1

Line = Mapping[str, Any]


def main() -> None:
    """Write the folder, and say what is in it."""
    options = parse()
    dolly = read_files({"train": options.dolly})["train"]
    rows = read_files({"train": options.rows, "test": options.test})
    train, validation = held_out(rows["train"])
    files = {
        "texts": [*texts(dolly), *paragraphs(train)],
        "asked": asked_about_passages(dolly),
        "invented": invented(),
        "train": [line(row) for row in train],
        "validation": [line(row) for row in validation],
        "test": [line(row) for row in rows["test"]],
    }
    options.to.mkdir(parents=True)
    for name, lines in files.items():
        written = "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in lines)
        (options.to / f"{name}.jsonl").write_text(written, encoding="utf-8")
        print(f"{len(lines):6} rows in {options.to / name}.jsonl")
    for name in ("space.yaml", "pipeline.yaml"):
        shutil.copyfile(HERE / name, options.to / name)
    print(f"c2c-search study --space {options.to / 'space.yaml'}")


def texts(rows: Iterable[Row]) -> list[Line]:
    """Passages and written answers, of which nothing is asked."""
    found: list[Line] = []
    for row in rows:
        passage, answer = passage_of(row).split(), row["response"].split()
        if len(passage) >= PASSAGE_WORDS.start:
            found.append({"id": f"passage-{row['id']}", "text": " ".join(passage[:TEXT_WORDS])})
        elif not passage and len(answer) in TOLD:
            found.append({"id": f"answer-{row['id']}", "text": " ".join(answer[:TEXT_WORDS])})
    Random(0).shuffle(found)
    return found[:TEXTS]


def paragraphs(rows: Sequence[Row]) -> list[Line]:
    """The documents of the training rows, to be reconstructed too."""
    found = dict.fromkeys(document_of(row) for row in rows)
    cut = [" ".join(text.split()[:TEXT_WORDS]) for text in found]
    return [{"id": f"paragraph-{number}", "text": text} for number, text in enumerate(cut)]


def asked_about_passages(rows: Iterable[Row]) -> list[Line]:
    """Short questions about a passage: the sharer reads it, the receiver the question alone."""
    return [
        {
            "id": f"asked-{row['id']}",
            "prompt": question,
            "answer": row["response"],
            "sharer_context": f"{passage}\nQuestion: {question}",
        }
        for row in rows
        if len((passage := passage_of(row)).split()) in PASSAGE_WORDS
        and len(row["response"].split()) in ANSWER_WORDS
        and (question := question_of(row)).endswith("?")
    ]


def passage_of(row: Row) -> str:
    """What stands below the question; empty if nothing does."""
    return row["messages"][-1]["content"].partition("\n")[2].strip()


def question_of(row: Row) -> str:
    return row["messages"][-1]["content"].partition("\n")[0].strip()


def invented() -> list[Line]:
    """Questions about passages of the private quiz, of every kind and in several wordings."""
    passages = {"train": PASSAGES, "validation": 1, "test": 1}
    quiz = PrivateQuiz.model_validate({"kinds": KINDS, "wordings": WORDINGS, "passages": passages})
    return [line(row) for row in private_rows(quiz, "train")]


def held_out(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Training and validation rows; whole documents are one or the other."""
    documents = sorted({document_of(row) for row in rows})
    Random(0).shuffle(documents)
    kept = set(documents[round(len(documents) * VALIDATED) :])
    apart = [row for row in rows if document_of(row) not in kept]
    return [row for row in rows if document_of(row) in kept], apart


def line(row: Row) -> Line:
    """A row as a line of a file."""
    return {
        "id": row["id"].replace("/", "-"),
        "question": row["messages"][-1]["content"],
        "choices": row["choices"],
        "answer": row["answer"],
        "sharer_context": row["sharer_messages"][-1]["content"],
        "group": row["group"],
        "cluster": row["cluster"],
    }


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("dolly", nargs="+", help="Dolly 15k, one file or several")
    parser.add_argument("--rows", nargs="+", required=True, help="multiple choice to learn from")
    parser.add_argument("--test", nargs="+", required=True, help="multiple choice to be judged by")
    parser.add_argument("--to", type=Path, default=Path("real_text"), help="a new folder")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
