from __future__ import annotations

import errno
import io
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from c2c_search.errors import NoChampionError
from c2c_search.tokenization.templates import RoleTemplates


Cli = Callable[..., tuple[int, str, str]]

SPACE = """\
study: tiny
pipeline: pipeline.yaml
pairs:
  there: {receiver: "hf:tiny/a", sharer: "hf:tiny/b"}
search: {trials: 5, pruner: none}
dimensions:
  fuser.depth: {int: [1, 8]}
"""


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.yaml").write_text("name: tiny-task\n")
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


@pytest.mark.parametrize("line", ["--help", "study -h", "eval --help", "serve -h", "trial run -h"])
def test_help_imports_nothing_heavy(line: str) -> None:
    heavy = ["torch", "mlflow", "optuna", "transformers", "datasets", "deepspeed", "pydantic"]
    code = "import atexit, sys; from c2c_search.cli import main\n"
    code += f"atexit.register(lambda: print([m for m in {heavy} if m in sys.modules]))\n"
    code += f"sys.argv[1:] = {line.split()}; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: c2c-search" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_of_what_is_not_there(cli: Cli) -> None:
    status, _, err = cli("trial", "rum", "--help")
    assert status == 2
    assert "No such command 'rum'" in err


@pytest.mark.parametrize(
    "command",
    [
        "study",
        "validate",
        "plan",
        "explain",
        "ui",
        "export",
        "package",
        "promote",
        "rollback",
        "verify",
        "import-rosetta",
        "ask",
        "eval",
        "audit",
        "trial",
        "trial run",
        "trial ls",
        "trial show",
        "trial retry",
        "status",
        "stop",
        "study ls",
        "study show",
        "study rm",
        "study export",
        "init",
        "doctor",
        "schema",
        "mcp",
        "models ls",
        "models pull",
        "models rm",
        "data check",
        "cache ls",
    ],
)
def test_every_command_has_help(cli: Cli, command: str) -> None:
    status, out, _ = cli(*command.split(), "--help")
    assert status == 0
    assert "Usage: c2c-search" in out


def test_version(cli: Cli) -> None:
    status, out, _ = cli("--version")
    assert status == 0
    assert out.startswith("c2c-search ")


def test_an_unknown_command_and_a_missing_option(cli: Cli) -> None:
    assert cli("sudy")[0] == 2
    status, _, err = cli("study")
    assert status == 2
    assert "--space" in err


def test_validate(cli: Cli, space_file: Path) -> None:
    status, out, _ = cli("validate", str(space_file))
    assert status == 0
    assert "study tiny, 1 pair, 1 dimension, 5 trials of 200 steps" in out


def test_validate_tells_the_day_that_prompts_are_written_on(cli: Cli, space_file: Path) -> None:
    assert "writes the date" not in cli("validate", str(space_file))[1]
    pipeline = space_file.with_name("pipeline.yaml")
    pipeline.write_text("name: tiny-task\ndata: {template: chat}\n")
    assert "writes the day on which the study begins" in cli("validate", str(space_file))[1]
    pipeline.write_text("name: tiny-task\ndata: {template: chat, date: 2026-07-31}\n")
    assert "writes 2026-07-31." in cli("validate", str(space_file))[1]


def test_validate_reports_every_problem_without_a_traceback(cli: Cli, space_file: Path) -> None:
    text = space_file.read_text().replace("fuser.depth", "fuser.dept").replace("trials", "trails")
    space_file.write_text(text)
    status, out, err = cli("validate", str(space_file))
    assert (status, out) == (2, "")
    assert err.startswith("Error: ")
    assert "trials" in err
    assert "fuser.depth" in err
    assert "Traceback" not in err


def test_plan_needs_no_models(cli: Cli, space_file: Path) -> None:
    status, out, _ = cli("plan", "--space", str(space_file))
    assert status == 0
    assert "fuser.depth" in out
    assert "--fetch" in out


