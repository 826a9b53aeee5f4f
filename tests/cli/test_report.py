"""Reports, the leaderboard and comparisons of studies as their stores keep them."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from c2c_search.champion.verdict import Comparison
from c2c_search.champion.verdict import Verdict
from c2c_search.errors import StoreError
from c2c_search.evaluation.comparison import compare
from c2c_search.evaluation.pairing import pairing
from c2c_search.evaluation.record import EvaluationRecord
from c2c_search.evaluation.record import TaskRecord
from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.results import answers_table
from c2c_search.evaluation.statistics import Interval
from c2c_search.fuser import checkpoint
from c2c_search.host import process
from c2c_search.host.json_store import JsonStore
from c2c_search.host.names import fit
from c2c_search.report import page_html
from c2c_search.report import page_markdown
from c2c_search.report.page import Page
from c2c_search.study import storage
from c2c_search.study.champions import champion_of
from c2c_search.study.findings import findings
from c2c_search.study.layer_section import layers
from c2c_search.study.layout import StudyFiles
from c2c_search.study.study_page import study_page
from c2c_search.training.protocol import Trained
from tests.browser import needs_chromium
from tests.browser import opened


Cli = Callable[..., tuple[int, str, str]]

HOSTILE = "<script>alert(1)<&$x_1$"
RUN = "f" * 32
SPACE = {
    "pairs": {"small": {"receiver": "pypi:r", "sharer": "pypi:s"}},
    "objective": "pairing_gain",
    "data": {"source": "quiz"},
    "seed": 3,
}


def answers(system: str, right: int, count: int = 40) -> SystemResult:
    items = tuple(
        ItemResult(
            id=f"{HOSTILE}/{index}",
            group=f"g{index % 2}",
            cluster=f"fact-{index}",
            answer=0,
            chosen=0 if index < right else 1,
            scores=(-1.0, -2.0 - index / 40) if index < right else (-2.0, -1.0),
            lengths=(1, 1),
        )
        for index in range(count)
    )
    return SystemResult(system=system, split="test", items=items)


def verdict(name: str, *, beaten: bool, paired: bool) -> Verdict:
    control = Comparison(
        control="r alone",
        accuracy=interval(0.5),
        by_group={},
        difference=interval(0.25),
        p=0.001,
        detectable=0.3,
        beaten=beaten,
    )
    found = [answers("x", right) for right in (30, 22, 20)]
    return Verdict(
        name=name,
        split="test",
        items=40,
        clusters=40,
        level=0.01,
        finalists=1,
        resamples=1000,
        seed=0,
        accuracy=interval(0.75),
        by_group={},
        comparisons=(control,),
        deranged=None,
        pairing=pairing(*found, resamples=1000) if paired else None,
        passed=beaten,
    )


def interval(value: float) -> Interval:
    return Interval(value=value, low=value - 0.125, high=value + 0.125, level=0.05)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, make_pair) -> Path:
    """A study that was judged, one of a single trial, and one of none."""
    root = tmp_path_factory.mktemp("root")
    opened = storage.open_storage(root)
    storage.open_study(opened, "empty", SPACE)
    one = storage.open_study(opened, "single", SPACE)
    one.tell(one.ask(), 0.5)
    study = storage.open_study(opened, HOSTILE, SPACE)
    study.set_user_attr("mlflow_run_id", RUN)
    files = StudyFiles(root, HOSTILE)
    for number, parameters in enumerate((2000, 1000, 3000)):
        trial = study.ask()
        trial.suggest_categorical("fuser.projector", [HOSTILE, "linear"])
        trial.suggest_float("training.learning_rate", 0.1, 1.0)
        trial.report(0.1 * number, 4)
        known = {"accuracy": 0.5 + number / 10, "deranged": 0.5, "parameters": parameters}
        known |= {"trial_hash": f"hash{number}", "pair": "pypi:r <- pypi:s"}
        for name, value in known.items():
            trial.set_user_attr(name, value)
        if number == 0:
            study.tell(trial, 0.125)
        elif number == 1:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            trial.set_user_attr("failure", "diverged")
            trial.set_user_attr("failure_message", f"nan in {HOSTILE}")
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
    ended = Trained(
        split="validation",
        objective=0.125,
        accuracy=0.5,
        step=8,
        pruned=False,
        best_rung=0,
        best_dir="best",
        parameters=2000,
        bytes=8000,
        seconds={"train": 4.0},
        metrics={},
    )
    JsonStore(files.results).save("trained/hash0", ended)
    pair = make_pair(gate={"granularity": "layer", "rule": "soft"})
    checkpoint.save(pair.fuser, files.trial("hash0") / "best")
    artifacts = root / "artifacts" / "experiment" / RUN / "artifacts"
    (artifacts / "items").mkdir(parents=True)
    for name, right in (("trial-000", 30), ("r alone", 20)):
        table = answers_table(answers(name, right))
        (artifacts / "items" / f"{name}.json").write_text(table)
    opened.engine.dispose()
    return root


@pytest.fixture
def root(stored: Path, tmp_path: Path) -> Path:
    return shutil.copytree(stored, tmp_path / "mlruns")


def judge(root: Path, *, beaten: bool = True, paired: bool = True) -> None:
    found = verdict("trial-000", beaten=beaten, paired=paired).model_dump(mode="json")
    if not paired:  # as versions wrote it that knew no such thing
        del found["pairing"]
    path = root / "artifacts" / "experiment" / RUN / "artifacts" / "verdict.json"
    path.write_text(json.dumps({"trial-000": found}))


@pytest.fixture(scope="module")
def page(stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The report of the study that was judged."""
    root = shutil.copytree(stored, tmp_path_factory.mktemp("judged") / "mlruns")
    judge(root)
    return study_page(findings(HOSTILE, root))


