"""YAML documents that remember on which line, and in which column, each key stands.

Plain scalars are read by the core schema of YAML 1.2, so that ``1e-3`` is a number and ``no`` a
word (https://yaml.org/spec/1.2.2/#103-core-schema); `dump` writes by the same rules. A document
has a budget of size, depth and values, aliases written out, so that reading one ends soon
whatever it holds.
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

MOST_BYTES = 256 * 1024
MOST_DEPTH = 32
MOST_VALUES = 20_000
"""Keys and values of a document, every alias counted as what it stands for."""

MOST_DIGITS = 15
"""Of a whole number: as many as a float, JSON and every store keep exactly."""

_TAG = "tag:yaml.org,2002:"
_CORE_SCHEMA = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)
_MISSING = object()
# Half of a surrogate pair is no text, and control characters are for terminals, not for names.
_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
_SHOWN = 80


class _OverBudget(Exception):
    """The document is deeper, or holds more, than a document may."""

    def __init__(self, rule: str, mark: yaml.Mark) -> None:
        super().__init__(rule)
        self.rule, self.where = rule, _marked(mark)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MOST_DEPTH:
            rule = f"Lists and mappings must not be deeper than {MOST_DEPTH}."
            raise _OverBudget(rule, self.peek_event().start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # PyYAML folds some line breaks of unquoted text into spaces; escapes keep them.
        style = None if text.isprintable() else '"'
        return self.represent_scalar(_TAG + "str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)

_PATTERNS = {kind: re.compile(f"(?:{pattern})\\Z") for kind, pattern, _ in _CORE_SCHEMA}

for _kind, _, _first in _CORE_SCHEMA:
    _compiled = _PATTERNS[_kind]
    _Loader.add_implicit_resolver(_TAG + _kind, _compiled, _first)
    _Dumper.add_implicit_resolver(_TAG + _kind, _compiled, _first)


@dataclass(frozen=True)
class Document:
    """A parsed YAML document.

    Args:
        name: What problems call it, e.g. its path.
        data: Its content as plain Python; None when it could not be parsed.
        lines: Line, counted from 1, of every key and list item by its location; the root's is 1.
        columns: Column of the same, in characters, counted from 1.
        problems: What is wrong with the YAML itself: syntax, duplicate keys, tags.
    """

    name: str
    data: Any = None
    lines: dict[Location, int] = field(default_factory=dict)
    columns: dict[Location, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def problem(
        self, location: Location, rule: str, *, value: Any = _MISSING, hint: str = ""
    ) -> Problem:
        """A problem with the key at ``location``; a key that is absent has its parent's place."""
        known = location
        while known and known not in self.lines:
            known = known[:-1]
        line = f":{self.lines[known]}:{self.columns[known]}" if self.lines else ""
        where = f"{self.name}{line} {spell(location)}".rstrip()
        if value is _MISSING:
            return Problem(where, rule, hint=hint)
        return Problem(where, rule, value, hint)


def spell(location: Location) -> str:
    """Write a location as users do: ``enqueue[0].fuser.depth``."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        name = part if len(part) <= _SHOWN else f"{part[:_SHOWN]}..."
        text += f".{name}" if text else name
    return text


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def read(path: Path) -> Document:
    """Read a YAML file; a file that cannot be read is a document with that problem."""
    name = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            rule = f"A YAML file must not be larger than {MOST_BYTES // 1024} KiB."
            return Document(name, problems=(Problem(name, rule),))
        # A byte order mark, and the line ends of other systems, are YAML's to read.
        return parse(content.decode("utf-8"), name)
    except FileNotFoundError:
        return Document(name, problems=(Problem(name, "This file does not exist."),))
    except UnicodeDecodeError as error:
        rule = f"Must be UTF-8 text, but is not at byte {error.start}."
        return Document(name, problems=(Problem(name, rule),))
    except (OSError, ValueError) as error:
        rule = f"This file cannot be read: {getattr(error, 'strerror', None) or error}."
        return Document(name, problems=(Problem(name, rule),))


def parse(text: str, name: str) -> Document:
    """Parse YAML text; never raises, what is wrong is in ``problems``."""
    try:
        root = _Loader(text).get_single_node()
        if isinstance(root, yaml.MappingNode):
            builder = _Builder(name)
            data = builder.value(root, (), ())
            problems = tuple(builder.problems)
            return Document(name, data, builder.lines, builder.columns, problems)
    except _OverBudget as error:
        return Document(name, problems=(Problem(f"{name}:{error.where}", error.rule),))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{_marked(mark)}" if mark else name
        found = (error.problem or error.context or "").removeprefix("but ")
        rule = f"Must be valid YAML, but {found}."
        return Document(name, problems=(Problem(where, rule),))
    # An escape that is no character ("\\UFFFFFFFF") is a ValueError of PyYAML's.
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        return Document(name, problems=(Problem(name, f"Must be valid YAML, but {error}."),))
    where = f"{name}:{_marked(root.start_mark)}" if root else name
    return Document(name, problems=(Problem(where, "Must be a mapping of keys to values."),))


def _marked(mark: yaml.Mark) -> str:
    return f"{mark.line + 1}:{mark.column + 1}"


def dump(data: Any) -> str:
    """Write plain Python as YAML that `parse` reads back unchanged."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=98)


