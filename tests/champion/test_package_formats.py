"""Packages of their own: two champions and the workbench in one process, each answers as alone."""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save_file

from c2c_search import C2CModel
from c2c_search.champion.dockerfile import write_dockerfile
from c2c_search.champion.formats import write_custom_generate
from c2c_search.champion.formats import write_mlflow
from c2c_search.champion.package import build
from c2c_search.champion.vendored import import_name
from c2c_search.champion.wheel import needs_gguf
from c2c_search.champion.wheel import write_wheel
from c2c_search.errors import ConfigError
from c2c_search.errors import IntegrityError
from c2c_search.errors import StoreError
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.manifest import read_manifest
from c2c_search.inference.sums import check_sums
from c2c_search.models.cache_dir import CACHE_VARIABLE


FOLDER = Path(__file__).parents[1] / "assets" / "champion_before_the_move"
CHAMPION = FOLDER / "champion"
QUESTION = "Which country is called 'Deutschland' in German?"
NAMES = ("pk_first", "pk_second")

# Answers where nothing of the workbench, and nothing that a wheel does not ask for, is installed.
ALONE = """
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

HIDDEN = {"c2c_search", "optuna", "mlflow", "deepspeed", "datasets", "peft", "accelerate",
          "platformdirs", "threadpoolctl", "gguf", "sentencepiece"}

class Guard(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else super().find_spec(name, path, target)

sys.meta_path[:] = [BuiltinImporter, FrozenImporter, Guard]
sys.path.insert(0, sys.argv[1])
import pk_first
assert not HIDDEN & {name.partition(".")[0] for name in sys.modules}
print(repr(pk_first.load(device="cpu").generate(sys.argv[2], max_new_tokens=8)))
"""


@pytest.fixture(scope="module")
def patch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """In the folder that the models are named relative to, with a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(FOLDER)
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield patch


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another champion of the same pair."""
    folder = tmp_path_factory.mktemp("other")
    fuser = shutil.copytree(CHAMPION, folder / "fuser")
    weights = load_file(fuser / "fuser.safetensors")
    torch.manual_seed(0)
    changed = {
        # Deviations, which caches are divided by, stay above 0.
        name: tensor + torch.rand_like(tensor) if tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
    }
    with (fuser / "fuser.safetensors").open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        metadata = json.loads(stream.read(size)).get("__metadata__")
    save_file(changed, fuser / "fuser.safetensors", metadata)
    return build(folder / "champion", fuser_dir=fuser, manifest=read_manifest(CHAMPION))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch, other: Path) -> Path:
    """Where the wheels of both champions are installed; a wheel is a zip file."""
    folder = tmp_path_factory.mktemp("site")
    for name, champion in zip(NAMES, (CHAMPION, other), strict=True):
        wheel = write_wheel(champion, folder / "dist", name=name)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    patch.syspath_prepend(str(folder))
    return folder


def answer(model: Any) -> str:
    return str(model.generate(QUESTION, max_new_tokens=8))


def test_two_champions_and_the_workbench_answer_as_each_alone(site: Path, other: Path) -> None:
    alone = [answer(C2CModel.from_pretrained(each, device="cpu")) for each in (CHAMPION, other)]
    packages = [importlib.import_module(name) for name in NAMES]
    first, second = (package.load(device="cpu") for package in packages)
    assert alone[0] != alone[1]
    # In turns, so that what one registers with transformers would meet the other's models.
    assert [answer(first), answer(second)] == alone
    assert answer(C2CModel.from_pretrained(CHAMPION, device="cpu")) == alone[0]
    assert [answer(first), answer(second)] == alone
    kinds = {type(first), type(second), C2CModel}
    assert [kind.__name__ for kind in kinds] == ["C2CModel"] * 3
    assert packages[0].C2CModel is type(first)


def test_no_module_of_a_package_names_the_workbench(site: Path) -> None:
    for path in (site / NAMES[0]).rglob("*.py"):
        assert not re.search(r"c2c_search\b", path.read_text()), path
    assert (site / NAMES[0] / "_runtime" / "LICENSE").read_text().lstrip().startswith("Apache")