@pytest.fixture(scope="module")
def html(page: Page) -> str:
    return page_html.render(page)


def test_a_report_says_the_verdict_first_and_takes_no_name_for_markup(page: Page, html: str):
    said = "trial-000 answers 75.0 % [62.5, 87.5] of 40 test items rightly, +25.0 [+12.5, +37.5]"
    markdown = page_markdown.render(page)
    assert "<strong>Champion.</strong> " + said in html
    assert "<script>alert" not in html
    assert not re.search(r'(?:src|href)="(?!data:|#)', html)
    assert len(html) < 5_000_000
    assert said in markdown.replace("\\", "")
    # A fence shows what is in it; everywhere else it is escaped.
    assert "<script>alert" not in markdown.partition("```")[0].replace("\\<", "")
    for told in ("P/G", "Help and harm by group", "helped: ", "receiver layer", "trial retry"):
        assert told in html, told
    # Ten of the forty were helped, none harmed; of either kind six are shown at most.
    assert html.count("<summary>helped") == 6
    assert html.count("<summary>harmed") == 0


@pytest.mark.parametrize(
    ("study", "told"),
    [
        ("empty", "no trial has run to its end"),
        ("single", "the best so far is trial-000 with pairing_gain +0.500 on validation"),
    ],
)
def test_what_is_not_judged_yet_is_reported_as_such(cli: Cli, root: Path, study: str, told: str):
    files = [root / f"new/r.{form}" for form in ("html", "md", "png")]
    options = [word for file in files for word in ("--to", str(file))]
    status, out, err = cli("report", study, "--root", str(root), *options)
    assert status == 0, err
    assert told in out
    assert "the test split has judged nothing yet" in out
    assert "<strong>Not judged.</strong>" in files[0].read_text()
    assert told in files[1].read_text().replace("\\", "")
    assert files[2].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("study", "told"),
    [
        ("empty", "Study 'empty' has no champion. The study has stopped, no trial has run"),
        ("single", "The study has stopped, 1 trial has ended, and the test split"),
        ("none", "A study must have promoted a champion."),
    ],
)
def test_export_says_why_there_is_no_champion(cli: Cli, root: Path, study: str, told: str):
    line = ("export", "--to", str(root / "out"), "--root", str(root))
    status, _, err = cli(*line, "--study", study)
    assert (status, told in err) == (2, True)
    assert (f"`c2c-search leaderboard {study}`" in err) == (study != "none")
    assert "must have promoted" in cli(*line)[2]  # which of several studies is not known


def test_a_running_study_says_so_and_what_mattered_by_now(root: Path):
    space = SPACE | {"dimensions": {"fuser.depth": {"int": [1, 8]}}}
    opened = storage.open_storage(root)
    study = storage.open_study(opened, "live", space)
    study.set_user_attr(storage.TRIALS, 20)
    for number in range(11):
        trial = study.ask({"fuser.depth": optuna.distributions.IntDistribution(1, 8)})
        study.tell(trial, 0.05 * number)
    study.ask()
    files = StudyFiles(root, "live")
    files.folder.mkdir(parents=True)
    (files.folder / storage.DRIVER).write_text(process.this_process())
    page = study_page(findings("live", root, weigh=True))
    assert page.verdict.startswith("The study runs, 11 of 20 trials have ended, and the test")
    (mattered,) = (each for each in page.shown if each.name == "importance")
    assert [row[0] for row in mattered.grids[0].rows] == ["fuser.depth"]
    assert mattered.charts[0].series[0].low[0] <= mattered.charts[0].series[0].x[0]


def test_a_study_without_a_champion_says_what_it_lacks_and_what_would_tell(root: Path):
    judge(root, beaten=False)
    page = study_page(findings(HOSTILE, root))
    assert page.outcome == "none"
    with pytest.raises(StoreError, match=r"not proven better than r alone.*leaderboard"):
        champion_of(root, HOSTILE)
    assert page.verdict.endswith("it is not proven better than r alone.")
    (steps,) = (each for each in page.sections if each.name == "next")
    assert any("differences from about 30.0 points on" in text for text in steps.text)


