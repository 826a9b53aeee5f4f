"""Every command line, YAML, JSON and Python block of the documents is one that works.

Command lines are parsed by the program's own parser, wherever they stand; YAML is put into a space
and a pipeline and validated; Python that asks a champion asks a tiny one. Pages that are run as a
whole have tests of their own: docs/tutorial.md, docs/champions.md, docs/plugins.md.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
import shlex
import sys
from collections.abc import Callable
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.main import get_command

from c2c_search import C2CModel
from c2c_search.cli.app import app
from c2c_search.data.sources import read_files
from c2c_search.models.cache_dir import CACHE_VARIABLE
from c2c_search.space import Space
from c2c_search.space import validate_file


ROOT = Path(__file__).parents[1]
PAGES = {
    str(file.relative_to(ROOT)): file.read_text(encoding="utf-8")
    for file in [*sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("*.md"))]
}
OF_THEIR_OWN = ("docs/plugins.md", "docs/champions.md", "docs/tutorial.md")
FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
COMMANDS = get_command(app).commands.keys()  # type: ignore[attr-defined]
INLINE = re.compile(rf"`+(c2c-search [^`]+|(?:{'|'.join(COMMANDS)}) [^`]*--[a-z][^`]*)`+")
INDENTED = re.compile(r"^ {4,}(?:\$ )?(c2c-search .+)$", re.MULTILINE)
SHELLS = ("", "sh", "bash", "console")
COMPLETION = ("--install-completion", "--show-completion")
PLACEHOLDER = re.compile(r"[A-Z][A-Z0-9,_|]*$")


def blocks(*languages: str, but: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Page and text of each fenced block in one of the languages."""
    return [
        (page, text)
        for page, whole in PAGES.items()
        if page not in but
        for _, language, text in FENCED.findall(whole)
        if language in languages
    ]


def lines_of(block: str) -> Iterator[list[str]]:
    """The words of each ``c2c-search`` in a block of a shell's lines."""
    for line in block.replace("\\\n", " ").splitlines():
        try:
            parts = shlex.shlex(line, posix=True, punctuation_chars=";&|()<>")
            parts.commenters = "#"
            parts.whitespace_split = True
            words = list(parts)
        except ValueError:  # what a quote goes on with
            continue
        while "c2c-search" in words:
            words = words[words.index("c2c-search") + 1 :]
            yield list(
                itertools.takewhile(lambda word: not re.fullmatch("[;&|()<>]+", word), words)
            )


def taken(words: list[str]) -> list[str]:
    """Words that stand for others filled in: every option in brackets, 1 for ``DIR`` and ``N``."""
    bare = [word.strip("[]").rpartition("|")[2] for word in words if word != "|"]
    known = [word for word in bare if word not in ("…", "...")]
    filled = {"COMMAND": "doctor"}
    return [filled.get(word, "1" if PLACEHOLDER.match(word) else word) for word in known]


def mentioned(text: str) -> Iterator[list[str]]:
    """The words of a command that is named in a sentence: ``ls|rm`` are two."""
    words = shlex.split(text.removeprefix("c2c-search "))
    for index, word in enumerate(words):
        if "|" in word and word.islower():
            for each in word.split("|"):
                yield [*words[:index], each, *words[index + 1 :]]
            return
    yield words


WHOLE = [(page, words) for page, text in blocks(*SHELLS) for words in lines_of(text)]
WHOLE += [
    (page, shlex.split(line, comments=True)[1:])
    for page, text in PAGES.items()
    for line in INDENTED.findall(FENCED.sub("", text))
]
MENTIONED = [
    (page, words)
    for page, text in PAGES.items()
    for line in INLINE.findall(FENCED.sub("", text))
    for words in mentioned(line)
]


@pytest.fixture(scope="module")
def parse() -> Callable[[list[str]], None]:
    """Read a command line to its last option, and do nothing."""
    root = get_command(app)
    commands = [root]
    for command in commands:
        commands += getattr(command, "commands", {}).values()
        if command is not root:
            command.callback = None
    assert set(COMPLETION) <= {name for option in root.params for name in option.opts}

    def parse(words: list[str]) -> None:
        if not set(words) & set(COMPLETION):  # these would be done
            root.main(words, prog_name="c2c-search")

    return parse


def refused(
    parse: Callable[[list[str]], None], words: list[str], capsys: pytest.CaptureFixture[str]
) -> str:
    """What is wrong with a command line; empty where nothing is."""
    try:
        parse(words)
    except SystemExit as left:
        captured = capsys.readouterr()
        return captured.err if left.code else ""
    return ""


