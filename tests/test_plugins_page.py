"""docs/plugins.md: every block of it is run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

import c2c_search.testing
from c2c_search import C2CModel
from c2c_search.champion.export import export
from c2c_search.champion.package import build
from c2c_search.champion.verify import verify
from c2c_search.config.trial import canonical_hash
from c2c_search.evaluation.grading import GRADERS
from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluation.tasks.loading import load_task
from c2c_search.evaluation.tasks.task import TASKS
from c2c_search.evaluator.request import choose_systems
from c2c_search.fuser import checkpoint
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.families import PROJECTORS
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.granularities import GATES
from c2c_search.fuser.injections import INJECTIONS
from c2c_search.fuser.layer_alignment import LAYER_ALIGNMENTS
from c2c_search.inference.manifest import PairIdentity
from c2c_search.inference.manifest import RecordedQuestion
from c2c_search.inference.manifest import read_manifest
from c2c_search.models.cache_dir import CACHE_VARIABLE
from c2c_search.models.geometry import cache_shape
from c2c_search.models.loading import load
from c2c_search.plugins import ALLOWED
from c2c_search.plugins import ENTRY_POINTS
from c2c_search.space import validate_file
from c2c_search.space.pruners import PRUNERS
from c2c_search.space.samplers import SAMPLERS
from c2c_search.tokenization.alignments import TOKEN_ALIGNMENTS


TINY = Path(__file__).parent / "assets" / "champion_before_the_move"
PAGE = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:^`([\w./]+)`:\n\n)?^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [match.groups() for match in BLOCK.finditer(PAGE)]
FILES = {name: text for name, language, text in BLOCKS if language == "python"}
MODULES = [name for name in FILES if name.startswith("my_plugins/")]
SUITES = [name for name in FILES if name.startswith("tests/")]
YAML = [(name, text) for name, language, text in BLOCKS if language == "yaml"]
COMMANDS = [
    shlex.split(line.removeprefix("$ "))
    for _, language, text in BLOCKS
    if language == "console"
    for line in text.splitlines()
]


def _asked(option: str) -> list[str]:
    """The values of an option in all commands of the page."""
    return [command[command.index(option) + 1] for command in COMMANDS if option in command]


TASK_SPECS = _asked("--tasks")
REGISTERS = {
    "projector": PROJECTORS,
    "gate": GATES,
    "layer_alignment": LAYER_ALIGNMENTS,
    "token_alignment": TOKEN_ALIGNMENTS,
    "injection": INJECTIONS,
    "sampler": SAMPLERS,
    "pruner": PRUNERS,
    "task": TASKS,
    "grader": GRADERS,
    "system": SYSTEMS,
}
FUSED = {
    "projector": "my_plugins.gated.GatedLinear",
    "gate": {"granularity": "my_plugins.deep_first.DeepFirst"},
    "layer_alignment": "my_plugins.middle.middle",
    "token_alignment": "my_plugins.midpoint.midpoint",
    "injection": "my_plugins.halfway.halfway",
}
SPACE: dict[str, Any] = {
    "study": "page",
    "pipeline": "pipeline.yaml",
    "pairs": {"only": {"receiver": "path:a", "sharer": "path:b"}},
    "search": {"trials": 3, "pruner": "none"},
    "dimensions": {"training.learning_rate": {"float": [1e-4, 1e-2], "log": True}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader's own folder, with every file of the page."""
    folder = tmp_path_factory.mktemp("page")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "my_plugins" / "__init__.py").touch()
    return folder