def test_a_verdict_from_before_deranged_messages_is_reported_without_them(root: Path):
    judge(root, paired=False)
    page = study_page(findings(HOSTILE, root))
    (message,) = (each for each in page.sections if each.name == "message")
    assert message.grids[0].rows == [("trial-000", "75.0 [62.5, 87.5] %", *["not measured"] * 5)]
    assert "did not measure A_D" in message.text[1]


def test_the_map_of_layers_shows_how_far_gates_are_open(root: Path):
    found = layers(findings(HOSTILE, root))
    stored = json.loads(
        (root / "trials" / HOSTILE / "hash0" / "best" / "fuser_config.json").read_text()
    )
    rows = found.grids[0].rows
    assert [row[0] for row in rows] == [str(each) for each in stored["layers"]]
    assert [row[1] for row in rows] == [
        ", ".join(map(str, sources)) for sources in stored["sources"]
    ]
    assert all(re.fullmatch(r"\d+ %", share) for row in rows for share in row[2:])


def test_the_leaderboard_has_one_line_a_trial(cli: Cli, root: Path, monkeypatch):
    judge(root)
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = cli("leaderboard", HOSTILE, "--root", str(root))
    assert status == 0, err
    # Its own line, that of the test split, and those of what is said of it.
    searched = out.partition("test, measured once")[0]
    assert [searched.count(f"trial-00{each}") for each in range(3)] == [1, 1, 1]
    assert "+25.0 [+12.5," in out


def test_two_trials_side_by_side_differ_in_what_differs(cli: Cli, root: Path):
    judge(root)
    status, out, err = cli("compare", "single/trial-000", "single", "--root", str(root), "--json")
    assert status == 0, err
    assert json.loads(out)["rows"] == [
        {"name": "pairing_gain (validation)", "a": "0.5", "b": "0.5", "difference": "+0"}
    ]
    status, _, err = cli("compare", "single/7", "single", "--root", str(root))
    assert status == 2
    assert "must have that trial" in err


def test_evaluations_are_reported_and_compared_with_an_interval(cli: Cli, tmp_path: Path):
    for name, right in (("a", 20), ("b", 38)):
        record(tmp_path / name, right)
    first, second = str(tmp_path / "a"), str(tmp_path / "b")
    status, out, err = cli("report", first, "--to", str(tmp_path / "a.html"))
    assert status == 0, err
    assert out.startswith("On <task> c2c scores 50.0 [")
    assert "<task>" not in (tmp_path / "a.html").read_text()
    status, out, err = cli("compare", first, second, "--json")
    assert status == 0, err
    told = json.loads(out)
    named = [row["name"] for row in told["rows"]]
    assert named == ["receiver on <task> (test)", "c2c on <task> (test)"]
    (remark,) = told["remarks"]
    assert remark.startswith(f"<task> (test): {second} is +45.0 [")
    assert remark.endswith("a difference is shown.")


def record(folder: Path, right: int) -> None:
    """An evaluation as ``eval --to`` writes it."""
    mine, alone = answers("c2c", right), answers("receiver", 10)
    scores = compare({"receiver": [alone], "c2c": [mine]}, "c2c", level=0.05, resamples=1000)
    task = TaskRecord(
        task="<task>",
        reference="",
        source="file",
        split="test",
        sha256="0" * 64,
        items=40,
        clusters=40,
        method="cloze",
        metric="accuracy",
        length_normalised=False,
        subject="c2c",
        level=0.05,
        scores=scores,
    )
    found = EvaluationRecord(
        subject="c2c",
        receiver="pypi:r",
        sharer="pypi:s",
        parameters=10,
        command="c2c-search eval",
        created="2026-01-01T00:00:00Z",
        versions={},
        machine="a machine",
        tasks=(task,),
    )
    folder.mkdir()
    (folder / "evaluation.json").write_text(found.model_dump_json())
    items = folder / "items" / fit("<task>")
    items.mkdir(parents=True)
    (items / "c2c.json").write_text(answers_table(mine))


@pytest.mark.parametrize("to", ["report.pdf", "."])
def test_a_report_is_written_into_a_file_of_a_known_kind(cli: Cli, root: Path, to: str):
    status, out, err = cli("report", "single", "--root", str(root), "--to", to)
    assert (status, out) == (2, "")
    assert "Traceback" not in err


@needs_chromium
def test_a_browser_shows_it_to_everybody_without_an_error_or_a_request(
    html: str, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    file.write_text(html)
    with opened(file.as_uri(), width=420) as tab:
        if importlib.util.find_spec("plotly") is not None:
            tab.page.wait_for_selector("body[data-drawn]")
            drawn = tab.page.locator(".moving .main-svg").count()
            assert drawn >= tab.page.locator("figure").count()
        assert tab.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert tab.barriers() == []
        tab.page.emulate_media(color_scheme="dark")
        assert tab.barriers() == []
        tab.page.emulate_media(media="print")
        assert tab.page.locator("img.still").first.is_visible()
    schemes = [url.partition(":")[0] for url in tab.asked]
    assert set(schemes) <= {"file", "data"}
    assert schemes.count("file") == 1
    assert tab.said == []