class _Builder:
    """Turns YAML nodes into plain Python and notes where each one stood."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Location, int] = {(): 1}
        self.columns: dict[Location, int] = {(): 1}
        self.values = 0
        self.problems: list[Problem] = []

    def value(self, node: yaml.Node, at: Location, above: tuple[yaml.Node, ...]) -> Any:
        if any(node is parent for parent in above):
            self._problem(node, at, "An anchor must not contain itself.")
            return None
        self._count(node)
        above = (*above, node)
        if isinstance(node, yaml.MappingNode):
            self._no_tag(node, at, "map")
            return self._mapping(node, at, above)
        if isinstance(node, yaml.SequenceNode):
            self._no_tag(node, at, "seq")
            items = []
            for index, item in enumerate(node.value):
                self._stands((*at, index), item)
                items.append(self.value(item, (*at, index), above))
            return items
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, at)

    def _mapping(
        self, node: yaml.MappingNode, at: Location, above: tuple[yaml.Node, ...]
    ) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key_node, value_node in node.value:
            self._count(key_node)
            key = self._scalar(key_node, at) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                self._problem(key_node, at, "A key must be a word; put it in quotes.", key)
                continue
            location = (*at, key)
            if key in content:
                rule = f"This key stands here already, on line {self.lines[location]}."
                self._problem(key_node, location, rule)
                continue
            self._stands(location, key_node)
            content[key] = self.value(value_node, location, above)
        return content

    def _stands(self, at: Location, node: yaml.Node) -> None:
        self.lines[at] = node.start_mark.line + 1
        self.columns[at] = node.start_mark.column + 1

    def _scalar(self, node: yaml.ScalarNode, at: Location) -> Any:
        kind, text = node.tag.removeprefix(_TAG), str(node.value)
        if kind == "str":
            return self._text(node, text, at)
        if kind not in _PATTERNS or not _PATTERNS[kind].match(text):
            self._no_tag(node, at, "")
            return self._text(node, text, at)
        match kind:
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return self._integer(node, text, at)
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))

    def _integer(self, node: yaml.Node, text: str, at: Location) -> int:
        digits = text.lstrip("+-").lstrip("0")
        if len(digits) > MOST_DIGITS:
            rule = f"A whole number must not have more than {MOST_DIGITS} digits."
            self._problem(node, at, rule, _Number(text))
            return 10**MOST_DIGITS
        return int(text)

    def _text(self, node: yaml.Node, text: str, at: Location) -> str:
        if found := _NO_TEXT.search(text):
            rule = "Text must not hold control characters or half characters."
            self._problem(node, at, rule, found[0])
            return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", text)
        return text

    def _no_tag(self, node: yaml.Node, at: Location, expected: str) -> None:
        if node.tag != _TAG + expected:
            rule = "YAML tags have no meaning here; write the value alone."
            self._problem(node, at, rule, node.tag)

    def _count(self, node: yaml.Node) -> None:
        self.values += 1
        if self.values > MOST_VALUES:
            rule = (
                f"A document must not hold more than {MOST_VALUES:,} values, aliases written out."
            )
            raise _OverBudget(rule, node.start_mark)

    def _problem(self, node: yaml.Node, at: Location, rule: str, value: Any = _MISSING) -> None:
        where = f"{self.name}:{_marked(node.start_mark)} {spell(at)}".rstrip()
        given = {} if value is _MISSING else {"value": value}
        self.problems.append(Problem(where, rule, **given))


class _Number(str):
    """Digits that are shown as they stand, not as a word in quotes."""

    def __repr__(self) -> str:
        return str(self)
