"""The exported champion: complete, and free of the workbench."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from c2c_search.champion.export import PACKAGES
from c2c_search.champion.export import REQUIREMENTS
from c2c_search.champion.export import export
from c2c_search.champion.export import export_rosetta
from c2c_search.champion.export import write_runtime
from c2c_search.champion.package import build
from c2c_search.champion.verify import verify
from c2c_search.config.trial import canonical_hash
from c2c_search.errors import ConfigError
from c2c_search.errors import IntegrityError
from c2c_search.errors import StoreError
from c2c_search.fuser import checkpoint
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.rosetta import writing
from c2c_search.fuser.shapes import CacheShape
from c2c_search.host import dtypes
from c2c_search.inference.drafting import draft_texts
from c2c_search.inference.loading import cache_shape
from c2c_search.inference.loading import champion_dtype
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.manifest import PairIdentity
from c2c_search.inference.manifest import RecordedQuestion
from c2c_search.inference.model import C2CModel
from c2c_search.inference.sums import check_sums
from c2c_search.inference.sums import read_sums
from c2c_search.models.loading import LoadedModel
from c2c_search.models.loading import load


ROOT = Path(__file__).parents[2]
# Imports every module of a runtime as if the workbench's libraries were not installed.
IMPORT_ALL = """
import importlib, pkgutil, sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

FORBIDDEN = {"optuna", "mlflow", "deepspeed", "datasets", "peft", "typer"}

