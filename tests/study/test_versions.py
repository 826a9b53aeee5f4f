"""A study whose space has changed goes on as its next version; what is known is not done again."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage

from c2c_search.host.versioned_names import meant
from c2c_search.host.versioned_names import numbered
from c2c_search.space.schema import Space
from c2c_search.space.shown import suggested
from c2c_search.study import overview
from c2c_search.study import resume
from c2c_search.study import storage
from c2c_search.study import upkeep
from c2c_search.study.budget import standing
from c2c_search.study.driver import Outcome
from c2c_search.study.drivers import SharedDrivers
from c2c_search.study.layout import CHAMPIONS
from c2c_search.study.layout import champion_folder
from c2c_search.study.versions import Version
from c2c_search.study.versions import foreseen
from c2c_search.study.versions import version_of
from tests.study.postgres import Server
from tests.study.postgres import binaries


Run = Callable[..., Outcome]
WIDER = ("[1.0e-4, 1.0e-2]", "[1.0e-4, 3.0e-2]")
NAMES = ["a", "a@2", "a@10", "b", "c@2", "d@x", "@2"]


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def _study(root: Path, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=storage.open_storage(root))


def _text(output: io.StringIO) -> str:
    return " ".join(output.getvalue().split())


@pytest.mark.parametrize(
    ("said", "study"),
    [
        ("a", "a@10"),
        ("a@1", "a"),
        ("a@2", "a@2"),
        ("a@3", "a@3"),
        ("b", "b"),
        ("b@1", "b"),
        ("c", "c@2"),
        ("c@1", "c@1"),
        ("d", "d"),
        ("d@x", "d@x"),
    ],
)
def test_a_name_alone_means_the_newest_version(said: str, study: str) -> None:
    assert meant(NAMES, said) == study


def test_what_is_no_version_is_a_name() -> None:
    told = [numbered(each) for each in ("a@2", "a", "a@1", "@2", "a@02x", "a@b@3", "a@²")]
    assert told == [
        ("a", 2),
        ("a", 1),
        ("a@1", 1),
        ("@2", 1),
        ("a@02x", 1),
        ("a@b", 3),
        ("a@²", 1),
    ]


def test_another_space_opens_a_version_that_learns_from_the_one_before(
    quick: Run, root: Path, space_file: Path, script: Any, output: io.StringIO
) -> None:
    quick(trials=2)
    trained = {each.hash() for each in script.trained}
    _edit(space_file, *WIDER)
    assert quick(trials=2).study == "tiny@2"
    assert "has changed: dimensions.training.learning_rate.float: was [0.0001, 0.01], is" in (
        _text(output)
    )
    assert "Warm start: 2 of 2 trials of tiny fit." in _text(output)
    first, second = _study(root, "tiny"), _study(root, "tiny@2")
    assert len(first.trials) == 2
    assert len(suggested(second, but=-1)) == 2 + 2
    # The enqueued settings, and all that belongs to their trainings, are known.
    assert {each.hash() for each in script.trained} == trained
    assert len(script.trained) == len(trained)
    assert "trial-000 is not trained again: study tiny has done it." in _text(output)
    for mine, theirs in zip(second.trials, first.trials, strict=True):
        assert mine.user_attrs[resume.HASH] == theirs.user_attrs[resume.HASH]
        assert mine.user_attrs[resume.KNOWN_FROM] == "tiny"
        assert mine.intermediate_values == theirs.intermediate_values != {}
        assert mine.values == theirs.values
        taken = [standing([each], {"steps": 9, "tokens": 9}) for each in (mine, theirs)]
        assert taken[0]["steps"].spent == 0 < taken[1]["steps"].spent
    _edit(space_file, *reversed(WIDER))
    assert quick(trials=3).study == "tiny"
    assert "the newest version of the study is tiny@2" in _text(output)
    assert len(_study(root, "tiny").trials) == 3
    upkeep.remove(root, "tiny@1")  # the other one stands on its own
    _edit(space_file, *WIDER)
    asked = len(script.trained)
    assert quick(trials=2).study == "tiny@2"
    assert len(script.trained) == asked


def test_what_was_trained_on_something_else_is_trained_again(
    quick: Run, root: Path, space_file: Path, script: Any
) -> None:
    quick(trials=1)
    trained = len(script.trained)
    _edit(space_file, *WIDER)
    script.weights = "others"
    outcome = quick(trials=1)
    # Another look at the same questions, also where another fuser is judged.
    assert {each.look for each in outcome.final.verdicts} == {2}
    assert len(script.trained) == 2 * trained
    assert resume.KNOWN_FROM not in _study(root, "tiny@2").trials[0].user_attrs


@pytest.fixture
def opened(root: Path, space_file: Path) -> RDBStorage:
    """The store of a study that has begun."""
    opened = storage.open_storage(root)
    storage.open_study(opened, "tiny", Space.load(space_file).identity()).ask()
    return opened


def test_budgets_and_limits_open_no_version(
    opened: RDBStorage, root: Path, space_file: Path
) -> None:
    _edit(space_file, "trials: 5, sampler: auto", "trials: 2, hours: 9, sampler: random")
    _edit(space_file, "enqueue:", "limits: {max_parameters: 100000000}\nenqueue:")
    assert version_of(opened, root, Space.load(space_file)) == Version("tiny")


@pytest.mark.parametrize(
    ("file", "edits", "change"),
    [
        (
            "space.yaml",
            [("seed: 0", "seed: 0, objective: gain")],
            'objective: was "margin", is "gain"',
        ),
        ("pipeline.yaml", [("steps: 4", "steps: 8")], "training.steps: was 4, is 8"),
        (
            "space.yaml",
            [
                ("search:", '  more: {receiver: "path:a", sharer: "path:a"}\nsearch:'),
                ("[there, back]", "[there, back, more]"),
            ],
            'dimensions.pair.choices: was ["there", "back"], is ["there", "back", "more"]',
        ),
    ],
)
def test_an_objective_a_pipeline_and_a_pair_open_a_version(
    opened: RDBStorage,
    root: Path,
    space_file: Path,
    file: str,
    edits: list[tuple[str, str]],
    change: str,
) -> None:
    for old, new in edits:
        _edit(space_file.with_name(file), old, new)
    version = version_of(opened, root, Space.load(space_file))
    assert (version.name, version.earlier) == ("tiny@2", ("tiny",))
    assert change in version.changes
    # Not begun, it takes the next change too.
    storage.open_study(opened, version.name, Space.load(space_file).identity())
    _edit(space_file, *WIDER)
    version = foreseen(root, None, Space.load(space_file))
    assert (version.name, version.earlier) == ("tiny@2", ("tiny",))
    storage.open_study(opened, version.name, Space.load(space_file).identity()).ask()
    _edit(space_file, "[1, 8]", "[1, 7]")
    version = foreseen(root, None, Space.load(space_file))
    assert (version.name, version.earlier) == ("tiny@3", ("tiny", "tiny@2"))


def test_names_lead_everywhere_to_the_newest_version(
    opened: RDBStorage, root: Path, space_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from c2c_search.cli import report
    from c2c_search.cli import studies
    from c2c_search.cli import trial

    storage.open_study(opened, "tiny@2", Space.load(space_file).identity())
    studies.status("tiny", root=root)
    shown = capsys.readouterr()
    assert shown.out.startswith("tiny@2: ")
    assert shown.err == "tiny means tiny@2, its newest version.\n"
    studies.status("tiny@1", root=root)
    shown = capsys.readouterr()
    assert (shown.out[:8], shown.err) == ("tiny@1: ", "")
    studies.list_(root=root, json=True)
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == ["tiny", "tiny@2"]
    trial.list_("tiny", root=root)
    assert capsys.readouterr().err == "tiny means tiny@2, its newest version.\n"
    report.report("tiny@1", to=[root / "first.md"], root=root)
    again = (root / "first.md").read_text().partition("How to reproduce")[2]
    assert "study show tiny@1 --root" in again
    assert "report tiny@1 --root" in again
    capsys.readouterr()
    studies.export("tiny@1", root=root)
    assert json.loads(capsys.readouterr().out)["study"]["name"] == "tiny"
    report.leaderboard(None, root=root, json=True)
    assert '"study": "tiny@2"' in capsys.readouterr().out
    for name in ("other", "tiny", "tiny@2"):
        (root / CHAMPIONS / name).mkdir(parents=True)
    assert champion_folder(root, "tiny").name == "tiny@2"
    (root / CHAMPIONS / "other").rmdir()
    assert champion_folder(root, None).name == "tiny@2"
    studies.rm("tiny@1", root=root, yes=True)
    assert capsys.readouterr().out == "tiny@1 is removed.\n"
    assert overview.study_names(opened) == ["tiny@2"]


BINARIES = binaries()


@pytest.mark.skipif(BINARIES is None, reason="needs PostgreSQL and psycopg")
def test_drivers_on_postgresql_agree_on_the_version(tmp_path: Path, space_file: Path) -> None:
    assert BINARIES is not None
    server, root = Server(BINARIES), tmp_path / "root"
    try:
        opened = storage.open_storage(root, server.url("optuna"))
        first = storage.open_study(opened, "tiny", Space.load(space_file).identity())
        first.ask()
        _edit(space_file, *WIDER)
        wider = Space.load(space_file)
        _edit(space_file, "[1, 8]", "[1, 7]")
        spaces = [wider, Space.load(space_file)] * 3

        def begin(space: Space) -> tuple[str, SharedDrivers]:
            """As a driver begins."""
            with storage.one_at_a_time(root, opened):
                name = version_of(opened, root, space).name
                drivers = storage.shared_drivers(root, name, opened)
                storage.open_study(opened, name, space.identity())
            return name, drivers

        with ThreadPoolExecutor(len(spaces)) as threads:
            begun = list(threads.map(begin, spaces))
        names = [name for name, _ in begun]
        assert sorted({*names}) == ["tiny@2", "tiny@3"]
        assert len({*names[::2]}) == len({*names[1::2]}) == 1
        for _, drivers in begun:
            drivers.__exit__()
    finally:
        server.close()
