"""Verification: a process of its own, only the runtime in it, and answers equal to the letter."""

from __future__ import annotations

import os
import py_compile
import shutil
import sys
from collections.abc import Iterator
from copy import copy
from pathlib import Path

import pytest

from c2c_search.champion.export import export
from c2c_search.champion.package import build
from c2c_search.champion.verify import foreign_packages
from c2c_search.champion.verify import verify
from c2c_search.config.trial import canonical_hash
from c2c_search.errors import IntegrityError
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.injections import INJECTIONS
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.manifest import read_manifest
from c2c_search.inference.sums import write_sums
from c2c_search.plugins import ALLOWED


# Answers from a file beside the runtime; what each test adds runs first.
MODEL = """
import json, os, sys
from pathlib import Path

class C2CModel:
    @classmethod
    def from_pretrained(cls, directory):
        model = cls()
        manifest = json.loads((Path(directory) / "manifest.json").read_text())
        model.answers = {q["question"]: q for q in manifest["questions"]}
        return model

    def generate(self, text, max_new_tokens):
        asked = self.answers[text]
        assert asked["max_new_tokens"] == max_new_tokens
        return asked["answer"]
"""


@pytest.fixture
def exported(tmp_path: Path, fuser_dir: Path, manifest: Manifest) -> Path:
    champion = build(tmp_path / "champion", fuser_dir=fuser_dir, manifest=manifest)
    export(champion, tmp_path / "out")
    return tmp_path / "out"


def _program(exported: Path, start: str = "", model: str = MODEL) -> Path:
    """Replace the runtime by a small one."""
    package = exported / "runtime" / "c2c_search"
    shutil.rmtree(package)
    package.mkdir()
    (package / "__init__.py").write_text(start + model)
    write_sums(exported)
    return exported


def test_equal_answers_are_returned_in_order(exported: Path) -> None:
    assert verify(_program(exported)) == (" Germany", " Austria")
    # Nothing was left in the folder: its sums still cover all of it.
    assert not list(exported.rglob("__pycache__"))


def test_the_sharer_is_given_what_it_read_when_the_answer_was_recorded(
    tmp_path: Path, fuser_dir: Path, manifest: Manifest
) -> None:
    first, second = manifest.questions
    asked = (first.model_copy(update={"sharer_context": "Germany.\nQuestion: Which?"}), second)
    private = manifest.model_copy(update={"questions": asked})
    champion = build(tmp_path / "champion", fuser_dir=fuser_dir, manifest=private)
    assert read_manifest(champion).questions == asked
    export(champion, tmp_path / "out")
    answers = """
    def generate_batch(self, texts, contexts, *, max_new_tokens):
        assert self.answers[texts[0]]["sharer_context"] == contexts[0]
        return [self.generate(texts[0], max_new_tokens)]
"""
    assert verify(_program(tmp_path / "out", model=MODEL + answers)) == (" Germany", " Austria")


def test_a_different_answer_is_named(exported: Path) -> None:
    model = MODEL.replace('asked["answer"]', '"Germany" if "Deutsch" in text else " Austria"')
    with pytest.raises(IntegrityError, match="answered 'Germany' and not ' Germany'") as caught:
        verify(_program(exported, model=model))
    assert "Austria" not in str(caught.value)


def test_the_workbench_is_not_there_but_what_the_runtime_requires_is(exported: Path) -> None:
    start = """
import importlib
import numpy, packaging, pydantic, rich, safetensors
for name in ("optuna", "mlflow", "deepspeed", "datasets", "pytest", "c2c_search.champion"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(name + " is there")
"""
    verify(_program(exported, start))


def test_a_runtime_that_needs_the_workbench_is_refused_with_its_error(exported: Path) -> None:
    with pytest.raises(IntegrityError, match="No module named 'mlflow'"):
        verify(_program(exported, "import mlflow\n"))


def test_what_the_runtime_refuses_is_told_without_its_traceback(exported: Path) -> None:
    model = """
from c2c_search.errors import IntegrityError

class C2CModel:
    @classmethod
    def from_pretrained(cls, directory):
        raise IntegrityError("These are other models.", value="abc")
"""
    errors = (exported / "runtime" / "c2c_search" / "errors.py").read_bytes()
    _program(exported, model=model)
    (exported / "runtime" / "c2c_search" / "errors.py").write_bytes(errors)
    write_sums(exported)
    with pytest.raises(IntegrityError) as caught:
        verify(exported)
    assert str(caught.value) == "These are other models. Got 'abc'."


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="There is no such folder"):
        verify(tmp_path / "nowhere")


def test_the_cache_folder_is_passed_on(exported: Path, tmp_path: Path) -> None:
    check = f"import os\nassert os.environ['C2C_SEARCH_CACHE'] == {str(tmp_path)!r}\n"
    verify(_program(exported, check), cache_dir=tmp_path)


def test_it_computes_in_the_dtype_it_was_measured_in(
    tmp_path: Path, fuser_dir: Path, manifest: Manifest
) -> None:
    for dtype, expected in (("bfloat16", "bfloat16"), (None, os.environ["C2C_SEARCH_DTYPE"])):
        measured = manifest.model_copy(update={"dtype": dtype})
        champion = build(tmp_path / f"{dtype}", fuser_dir=fuser_dir, manifest=measured)
        export(champion, tmp_path / f"{dtype} out")
        check = f"import os\nassert os.environ['C2C_SEARCH_DTYPE'] == {expected!r}\n"
        verify(_program(tmp_path / f"{dtype} out", check))