class Guard(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in FORBIDDEN
        return None if hidden else super().find_spec(name, path, target)

sys.meta_path[:] = [BuiltinImporter, FrozenImporter, Guard]
sys.path.insert(0, sys.argv[1])
import c2c_search
for module in pkgutil.walk_packages(c2c_search.__path__, "c2c_search."):
    importlib.import_module(module.name)
from c2c_search import C2CModel
assert not FORBIDDEN & {name.partition(".")[0] for name in sys.modules}
assert all(
    module.__file__.startswith(sys.argv[1])
    for name, module in sys.modules.items()
    if name.partition(".")[0] == "c2c_search"
)
print(C2CModel.__name__)
"""


@pytest.fixture
def champion(tmp_path: Path, fuser_dir: Path, manifest: Manifest) -> Path:
    return build(tmp_path / "champion", fuser_dir=fuser_dir, manifest=manifest)


def test_the_copy_holds_champion_and_runtime_under_one_set_of_sums(
    tmp_path: Path, champion: Path
) -> None:
    to = tmp_path / "out"
    export(champion, to)
    check_sums(to)
    sums = read_sums(to)
    assert {"runtime/pyproject.toml", "runtime/c2c_search/errors.py"} <= sums.keys()
    listed = {path.relative_to(to).as_posix() for path in to.rglob("*") if path.is_file()}
    assert listed == sums.keys() | {"SHA256SUMS"}
    held = {path.name for path in (to / "runtime" / "c2c_search").iterdir()}
    files = {"__init__.py", "batching.py", "errors.py", "plugins.py", "py.typed"}
    assert held == {*files, *PACKAGES}
    assert not list(to.rglob("__pycache__"))


def test_requirements_are_in_the_workbenchs_own_ranges() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(REQUIREMENTS) <= set(project["dependencies"])


def test_the_runtimes_pyproject_is_complete(tmp_path: Path, champion: Path) -> None:
    export(champion, tmp_path / "out")
    project = tomllib.loads((tmp_path / "out" / "runtime" / "pyproject.toml").read_text())
    assert project["project"]["name"] == "c2c-search-runtime"
    assert project["project"]["dependencies"] == list(REQUIREMENTS)


def test_a_damaged_champion_is_not_exported(tmp_path: Path, champion: Path) -> None:
    (champion / "manifest.json").write_text("{}")
    with pytest.raises(IntegrityError, match=r"manifest\.json: expected"):
        export(champion, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_same_champion_may_be_exported_again(tmp_path: Path, champion: Path) -> None:
    export(champion, tmp_path / "out")
    (tmp_path / "out" / "runtime" / "build").mkdir()
    export(champion, tmp_path / "out")
    assert not (tmp_path / "out" / "runtime" / "build").exists()


def test_another_champion_is_written_over_only_when_asked(
    tmp_path: Path, champion: Path, other_fuser_dir: Path, manifest: Manifest
) -> None:
    second = build(tmp_path / "second", fuser_dir=other_fuser_dir, manifest=manifest)
    export(champion, tmp_path / "out")
    with pytest.raises(StoreError, match="only when that is asked for"):
        export(second, tmp_path / "out")
    export(second, tmp_path / "out", replace=True)
    check_sums(tmp_path / "out")


def test_every_module_of_the_runtime_imports_without_the_workbench(tmp_path: Path) -> None:
    write_runtime(tmp_path / "runtime")
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", IMPORT_ALL, str(tmp_path / "runtime")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "C2CModel"


def test_a_champion_drafts_as_it_was_measured(
    tmp_path: Path, manifest: Manifest, tiny_model: Callable[..., LoadedModel]
) -> None:
    pair = []
    for role, seed in (("receiver", 1), ("sharer", 2)):
        loaded = tiny_model("llama", seed=seed)
        loaded.model.save_pretrained(tmp_path / role)
        tokenizer = copy(loaded.text_tokenizer)
        tokenizer.chat_template = "<{{ messages[0]['content'] }}>"
        tokenizer.save_pretrained(tmp_path / role)
        pair.append(load(f"path:{tmp_path / role}", device="cpu"))
    receiver, sharer = pair
    config = FuserConfig(
        width=8, normalisation="none", injection="append", message="both", draft_tokens=9
    )
    fuser = Fuser(config, cache_shape(receiver), cache_shape(sharer)).eval()
    with torch.no_grad():
        for parameter in fuser.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    checkpoint.save(fuser, tmp_path / "fuser")
    here = C2CModel(receiver, sharer, fuser, draft_template="chat")
    answer, question = here.generate("which?", max_new_tokens=8), "which?"
    trial = {
        "data": {"draft_template": "chat"},
        "fuser": config.model_dump(mode="json"),
        "pair": {role: f"path:{tmp_path / role}" for role in ("receiver", "sharer")},
    }
    told = manifest.model_copy(
        update={
            "pair": PairIdentity(receiver=receiver.identity, sharer=sharer.identity),
            "dtype": "float32",
            "trial": trial,
            "trial_hash": canonical_hash(trial),
            "questions": (RecordedQuestion(question=question, answer=answer, max_new_tokens=8),),
        }
    )
    champion = build(tmp_path / "champion", fuser_dir=tmp_path / "fuser", manifest=told)
    export(champion, tmp_path / "out")
    again = C2CModel.from_pretrained(tmp_path / "out", device="cpu")
    assert again.draft_template == "chat"
    assert draft_texts(again, [question]) == draft_texts(here, [question])
    here.draft_template = None
    assert draft_texts(again, [question]) != draft_texts(here, [question])
    assert verify(tmp_path / "out") == (answer,)  # in a process with the runtime alone


@pytest.mark.parametrize(
    "fields",
    [
        {"lora_rank": 2},
        {"injection": "side"},
        {"injection": "side", "reads_from": "all"},
        {"injection": "side", "message": "draft", "source": "hidden", "slots": 2, "lora_rank": 2},
        {"injection": "side", "message": "draft", "anchors": "last", "anchor_tokens": 9},
    ],
    ids=str,
)
def test_what_changes_the_receiver_travels_with_its_champion(
    tmp_path: Path,
    manifest: Manifest,
    tiny_model: Callable[..., LoadedModel],
    fields: dict[str, Any],
) -> None:
    pair = []
    for role, seed in (("receiver", 1), ("sharer", 2)):
        loaded = tiny_model("llama", seed=seed)
        loaded.model.save_pretrained(tmp_path / role)
        loaded.tokenizer.save_pretrained(tmp_path / role)
        pair.append(load(f"path:{tmp_path / role}", device="cpu"))
    receiver, sharer = pair
    config = FuserConfig.model_validate({"width": 8, "normalisation": "none", **fields})
    shape = cache_shape(receiver, adapted=config.lora_rank > 0)
    fuser = Fuser(config, shape, cache_shape(sharer, source=config.source)).eval()
    with torch.no_grad():
        for parameter in fuser.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    checkpoint.save(fuser, tmp_path / "fuser")
    identities = PairIdentity(receiver=receiver.identity, sharer=sharer.identity)
    trial = {
        "data": {"date": "2024-07-09"},
        "fuser": config.model_dump(mode="json"),
        "pair": {role: f"path:{tmp_path / role}" for role in ("receiver", "sharer")},
    }
    told = manifest.model_copy(
        update={"pair": identities, "trial": trial, "trial_hash": canonical_hash(trial)}
    )
    champion = build(tmp_path / "champion", fuser_dir=tmp_path / "fuser", manifest=told)
    export(champion, tmp_path / "out")

    again = C2CModel.from_pretrained(tmp_path / "out", device="cpu")
    assert (again.adaptation is not None) == (config.lora_rank > 0)
    assert again.date == "2024-07-09"
    here = C2CModel(receiver, sharer, fuser)
    asked = [[{"role": "user", "content": "which?"}]]
    expected, found = (
        model.score(model.batch(model.prompts(asked)), [["a", "bc"]])[0][0]
        for model in (here, again)
    )
    assert torch.equal(found, expected)
    if config.adds_memory:
        with torch.no_grad():
            fuser.projector.projection[-1].bias.add_(1.0)  # type: ignore[operator, index, union-attr]
    here.adaptation = None
    other = here.score(here.batch(here.prompts(asked)), [["a", "bc"]])[0][0]
    assert not torch.allclose(other, expected, atol=1e-2)


def test_a_champion_computes_as_it_was_measured_where_that_is_not_slow(
    manifest: Manifest, imported: Manifest, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.delenv("C2C_SEARCH_DTYPE")
    device = torch.device("cpu")
    measured = manifest.model_copy(update={"dtype": "bfloat16"})
    monkeypatch.setattr(dtypes, "has_instructions", lambda: None)
    monkeypatch.setattr(dtypes, "bfloat16_gain", lambda: 2.0)
    assert champion_dtype(measured, device) == torch.bfloat16
    # Of a version that always took float32 on a CPU.
    assert champion_dtype(manifest, device) == torch.float32
    # Never measured: the faster one.
    assert champion_dtype(imported, device) == torch.bfloat16
    assert not capsys.readouterr().err
    monkeypatch.setattr(dtypes, "bfloat16_gain", lambda: 0.01)
    assert champion_dtype(measured, device) == torch.float32
    assert champion_dtype(imported, device) == torch.float32
    assert "compute in float32 here" in capsys.readouterr().err


# The published layout

SHAPE = CacheShape(layers=2, heads=2, head_dim=4)
PUBLISHED = FuserConfig(
    width=8, normalisation="none", input_activation=False, token_alignment="longest"
)


def _champion(folder: Path, manifest: Manifest, config: FuserConfig) -> Path:
    checkpoint.save(Fuser(config, SHAPE, SHAPE), folder / "fuser")
    return build(folder / "champion", fuser_dir=folder / "fuser", manifest=manifest)


@pytest.fixture
def published(tmp_path: Path, manifest: Manifest) -> Path:
    return _champion(tmp_path / "published", manifest, PUBLISHED)


def test_the_fuser_is_written_in_the_published_layout(tmp_path: Path, published: Path) -> None:
    to = tmp_path / "deep" / "out"
    export_rosetta(published, to)
    assert {path.name for path in to.iterdir()} == {
        "projector_config.json",
        *(f"projector_{place}.{ending}" for place in (0, 1) for ending in ("json", "pt")),
    }
    written, fuser = writing.read(to, SHAPE, SHAPE), checkpoint.load(published)
    for name, tensor in fuser.state_dict().items():
        assert torch.equal(written.state_dict()[name], tensor)
    assert [path.name for path in to.parent.iterdir()] == ["out"]


def test_every_reason_against_the_published_layout_is_told(
    tmp_path: Path, manifest: Manifest
) -> None:
    config = FuserConfig(width=8, depth=1, keys="unrotated", injection="side", reads_from="all")
    champion = _champion(tmp_path / "other", manifest, config)
    with pytest.raises(ConfigError) as caught:
        export_rosetta(champion, tmp_path / "out")
    for reason in (
        "depth is 1",
        "keys is 'unrotated'",
        "normalisation is 'calibrated'",
        "reads_from is 'all', and the layout knows only 'last'",
    ):
        assert reason in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_checkpoint_is_written_over_only_when_asked(tmp_path: Path, published: Path) -> None:
    to = tmp_path / "out"
    export_rosetta(published, to)
    (to / "projector_7.pt").write_bytes(b"of the one before")
    with pytest.raises(StoreError, match="only when that is asked for"):
        export_rosetta(published, to)
    export_rosetta(published, to, replace=True)
    assert not (to / "projector_7.pt").exists()


@pytest.mark.parametrize("replace", [False, True])
def test_what_is_no_checkpoint_is_never_written_over(
    tmp_path: Path, published: Path, replace: bool
) -> None:
    to = tmp_path / "out"
    export_rosetta(published, to)
    (to / "notes.txt").write_text("years of work")
    for path in (to, published):
        with pytest.raises(StoreError, match="Only an empty folder or a checkpoint"):
            export_rosetta(published, path, replace=replace)
    with pytest.raises(StoreError, match="into a folder"):
        export_rosetta(published, to / "notes.txt", replace=replace)
    assert (to / "notes.txt").read_text() == "years of work"


def test_a_damaged_champion_is_not_written(tmp_path: Path, published: Path) -> None:
    (published / "manifest.json").write_text("{}")
    with pytest.raises(IntegrityError, match=r"manifest\.json: expected"):
        export_rosetta(published, tmp_path / "out")
    assert not (tmp_path / "out").exists()