def test_study_passes_its_options_and_its_exit_status(
    cli: Cli, space_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from c2c_search.study import driver

    asked: list[Any] = []

    def run_study(path: Path, **options: Any) -> None:
        asked.append((path, options))
        raise NoChampionError("none")

    monkeypatch.setattr(driver, "run_study", run_study)
    status, out, err = cli(
        "study",
        "--space",
        str(space_file),
        "--root",
        "runs",
        "--trials",
        "3",
        "--warm-start",
        "first, second",
        "--force",
        "it is smaller",
    )
    assert status == 3
    assert out == f"Reading {space_file} ...\n"
    assert err == "Error: none\n"
    options = {"root": Path("runs"), "trials": 3, "force": "it is smaller"}
    nowhere = dict.fromkeys(("workers", "address", "storage_url", "tracking_uri"))
    told = {**options, **nowhere, "engine": "local", "warm_start": ("first", "second")}
    assert asked == [(space_file, told)]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), 130),
        (OSError(errno.ENOSPC, "full"), 2),
        (OSError(errno.ENAMETOOLONG, "too long", "aaa"), 2),
        (OSError(errno.EACCES, "not yours", "aaa"), 2),
    ],
)
def test_interrupts_and_a_full_disk(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int
) -> None:
    from c2c_search.study import driver

    def run_study(path: Path, **options: Any) -> None:
        raise error

    monkeypatch.setattr(driver, "run_study", run_study)
    got, _, err = cli("study", "--space", "x")
    assert got == status
    assert "Traceback" not in err


