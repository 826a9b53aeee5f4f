from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from c2c_search.errors import C2CError
from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.errors import StoreError
from c2c_search.inference.manifest import read_manifest
from c2c_search.space.objective import objective_in
from c2c_search.space.schema import Space
from c2c_search.study import run_trial
from c2c_search.study.run_trial import repeat_trial
from c2c_search.training.protocol import Failed


@pytest.fixture
def trial_file(space_file: Path) -> Path:
    space = Space.load(space_file)
    config = space.configuration({"pair": "there", "fuser.depth": 4})
    path = space_file.with_name("trial.yaml")
    path.write_text(config.to_yaml())
    return path


@pytest.fixture
def repeat(start_worker: Any, output: io.StringIO) -> Callable[..., Any]:
    def repeat(path: Path, directory: Path) -> Any:
        return repeat_trial(
            path,
            directory,
            console=Console(file=output, width=200),
            worker_factory=start_worker,
            sleep=lambda seconds: None,
        )

    return repeat


def test_a_trial_again(
    repeat: Callable[..., Any], trial_file: Path, tmp_path: Path, output: io.StringIO
) -> None:
    trained = repeat(trial_file, tmp_path / "to")
    assert trained.objective == pytest.approx(0.7)
    text = output.getvalue()
    assert "validation/accuracy" in text
    assert str(tmp_path / "to" / "best") in text
    # Finished, it is only shown again.
    assert repeat(trial_file, tmp_path / "to") == trained


def test_a_trial_in_its_studys_folder_reads_the_studys_prompts(
    repeat: Callable[..., Any], trial_file: Path, tmp_path: Path, script: Any
) -> None:
    script.prompts = "as then"
    repeat(trial_file, tmp_path / "first")
    study = tmp_path / "study"
    shutil.copytree(tmp_path / "first" / "results" / "prepared", study / "results" / "prepared")
    (study / "hash").mkdir()
    there = shutil.copy(trial_file, study / "hash" / "trial.yaml")
    assert repeat(there, tmp_path / "second") is not None
    script.prompts = "as now"
    with pytest.raises(DataError, match="prompts must stay as they were"):
        repeat(there, tmp_path / "third")
    assert repeat(trial_file, tmp_path / "fourth") is not None


def test_the_best_rung_is_chosen_as_the_study_chose_it(
    quick: Callable[..., Any], repeat: Callable[..., Any], script: Any, root: Path, tmp_path: Path
) -> None:
    one = quick().final.champion
    asked = next(each for each in script.asked if each.config.hash() == one.config.hash())
    assert asked.objective.kind == "margin"
    there = Path(asked.directory)
    assert objective_in(there) == asked.objective
    again = repeat(there / "trial.yaml", tmp_path / "again")
    assert script.asked[-1].objective == asked.objective
    assert again.objective == pytest.approx(one.trained.objective)
    repeat(tmp_path / "again" / "trial.yaml", tmp_path / "once more")
    assert script.asked[-1].objective == asked.objective
    (there / "objective.json").write_text("?")
    with pytest.raises(StoreError, match="as its study wrote it"):
        repeat(there / "trial.yaml", tmp_path / "never")


def test_a_folder_is_of_one_trial(
    repeat: Callable[..., Any], trial_file: Path, tmp_path: Path
) -> None:
    repeat(trial_file, tmp_path / "to")
    trial_file.write_text(trial_file.read_text().replace("depth: 4", "depth: 5"))
    with pytest.raises(ConfigError, match="--to"):
        repeat(trial_file, tmp_path / "to")


def test_a_trial_that_fails(
    repeat: Callable[..., Any], trial_file: Path, tmp_path: Path, script: Any
) -> None:
    script.failures = lambda config: Failed(failure="diverged", message="the loss is nan")
    with pytest.raises(C2CError, match="the loss is nan"):
        repeat(trial_file, tmp_path / "to")


def test_a_champion_s_folder_says_its_trial() -> None:
    """The one command that the model card names."""
    folder = Path(__file__).parents[1] / "assets" / "champion_before_the_move" / "champion"
    assert run_trial._trained_by(folder).hash() == read_manifest(folder).trial_hash