PLUGIN = """
from c2c_search.fuser.injections import injection

@injection("verified", reference="this test", projects="cache", twin="published")
def verified(projected, receiver, normalisation):
    raise NotImplementedError
"""


@pytest.fixture
def of_plugins(
    tmp_path: Path, fuser_dir: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """An exported champion whose fuser has a plug-in that is not imported yet."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "verified_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    monkeypatch.delenv(ALLOWED, raising=False)
    for name in ("_entries", "_names", "_plugins"):
        monkeypatch.setattr(INJECTIONS, name, copy(getattr(INJECTIONS, name)))
    fuser = {"injection": "verified_plugin.verified"}
    trial = {**(manifest.trial or {}), "fuser": fuser}
    told = {"trial": trial, "trial_hash": canonical_hash(trial)}
    made = manifest.model_copy(update=told)
    export(build(tmp_path / "c", fuser_dir=fuser_dir, manifest=made), tmp_path / "of plugins")
    check = (
        "import os\nfrom importlib.util import find_spec\nassert find_spec('verified_plugin')\n"
    )
    check += f"assert os.environ[{ALLOWED!r}].split(',')[0] == 'verified_plugin'\n"
    yield _program(tmp_path / "of plugins", check)
    sys.modules.pop("verified_plugin", None)


def test_a_champion_brings_the_plug_ins_that_its_study_has_imported(of_plugins: Path) -> None:
    assert FuserConfig(injection="verified_plugin.verified").packages == {"verified_plugin"}
    assert verify(of_plugins) == (" Germany", " Austria")


def test_a_strangers_plug_in_is_not_run_by_verifying(of_plugins: Path) -> None:
    with pytest.raises(IntegrityError, match=f"code to be run.*{ALLOWED}=verified_plugin"):
        verify(of_plugins)
    assert "verified_plugin" not in sys.modules


def test_a_changed_file_is_found_before_anything_runs(exported: Path) -> None:
    (exported / "runtime" / "c2c_search" / "errors.py").write_text("raise SystemExit\n")
    with pytest.raises(IntegrityError, match=r"runtime/c2c_search/errors\.py: expected"):
        verify(exported)


MARK = "open({!r}, 'w')\n"


@pytest.mark.parametrize(
    "name", ["torch.py", "sitecustomize.py", "c2c_search/more.py", "json/__init__.py"]
)
def test_a_file_that_is_not_listed_is_never_run(exported: Path, tmp_path: Path, name: str) -> None:
    _program(
        exported,
        "import json, torch\ntry:\n from c2c_search import more\nexcept ImportError:\n pass\n",
    )
    path = exported / "runtime" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(MARK.format(str(tmp_path / "PWNED")))
    assert verify(exported) == (" Germany", " Austria")
    assert not (tmp_path / "PWNED").exists()


def test_bytecode_does_not_stand_in_for_a_source(exported: Path, tmp_path: Path) -> None:
    package = _program(exported) / "runtime" / "c2c_search"
    evil = tmp_path / "evil.py"
    evil.write_text(MARK.format(str(tmp_path / "PWNED")))
    cached = package / "__pycache__" / f"__init__.{sys.implementation.cache_tag}.pyc"
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(evil), str(cached), invalidation_mode=mode)
    assert verify(exported) == (" Germany", " Austria")
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize("name", ["torch.py", "c2c_search/a.pth.txt", "evil/__init__.py"])
def test_what_stands_in_for_a_library_is_refused_even_when_listed(
    exported: Path, tmp_path: Path, name: str
) -> None:
    path = exported / "runtime" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(MARK.format(str(tmp_path / "PWNED")))
    write_sums(exported)
    with pytest.raises(IntegrityError, match=f"sources of the package .*{name}"):
        verify(exported)
    assert not (tmp_path / "PWNED").exists()


def test_a_runtime_that_is_not_listed_is_none(exported: Path) -> None:
    path = exported / "SHA256SUMS"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "runtime/" not in line))
    with pytest.raises(IntegrityError, match="Only an exported champion with runtime/"):
        verify(exported)


def test_a_champion_without_runtime_or_questions_cannot_be_verified(
    tmp_path: Path, fuser_dir: Path, manifest: Manifest
) -> None:
    bare = build(tmp_path / "champion", fuser_dir=fuser_dir, manifest=manifest)
    with pytest.raises(IntegrityError, match="Export it with"):
        verify(bare)
    mute = manifest.model_copy(update={"questions": ()})
    export(build(bare, fuser_dir=fuser_dir, manifest=mute), tmp_path / "out")
    with pytest.raises(IntegrityError, match="Package it again with questions"):
        verify(tmp_path / "out")


def test_an_import_was_never_asked_anything(
    tmp_path: Path, fuser_dir: Path, imported: Manifest
) -> None:
    export(build(tmp_path / "champion", fuser_dir=fuser_dir, manifest=imported), tmp_path / "out")
    with pytest.raises(IntegrityError, match="was imported: it was never asked"):
        verify(tmp_path / "out")


def test_foreign_is_what_no_requirement_brings() -> None:
    foreign = foreign_packages()
    assert {"optuna", "mlflow", "deepspeed", "datasets", "pytest"} <= foreign
    assert not {"torch", "transformers", "numpy", "yaml", "huggingface_hub"} & foreign