def test_an_interrupt_before_the_command_begins(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import c2c_search.cli

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(c2c_search.cli, "_check_arguments", interrupted)
    assert cli("status")[0] == 130


def test_what_is_our_fault_keeps_its_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from c2c_search.study import driver

    def run_study(path: Path, **options: Any) -> None:
        raise AssertionError("ours")

    monkeypatch.setattr(driver, "run_study", run_study)
    with pytest.raises(AssertionError, match="ours"):
        cli("study", "--space", "x")


def test_export_and_ask_tell_what_is_missing(cli: Cli, tmp_path: Path) -> None:
    status, _, err = cli("export", "--to", str(tmp_path / "to"), "--root", str(tmp_path))
    assert status == 2
    assert "c2c-search study" in err
    status, _, err = cli("ask", str(tmp_path), "Who?")
    assert status == 2
    assert "manifest.json" in err


def tokenizer() -> SimpleNamespace:
    return SimpleNamespace(chat_template=None)


class FakeModel:
    """Answers without torch, which the real one imports."""

    template = "plain"
    fuser: SimpleNamespace | None = None

    def __init__(self, name: str) -> None:
        self.name = name
        for role in ("receiver", "sharer"):
            identity = SimpleNamespace(source=f"path:{name}/{role}")
            loaded = SimpleNamespace(identity=identity, text_tokenizer=tokenizer())
            setattr(self, role, loaded)

    @classmethod
    def from_pretrained(cls, directory: Path, *, listening: str | None = None) -> FakeModel:
        return cls(directory.name)

    def generate_batch(
        self, questions: list[str], contexts: list[str] | None, *, max_new_tokens: int
    ) -> list[str]:
        return [f"{self.name} on {questions[0]}, {contexts}, {max_new_tokens}"]

    def receiver_alone(self, question: str, *, max_new_tokens: int) -> str:
        return f" receiver on {question}, {max_new_tokens}"

    def sharer_alone(self, question: str, *, max_new_tokens: int) -> str:
        return f" sharer on {question}, {max_new_tokens}"


@pytest.fixture
def fake_models(monkeypatch: pytest.MonkeyPatch) -> None:
    from c2c_search.inference import documents
    from c2c_search.inference import manifest

    def several(models: list[FakeModel], *, fusion: str) -> FakeModel:
        return FakeModel(f"{'+'.join(model.name for model in models)} {fusion}")

    module = SimpleNamespace(C2CModel=FakeModel)
    monkeypatch.setitem(sys.modules, "c2c_search.inference.model", module)
    multi_sharer_module = SimpleNamespace(MultiSharerModel=several)
    monkeypatch.setitem(sys.modules, "c2c_search.inference.multi_sharer", multi_sharer_module)
    monkeypatch.setattr(manifest, "read_manifest", lambda path: SimpleNamespace(questions=()))
    monkeypatch.setattr(documents, "check_length", lambda model, context, tokens: None)


def test_ask_shows_three_answers(cli: Cli, fake_models: None) -> None:
    status, out, _ = cli("ask", "one", "[what]?", "--tokens", "7")
    assert status == 0
    for part in (
        "receiver on [what]?, 7",
        "sharer on [what]?, 7",
        "one on [what]?, None, 7",
        "path:one/sharer",
    ):
        assert part in out
    assert "document" not in out


def test_ask_shows_an_empty_answer_as_one(
    cli: Cli, fake_models: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeModel, "receiver_alone", lambda *_, max_new_tokens: " \n")
    status, out, _ = cli("ask", "one", "what?")
    assert status == 0
    assert "(empty)" in out
    assert out.count("(empty)") == 1


def test_ask_says_which_model_cannot_write_a_chat(
    cli: Cli, fake_models: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates = RoleTemplates(receiver="chat", sharer="plain")
    monkeypatch.setattr(FakeModel, "template", templates)
    _, _, err = cli("ask", "one", "what?")
    assert "The receiver path:one/receiver has no chat template: it reads plain lines" in err
    assert "sharer path" not in err


@pytest.mark.parametrize("name", ["a file.txt", "-"])
def test_ask_gives_the_document_to_the_sharer_alone(
    cli: Cli, fake_models: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    text = "\ufeffIt is so.\n\nBut [not] here.\n".encode()
    (tmp_path / "a file.txt").write_bytes(text)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    monkeypatch.chdir(tmp_path)
    status, out, _ = cli("ask", "one", "who?", "--tokens", "7", "--context", name)
    assert status == 0
    for part in (
        " receiver on who?, 7",
        "path:one/sharer, with the document",
        "sharer on It is so.",
        "But [not] here.",
        "Question: who?, 7",
        r"one on who?, ['It is so.\n\nBut [not] here.\nQuestion: who?'], 7",
    ):
        assert " ".join(part.split()) in " ".join(out.replace("│", " ").split())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "must name a file that can be read. Got 'notes.txt'. No such file"),
        (b" \n", "must say something. Got 'notes.txt'. The file is empty."),
        (b"caf\xe9", "must be text in UTF-8. Got 'notes.txt'. Byte 3 is not."),
    ],
)
def test_a_document_that_is_none_is_told_before_a_model_is_loaded(
    cli: Cli,
    fake_models: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes | None,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr(FakeModel, "from_pretrained")
    if content is not None:
        (tmp_path / "notes.txt").write_bytes(content)
    status, _, err = cli("ask", "one", "who?", "--context", "notes.txt")
    assert status == 2
    assert told in err


def test_ask_shows_the_draft(cli: Cli, fake_models: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from c2c_search.inference import drafting

    def texts(model: FakeModel, questions: list[str], contexts: list[str] | None) -> list[str]:
        return [f"{model.name} drafts to {questions[0]}, {contexts}: [red]\x1b[31m"]

    monkeypatch.setattr(drafting, "draft_texts", texts)
    status, out, _ = cli("ask", "one", "[what]?", "--show-draft")
    assert status == 0
    assert "draft" in out
    assert "one drafts to [what]?, None: [red]" in out
    assert "\x1b[31m" not in out
    assert "drafts" not in cli("ask", "one", "[what]?")[1]


def test_ask_shows_the_words_that_cross(
    cli: Cli, fake_models: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from c2c_search.inference import anchors

    config = SimpleNamespace(anchored=True)
    monkeypatch.setattr(FakeModel, "fuser", SimpleNamespace(config=config, contexts_only=False))
    monkeypatch.setattr(anchors, "anchor_texts", lambda model, asked, told: ["a [red] plum"])
    out = cli("ask", "one", "what?")[1]
    assert "handed to the receiver as text" in out
    assert "a [red] plum" in out
    config.anchored = False
    assert "as text" not in cli("ask", "one", "what?")[1]


def test_ask_hears_several_sharers(cli: Cli, fake_models: None) -> None:
    asked = ("ask", "one", "what?", "--also", "two", "--fusion", "parallel")
    status, out, _ = cli(*asked)
    assert status == 0
    for part in ("one+two parallel on what?, None, 32", "path:two/sharer", "2 sharers, parallel"):
        assert part in out


def test_a_trial_that_is_not_there(cli: Cli, tmp_path: Path) -> None:
    status, _, err = cli("trial", "run", str(tmp_path / "trial.yaml"))
    assert status == 2
    assert "trial.yaml" in err


def test_help_of_eval_names_every_system_and_task(cli: Cli) -> None:
    from c2c_search.evaluation.systems import SYSTEMS
    from c2c_search.evaluation.tasks.task import TASKS

    _, out, _ = cli("eval", "--help")
    for name in (*SYSTEMS, *TASKS):
        assert name in out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--tasks", ","), "--tasks must name something"),
        (("--systems", " "), "--systems must name something"),
        (("--study", "nope"), "--study must name a study under"),
        (("--include-path", "nope"), "--include-path must be a folder that exists"),
        (("--include-path", "."), "Name some with --lm-eval"),
        (("--to", "file"), "--to must be a folder"),
        (("--root", "file"), "--root must be a folder"),
        (("--to", "file/in/it"), "file is a file"),
        (("--root", "file/in/it"), "file is a file"),
    ],
)
def test_eval_refuses_what_it_would_ignore(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    status, _, err = cli("eval", "path:model", *options)
    assert status == 2
    assert told in err


def test_a_model_is_not_looked_for_in_a_study(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns/trials/tiny").mkdir(parents=True)
    status, _, err = cli("eval", "path:model", "--study", "tiny", "--tasks", "boolq")
    assert status == 2
    assert "'path:model' stands for itself" in err
    status, _, err = cli("eval", "**", "--study", "tiny", "--tasks", "boolq")
    assert status == 2
    assert "must be a champion's folder" in err


def test_arguments_are_text(cli: Cli) -> None:
    status, _, err = cli("validate", "a\udcff")
    assert status == 2
    assert "Arguments must be UTF-8" in err


def test_the_folder_that_a_command_is_run_in_must_be_there(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for line in (("init", "--yes"), ("status",)):
        status, out, err = cli(*line)
        assert (status, out) == (2, "")
        assert "The folder that the command is run in must be there" in err


def test_a_warning_of_ours_is_a_note_and_told_once(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from c2c_search.cli import app

    def warn() -> None:
        for _ in range(2):
            warnings.warn_explicit("Mind this.", UserWarning, str(app.__file__), 1, registry={})
            warnings.warn_explicit("a library's", UserWarning, "/lib/x.py", 1, registry={})

    monkeypatch.setattr(app, "app", lambda **_: warn())

    def others(message: object, *_: object) -> None:
        print(message, file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", others)
        assert cli() == (0, "", "Note: Mind this.\na library's\na library's\n")
        assert warnings.showwarning is others


def test_a_terminal_of_no_width_is_one_that_is_not_known(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    assert "Find, prove and ship" in cli("--help")[1]


def test_a_root_is_a_folder(cli: Cli, space_file: Path) -> None:
    for line in (("status",), ("study", "--space", str(space_file))):
        status, _, err = cli(*line, "--root", str(space_file))
        assert status == 2
        assert "--root must be a folder" in err


def test_a_user_without_a_home(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, space_file: Path
) -> None:
    import pwd

    def nobody(uid: object) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("C2C_SEARCH_CACHE", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for line in (("cache", "ls"), ("validate", str(space_file))):
        status, _, err = cli(*line)
        assert status == 2
        assert "this user has no home" in err
    status, _, err = cli("study", "--space", str(space_file), "--root", "~/x")
    assert status == 2
    assert "needs a home folder" in err


def test_python_runs_the_package() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "c2c_search", "--version"], capture_output=True, text=True
    )
    assert (run.returncode, run.stdout.split()[0]) == (0, "c2c-search")


def test_a_study_is_explained(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from c2c_search.study import explanation

    share = explanation.Share(value=0.7, low=0.5, high=0.8)
    found = explanation.Explanation(
        study="quick",
        ended=20,
        complete=12,
        indicative=True,
        dimensions=(
            explanation.Explained(
                name="fuser.width",
                values="16 to 256, log",
                ped_anova=share,
                fanova=None,
                best=250,
                applied=True,
                border="highest",
            ),
        ),
        diff="-study: quick\n+study: quick-2",
    )
    monkeypatch.setattr(explanation, "explain", lambda study, root, url=None: found)
    status, out, _ = cli("explain", "quick")
    assert status == 0
    for part in ("0.70 [0.50, 0.80]", "highest end", "indicative", "+study: quick-2", "12 trials"):
        assert part in out
    status, out, _ = cli("explain", "quick", "--json")
    assert explanation.Explanation.model_validate_json(out) == found