def test_every_command_line_of_a_block_is_taken(
    parse: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(WHOLE) > 40
    wrong = {}
    for page, words in WHOLE:
        if said := refused(parse, taken(words), capsys):
            wrong[f"{page}: {' '.join(words)}"] = said
    assert not wrong, "\n".join(f"{line}\n{said}" for line, said in wrong.items())


def test_every_command_that_is_mentioned_is_there_with_its_options(
    parse: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(MENTIONED) > 100
    wrong = {}
    for page, words in MENTIONED:
        said = refused(parse, taken(words), capsys)
        if said and not re.search(r"Missing (argument|option|command)|requires an argument", said):
            wrong[f"{page}: {' '.join(words)}"] = said
    assert not wrong, "\n".join(f"{line}\n{said}" for line, said in wrong.items())


def helps() -> Iterator[tuple[str, str]]:
    """Name and help of every command that does something."""
    found = [("", get_command(app))]
    for name, command in found:
        inner = getattr(command, "commands", {})
        found += [(f"{name} {part}".strip(), each) for part, each in inner.items()]
        if name and not (inner and not command.params):  # `data` alone does nothing
            yield name, command.help or ""


def test_every_help_has_an_example_that_is_taken_and_fits_a_terminal(
    parse: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in helps():
        example = text.partition("Example")[2].partition("\n\n")[2]
        assert example, name
        assert max(map(len, example.splitlines())) <= 78, name
        if name != "mcp":  # which an agent's configuration begins
            typed = re.findall(r"^ *\$ ((?:.*\\\n)*.*)$", example, re.MULTILINE)
            lines = [*lines_of("\n".join(typed))]
            assert lines, name
            assert all(" ".join(words).startswith(name) for words in lines), name
            assert not [said for words in lines if (said := refused(parse, words, capsys))], name


def test_the_overview_for_language_models_names_every_page() -> None:
    named = re.findall(r"\]\((.+?)\)", (ROOT / "docs" / "llms.txt").read_text(encoding="utf-8"))
    assert all((ROOT / "docs" / name).is_file() for name in named)
    assert {file.name for file in ROOT.glob("docs/*.md")} <= {*named}


def test_every_benchmark_is_there_with_its_options() -> None:
    lines = re.findall(r"python (benchmarks/\w+\.py)([^`\n]*)", "".join(PAGES.values()))
    assert len(lines) > 15
    shared = "".join(file.read_text(encoding="utf-8") for file in ROOT.glob("benchmarks/*.py"))
    for script, rest in lines:
        assert (ROOT / script).is_file()
        for option in re.findall(r"--[a-z-]+", rest):
            assert f'"{option}"' in shared, f"{script} {option}"


def test_every_yaml_is_part_of_a_valid_space_or_pipeline(tmp_path: Path) -> None:
    row = {"choices": ["yes", "no"], "answer": 0}
    for name in ("train", "validation", "test"):
        rows = (json.dumps(row | {"question": f"{name} {number}?"}) + "\n" for number in range(9))
        (tmp_path / f"{name}.jsonl").write_text("".join(rows))
    (tmp_path / "ds.json").write_text("{}")
    pairs = {"only": {"receiver": "hf:a/b@c", "sharer": "hf:d/e@f"}}
    rate = {"training.learning_rate": {"float": [1e-4, 1e-2], "log": True}}
    found = blocks("yaml", but=OF_THEIR_OWN)
    assert len(found) >= 9
    for page, text in found:
        space: dict[str, Any] = {"study": "page", "pipeline": "pipeline.yaml", "pairs": pairs}
        space |= {"dimensions": rate, "search": {"trials": 48}}
        pipeline: dict[str, Any] = {"name": "page", "training": {"rungs": [0.5, 1.0]}}
        for key, fields in (yaml.safe_load(text) or {}).items():
            whole = space if key in Space.model_fields else pipeline
            whole[key] = fields if key in ("pairs", "data") else whole.get(key, {}) | fields
        (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
        (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(pipeline))
        assert validate_file(tmp_path / "space.yaml") == [], (page, text)


def test_every_json_is_read_as_what_it_is(tmp_path: Path) -> None:
    for page, text in blocks("json", but=OF_THEIR_OWN):
        if page == "docs/data.md":
            (tmp_path / "rows.jsonl").write_text(" ".join(text.split()))
            (row,) = read_files({"train": [str(tmp_path / "rows.jsonl")]})["train"]
            assert row["cluster"] == "company-17"
        else:
            (server,) = json.loads(text)["mcpServers"].values()
            assert server["command"] == "c2c-search"


def test_every_python_block_imports_what_there_is() -> None:
    for page, text in blocks("python", but=OF_THEIR_OWN):
        tree = ast.parse(text, page)
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                exec(compile(ast.Module([node], []), page, "exec"), {})


def test_a_packaged_champion_is_asked_as_its_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (text,) = (text for page, text in blocks("python") if page == "docs/packaging.md")
    folder = ROOT / "tests" / "assets" / "champion_before_the_move"
    monkeypatch.chdir(folder)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    load = partial(C2CModel.from_pretrained, "champion")
    monkeypatch.setitem(sys.modules, "my_champion", SimpleNamespace(load=load))
    exec(compile(text, "packaging.md", "exec"), {})
    assert capsys.readouterr().out.strip()
