from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from c2c_search.errors import C2CError
from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.errors import Problem
from c2c_search.setup import first_files
from c2c_search.setup.first_files import write_first_files
from c2c_search.setup.wishes import Wishes
from c2c_search.setup.wishes import name_from
from c2c_search.space.json_schema import written
from c2c_search.space.schema import Space


def test_files_for_own_rows_are_valid_and_commented(own_data: Path, tmp_path: Path) -> None:
    done = write_first_files(tmp_path / "a b", Wishes(train=[own_data], study="mine"))
    space = Space.load(done.space)
    assert space.pipeline.data.files.train == (str(own_data),)
    assert (space.study, space.search.trials, space.pipeline.training.steps) == ("mine", 6, 100)
    assert [each["fuser.injection"] for each in space.enqueue] == ["replace", "side"]
    for path, kind in ((done.space, "space"), (done.pipeline, "pipeline")):
        lines = path.read_text().splitlines()
        assert lines[0] == f"# yaml-language-server: $schema=schemas/{kind}.json"
        assert sum(line.lstrip().startswith("#") for line in lines) > 12
        assert (path.parent / "schemas" / f"{kind}.json").read_text() == written(kind)


def test_rows_that_the_sharer_alone_has_read_make_a_private_study(tmp_path: Path) -> None:
    path = tmp_path / "told.jsonl"
    rows = [
        {
            "question": f"Where does number {n} live?",
            "choices": ["here", "there"],
            "answer": n % 2,
            "sharer_context": f"Number {n} lives {'there' if n % 2 else 'here'}.",
        }
        for n in range(40)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    done = write_first_files(tmp_path, Wishes(train=[path], trials=1))
    space = Space.load(done.space)
    assert space.dimensions["fuser.injection"].choices == ("side", "append")
    assert space.pipeline.champion.controls == ("text_relay", "routing")
    assert len(space.enqueue) == 1
    assert space.pipeline.training.steps == 600


def test_without_rows_it_is_the_quiz(tmp_path: Path) -> None:
    done = write_first_files(tmp_path, Wishes(steps=7, study="q.1"))
    pipeline = Space.load(done.space).pipeline
    assert (pipeline.data.source, pipeline.training.steps) == ("quiz", 7)
    assert pipeline.champion.registered_name == "c2c-q-1"


@pytest.mark.parametrize("there", ["space.yaml", "pipeline.yaml"])
def test_nothing_is_written_over(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(ConfigError, match="never writes over"):
        write_first_files(tmp_path, Wishes())
    assert [path.name for path in tmp_path.iterdir()] == [there]


@pytest.mark.parametrize(
    ("wishes", "told"),
    [
        ({"receiver": "smollm2"}, "A model source is one of"),
        ({"sharer": "path:nowhere"}, "needs a folder that exists"),
        ({"study": "a/b"}, "study: Must match"),
        ({"train": [Path("nowhere.jsonl")]}, "Every data file must exist"),
        ({"test": [Path("nowhere.jsonl")]}, "needs data to train on"),
    ],
)
def test_what_cannot_be_leaves_nothing_behind(tmp_path: Path, wishes: dict, told: str) -> None:
    with pytest.raises(C2CError, match=told):
        write_first_files(tmp_path / "new", Wishes(**wishes))
    assert not list(tmp_path.glob("**/*.yaml"))


def test_rows_without_choices_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "open.jsonl"
    path.write_text('{"prompt": "a", "answer": "b"}\n')
    with pytest.raises((ConfigError, DataError), match="multiple-choice"):
        write_first_files(tmp_path, Wishes(train=[path]))


def test_a_folder_of_models_is_named_relative_to_the_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wishes = Wishes(sharer="path:models/a")
    with pytest.raises(ConfigError, match=r"--sharer: .* Got 'path:models/a'"):
        write_first_files(Path("deep/er"), wishes)
    monkeypatch.setattr(first_files, "config_at_hand", lambda source: None)
    monkeypatch.setattr(first_files, "check_ready", lambda *_: None)
    done = write_first_files(Path("deep/er"), wishes)
    assert 'sharer: "path:../../models/a"' in done.space.read_text()


def test_a_model_that_the_study_cannot_take_is_named_by_its_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(space: Space, file: Path) -> None:
        found = [
            Problem(f"{file}:12:5 pairs.pair.sharer", "no such model", "hf:a/b"),
            Problem(f"{file} pipeline", "too few rows", 3),
        ]
        raise ConfigError.collect(found)

    monkeypatch.setattr(first_files, "config_at_hand", lambda source: None)
    monkeypatch.setattr(first_files, "check_ready", refuse)
    with pytest.raises(ConfigError) as caught:
        write_first_files(tmp_path, Wishes())
    assert [one.where for one in caught.value.problems] == [
        "--sharer",
        f"{tmp_path / 'space.yaml'} pipeline",
    ]
    assert "  --sharer: no such model. Got 'hf:a/b'." in str(caught.value)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("text", "name"), [("my study!", "my-study"), ("..", "first"), ("a.b", "a.b"), ("ü", "first")]
)
def test_a_name_from_any_text(text: str, name: str) -> None:
    assert name_from(text) == name
    assert yaml.safe_load(f"study: {name}") == {"study": name}
