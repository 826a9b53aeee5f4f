"""The commands before a study, as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Own rows in the working folder; nothing of the user's cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("C2C_SEARCH_CACHE", str(tmp_path / "cache"))
    row = {"choices": ["a", "b", "c"], "answer": 1}
    lines = [json.dumps({"question": f"Which is number {n}?", **row}) for n in range(60)]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines))
    return "mine.jsonl"


def test_from_rows_to_a_valid_space(cli: Cli, rows: str) -> None:
    status, out, _ = cli("init", "--data", rows, "--yes", "--json")
    assert status == 0
    assert json.loads(out)["splits"] == {"train": 42, "validation": 6, "test": 12}
    found = json.loads(cli("validate", "space.yaml", "--json")[1])
    assert (found["valid"], found["study"], found["problems"]) == (True, "mine", [])
    planned = json.loads(cli("plan", "--space", "space.yaml", "--json")[1])
    assert (planned["study"], planned["trials"]) == ("mine", 6)
    status, _, err = cli("init", "--yes")
    assert (status, "never writes over a file" in err) == (2, True)


def test_init_asks_for_what_is_left_out(
    cli: Cli, rows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([rows, "hf:tiny/a", "hf:tiny/b", "told", "2"])
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(answers))
    status, out, _ = cli("init", "new")
    assert (status, out.startswith("Written: new/space.yaml, new/pipeline.yaml (42 rows")) == (
        0,
        True,
    )
    text = Path("new/space.yaml").read_text()
    assert 'receiver: "hf:tiny/a"' in text
    assert "trials: 2" in text
    assert 'train: ["../mine.jsonl"]' in Path("new/pipeline.yaml").read_text()


@pytest.mark.parametrize(
    ("flag", "value", "told"),
    [
        ("--sharer", "nope", "A model source is one of pypi:NAME"),
        ("--receiver", "path:gone", "path: needs a folder that exists"),
        ("--study", "a/b", "Must match pattern"),
    ],
)
def test_init_names_the_flag_that_cannot_be(
    cli: Cli, rows: str, flag: str, value: str, told: str
) -> None:
    status, _, err = cli("init", "new", "--yes", flag, value)
    assert (status, Path("new").exists()) == (2, False)
    assert err.startswith(f"Error: {flag}: {told}")
    assert f"Got {value!r}." in err


def test_problems_as_json_have_their_place(cli: Cli, rows: str) -> None:
    cli("init", "--data", rows, "--yes")
    space = Path("space.yaml")
    space.write_text(space.read_text().replace("  trials: 6", "  trials: 0"))
    status, out, _ = cli("validate", "space.yaml", "--json")
    (problem,) = json.loads(out)["problems"]
    assert (status, problem["column"], problem["key"]) == (2, 3, "search.trials")
    assert problem["message"].startswith("Must be greater than or equal to 1. Got 0.")


def test_data_check_tells_what_a_study_would_refuse(cli: Cli, rows: str) -> None:
    status, out, err = cli("data", "check", rows)
    assert (status, out.splitlines()[0]) == (
        0,
        "60 rows: 60 multiple choice, in 1 group and 60 clusters",
    )
    assert "splits      42 train, 6 validation, 12 test" in out
    assert "The right option is number 2 in 60 of 60 rows" in out
    assert err == "Reading mine.jsonl ...\n"
    Path("open.jsonl").write_text('{"prompt": "a", "answer": "b"}')
    status, out, err = cli("--quiet", "data", "check", "open.jsonl")
    assert (status, err.startswith("Problem: The validation split")) == (2, True)


def test_models_are_listed_and_removed(cli: Cli, rows: str) -> None:
    found = json.loads(cli("models", "ls", "--json")[1])
    assert {each["fetched"] for each in found["catalogue"]} == {False}
    assert "to fetch" in cli("models", "ls")[1]
    assert cli("models", "rm")[0] == 2
    assert cli("models", "rm", "--gone") == (0, "There is nothing to forget.\n", "")
    for asked in ((), ("--yes",)):  # before anything is asked, too
        status, _, err = cli("models", "rm", "pypi:none", *asked)
        assert (status, "source of a model in the cache" in err) == (2, True)


def test_schema_is_written(cli: Cli, rows: str) -> None:
    assert json.loads(cli("schema", "space")[1])["title"] == "c2c-search space"
    assert cli("schema", "pipeline", "--to", "a/b.json")[1] == "Written to a/b.json.\n"
    assert json.loads(Path("a/b.json").read_text())["title"] == "c2c-search pipeline"


def test_doctor_prints_findings_and_its_status(
    cli: Cli, rows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from c2c_search.setup import doctor

    finding = doctor.Finding(name="disk", state="fault", found="full", advice="Free some.")
    found = doctor.Diagnosis(ready=False, findings=(finding,))
    monkeypatch.setattr(doctor, "diagnose", lambda root: found)
    status, out, _ = cli("doctor")
    assert (status, "FAULT" in out, "Free some." in out) == (2, True, True)
    assert "\x1b" not in out
    assert doctor.Diagnosis.model_validate_json(cli("doctor", "--json")[1]) == found


def test_verbose_shows_where_an_error_was_raised(cli: Cli, rows: str) -> None:
    assert "Traceback" in cli("--verbose", "validate", "none.yaml")[2]
    assert "Traceback" not in cli("validate", "none.yaml")[2]


def test_bash_completes_commands() -> None:
    asked = {
        "_C2C_SEARCH_COMPLETE": "complete_bash",
        "COMP_WORDS": "c2c-search models p",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [sys.executable, "-m", "c2c_search"],
        capture_output=True,
        text=True,
        env={**os.environ, **asked},
        check=False,
    )
    assert done.stdout.split() == ["pull"]
