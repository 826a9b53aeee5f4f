"""Rows in the shapes that others publish, put into the keys of this workbench's own rows.

A shape is told by its keys. What cannot be read without guessing is refused with the line that
converts it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from c2c_search.errors import suggestion


Line = dict[str, Any]

_SPEAKERS = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant"}
# Texts that a question is about; without them it is another question.
PASSAGES = ("passage", "article", "context", "support", "story")
# Keys under which data sets say which option is right; those that a row has must agree.
_ANSWERS = ("answerKey", "answer_idx", "answer_index", "answer", "correct")


class BadRow(Exception):
    """What is wrong with one row: the rule, what was found, and the way out."""

    def __init__(self, rule: str, value: Any, hint: str = "") -> None:
        super().__init__(rule)
        self.rule, self.value, self.hint = rule, value, hint


def own_row(found: Line) -> Line:
    """A row in the keys ``messages``, ``question, choices, answer`` or ``prompt, answer``.

    Args:
        found: A line's object. One in these keys, or in no known shape, comes back as it is.

    Raises:
        BadRow: A known shape that does not fit, or that must be converted first.
    """
    for is_of_shape, read in _SHAPES:
        if is_of_shape(found):
            return read(found)
    return found


def foreign_file(path: Path) -> str:
    """The way out of a file that is no JSONL at all, as a command; empty for every other."""
    with path.open("rb") as file:
        start = file.read(256).removeprefix(b"\xef\xbb\xbf").lstrip()
    name, made = shlex.quote(path.name), shlex.quote(_beside(path, f"{path.stem}.jsonl"))
    if start.startswith(b"["):
        return f"jq -c '.[]' {name} > {made}"
    if start.startswith((b"{\n", b"{\r")):
        return f"jq -c . {name} > {made}"
    if start.startswith(b"\x1f\x8b"):
        return f"gunzip -c {name} > {shlex.quote(_beside(path, path.stem))}"
    if start.startswith(b"PAR1"):
        return _pandas("parquet", path)
    if path.suffix == ".csv" and not start.startswith(b"{"):
        return _pandas("csv", path)
    return ""


def _beside(path: Path, made: str) -> str:
    """A name for what is made of a file: another one, as a shell empties what it writes first."""
    return made if made != path.name else f"{path.stem}-rows.jsonl"


def _pandas(kind: str, path: Path) -> str:
    written = f"to_json({_beside(path, path.stem + '.jsonl')!r}, orient='records', lines=True)"
    code = f"import pandas; pandas.read_{kind}({path.name!r}).{written}"
    return f"python -c {shlex.quote(code)}"


# --- Conversations -----------------------------------------------------------------------------


def conversations(found: Line) -> Line:
    """ShareGPT and OpenHermes-2.5 (https://huggingface.co/datasets/teknium/OpenHermes-2.5).

    ``conversations: [{from: human | gpt | system, value}]``, or turns with ``role, content``; a
    ``system`` or ``system_prompt`` beside them comes first.
    """
    turns = found["conversations"]
    if not isinstance(turns, list):
        raise BadRow("conversations must be a list of turns.", turns)
    messages = [_turn(turn) for turn in turns]
    if messages and messages[-1]["role"] == "user":
        raise BadRow(
            "A conversation must end with the answer to the user's last turn.",
            messages[-1]["content"],
            '`jq -c \'if .conversations[-1].from == "human" then .conversations |= .[:-1] '
            "else . end'` leaves unanswered turns out.",
        )
    system = found.get("system") or found.get("system_prompt")
    if system and not any(turn["role"] == "system" for turn in messages):
        messages.insert(0, {"role": "system", "content": system})
    return _without(found, "conversations", "system", "system_prompt") | {"messages": messages}


def _turn(turn: Any) -> Line:
    if not isinstance(turn, dict):
        raise BadRow("A turn must be an object with from and value.", turn)
    speaker = turn.get("from", turn.get("role"))
    role = _SPEAKERS.get(speaker, speaker) if isinstance(speaker, str) else speaker
    if role not in ("system", "user", "assistant"):
        known = ("system", "human", "user", "gpt", "assistant")
        raise BadRow(
            "A turn must be from human, gpt or system; tools have no place here.",
            speaker,
            suggestion(speaker, known),
        )
    return {"role": role, "content": turn.get("value", turn.get("content"))}


def instruction(found: Line) -> Line:
    """Alpaca (https://github.com/tatsu-lab/stanford_alpaca) and Dolly.

    ``instruction, input, output``, or Dolly's ``instruction, context, response``; the input stands
    on a line of its own below the instruction. ``system`` and ``history`` (pairs of question and
    answer) are those of LLaMA-Factory's data format.
    """
    given = found.get("input", found.get("context"))
    asked = [found["instruction"]] if given in (None, "") else [found["instruction"], given]
    if not all(isinstance(part, str) for part in asked):
        raise BadRow("instruction and input must be strings.", asked)
    key = "output" if "output" in found else "response"
    answer = found.get(key)
    if not isinstance(answer, str) or not answer.strip():
        raise BadRow(
            "output (or response) must be a non-empty string.",
            answer,
            f"`jq -c 'select(.{key} != \"\")'` leaves unanswered rows out.",
        )
    messages = [{"role": "user", "content": "\n".join(asked)}]
    messages.append({"role": "assistant", "content": answer})
    history = found.get("history") or []
    if not isinstance(history, list) or not all(_is_pair(pair) for pair in history):
        raise BadRow("history must be a list of pairs, question and answer.", history)
    before: list[Line] = [
        {"role": role, "content": text}
        for pair in history
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    if system := found.get("system"):
        before.insert(0, {"role": "system", "content": system})
    keys = ("instruction", "input", "context", "output", "response", "history", "system")
    return _without(found, *keys) | {"messages": [*before, *messages]}


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


# --- Questions with options --------------------------------------------------------------------


def labelled_choices(found: Line) -> Line:
    """ARC, OpenBookQA and CommonsenseQA as on the hub (https://huggingface.co/datasets/allenai/ai2_arc).

    ``question`` (OpenBookQA: ``question_stem``), ``choices: {text, label}`` and ``answerKey``, one
    of the labels, which are letters or the digits from 1.
    """
    choices = found["choices"]
    labels, texts = choices.get("label"), choices.get("text")
    if not isinstance(labels, list) or not isinstance(texts, list) or len(labels) != len(texts):
        raise BadRow("choices must have as many labels as texts.", choices)
    asked = found.get("question", found.get("question_stem"))
    rest = _without(found, "question_stem", *_ANSWERS)
    return rest | {"question": asked, "choices": texts, "answer": _right(found, labels, texts)}


def stem_and_choices(found: Line) -> Line:
    """ARC and OpenBookQA as AI2's own files have them (https://allenai.org/data/arc).

    ``question: {stem, choices: [{text, label}]}`` and ``answerKey``.
    """
    question = found["question"]
    options = question.get("choices")
    if not isinstance(options, list) or not all(isinstance(each, dict) for each in options):
        raise BadRow("question.choices must be a list of options with text and label.", options)
    choices = {key: [each.get(key) for each in options] for key in ("text", "label")}
    return labelled_choices(found | {"question": question.get("stem"), "choices": choices})


def letter_columns(found: Line) -> Line:
    """C-Eval and CMMLU: a column for each option (https://huggingface.co/datasets/ceval/ceval-exam).

    ``question, A, B, C, D`` (two or more, from A) and ``answer``, a letter. Options that are empty
    after the last, as tables have them, do not count.
    """
    _refuse_passage(found)
    letters = [letter for letter in ascii_uppercase if letter in found]
    while letters and found[letters[-1]] in (None, ""):
        letters.pop()
    if "".join(letters) != ascii_uppercase[: len(letters)]:
        raise BadRow("Options must have the letters from A, none left out.", letters)
    texts = [found[letter] for letter in letters]
    rest = _without(found, *ascii_uppercase, *_ANSWERS)
    return rest | {"choices": texts, "answer": _right(found, letters, texts)}


def options(found: Line) -> Line:
    """MMLU-Pro and MedQA (https://huggingface.co/datasets/TIGER-Lab/MMLU-Pro).

    ``question``, ``options`` (a list, or texts by letter) and ``answer``, ``answer_index`` or
    ``answer_idx``: a letter, an index from 0, or the option's text. Two of them must agree.
    """
    _refuse_passage(found)
    given = found["options"]
    if isinstance(given, dict):
        labels, texts = list(given), list(given.values())
    elif isinstance(given, list):
        labels, texts = list(ascii_uppercase[: len(given)]), given
    else:
        raise BadRow("options must be a list, or texts by letter.", given)
    rest = _without(found, "options", *_ANSWERS)
    return rest | {"choices": texts, "answer": _right(found, labels, texts)}


def _right(found: Line, labels: Sequence[Any], texts: Sequence[Any]) -> int:
    """Index of the right option, by all keys of the row that name it."""
    given = {key: found[key] for key in _ANSWERS if found.get(key) not in (None, "")}
    indices = {_index(value, labels, texts) for value in given.values()}
    if len(indices) != 1 or None in indices:
        raise BadRow(
            "The right option must be named by its label, its index from 0 or its text, and "
            "everywhere the same.",
            given,
            f"The labels are {', '.join(map(str, labels))}.",
        )
    return indices.pop()  # type: ignore[return-value]


def _index(value: Any, labels: Sequence[Any], texts: Sequence[Any]) -> int | None:
    """Which option a label, an index from 0 or a text means; a label comes first."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    for label in (str(value).strip(), str(value).strip().upper()):
        if label in labels:
            return labels.index(label)
    if isinstance(value, str):
        return texts.index(value) if value in texts else None
    return value if 0 <= value < len(texts) else None


def _refuse_passage(found: Line) -> None:
    for key in PASSAGES:
        text = found.get(key)
        if isinstance(text, str) and text.strip():
            both = f'.question = .{key} + "\\n" + .question | del(.{key})'
            sharer = f".sharer_context = .{key} | del(.{key})"
            raise BadRow(
                f"The question is asked about {key}, and it must be said who reads that.",
                text[:60],
                f"`jq -c '{both}'` puts it in front of the question; `jq -c '{sharer}'` gives it "
                "to the sharer alone.",
            )


def flagged(found: Line) -> Line:
    """MMLU-Redux (arXiv 2406.04127) says of its rows what is wrong with them: refused."""
    raise BadRow(
        "A row that its data set marks as wrong cannot be learnt from, nor judged on.",
        found["error_type"],
        "`jq -c 'select(.error_type == \"ok\")'` keeps the others; `--tasks mmlu_redux=FILE` also "
        "corrects those with a wrong answer.",
    )


# --- What must be converted --------------------------------------------------------------------


def _converted(what: str, line: str) -> Callable[[Line], Line]:
    def refuse(found: Line) -> Line:
        raise BadRow(f"{what} must be converted first.", sorted(found), f"`jq -c '{line}'` does.")

    return refuse


def _with(*keys: str) -> Callable[[Line], bool]:
    return lambda found: all(key in found for key in keys)


def _without(found: Line, *keys: str) -> Line:
    return {key: value for key, value in found.items() if key not in keys}


def _is_own(found: Line) -> bool:
    if _is_flagged(found):
        return False
    chosen = "question" in found and isinstance(found.get("choices"), list)
    return chosen or "messages" in found or ("prompt" in found and "answer" in found)


def _is_flagged(found: Line) -> bool:
    return "choices" in found and found.get("error_type") not in (None, "", "ok")


def _has_letters(found: Line) -> bool:
    return "choices" not in found and _with("question", "A", "B")(found)


def _has_options(found: Line) -> bool:
    return "choices" not in found and _with("question", "options")(found)


def _is_open_question(found: Line) -> bool:
    texts = isinstance(found.get("question"), str) and isinstance(found.get("answer"), str)
    return texts and "choices" not in found


_CONVERTED = (
    (_is_open_question, "A question without choices", ".prompt = .question | del(.question)"),
    (
        _with("prompt", "completion"),
        "Prompt and completion",
        ".answer = .completion | del(.completion)",
    ),
    (_with("prompt", "response"), "Prompt and response", ".answer = .response | del(.response)"),
    (
        _with("chosen", "rejected"),
        "A preference between answers",
        ".messages = .chosen | del(.chosen, .rejected)",
    ),
)

_SHAPES: tuple[tuple[Callable[[Line], bool], Callable[[Line], Line]], ...] = (
    (_is_own, lambda found: found),
    (_is_flagged, flagged),
    (_with("conversations"), conversations),
    (_with("instruction"), instruction),
    (lambda found: isinstance(found.get("question"), dict), stem_and_choices),
    (lambda found: isinstance(found.get("choices"), dict), labelled_choices),
    (_has_letters, letter_columns),
    (_has_options, options),
    *((is_of_shape, _converted(what, line)) for is_of_shape, what, line in _CONVERTED),
)
"""Whether a row is of a shape, and how it is read; the first that fits counts."""
