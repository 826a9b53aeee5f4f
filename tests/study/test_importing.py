"""A study leaves its root as a file, and is the same one under another root."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from c2c_search.cli import report
from c2c_search.cli import studies
from c2c_search.cli import study_import
from c2c_search.errors import C2CError
from c2c_search.errors import ConfigError
from c2c_search.errors import StoreError
from c2c_search.study import importing
from c2c_search.study import overview
from c2c_search.study import storage
from c2c_search.study import upkeep
from c2c_search.study.archive import write_archive
from c2c_search.study.driver import Outcome
from c2c_search.study.importing import import_archive
from c2c_search.tracking.stored_run import StoredRun
from tests.study.test_driver import optuna_study
from tests.study.test_driver import runs
from tests.study.test_objectives import search_by
from tests.study.test_warm_start import _edit as edit


Run = Callable[..., Outcome]
Rewrite = Callable[[dict[str, bytes]], None]


@pytest.fixture
def elsewhere(stores: Path, tmp_path: Path) -> Path:
    """Another root, of an empty store that need not be made anew."""
    root = tmp_path / "far" / "mlruns"
    root.mkdir(parents=True)
    for name in ("mlflow.db", storage.DATABASE):
        shutil.copy(stores / name, root)
    return root


_KEPT: list[bytes] = []  # made once, by the first test that wants one


@pytest.fixture
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Of a study of two trials that has ended."""
    file = tmp_path / "tiny.zip"
    if not _KEPT:
        request.getfixturevalue("quick")(trials=2)
        write_archive(request.getfixturevalue("root"), "tiny", file)
        _KEPT.append(file.read_bytes())
    file.write_bytes(_KEPT[0])
    return file


def rows(root: Path) -> list[dict[str, Any]]:
    """Trials, without what is another one's in every store."""
    found = overview.trial_rows(optuna_study(root))
    return [
        each.model_dump(exclude={"run", "started", "ended", "worker_seconds"}) for each in found
    ]


def recorded(root: Path) -> dict[str, Any]:
    """Runs by name: settings, numbers and how they ended."""
    return {
        name: (
            run.info.status,
            run.data.params,
            {
                each: value
                for each, value in run.data.metrics.items()
                if not each.startswith(("time/", "search/"))
            },
            {tag: run.data.tags[tag] for tag in ("c2c.kind", "optuna.study_name")},
        )
        for name, run in runs(root).items()
    }


def told(capsys: pytest.CaptureFixture[str], root: Path, *studies_: str) -> str:
    """What commands that look at studies say, with the root called ROOT."""
    capsys.readouterr()
    written = []
    for name in studies_:
        studies.show(name, root=root)
        report.leaderboard(name, root=root)
        report.report(name, to=[root / "report.md"], root=root)
        written.append((root / "report.md").read_text().partition("How to reproduce")[0])
    return "".join([capsys.readouterr().out, *written]).replace(str(root), "ROOT")