def test_it_answers_without_the_workbench_and_with_four_dependencies(site: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", ALONE, str(site), QUESTION],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    model = C2CModel.from_pretrained(CHAMPION, device="cpu")
    assert done.stdout.splitlines()[-1] == repr(answer(model))


def test_the_wheel_lists_its_files_and_asks_for_four_libraries(site: Path) -> None:
    wheel = next((site / "dist").glob("champion_pk_first-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        info = next(name for name in archive.namelist() if name.endswith("/RECORD"))
        rows = [row.split(",") for row in archive.read(info).decode().splitlines()]
        assert {row[0] for row in rows} == set(archive.namelist())
        for name, digest, size in rows[:-1]:
            data = archive.read(name)
            found = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
            assert (digest, size) == (f"sha256={found.decode()}", str(len(data)))
        metadata = archive.read(info.replace("RECORD", "METADATA")).decode()
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist: ")]
    always = [line.split()[1].partition(">")[0] for line in needed if "extra" not in line]
    assert always == ["pydantic", "safetensors", "torch", "transformers"]
    assert "Name: champion-pk-first\n" in metadata


def test_the_same_champion_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write_wheel(CHAMPION, tmp_path / each, name="x") for each in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert [each.name for each in first.parent.iterdir()] == [first.name]


def test_bundled_models_need_neither_network_nor_folder(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = write_wheel(CHAMPION, tmp_path, name="pk_bundled", bundle_models=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    expected = answer(C2CModel.from_pretrained(CHAMPION, device="cpu"))
    folder = tmp_path / "site" / "pk_bundled" / "champion"
    check_sums(folder)
    assert (folder / "models" / "sharer" / "model.safetensors").is_file()
    monkeypatch.chdir(tmp_path)  # where no models lie
    assert answer(C2CModel.from_pretrained(folder, device="cpu")) == expected


def test_mlflow_loads_it_with_pickle_forbidden(
    tmp_path: Path, patch: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.pyfunc import load_model

    write_mlflow(CHAMPION, tmp_path / "model", name="pk_mlflow")
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pkl", ".pickle")]
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    model = load_model(str(tmp_path / "model"))
    assert model.metadata.signature.inputs.input_types()[0].name == "string"
    alone = C2CModel.from_pretrained(CHAMPION, device="cpu")
    assert model.predict([QUESTION]) == [alone.generate(QUESTION)]
    with pytest.raises(Exception, match="A sharer can read something else"):
        model.predict([QUESTION], params={"sharer_contexts": ["It is."]})
    with pytest.raises(StoreError, match="absent or empty"):
        write_mlflow(CHAMPION, tmp_path / "model", name="pk_mlflow")


def test_transformers_own_generate_listens(
    tmp_path: Path, patch: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    ours = C2CModel.from_pretrained(CHAMPION, device="cpu")
    source = read_manifest(CHAMPION).pair.receiver.source.removeprefix("path:")
    receiver = AutoModelForCausalLM.from_pretrained(source, dtype=ours.receiver.model.dtype)
    write_custom_generate(CHAMPION, tmp_path / "folder", name="pk_custom")
    ids = ours.inputs(QUESTION)["receiver_input_ids"]
    given = {"max_new_tokens": 8, "trust_remote_code": True}
    found = receiver.generate(input_ids=ids, custom_generate=str(tmp_path / "folder"), **given)
    assert torch.equal(found, ours.generate(input_ids=ids, max_new_tokens=8))
    other = AutoModelForCausalLM.from_pretrained(source)
    next(other.parameters()).data.mul_(2)
    with pytest.raises(Exception, match="to the bit"):
        other.generate(input_ids=ids, custom_generate=str(tmp_path / "folder"), **given)


@pytest.mark.parametrize(
    ("name", "found"),
    [("My-Champion", "my_champion"), ("quickstart-trial-000", "quickstart_trial_000")],
)
def test_a_package_is_imported_by_its_name_with_underscores(name: str, found: str) -> None:
    assert import_name(name) == found


@pytest.mark.parametrize("name", ["7up", "class", "json", "torch", "c2c-search", "a'b", "é", ""])
def test_a_name_that_cannot_be_imported_or_is_taken_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="A package's name"):
        import_name(name)


def test_a_damaged_champion_is_not_packaged(tmp_path: Path) -> None:
    copy = shutil.copytree(CHAMPION, tmp_path / "champion")
    (copy / "README.md").write_text("changed")
    with pytest.raises(IntegrityError, match=r"README\.md: expected"):
        write_wheel(copy, tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


def test_the_dockerfile_installs_what_converts_the_models(
    tmp_path: Path, manifest: Manifest
) -> None:
    assert needs_gguf(manifest)
    assert not needs_gguf(read_manifest(CHAMPION))
    wheel = tmp_path / "champion_x-1-py3-none-any.whl"
    text = write_dockerfile(wheel, "x", "champion-x", gguf=True).read_text()
    assert f'pip install --no-cache-dir "/tmp/{wheel.name}[gguf]"' in text
    assert 'ENTRYPOINT ["python", "-m", "x"]' in text
