"""Local JSONL files of three kinds of example, read into the canonical columns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any
from typing import TypeVar

from c2c_search.data.doubts import Doubts
from c2c_search.data.doubts import misspelt
from c2c_search.data.schema import EVERY_SPLIT
from c2c_search.data.schema import WITH_GUARD
from c2c_search.data.schema import Message
from c2c_search.data.schema import Row
from c2c_search.data.schema import SplitFiles
from c2c_search.data.schema import SplitName
from c2c_search.data.shapes import BadRow as _BadRow
from c2c_search.data.shapes import foreign_file
from c2c_search.data.shapes import own_row
from c2c_search.data.words import asked_key
from c2c_search.errors import DataError
from c2c_search.errors import Problem
from c2c_search.tokenization.templates import asked_about


Notify = Callable[[str], None]

_Found = TypeVar("_Found")

_SHOWN = 20
_ROLES = ("system", "user", "assistant")
# File names that say which split it is, not what it asks.
_SPLIT_STEMS = frozenset(("train", "validation", "valid", "val", "dev", "test"))
# The columns that a row is made of.
_COLUMNS = "id group category cluster messages question choices prompt answer sharer_context draft"
_OWN = frozenset(_COLUMNS.split())
_TELLING = ("messages", "question", "prompt")  # of these keys one says which kind a row is
_KINDS = (
    "messages (a conversation that ends with the assistant), "
    "question + choices + answer, or prompt + answer"
)


@dataclass(frozen=True)
class Example:
    """A row of a file, and what else its line says.

    Args:
        where: File and line.
        row: In the canonical columns.
        extra: The line's other columns.
    """

    where: str
    row: Row
    extra: dict[str, Any]


def read_files(
    files: Mapping[SplitName, Sequence[str]], *, notify: Notify | None = None
) -> dict[SplitName, list[Row]]:
    """Read the JSONL files of every split.

    A row is one of three kinds, told by its keys, and a file may mix them: ``messages`` (chat);
    ``question, choices, answer`` (the answer as index from 0, letter, or the option's text);
    ``prompt, answer``. Shapes that others publish are read as one of these; see `shapes`.
    ``id``, ``group`` (or ``category``) and ``cluster`` are optional: they default to file and
    line, to the file's name, and to the id of the first row that asks the same, so that repeated
    questions stay in one split. With ``sharer_context``, the sharer reads that text instead of
    the prompt (for ``fuser.injection: append`` or ``side``), and rows about one document, the
    context without the question below it, are a cluster. A ``draft`` stands in the place of what
    the sharer would draft (for ``fuser.message: draft | both``).

    Args:
        files: Of each split.
        notify: Told what is most likely a mistake; see `Doubts`.

    Raises:
        DataError: Missing files, or rows that do not fit, all of them together.
    """
    examples = read_examples(files, notify=notify)
    return {split: [example.row for example in found] for split, found in examples.items()}


def read_examples(
    files: Mapping[SplitName, Sequence[str]], *, notify: Notify | None = None
) -> dict[SplitName, list[Example]]:
    """Read the JSONL files of every split as `read_files` does, other columns included."""
    require_files(path for paths in files.values() for path in paths)
    problems: list[Problem] = []
    doubts = Doubts()
    seen: dict[str, str] = {}
    asked: dict[str, str] = {}
    examples: dict[SplitName, list[Example]] = {}
    for split, paths in files.items():
        examples[split] = []
        for path in paths:
            for example in _read_file(Path(path), problems, doubts):
                where, row = example.where, example.row
                if row["id"] in seen:
                    rule = f"An id must be unique; {seen[row['id']]} has it too."
                    problems.append(Problem(where, rule, row["id"]))
                seen[row["id"]] = where
                key = f"{split} {_about(row)}"
                if not row["cluster"]:
                    row["cluster"] = asked.setdefault(key, row["id"])
                examples[split].append(example)
    if problems:
        raise rows_error(problems)
    if notify is not None:
        for sentence in doubts.sentences():
            notify(sentence)
    return examples


def require_files(paths: Iterable[str]) -> None:
    """Check that data files are there.

    Raises:
        DataError: With those that are not.
    """
    missing = [path for path in paths if not Path(path).is_file()]
    if missing:
        raise DataError(
            "Every data file must exist.",
            value=missing[0] if len(missing) == 1 else missing,
            hint=f"Relative paths start at {Path.cwd()}.",
        )


def place_of(files: SplitFiles, row_id: str) -> str:
    """File and line of a row; its id where it comes from no file."""
    paths = {split: getattr(files, split) for split in WITH_GUARD}
    examples = read_examples(paths) if any(paths.values()) else {}
    found = (each for of_split in examples.values() for each in of_split)
    return next((each.where for each in found if each.row["id"] == row_id), row_id)


def rows_error(problems: Sequence[Problem]) -> DataError:
    """Many bad rows as one error that shows the first of them."""
    shown = "\n".join(f"  {problem}" for problem in problems[:_SHOWN])
    more = f"\n  ... and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    told = "1 row does not fit" if len(problems) == 1 else f"{len(problems)} rows do not fit"
    return DataError(f"{told}:\n{shown}{more}")


def set_name(path: Path) -> str:
    """What a file's examples are called: its name; its folder's if it is named after a split."""
    return path.parent.resolve().name if path.stem in _SPLIT_STEMS else path.stem


def file_provenance(files: SplitFiles) -> dict[str, str]:
    """sha256 of every file, by path."""
    paths = [path for split in EVERY_SPLIT for path in getattr(files, split)]
    return {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths}


def _read_file(path: Path, problems: list[Problem], doubts: Doubts) -> Iterator[Example]:
    """The rows that fit; the others become problems."""

    def read(line: bytes, where: str, number: int) -> Example:
        parsed, repeated = parse_line(line)
        found = own_row(parsed)
        extra = {key: value for key, value in found.items() if key not in _OWN}
        row = _row(found, path, number)
        for key in repeated[:1]:
            doubts.repeated_key(where, key)
        doubts.unread_keys(where, row, extra)
        doubts.row(where, str(path), row, found.get("answer"))
        return Example(where, row, extra)

    return each_line(path, problems, read)


def each_line(
    path: Path, problems: list[Problem], read: Callable[[bytes, str, int], _Found]
) -> Iterator[_Found]:
    """What is made of each line of a JSONL file that fits; the others become problems.

    Args:
        path: The file.
        problems: Where they go.
        read: Makes something of a line, given where it stands and its number; raises a `BadRow`.
    """
    if command := foreign_file(path):
        rule = "A data file must have one JSON object on each line."
        problems.append(Problem(str(path), rule, hint=f"`{command}` makes one of it."))
        return
    # Bytes, because text mode also ends lines where a JSON string may hold a line separator.
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                yield read(line, where, number)
            except _BadRow as bad:
                problems.append(Problem(where, bad.rule, bad.value, bad.hint))


def parse_line(line: bytes) -> tuple[dict[str, Any], list[str]]:
    """A line's object, and the keys that it has twice.

    Raises:
        BadRow: It is no JSON object.
    """
    repeated: list[str] = []

    def of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        repeated.extend(key for key in dict.fromkeys(keys) if keys.count(key) > 1)
        return dict(pairs)

    try:
        found = json.loads(line.decode("utf-8-sig"), object_pairs_hook=of_pairs)
        # Half of a surrogate pair is valid JSON but no text, and Arrow cannot hold it.
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise _BadRow(
            "A line must be one JSON object in UTF-8.", _start(line), f"{error}."
        ) from None
    if not isinstance(found, dict):
        raise _BadRow("A line must be one JSON object.", found)
    return found, repeated


def _start(line: bytes) -> str:
    return line[:60].decode("utf-8", errors="backslashreplace").strip()


def _row(found: dict[str, Any], path: Path, number: int) -> Row:
    if "messages" in found:
        messages, response, choices, answer = _chat(found)
    elif "question" in found or "choices" in found:
        messages, response, choices, answer = _multiple_choice(found)
    elif "prompt" in found:
        messages, response, choices, answer = _generation(found)
    else:
        raise _BadRow(f"A row must have {_KINDS}.", sorted(found), misspelt(found, *_TELLING))
    row_id, group, cluster = labels(found, path, number)
    row = Row(
        id=row_id,
        group=group,
        cluster=cluster,
        messages=messages,
        sharer_messages=_sharer_context(found),
        response=response,
        choices=choices,
        answer=answer,
    )
    if found.get("draft") is not None:  # a row without is what it was before there were any
        row["draft"] = _text(found, "draft")
    return row


def _sharer_context(found: dict[str, Any]) -> list[Message]:
    if found.get("sharer_context") is None:
        return []
    return [{"role": "user", "content": _text(found, "sharer_context")}]


def _about(row: Row) -> str:
    """What rows of one cluster share: the document that the sharer reads, or the question."""
    return document_of(row) if row["sharer_messages"] else asked_key(row)


def document_of(row: Row) -> str:
    """What the sharer alone reads of a row, without the question below it."""
    question = row["messages"][-1]["content"]
    return row["sharer_messages"][-1]["content"].removesuffix(asked_about("", question))


def labels(found: dict[str, Any], path: Path, number: int) -> tuple[str, str, str]:
    """Id, group and cluster of a line: its own, or of its place in the file; a cluster may be "".

    Raises:
        BadRow: One of them is no name.
    """
    stem = set_name(path)
    return (
        _label(found, "id") or f"{stem}/{path.stem}:{number}",
        _label(found, "group") or _label(found, "category") or stem,
        _label(found, "cluster"),
    )


def _label(found: dict[str, Any], key: str) -> str:
    """A column of a line as a name; empty where there is none.

    Raises:
        BadRow: It is no name.
    """
    value = found.get(key)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise _BadRow(f"{key} must be a non-empty string or a whole number.", value)
    return str(value)


def _text(found: dict[str, Any], key: str) -> str:
    value = found.get(key)
    if not isinstance(value, str) or not value.strip():
        raise _BadRow(f"{key} must be a non-empty string.", value, misspelt(found, key))
    return value


_Parts = tuple[list[Message], str, list[str], int]


def _chat(found: dict[str, Any]) -> _Parts:
    turns = found["messages"]
    if not isinstance(turns, list) or len(turns) < 2:
        raise _BadRow("messages must be a list of at least two turns.", turns)
    messages: list[Message] = []
    for turn in turns:
        if not isinstance(turn, dict) or turn.get("role") not in _ROLES:
            raise _BadRow(f"A turn must have a role, one of {', '.join(_ROLES)}.", turn)
        messages.append({"role": turn["role"], "content": _text(turn, "content")})
    if [turn["role"] for turn in messages[-2:]] != ["user", "assistant"]:
        roles = [turn["role"] for turn in messages]
        raise _BadRow("A conversation must end with a user's turn and the answer to it.", roles)
    return messages[:-1], messages[-1]["content"], [], -1


def _multiple_choice(found: dict[str, Any]) -> _Parts:
    question = _text(found, "question")
    choices = found.get("choices")
    if (
        not isinstance(choices, list)
        or len(choices) < 2
        or not all(isinstance(choice, str) and choice.strip() for choice in choices)
    ):
        rule = "choices must be at least two non-empty strings."
        raise _BadRow(rule, choices, misspelt(found, "choices"))
    index = _answer_index(found, choices)
    # Two equal wrong options do no harm, and published sets have them.
    if choices.count(choices[index]) > 1:
        raise _BadRow("The right choice must be there once.", choices)
    return [{"role": "user", "content": question}], choices[index], choices, index


def _answer_index(found: dict[str, Any], choices: list[str]) -> int:
    answer, index = found.get("answer"), -1
    if isinstance(answer, int) and not isinstance(answer, bool):
        index = answer
    elif isinstance(answer, str):
        if answer in choices:
            index = choices.index(answer)
        elif answer.strip().upper() in tuple(ascii_uppercase):
            index = ascii_uppercase.index(answer.strip().upper())
    if not 0 <= index < len(choices):
        raise _BadRow(
            "answer must be an index from 0, a letter from A, or the text of a choice.",
            answer,
            misspelt(found, "answer") or f"There are {len(choices)} choices.",
        )
    return index


def _generation(found: dict[str, Any]) -> _Parts:
    return [{"role": "user", "content": _text(found, "prompt")}], _text(found, "answer"), [], -1
