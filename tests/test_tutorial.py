"""docs/tutorial.md: every block of it is run, in its order, from a folder with the shipped files.

Two tiny random models stand in for the real ones, few passages and steps for many; they prove
nothing, so the gate is opened by hand. What is installed is what runs these tests. Ports are free
ones, and the measurement of hours, which takes a minute, is left to its own tests.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import nullcontext
from contextlib import redirect_stderr
from contextlib import redirect_stdout
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import pytest

from c2c_search.cli import main
from c2c_search.models.cache_dir import CACHE_VARIABLE
from c2c_search.study import finalists
from c2c_search.testing.tiny_models import random_model
from c2c_search.tracking import ui
from tests.browser import needs_chromium
from tests.browser import opened


pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
INSTALLED = ("python3 -m venv", ". venv/bin/activate", "pip install")
SMALLER = {
    "passages: {train: 3600, validation: 200, test: 500}": "passages: {train: 16, validation: 6, "
    "test: 6}",
    "steps: 600": "steps: 4",
    "batch_size: 8": "batch_size: 4",
    "rungs: [0.35, 1.0]": "rungs: [0.5, 1.0]",
    "level: 0.01": "level: 0.5",
    "resamples: 10000": "resamples: 20",
}
NUMBER = re.compile(r"[<≈]?\s*[+-]?\d[\d.,:]*")


@dataclass
class Reader:
    """Who reads the page, and types what it says."""

    said: dict[str, str] = field(default_factory=dict)  # by the line that was typed
    at: dict[str, str] = field(default_factory=dict)  # addresses, by the command that serves them
    threads: list[threading.Thread] = field(default_factory=list)
    shown: list[tuple[str, str]] = field(default_factory=list)  # on the page, and here

    def read(self) -> None:
        last = ""
        for language, text in BLOCKS:
            if language == "sh":
                last = "".join(map(self.type, commands(text)))
            elif language == "python":
                last = self.heard(lambda text=text: exec(compile(text, "tutorial.md", "exec"), {}))
            else:
                self.shown.append((text, last))

    def type(self, line: str) -> str:
        """Run a line of a shell; what it said."""
        words = shlex.split(line)
        if line.startswith(INSTALLED):
            return ""
        if words[0] != "c2c-search":
            line = line.replace("http://127.0.0.1:8000", self.at.get("serve", ""))
            bash = ["bash", "-ec", line]
            said = subprocess.run(bash, capture_output=True, text=True, check=True).stdout
        elif words[1] in ("serve", "ui"):
            said = self._kept_running(words[1:])
        else:
            said = self.heard(lambda: run(words[1:]))
        self.said[" ".join(words)] = said
        return said

    def heard(self, done: Callable[[], int | None]) -> str:
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            status = done()
        assert not status, said.getvalue()
        return said.getvalue()

    def _kept_running(self, words: list[str]) -> str:
        said = io.StringIO()
        served = threading.Thread(target=run, args=([*words, "--port", "0"],), daemon=True)
        with redirect_stdout(said), redirect_stderr(said):
            served.start()
            self.threads.append(served)
            while not re.search(r"^(models: |Press Ctrl-C)", said.getvalue(), re.MULTILINE):
                assert served.is_alive(), said.getvalue()
                time.sleep(0.02)
        self.at[words[0]] = re.findall(r"http://[\d.:]+", said.getvalue())[0]
        return said.getvalue()


def commands(block: str) -> list[str]:
    """The lines of a block: what a backslash or a quote goes on with belongs to it."""
    found, line = [], ""
    for part in block.splitlines():
        line += part + "\n"
        try:
            shlex.split(line)
        except ValueError:  # an open quote
            continue
        if not part.endswith("\\"):
            found += [each.strip() for each in line.split("&&")]
            line = ""
    assert not line
    return found


def run(words: list[str]) -> int:
    """Run a command line in this process; its exit status."""
    if words[0] == "plan":
        words = [*words, "--quick"]
    sys.argv = ["c2c-search", *words]
    try:
        main()
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def write_files(folder: Path) -> None:
    """The shipped space and its pipeline, with smaller numbers and models that are here."""
    options = {
        "smollm2-135m-instruct": {"layers": 16, "heads": 1, "seed": 1},
        "gemma-3-270m": {"layers": 3, "heads": 1, "head_dim": 12, "seed": 2},
    }
    for name, made in options.items():
        loaded = random_model(**made)
        loaded.model.save_pretrained(folder / "models" / name)
        loaded.tokenizer.save_pretrained(folder / "models" / name)
    for file in ("spaces/fuser.yaml", "pipelines/private.yaml"):
        (folder / file).parent.mkdir()
        text = (ROOT / file).read_text(encoding="utf-8").replace("pypi:", "path:../models/")
        for large, small in SMALLER.items():
            text = text.replace(large, small)
        (folder / file).write_text(text, encoding="utf-8")
    assert all(large not in text for large in SMALLER)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Has read the page to its end; what it serves is still there."""
    import uvicorn

    folder = tmp_path_factory.mktemp("copy")
    write_files(folder)
    serve, open_ui, judge = uvicorn.Server.run, ui._server, finalists.judge
    ends: list[Callable[[], None]] = []

    def served(server: uvicorn.Server, *arguments: Any, **options: Any) -> None:
        ends.append(lambda: setattr(server, "should_exit", True))
        serve(server, *arguments, **options)

    @contextmanager
    def opened(*arguments: Any) -> Iterator[subprocess.Popen[bytes]]:
        with open_ui(*arguments) as server:
            ends.append(lambda: os.killpg(server.pid, signal.SIGTERM))  # as Ctrl-C would
            yield server

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv(CACHE_VARIABLE, str(folder / "cache"))
        patch.setenv("COLUMNS", "80")
        patch.setattr(sys, "argv", sys.argv)
        patch.setattr(uvicorn.Server, "run", served)
        patch.setattr(ui, "_server", opened)
        # Signals are the main thread's.
        patch.setattr(ui, "_until_signalled", nullcontext)
        patch.setattr(
            finalists, "judge", lambda *a, **k: judge(*a, **k).model_copy(update={"passed": True})
        )
        reader = Reader()
        try:
            reader.read()
            yield reader
        finally:
            for end in ends:
                end()
            for thread in reader.threads:
                thread.join()


