"""Texts that a fuser learns to hand on: what the sharer has read, the receiver is to write."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from c2c_search.data.schema import SPLITS
from c2c_search.data.schema import Row
from c2c_search.data.schema import SplitName
from c2c_search.data.shapes import PASSAGES
from c2c_search.data.shapes import BadRow
from c2c_search.data.shapes import own_row
from c2c_search.data.sources import document_of
from c2c_search.data.sources import each_line
from c2c_search.data.sources import labels
from c2c_search.data.sources import parse_line
from c2c_search.data.sources import require_files
from c2c_search.data.sources import rows_error
from c2c_search.data.texts import Text
from c2c_search.data.texts import judged_text
from c2c_search.errors import Problem
from c2c_search.tokenization.templates import asked


INSTRUCTION = "Repeat the text."
"""All that the receiver reads of a text that it is to write."""
BLIND_INSTRUCTION = "Answer the question."
"""All that it reads of a question that the sharer alone is to see; see ``receiver_sees``."""

_TEXTS = ("text", "sharer_context", *PASSAGES)
_QUESTIONS = ("question", "question_stem", "prompt", "instruction")


def reconstruction_row(row_id: str, text: str, *, group: str = "", cluster: str = "") -> Row:
    """A text as an example: the sharer reads it, the receiver an instruction, and writes it."""
    return Row(
        id=row_id,
        group=group,
        cluster=cluster or row_id,
        messages=asked(INSTRUCTION),
        sharer_messages=asked(text),
        response=text,
        choices=[],
        answer=-1,
    )


def of_examples(rows: Iterable[Row]) -> list[Row]:
    """What the sharer reads of examples, to be reconstructed: its context, or the question."""
    return [
        reconstruction_row(
            row["id"],
            (row["sharer_messages"] or row["messages"])[-1]["content"],
            group=row["group"],
            cluster=row["cluster"],
        )
        for row in rows
    ]


def unseen(row: Row) -> Row:
    """An example of which the sharer reads what it reads, and the receiver no question."""
    return {
        **row,
        "messages": asked(BLIND_INSTRUCTION),
        "sharer_messages": row["sharer_messages"] or row["messages"],
    }


def read_texts(paths: Sequence[str]) -> list[Row]:
    """Read JSONL files of texts; see `text_of` for what a row's text is.

    Raises:
        DataError: Missing files, or rows that do not fit, all of them together.
    """
    require_files(paths)
    problems: list[Problem] = []
    rows: dict[str, Row] = {}
    for path in map(Path, paths):
        for where, row in _read_file(path, problems):
            if row["id"] in rows:
                problems.append(Problem(where, "An id must be unique among texts.", row["id"]))
            rows[row["id"]] = row
    if problems:
        raise rows_error(problems)
    return list(rows.values())


def text_of(found: Mapping[str, Any]) -> str:
    """A line's text: ``text``, ``sharer_context``, a passage, or else what it asks.

    Passages stand under the keys that published sets give them (``passage``, ``context``, ...);
    of a conversation it is the user's last turn, of Dolly's rows the context if there is one.

    Raises:
        BadRow: There is none.
    """
    for key in _TEXTS:
        if found.get(key) not in (None, ""):
            return _string(key, found[key])
    for key in _QUESTIONS:
        if isinstance(found.get(key), str):
            return _string(key, found[key])
    turns = own_row(dict(found)).get("messages")
    if isinstance(turns, list):
        told = [turn for turn in turns if isinstance(turn, dict) and turn.get("role") == "user"]
        if told:
            return _string("content", told[-1].get("content"))
    raise BadRow(
        "A row to reconstruct must have a text, a sharer_context, a passage, a question or "
        "messages.",
        sorted(found),
        "`jq -c '{text: .KEY}'` makes such a row of another key.",
    )


def _string(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadRow(f"{key} must be a non-empty string.", value)
    return value


def _read_file(path: Path, problems: list[Problem]) -> Iterator[tuple[str, Row]]:
    """Where each row that fits stands, and the row; the others become problems."""

    def read(line: bytes, where: str, number: int) -> tuple[str, Row]:
        found, _ = parse_line(line)
        row_id, group, cluster = labels(found, path, number)
        return where, reconstruction_row(row_id, text_of(found), group=group, cluster=cluster)

    return each_line(path, problems, read)


# --- What must not be among them -----------------------------------------------------------------


def learnt_texts(rows: Iterable[Row]) -> Iterator[Text]:
    """Texts to reconstruct, as they are compared with what is judged."""
    for row in rows:
        text = row["response"]
        yield Text(row["id"], (text,), text, row["group"], row["cluster"])


def judged_texts(rows: Mapping[SplitName, Sequence[Row]]) -> dict[str, list[Text]]:
    """What no text may hold: questions that are judged, and what the sharer has read of them.

    Each document counts once, however many questions are asked about it: a passage that many
    share is no template.
    """
    found: dict[str, list[Text]] = {}
    for split in SPLITS[1:]:
        found[split] = [judged_text(row) for row in rows[split]]
        documents: dict[str, Text] = {}
        for row in rows[split]:
            if row["sharer_messages"]:
                document = document_of(row)
                whole = (document, row["sharer_messages"][-1]["content"])
                first = documents.setdefault(document, Text(row["id"], (document,), document))
                asked_too = tuple(dict.fromkeys([*first.questions, *whole]))
                documents[document] = replace(first, questions=asked_too)
        if documents:
            found[f"{split} document"] = list(documents.values())
    return found
