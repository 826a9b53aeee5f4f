"""YAML documents that remember on which line each key stands.

Plain scalars are read by the core schema of YAML 1.2, so that ``1e-3`` is a number and ``no`` a
word (https://yaml.org/spec/1.2.2/#103-core-schema); `dump` writes by the same rules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import yaml

from c2c_search.errors import Problem


Location = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_CORE_SCHEMA = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]{1,400}", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)
_MISSING = object()


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # PyYAML folds some line breaks of unquoted text into spaces; escapes keep them.
        style = None if text.isprintable() else '"'
        return self.represent_scalar(_TAG + "str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)

for _kind, _pattern, _first in _CORE_SCHEMA:
    _compiled = re.compile(f"^(?:{_pattern})$")
    _Loader.add_implicit_resolver(_TAG + _kind, _compiled, _first)
    _Dumper.add_implicit_resolver(_TAG + _kind, _compiled, _first)


@dataclass(frozen=True)
class Document:
    """A parsed YAML document.

    Args:
        name: What problems call it, e.g. its path.
        data: Its content as plain Python; None when it could not be parsed.
        lines: Line, counted from 1, of every key and list item by its location; the root's is 1.
        problems: What is wrong with the YAML itself: syntax, duplicate keys, tags.
    """

    name: str
    data: Any = None
    lines: dict[Location, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def problem(
        self, location: Location, rule: str, *, value: Any = _MISSING, hint: str = ""
    ) -> Problem:
        """A problem with the key at ``location``; a key that is absent has its parent's line."""
        known = location
        while known and known not in self.lines:
            known = known[:-1]
        line = f":{self.lines[known]}" if self.lines else ""
        where = f"{self.name}{line} {spell(location)}".rstrip()
        if value is _MISSING:
            return Problem(where, rule, hint=hint)
        return Problem(where, rule, value, hint)


def spell(location: Location) -> str:
    """Write a location as users do: ``enqueue[0].fuser.depth``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read(path: Path) -> Document:
    """Read a YAML file; a file that cannot be read is a document with that problem."""
    name = str(path)
    try:
        return parse(path.read_text(encoding="utf-8"), name)
    except FileNotFoundError:
        return Document(name, problems=(Problem(name, "This file does not exist."),))
    except UnicodeDecodeError as error:
        rule = f"Must be UTF-8 text, but is not at byte {error.start}."
        return Document(name, problems=(Problem(name, rule),))
    except OSError as error:
        rule = f"This file cannot be read: {error.strerror}."
        return Document(name, problems=(Problem(name, rule),))


def parse(text: str, name: str) -> Document:
    """Parse YAML text; never raises, what is wrong is in ``problems``."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        rule = f"Must be valid YAML, but {error.problem or error.context}."
        return Document(name, problems=(Problem(where, rule),))
    except yaml.YAMLError as error:
        return Document(name, problems=(Problem(name, f"Must be valid YAML, but {error}."),))
    if not isinstance(root, yaml.MappingNode):
        where = f"{name}:{root.start_mark.line + 1}" if root else name
        return Document(name, problems=(Problem(where, "Must be a mapping of keys to values."),))
    builder = _Builder(name)
    data = builder.value(root, (), ())
    return Document(name, data, builder.lines, tuple(builder.problems))


def dump(data: Any) -> str:
    """Write plain Python as YAML that `parse` reads back unchanged."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=98)


class _Builder:
    """Turns YAML nodes into plain Python and notes where each one stood."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Location, int] = {(): 1}
        self.problems: list[Problem] = []

    def value(self, node: yaml.Node, at: Location, above: tuple[yaml.Node, ...]) -> Any:
        if any(node is parent for parent in above):
            self._problem(node, at, "An anchor must not contain itself.")
            return None
        above = (*above, node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, at, above)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, item in enumerate(node.value):
                self.lines[(*at, index)] = item.start_mark.line + 1
                items.append(self.value(item, (*at, index), above))
            return items
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, at)

    def _mapping(
        self, node: yaml.MappingNode, at: Location, above: tuple[yaml.Node, ...]
    ) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._scalar(key_node, at) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                self._problem(key_node, at, "A key must be a word; put it in quotes.", key)
                continue
            location = (*at, key)
            if key in content:
                rule = f"This key stands here already, on line {self.lines[location]}."
                self._problem(key_node, location, rule)
                continue
            self.lines[location] = key_node.start_mark.line + 1
            content[key] = self.value(value_node, location, above)
        return content

    def _scalar(self, node: yaml.ScalarNode, at: Location) -> Any:
        text: str = node.value
        match node.tag.removeprefix(_TAG):
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return int(text)
            case "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        self._problem(node, at, "YAML tags have no meaning here; write the value alone.", node.tag)
        return text

    def _problem(self, node: yaml.Node, at: Location, rule: str, value: Any = _MISSING) -> None:
        where = f"{self.name}:{node.start_mark.line + 1} {spell(at)}".rstrip()
        given = {} if value is _MISSING else {"value": value}
        self.problems.append(Problem(where, rule, **given))
