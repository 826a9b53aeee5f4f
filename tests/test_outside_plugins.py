"""Plug-ins from outside, named in a space file: on their way to the worker and into the record."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from c2c_search.config.trial import TrialConfig
from c2c_search.space import Space
from c2c_search.space import validate_file
from c2c_search.tracking import Tracker
from c2c_search.training.protocol import Request
from c2c_search.training.protocol import Train


MODULE = """\
from optuna.samplers import RandomSampler

from c2c_search.fuser.families import projector
from c2c_search.fuser.layer_alignment import layer_alignment
from c2c_search.space.samplers import sampler


@projector("outside", reference="nobody", twin="itself")
def Outside(config, shape):
    from c2c_search.fuser.projectors import C2CProjector

    return C2CProjector(config, shape)


@layer_alignment("outside", reference="nobody")
def first(receiver_layers, sharer_layers, count, similarity):
    return [[0]] * receiver_layers


@sampler("outside", reference="nobody")
def draw(space, seed):
    return RandomSampler(seed)
"""
SPACE = """\
study: outside
pipeline: pipeline.yaml
pairs:
  only: {receiver: "path:a", sharer: "path:b"}
search: {trials: 3, pruner: none, sampler: outside_package.kinds.draw}
dimensions:
  fuser.layer_alignment: {choices: [terminal, outside_package.kinds.first]}
fixed:
  fuser.projector: outside_package.kinds.Outside
"""
POINT = {"fuser.layer_alignment": "outside_package.kinds.first"}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an importable package that has nothing to do with c2c-search."""
    folder = tmp_path / "elsewhere"
    (folder / "outside_package").mkdir(parents=True)
    (folder / "outside_package" / "kinds.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.yaml").write_text("name: here\n")
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


@pytest.fixture
def trial(package: Path, space_file: Path) -> TrialConfig:
    return Space.load(space_file).configuration(POINT)


def test_a_space_that_names_them_is_valid(package: Path, space_file: Path) -> None:
    assert validate_file(space_file) == []


def test_a_wrong_name_in_their_module_is_told_with_its_line(
    package: Path, space_file: Path
) -> None:
    space_file.write_text(SPACE.replace("kinds.first]", "kinds.frist]"))
    (problem,) = validate_file(space_file)
    assert ":7:47 dimensions.fuser.layer_alignment.choices[1]: A dotted path must name" in str(
        problem
    )


def test_where_they_are_not_importable_every_place_is_told(space_file: Path) -> None:
    space_file.write_text(SPACE.replace("outside_package", "package_that_is_not_there"))
    problems = [str(problem) for problem in validate_file(space_file)]
    lines = (
        ":5:35 search.sampler",
        ":7:47 dimensions.fuser.layer_alignment.choices[1]",
        ":9:3 fixed.",
    )
    for problem, line in zip(problems, lines, strict=True):
        assert line in problem
        assert "put its folder on PYTHONPATH; the working folder is not searched" in problem


def test_the_trial_keeps_them_in_yaml_and_on_the_way_to_the_worker(trial: TrialConfig) -> None:
    assert trial.fuser.projector == "outside_package.kinds.Outside"
    again = TrialConfig.from_yaml(trial.to_yaml())
    assert again == trial
    assert again.hash() == trial.hash()
    request = Train(config=trial, directory="here")
    assert TypeAdapter(Request).validate_json(request.model_dump_json()) == request


def test_another_process_reads_the_trial_if_the_package_is_on_its_path(
    trial: TrialConfig, package: Path
) -> None:
    code = "import sys; from c2c_search.config.trial import TrialConfig as T; "
    code += "print(T.from_yaml(sys.stdin.read()).hash())"

    def read(*folders: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")])
        return subprocess.run(
            [sys.executable, "-c", code],
            input=trial.to_yaml(),
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )

    assert read(str(package)).stdout.strip() == trial.hash()
    assert "the working folder is not searched" in read().stderr


def test_they_are_recorded_by_their_paths(trial: TrialConfig, tmp_path: Path) -> None:
    tracker = Tracker.open(tmp_path / "mlruns", "here")
    run = tracker.study("outside").trial("trial-000")
    run.params(trial.model_dump(mode="json"))
    run.finish("FINISHED")
    recorded = tracker.client.get_run(run.run_id)
    assert recorded.info.run_name == "trial-000"
    assert recorded.data.params["fuser.projector"] == "outside_package.kinds.Outside"
    assert recorded.data.params["fuser.layer_alignment"] == "outside_package.kinds.first"