def form(line: str) -> str:
    """A line without its numbers; of a framed table's its first column, as the rest is folded."""
    if not line.strip("┌─┬┐├┼┤└┴┘"):
        return line[:1]
    first = line.split("│")[:2] if line.startswith("│") else [line]
    return " ".join(NUMBER.sub("#", "│".join(first)).split())


def test_what_the_page_shows_is_of_the_form_of_what_is_said(reader: Reader) -> None:
    for shown, said in reader.shown:
        if shown.startswith("{"):
            assert same_keys(json.loads(shown), json.loads(said))
            continue
        forms = {form(line) for line in said.splitlines()}
        missing = [line for line in shown.splitlines() if line != "…" and form(line) not in forms]
        assert not missing, said


def same_keys(shown: object, said: object) -> bool:
    """Whether all that is shown of a JSON value is there, of the same kinds."""
    if isinstance(shown, dict) and isinstance(said, dict):
        return all(key in said and same_keys(value, said[key]) for key, value in shown.items())
    if isinstance(shown, list) and isinstance(said, list):
        return all(same_keys(*pair) for pair in zip(shown, said, strict=True))
    return type(shown) is type(said)


def test_it_ends_with_a_served_champion_and_leaves_what_it_says(reader: Reader) -> None:
    assert {language for language, _ in BLOCKS} == {"sh", "text", "json", "python"}
    assert PAGE.count("```") == 2 * len(BLOCKS)
    assert Path("champion/fuser.safetensors").is_file()
    assert "<html" in Path("report.html").read_text(encoding="utf-8")
    assert reader.at.keys() == {"serve", "ui"}
    assert "4 of 4 trials" in reader.heard(lambda: run(["status"]))


def test_what_the_page_installs_there_is() -> None:
    (line,) = re.findall(r"pip install '\.\[(.*)\]'", PAGE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(line.split(",")) <= project["optional-dependencies"].keys()


@needs_chromium
def test_mlflow_opens_on_the_leaderboard_of_its_trials(reader: Reader) -> None:
    """The link that `ui` prints: the page of model training, trials named by what they are."""
    (link,) = re.findall(r"leaderboard +(http\S+)", reader.said["c2c-search ui"])
    columns = ("Run Name", "objective", "validation/accuracy", "validation/deranged")
    told = ("You're viewing a shared view", "Leaderboard", "Sort: objective")
    names = ("000 side/none/linear/ridge", "trial-000 twin", "smollm2-135m-instruct alone")
    with opened(link, width=1900) as tab:
        # MLflow draws its table first, and then the view that was shared; on a busy machine
        # seconds lie between.
        tab.page.set_default_timeout(120_000)
        for column in columns:
            tab.page.get_by_role("columnheader", name=column, exact=True).first.wait_for()
        for text in (*told, *names):
            tab.page.get_by_text(text).first.wait_for()
        tab.page.screenshot(path="mlflow.png")
        assert "workflowType=machine_learning" in tab.page.url
    assert all(url.startswith(reader.at["ui"]) for url in tab.asked)