def test_half_a_study_goes_on_elsewhere_as_it_does_here(
    run: Run,
    root: Path,
    elsewhere: Path,
    space_file: Path,
    script: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    search_by(space_file, "objectives: [margin, parameters]")

    def at(number: int) -> None:
        if number == 24:
            raise KeyboardInterrupt

    script.at = at
    with pytest.raises(KeyboardInterrupt):
        run(trials=3)
    file = tmp_path / "tiny.zip"
    studies.export("tiny", to=file, root=root)
    assert capsys.readouterr().out == f"tiny is in {file}.\n"
    study_import.import_(file, root=elsewhere)
    assert f"study show tiny --root {elsewhere}\n" in capsys.readouterr().out
    assert rows(elsewhere) == rows(root)
    assert any(each["state"] == "interrupted" for each in rows(root))
    assert recorded(elsewhere) == recorded(root)
    assert told(capsys, elsewhere, "tiny") == told(capsys, root, "tiny")
    script.at, trained = lambda number: None, len(script.trained)
    resumed = [run(root=each, trials=3) and len(script.trained) for each in (root, elsewhere)]
    assert resumed[0] - trained == resumed[1] - resumed[0]  # checkpoints too were taken along
    assert script.resumed[trained] == script.resumed[resumed[0]] > 0
    assert rows(elsewhere) == rows(root)
    assert recorded(elsewhere) == recorded(root)
    assert [path.name for path in elsewhere.glob(".import*")] == []


def test_versions_are_taken_in_together_and_go_on_by_another_name(
    quick: Run,
    root: Path,
    elsewhere: Path,
    space_file: Path,
    script: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    quick(trials=2)
    edit(space_file, ("seed: 0", "seed: 5"))
    quick(trials=2)
    file = tmp_path / "tiny.zip"
    assert write_archive(root, "tiny", file) == ["tiny", "tiny@2"]
    with pytest.raises(StoreError, match=r"is there, and is not replaced\. Got 'tiny, tiny@2'"):
        import_archive(file, root)
    with pytest.raises(ConfigError, match=r"letters, digits, dot, dash"):
        import_archive(file, elsewhere, name="../up")
    assert import_archive(file, elsewhere, name="far") == ["far", "far@2"]
    assert import_archive(file, elsewhere) == ["tiny", "tiny@2"]
    both = ("tiny@1", "tiny@2")
    assert told(capsys, elsewhere, *both) == told(capsys, root, *both)
    trained = len(script.trained)
    edit(space_file, ("study: tiny", "study: far"))
    assert quick(root=elsewhere, trials=2).study == "far@2"
    assert len(script.trained) == trained
    # The sampler has learnt from the first version, here as there.
    mine = overview.load(overview.open_existing(root), "tiny@2")
    theirs = overview.load(overview.open_existing(elsewhere), "far@2")
    assert theirs.user_attrs["earlier_trials"] == mine.user_attrs["earlier_trials"]
    edit(space_file, ("study: far", "study: third"), ("seed: 5", "seed: 7"))
    quick(root=elsewhere, trials=1, warm_start=("far@1",))
    third = overview.load(overview.open_existing(elsewhere), "third")
    assert len(third.user_attrs["earlier_trials"]["trials"]) == 2
    assert write_archive(root, "tiny@1", file) == ["tiny"]


def test_an_import_is_whole_or_not_there(
    quick: Run, archive: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def stopped(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(importing, "fill_study", stopped)
    with pytest.raises(KeyboardInterrupt):
        import_archive(archive, elsewhere)
    assert overview.study_names(storage.open_storage(elsewhere)) == []
    assert [*(elsewhere / "trials").iterdir()] == []
    # Killed, it cannot clear away; what it has left is no study to go on with.
    monkeypatch.setattr(importing, "erase", lambda *arguments, **options: None)
    with pytest.raises(KeyboardInterrupt):
        import_archive(archive, elsewhere)
    with pytest.raises(StoreError, match="its import was cut short"):
        quick(root=elsewhere)
    monkeypatch.undo()
    assert import_archive(archive, elsewhere) == ["tiny"]
    assert [each["state"] for each in rows(elsewhere)] == ["complete", "complete"]
    upkeep.remove(elsewhere, "tiny")
    (elsewhere / "trials" / "tiny").mkdir()
    with pytest.raises(StoreError, match="Files of no study lie where"):
        import_archive(archive, elsewhere)


def rewritten(file: Path, to: Path, change: Rewrite, mode: int = stat.S_IFREG) -> Path:
    """The same archive with other content; ``archive.json`` lists it truly unless told else."""
    with zipfile.ZipFile(file) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    change(content)
    with zipfile.ZipFile(to, "w") as archive:
        for name, each in content.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (mode if name.endswith("link.json") else stat.S_IFREG) << 16
            archive.writestr(entry, each)
    return to


def listed(content: dict[str, bytes], name: str, data: bytes) -> None:
    """Put a file into an archive and into its list."""
    import hashlib

    known = json.loads(content["archive.json"])
    known["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    content[name] = data
    content["archive.json"] = json.dumps(known).encode()


def _with(name: str, data: bytes) -> Rewrite:
    return lambda content: listed(content, name, data)


def _told_otherwise(change: Callable[[Any], None]) -> Rewrite:
    def rewrite(content: dict[str, bytes]) -> None:
        known = json.loads(content["archive.json"])
        change(known)
        content["archive.json"] = json.dumps(known).encode()

    return rewrite


def _of_trial(name: str, value: object) -> Rewrite:
    def change(known: Any) -> None:
        known["versions"][0]["study"]["trials"][0]["user"][name] = value

    return _told_otherwise(change)


def _of_study(name: str, value: object) -> Rewrite:
    return _told_otherwise(
        lambda known: known["versions"][0]["study"]["user"].update({name: value})
    )


PICKLE = b"\x80\x04cposix\nsystem\n."
RESULT = b'{"system": "x", "split": "test", "items": 3}'

HOSTILE: list[tuple[Rewrite, str]] = [
    (_with("trials/tiny/../../../out.json", b"{}"), "It must lie in runs/, trials/"),
    (_with("/tmp/out.json", b"{}"), "It must lie in runs/, trials/"),
    (_with("trials/tiny/a\\..\\b.json", b"{}"), "It must lie in runs/, trials/"),
    (_with("trials/other/out.json", b"{}"), "It must lie in runs/, trials/"),
    (_with("trials/tiny/link.json", b"/etc/passwd"), "regular files alone, no link"),
    (_with("trials/tiny/h/best/fuser.pt", PICKLE), "of a kind that a study writes"),
    (_with("trials/tiny/h/best/fuser.safetensors", PICKLE), "does not fit the file's"),
    (_with("trials/tiny/h/state.json", PICKLE), "invalid start byte"),
    (_with("trials/tiny/h/state.json", b"[" * 100_000), "nested too deeply"),
    (_with("trials/tiny/results/test/x.json", RESULT), "x.json: items: Input should be"),
    (_with("champions/tiny/run.py", b"boom()"), "A champion folder holds SHA256SUMS"),
    (lambda content: content.update({"more.json": b"{}"}), "must be listed in archive.json"),
    (lambda content: content.pop("archive.json"), "it has no archive.json"),
    (_told_otherwise(lambda known: known.update(format=2)), "format 2, of a newer version"),
    (_told_otherwise(lambda known: known.update(versions=[])), "at least 1 item"),
    (_told_otherwise(lambda known: known["versions"][0].update(name="../x")), "match pattern"),
    (_told_otherwise(lambda known: known["files"].popitem()), "must be listed"),
    (_of_trial("trial_hash", "../../.."), "a trial's hash cannot be '../../..'"),
    (_of_trial("accuracy", {"a": 1}), "Its trials must be a study's"),
    (_of_study("space", "[1]"), "Its trials must be a study's"),
    (_of_study("test_looks", 7), "Its trials must be a study's"),
]


def test_hostile_archives_are_refused_with_every_reason(archive: Path, tmp_path: Path) -> None:
    bad, to = tmp_path / "bad.zip", tmp_path / "new" / "mlruns"
    to.parent.mkdir()

    def refused(change: Rewrite) -> str:
        with pytest.raises(C2CError) as caught:
            import_archive(rewritten(archive, bad, change, stat.S_IFLNK), to)
        assert not to.exists()
        assert caught.value.exit_code == 2
        return str(caught.value)

    for change, reason in HOSTILE:
        assert reason in refused(change), reason

    def several(content: dict[str, bytes]) -> None:
        listed(content, "trials/tiny/h/state.json", PICKLE)
        listed(content, "trials/tiny/h/best/fuser.safetensors", PICKLE)

    assert refused(several).startswith("2 problems:\n")
    assert not (tmp_path / "out.json").exists()


def test_a_run_that_mlflow_does_not_take_leaves_nothing(
    archive: Path, elsewhere: Path, tmp_path: Path
) -> None:
    run = "0" * 32
    told = StoredRun(
        id=run,
        name="?",
        status="KILLED",
        started=1,
        ended=1,
        params={"a\nb": "c"},
        tags={},
        metrics={},
    )

    def change(known: Any) -> None:
        known["versions"][0] |= {"experiment": "x", "runs": [run]}

    def rewrite(content: dict[str, bytes]) -> None:
        _told_otherwise(change)(content)
        listed(content, f"runs/{run}.json", told.model_dump_json().encode())

    with pytest.raises(ConfigError, match="such as MLflow takes"):
        import_archive(rewritten(archive, tmp_path / "bad.zip", rewrite), elsewhere)
    assert overview.study_names(storage.open_storage(elsewhere)) == []
    assert not (elsewhere / "trials" / "tiny").exists()


def test_a_broken_or_truncated_archive_is_none(archive: Path, tmp_path: Path) -> None:
    to = tmp_path / "new"
    whole = archive.read_bytes()
    for content, reason in (
        (whole[: len(whole) // 2], "a whole archive"),
        (b"", "a whole archive"),
        (whole.replace(b"fuser_config", b"fusex_config", 1), "differ"),
        (whole[:200] + bytes(20) + whole[220:], "cannot be read|must have the SHA-256|differ"),
    ):
        archive.write_bytes(content)
        with pytest.raises(ConfigError, match=reason):
            import_archive(archive, to)
        assert not to.exists()
    with pytest.raises(StoreError, match="must be there"):
        import_archive(tmp_path / "none.zip", to)
    with pytest.raises(ConfigError, match="a whole archive"):
        import_archive(tmp_path, to)