@pytest.fixture
def importable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package is on the path, and forgotten afterwards."""
    monkeypatch.syspath_prepend(str(folder))
    for register in REGISTERS.values():
        dict(register)  # the built-in ones are there, and stay
        for name in ("_entries", "_names", "_plugins"):
            monkeypatch.setattr(register, name, copy(getattr(register, name)))
    yield
    for name in [name for name in sys.modules if name.startswith("my_plugins")]:
        del sys.modules[name]


def run(
    arguments: list[str], *path: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, with nothing of these tests but what is on its path."""
    folders = os.pathsep.join([*map(str, path), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=path[0],
        env={**os.environ, "PYTHONPATH": folders, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def outcomes(folder: Path) -> dict[str, list[ElementTree.Element]]:
    """Every test case of the page's suites, by file; all are run once, in one process."""
    report = folder / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".", "tests"]
    run(["-m", "pytest", *options, f"--junitxml={report}"], folder)
    cases: dict[str, list[ElementTree.Element]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        file = "/".join(case.attrib["classname"].split(".")[:2])
        cases.setdefault(f"{file}.py", []).append(case)
    return cases


@pytest.mark.parametrize("file", SUITES)
def test_the_plug_in_passes_its_suite(
    file: str, outcomes: dict[str, list[ElementTree.Element]]
) -> None:
    cases = outcomes[file]
    wrong = [
        case for case in cases if any(case.find(kind) is not None for kind in ("failure", "error"))
    ]
    assert not wrong, ElementTree.tostring(wrong[0], encoding="unicode")
    assert sum(case.find("skipped") is None for case in cases) >= 5


def test_every_kind_is_there(importable: None) -> None:
    for module in MODULES:
        __import__(module.removesuffix(".py").replace("/", "."))
    for kind, register in REGISTERS.items():
        homes = [plugin.__module__ for plugin, _ in register._plugins]
        assert any(home.startswith("my_plugins.") for home in homes), kind
        decorator = next(row for row in PAGE.splitlines() if re.match(rf".*\.{kind}` \|", row))
        assert f"#{kind.replace('_', '-')}" in decorator
    for suite in c2c_search.testing.__all__:
        if not suite.endswith("Conformance"):
            continue
        assert any(f"({suite})" in FILES[name] for name in SUITES), suite


def test_every_block_is_of_a_kind_that_is_run() -> None:
    assert PAGE.count("```") == 2 * len(BLOCKS)
    assert {language for _, language, _ in BLOCKS} == {"python", "yaml", "console", "toml"}
    assert None not in FILES
    assert len(MODULES) == len(SUITES)


@pytest.mark.parametrize(
    ("name", "text"), YAML, ids=[text.split()[-1].strip("]}") for _, text in YAML]
)
def test_a_space_that_names_it_is_valid(
    name: str, text: str, importable: None, tmp_path: Path
) -> None:
    space = json.loads(json.dumps(SPACE))
    pipeline: dict[str, Any] = {"name": "page", "training": {"rungs": [0.5, 1.0]}}
    merged = {"space.yaml": space, "pipeline.yaml": pipeline}[name]
    for key, fields in yaml.safe_load(text).items():
        merged[key] = merged.get(key, {}) | fields
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(pipeline))
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    assert validate_file(tmp_path / "space.yaml") == []
    (tmp_path / name).write_text(yaml.safe_dump(merged).replace("my_plugins.", "my_plugins_."))
    (problem,) = validate_file(tmp_path / "space.yaml")
    assert "the working folder is not searched" in str(problem)


@pytest.mark.parametrize("spec", TASK_SPECS)
def test_a_task_is_found_by_its_path(spec: str, importable: None) -> None:
    name = spec.partition("=")[0]
    assert TASKS[name].name == name.rpartition(".")[2]
    assert TASKS[name].hub is not None or spec != name


def test_a_system_is_found_by_its_path(importable: None) -> None:
    (names,) = _asked("--systems")
    target: Any = SimpleNamespace(sharer="path:b", fuser_dir=Path("fuser"), trial=object())
    chosen, _ = choose_systems(names.split(","), target)
    assert chosen == ("receiver", "c2c", "my_plugins.longest.Longest")


def test_a_local_copy_is_read_in_its_own_columns(
    importable: None, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    suites: dict[str, Any] = {}
    exec(FILES["tests/test_commonsense_qa.py"], suites)
    monkeypatch.chdir(tmp_path)
    lines = map(json.dumps, suites["TestCommonsenseQA"].rows)
    Path("validation.jsonl").write_text("\n".join(lines))
    (spec,) = [spec for spec in TASK_SPECS if spec.endswith("validation.jsonl")]
    (item,) = load_task(spec).items
    assert (item.cluster, item.choices[item.answer]) == ("jar", "cupboard")


def test_an_installed_package_brings_names(folder: Path, tmp_path: Path) -> None:
    (project,) = [tomllib.loads(text) for _, language, text in BLOCKS if language == "toml"]
    points = project["project"]["entry-points"][ENTRY_POINTS]
    installed = tmp_path / "my_plugins-0.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugins\nVersion: 0.1\n")
    lines = [f"[{ENTRY_POINTS}]", *(f"{name} = {module}" for name, module in points.items())]
    (installed / "entry_points.txt").write_text("\n".join(lines))
    code = (
        "from c2c_search.fuser.config import FuserConfig as F;"
        "print(F(projector='gated_linear', layer_alignment='middle').family.build.__module__)"
    )
    assert run(["-c", code], tmp_path, folder).stdout.strip() == "my_plugins.gated"
    assert "no such projector family" in run(["-c", code], folder).stderr


@pytest.fixture
def champion(importable: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An exported champion whose fuser is made of the page's plug-ins, on tiny models."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    manifest = read_manifest(TINY / "champion")
    config = FuserConfig.model_validate({"width": 8, **FUSED})
    identities = {
        side: getattr(manifest.pair, side).model_copy(update={"source": f"path:{TINY / side}"})
        for side in ("receiver", "sharer")
    }
    shapes = [cache_shape(load(each.source).model.config) for each in identities.values()]
    checkpoint.save(Fuser(config, *shapes), tmp_path / "fuser")
    trial = {
        **(manifest.trial or {}),
        "fuser": config.model_dump(mode="json"),
        "pair": {side: identity.source for side, identity in identities.items()},
    }
    parts = {
        "pair": PairIdentity(**identities),
        "trial": trial,
        "trial_hash": canonical_hash(trial),
        "questions": (),
    }
    manifest = manifest.model_copy(update=parts)
    build(tmp_path / "draft", fuser_dir=tmp_path / "fuser", manifest=manifest)
    answer = C2CModel.from_pretrained(tmp_path / "draft").generate("Where?", max_new_tokens=8)
    asked = RecordedQuestion(question="Where?", answer=answer, max_new_tokens=8)
    manifest = manifest.model_copy(update={"questions": (asked,)})
    build(tmp_path / "package", fuser_dir=tmp_path / "fuser", manifest=manifest)
    export(tmp_path / "package", tmp_path / "champion")
    return tmp_path / "champion"


def test_a_champion_answers_wherever_the_package_is_installed_and_allowed(
    champion: Path, folder: Path
) -> None:
    assert len(verify(champion)) == 1
    (setting,) = [command[1] for command in COMMANDS if command[0] == "export"]
    allowed = dict([setting.split("=")])
    assert allowed.keys() == {ALLOWED}
    code = f"from c2c_search import C2CModel; C2CModel.from_pretrained({str(champion)!r})"
    runtime = champion / "runtime"
    assert f"set {setting}" in run(["-B", "-c", code], runtime, folder).stderr
    absent = run(["-B", "-c", code], runtime, environment=allowed)
    assert "must be importable" in absent.stderr
