"""Inputs that nobody meant, at the command line: an error with exit status 2, or none at all.

Spaces, pipelines and rows are mutations of valid ones; command lines are put together from words
that are there and words that are not. Few examples, always the same, unless ``C2C_SEARCH_FUZZ``
says how many of each property: ``C2C_SEARCH_FUZZ=1000 pytest -n 0 -s tests/fuzz`` takes an hour or
less and prints how they ended.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import Phase
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.cli import main
from c2c_search.config.document import dump
from c2c_search.config.document import parse
from c2c_search.data.schema import DataConfig
from c2c_search.data.splits import split_rows
from c2c_search.errors import DataError


ROOT = Path(__file__).parents[2]
ASKED = os.environ.get("C2C_SEARCH_FUZZ")
SECONDS = 10
ENDED: Counter[tuple[str, str]] = Counter()

fuzzed = settings(
    max_examples=int(ASKED or 25),
    derandomize=ASKED is None,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    # What fails is small enough to be read; making it smaller would take minutes.
    phases=(Phase.explicit, Phase.generate),
)


@pytest.fixture(scope="module", autouse=True)
def _told() -> Iterator[None]:
    # What takes long by itself, to be told from what hangs.
    for module in ("transformers.modeling_utils", "c2c_search.evaluator.evaluate", "optuna"):
        import_module(module)
    yield
    if ASKED:
        for (what, how), times in sorted(ENDED.items()):
            print(f"{what}: {how}: {times}")


@contextlib.contextmanager
def _soon() -> Iterator[None]:
    """Fails if the block computes for too long, or waits for much longer."""

    def late(*_: object) -> None:
        raise AssertionError(f"This took more than {SECONDS} s.")

    # Of the process's own time: a busy machine says nothing about an input.
    timers = {signal.SIGPROF: signal.ITIMER_PROF, signal.SIGALRM: signal.ITIMER_REAL}
    before = {number: signal.signal(number, late) for number in timers}
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, 10 * SECONDS)
    try:
        yield
    finally:
        for number, timer in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


def _run(what: str, *words: str) -> None:
    """Run a command line in a folder of its own; anything but exit status 0 to 4 gets out."""
    before = sys.argv
    sys.argv = ["c2c-search", *words]
    out, err = io.StringIO(), io.StringIO()
    try:
        with _soon(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
        status: Any = 0
    except SystemExit as left:
        status = left.code or 0
    finally:
        sys.argv = before
    ENDED[what, f"exit {status}"] += 1
    assert status in (0, 2), err.getvalue()
    assert len(out.getvalue()) + len(err.getvalue()) < 100_000
    assert status == 0 or err.getvalue()


_ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.sampled_from(
        [
            "",
            "true",
            "yes",
            "1",
            "1e3",
            "~",
            "../..",
            "/",
            "a/b",
            "path:",
            "path:x",
            "gguf:~nobody/x",
            "hf:a/b",
            "x" * 5000,
            "a\0b",
            "\ud800",
            "\x1b[31m",
            "pair",
            "fuser.depth",
            "training.steps",
            "capital/of",
            "*",
        ]
    ),
    st.just([]),
    st.just({}),
    st.just([[]]),
    st.just({"a": {"b": 1}}),
    st.just({"choices": [1, 2]}),
    st.just({"int": [1, 10**10]}),
    st.just({"float": [0, 1], "log": True}),
    st.just({"choices": [1], "when": {"fuser.depth": 1}}),
)
_TAGGED = st.sampled_from(
    ["!!int five", "!!float x", "!!binary a", "!x y", "*a", "&a [*a]", "{", "[" * 100, "'", "\t"]
)


def _places(tree: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    inner: Any = tree.items() if isinstance(tree, dict) else ()
    for key, value in enumerate(tree) if isinstance(tree, list) else inner:
        yield from _places(value, (*at, key))


def _mutate(draw: st.DrawFn, tree: Any) -> Any:
    """The tree with a value replaced, taken away, moved or named otherwise."""
    tree = deepcopy(tree)
    places = list(_places(tree))[1:]
    if not places:
        return tree
    *path, last = draw(st.sampled_from(places))
    parent = tree
    for part in path:
        parent = parent[part]
    match draw(st.sampled_from(["replace", "replace", "drop", "name", "wrap", "swap"])):
        case "replace":
            parent[last] = draw(_ODD)
        case "drop":
            del parent[last]
        case "name":
            name = draw(st.one_of(st.text(max_size=5), st.sampled_from(["pair", "int", "when"])))
            if isinstance(parent, dict):
                parent[name] = parent.pop(last)
        case "wrap":
            parent[last] = [parent[last]] if draw(st.booleans()) else {"choices": parent[last]}
        case "swap":
            *other, end = draw(st.sampled_from(places))
            source = tree
            for part in other:
                source = source[part] if _has(source, part) else source
            parent[last] = deepcopy(source[end]) if _has(source, end) else None
    return tree


def _has(tree: Any, part: Any) -> bool:
    if isinstance(tree, dict):
        return part in tree
    return isinstance(tree, list) and isinstance(part, int) and part < len(tree)


def _text(draw: st.DrawFn, tree: Any) -> str:
    """The tree as YAML, at times with a value that only text can have."""
    try:
        text = dump(tree)
    except (UnicodeEncodeError, RecursionError):
        text = json.dumps(tree)
    if draw(st.integers(0, 5)) == 0:
        lines = text.split("\n")
        line = draw(st.integers(0, len(lines) - 1))
        key, colon, _ = lines[line].partition(":")
        lines[line] = f"{key}{colon} {draw(_TAGGED)}" if colon else draw(_TAGGED)
        text = "\n".join(lines)
    return text


def _tree(name: str) -> Any:
    return parse((ROOT / name).read_text(encoding="utf-8"), name).data


_SPACES = [_tree(f"spaces/{name}.yaml") for name in ("fuser", "names", "qwen", "draft")]
_PIPELINES = [_tree(f"pipelines/{name}.yaml") for name in ("quickstart", "openhermes", "draft")]
_PIPELINES[1]["data"] = _PIPELINES[0]["data"]  # its own is not there


@st.composite
def _files(draw: st.DrawFn) -> tuple[str, str]:
    space = {**draw(st.sampled_from(_SPACES)), "pipeline": "pipeline.yaml"}
    pipeline = draw(st.sampled_from(_PIPELINES))
    for _ in range(draw(st.integers(0, 3))):
        space = _mutate(draw, space)
    for _ in range(draw(st.integers(0, 3))):
        pipeline = _mutate(draw, pipeline)
    return _text(draw, space), _text(draw, pipeline)


@fuzzed
@given(files=_files(), plan=st.integers(0, 2))
def test_spaces_and_pipelines(files: tuple[str, str], plan: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in zip(("space.yaml", "pipeline.yaml"), files, strict=True):
            (Path(folder) / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        space = f"{folder}/space.yaml"
        _run("validate", "validate", space)
        if plan == 0:
            _run("plan", "plan", "--space", space)
        assert sorted(os.listdir(folder)) == ["pipeline.yaml", "space.yaml"]


_ROWS: list[dict[str, Any]] = [
    {"question": "Which?", "choices": ["a", "b"], "answer": 1, "group": "g"},
    {"prompt": "Say it.", "answer": "It."},
    {
        "messages": [
            {"role": "system", "content": "Be."},
            {"role": "user", "content": "Who?"},
            {"role": "assistant", "content": "I."},
        ],
        "id": 7,
        "sharer_context": "All.",
    },
]


_VALID = {
    split: b"\n".join(
        json.dumps({**_ROWS[0], "question": f"Which {split} {number}?"}).encode()
        for number in range(20)
    )
    for split in ("train", "validation")
}


@st.composite
def _lines(draw: st.DrawFn) -> bytes:
    lines = []
    for number in range(draw(st.integers(0, 6))):
        row = draw(st.sampled_from(_ROWS))
        if draw(st.booleans()):
            row = {**row, "id": f"q{number}"}
        for _ in range(draw(st.integers(0, 2))):
            row = _mutate(draw, row)
        lines.append(json.dumps(row).encode())
        if draw(st.integers(0, 6)) == 0:
            lines[-1] = draw(
                st.one_of(
                    st.binary(max_size=20),
                    st.just(lines[-1][:-3]),
                    st.just(b"[" * 100_000),
                    st.just(b'{"a": ' * 5000),
                    st.just(b"1" * 5000),
                    st.just(b'{"answer": NaN, "question": "?", "choices": ["a", "b"]}'),
                )
            )
    return b"\n".join(lines)


@fuzzed
@given(train=_lines(), validation=st.one_of(st.none(), _lines()))
def test_rows(train: bytes, validation: bytes | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for split, content in (("train", train), ("validation", validation)):
            if content is not None:
                path = Path(folder) / f"{split}.jsonl"
                path.write_bytes(content + b"\n" + _VALID[split])
                files[split] = str(path)
        config = DataConfig.model_validate({"source": "jsonl", "files": files})
        try:
            with _soon():
                split_rows(config)
            ENDED["rows", "read"] += 1
        except DataError:
            ENDED["rows", "refused"] += 1


_COMMANDS = [
    ["validate"],
    ["plan"],
    ["plan", "--space"],
    ["study", "--space"],
    ["eval"],
    ["export"],
    ["ask"],
    ["import-rosetta"],
    ["verify"],
    ["package"],
    ["promote"],
    ["rollback"],
    ["audit"],
    ["status"],
    ["stop"],
    ["explain"],
    ["study", "ls"],
    ["study", "show"],
    ["study", "export"],
    ["trial", "ls"],
    ["trial", "show"],
    ["trial", "run"],
    ["cache", "ls"],
    ["cache", "verify"],
    ["cache", "clear", "--older-than"],
    ["cache", "clear", "--budget"],
    ["ui", "--port"],
    ["nope"],
]
_WORDS = st.one_of(
    st.sampled_from(
        [
            *(
                "--space",
                "--root",
                "--trials",
                "--to",
                "--study",
                "--tasks",
                "--systems",
                "--json",
            ),
            *("--limit", "--sharer", "--receiver", "--include-path", "--also"),
            *("--format", "--fusion", "--yes", "--model", "--seed", "--level", "--host", "--help"),
            *("-1", "0", "1e9", "nan", "99999999999999999999", "", " ", ",", "x", ".", "/", "~"),
            *(
                "~nobody/x",
                "/dev/null",
                "file",
                "folder",
                "a/b",
                "**",
                "[",
                "{}",
                "path:",
                "path:x",
            ),
            *("gguf:x", "pypi:nope", "arc_easy", "boolq=x", "test", "all", "receiver", "30d"),
            *("folder/empty.yaml", "a\udcff", "a" * 5000, "\x1b[31m", "quiz"),
        ]
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6),
)


@fuzzed
@given(command=st.sampled_from(_COMMANDS), words=st.lists(_WORDS, max_size=4))
def test_command_lines(command: list[str], words: list[str]) -> None:
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("C2C_SEARCH_CACHE", f"{folder}/cache")
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(sys, "stdin", io.StringIO(""))
        Path(folder, "file").write_bytes(b"\xff\0")
        Path(folder, "folder").mkdir()
        Path(folder, "folder", "empty.yaml").touch()
        os.chdir(folder)
        try:
            _run(" ".join(command[:1]), *command, *words)
        finally:
            os.chdir(before)
        assert not Path(folder, "mlruns").exists()
