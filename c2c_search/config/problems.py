"""What pydantic finds wrong, said in the words and lines of the user's file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches
from types import UnionType
from typing import Annotated
from typing import Any
from typing import TypeVar
from typing import Union
from typing import get_args
from typing import get_origin

from pydantic import BaseModel
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from c2c_search.config.document import Document
from c2c_search.config.document import Location
from c2c_search.errors import ConfigError
from c2c_search.errors import Problem
from c2c_search.errors import suggestion
from c2c_search.host.names import IN_WORDS


Model = TypeVar("Model", bound=BaseModel)

_PLACE = re.compile(r":(\d+):(\d+)(?: |$)")

_LONGEST = 500  # characters of a rule that names what was found, e.g. a thousand rungs

_PLAIN_RULES = {
    "model_type": "Must be a mapping of keys to values.",
    "dict_type": "Must be a mapping of keys to values.",
    "tuple_type": "Must be a list.",
    "list_type": "Must be a list.",
    "missing": "This key is missing.",
}


def build(model: type[Model], document: Document) -> Model:
    """Validate a document as ``model``.

    Raises:
        ConfigError: With every problem of the document, one line each.
    """
    built, problems = validate(model, document)
    if built is None or problems:
        raise ConfigError.collect(problems)
    return built


def validate(model: type[Model], document: Document) -> tuple[Model | None, list[Problem]]:
    """Validate a document as ``model``; the model is None when there are pydantic's problems.

    Strictly: neither ``true`` nor ``"3"`` is a number, and no word is ``true``.
    """
    problems = list(document.problems)
    if document.data is None:
        return None, problems
    try:
        return strictly(model, document.data), problems
    except ValidationError as error:
        problems += [translate(model, document, details) for details in _causes(model, error)]
        return None, in_order(without_echoes(document, problems))


def _causes(model: type[BaseModel], error: ValidationError) -> list[ErrorDetails]:
    """Pydantic's errors, one of a value that may be of several kinds.

    That a list is too short is left out where its wrong members are told.
    """
    errors = _united(model, error.errors())
    above = {each["loc"][:end] for each in errors for end in range(len(each["loc"]))}
    return [each for each in errors if each["type"] != "too_short" or each["loc"] not in above]


def _united(model: type[BaseModel], errors: Iterable[ErrorDetails]) -> list[ErrorDetails]:
    """Pydantic's errors; of a value that is of none of several kinds it has one for each."""
    found: dict[Location, list[ErrorDetails]] = {}
    for error in errors:
        location: Location = error["loc"]
        united = len(_kinds(model, location[:-1])) > 1
        found.setdefault(location[:-1] if united else location, []).append(error)
    return [
        each
        for location, of_place in found.items()
        for each in (of_place if location == of_place[0]["loc"] else [_any_of(location, of_place)])
    ]


def _any_of(location: Location, errors: list[ErrorDetails]) -> ErrorDetails:
    rules = [sentence(error).rstrip(".").removeprefix("Must be ") for error in errors]
    # A word is taken for the word that it is nearly, anything else for what comes first.
    word = isinstance(errors[0]["input"], str) and explain(errors[-1])[1]
    kind = errors[-1 if word else 0]
    return {**kind, "loc": location, "msg": f"Must be {', or '.join(rules)}."}


def strictly(model: type[Model], data: Any) -> Model:
    """Validate what YAML gives, without converting one kind of value into another.

    Raises:
        pydantic.ValidationError: It does not fit.
    """
    # As JSON, in which a list is what a tuple is read from; in Python's strict mode it is not.
    return model.model_validate_json(json.dumps(data), strict=True)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Problems of one file from its top to its bottom."""

    def place(problem: Problem) -> tuple[int, int]:
        found = _PLACE.search(problem.where)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    return sorted(problems, key=place)


def without_echoes(document: Document, problems: Iterable[Problem]) -> list[Problem]:
    """Problems without those of a value that YAML itself could not give."""
    own = {_line(problem) for problem in document.problems}
    return [each for each in problems if _line(each) not in own or each in document.problems]


def _line(problem: Problem) -> str:
    """Where a problem is, but for the column: of a value it is not its key's."""
    return _PLACE.sub(r":\1 ", problem.where)


def translate(model: type[BaseModel], document: Document, error: ErrorDetails) -> Problem:
    """Say one of pydantic's errors about ``model`` as a problem of ``document``."""
    location: Location = error["loc"]
    value = error["input"]
    kind = error["type"]
    if kind == "extra_forbidden":
        valid = _keys(model, location[:-1])
        rule = f"There is no key `{location[-1]}` here."
        return document.problem(location, rule, hint=suggestion(location[-1], valid))
    if kind == "missing":
        return document.problem(location, _PLAIN_RULES[kind])
    rule, hint = explain(error)
    if isinstance(value, dict | BaseModel):
        return document.problem(location, rule, hint=hint)
    return document.problem(location, rule, value=value, hint=hint)


def explain(error: ErrorDetails) -> tuple[str, str]:
    """One of pydantic's errors as a rule and the way out, e.g. a wrong name's nearest; or none."""
    kind, context = error["type"], error.get("ctx", {})
    cause = getattr(context.get("error"), "__cause__", None)
    if isinstance(cause, ConfigError):
        return cause.rule, cause.hint
    if kind == "bool_type":
        return sentence(error), "Write true or false, without quotes."
    if kind in ("int_type", "float_type") and isinstance(error["input"], str):
        return sentence(error), "Write it in digits, without quotes or underscores."
    if kind == "string_pattern_mismatch":
        return sentence(error), IN_WORDS.get(context["pattern"], "")
    near: list[str] = []
    if kind == "literal_error":
        valid = re.findall(r"'([^']*)'", context["expected"])
        near = get_close_matches(str(error["input"]), valid, 1)
    return _PLAIN_RULES.get(kind) or sentence(error), f"Did you mean `{near[0]}`?" if near else ""


def sentence(error: ErrorDetails) -> str:
    """Pydantic's message as a rule: ``Must be greater than 0.``"""
    text = error["msg"].removeprefix("Value error, ").partition(", unable to parse")[0]
    text = re.sub(r"^\w+ should", "must", text).replace(" after validation", "")
    if text.partition(" ")[0].isalpha():
        text = text[0].upper() + text[1:]
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}..."
    return text if text.endswith(".") else text + "."


def _keys(model: type[BaseModel], location: Location) -> list[str]:
    """The valid keys of the mapping at ``location``."""
    kind: Any = model
    for part in location:
        kind = _inner(kind, part)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [field.alias or name for name, field in kind.model_fields.items()]
    return []


def _kinds(model: type[BaseModel], location: Location) -> list[Any]:
    """What the value at ``location`` may be, beside null."""
    kind: Any = model
    for part in location:
        kind = _inner(kind, part)
    if get_origin(kind) not in (Union, UnionType):
        return [kind]
    return [option for option in get_args(kind) if option is not type(None)]


def _inner(kind: Any, part: str | int) -> Any:
    """The type of the member ``part`` of a value of type ``kind``, without ``| None``."""
    inner: Any = None
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = {field.alias or name: field for name, field in kind.model_fields.items()}
        inner = fields[part].annotation if part in fields else None
    elif get_origin(kind) is dict:
        inner = get_args(kind)[1]
    elif get_origin(kind) in (tuple, list):
        inner = get_args(kind)[0]
    while get_origin(inner) is Annotated:
        inner = get_args(inner)[0]
    options = [option for option in get_args(inner) if option is not type(None)]
    return options[0] if type(None) in get_args(inner) else inner
