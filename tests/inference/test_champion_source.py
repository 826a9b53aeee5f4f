"""A champion from a folder, the hub and MLflow's registry, and each way that can fail."""

from __future__ import annotations

import fnmatch
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from c2c_search import C2CModel
from c2c_search.errors import ConfigError
from c2c_search.errors import IntegrityError
from c2c_search.errors import SourceError
from c2c_search.inference import champion_source
from c2c_search.inference.champion_source import champion_folder
from c2c_search.models.cache_dir import CACHE_VARIABLE


TINY = Path(__file__).parents[1] / "assets" / "champion_before_the_move"
QUESTION = "Where is Timbuktu?"


@pytest.fixture(autouse=True)
def beside_the_models(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(TINY)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str | None]]:
    """A hub of one repository, which holds more than a champion; told what is asked for."""
    asked: list[tuple[str, str | None]] = []
    commit = tmp_path / "snapshots" / ("c0ffee" + "0" * 34)
    repository = tmp_path / "repository"
    shutil.copytree(TINY / "champion", repository)
    (repository / "training_state.pt").write_bytes(b"a pickle")

    def snapshot_download(repo: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repo, revision))
        if repo != "me/my-champion":
            raise LocalEntryNotFoundError("no network")
        commit.mkdir(parents=True, exist_ok=True)
        for path in repository.iterdir():
            if any(fnmatch.fnmatch(path.name, pattern) for pattern in allow_patterns):
                shutil.copy(path, commit)
        return str(commit)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_a_champion_of_the_hub_is_that_of_its_folder(hub: list[tuple[str, str | None]]) -> None:
    expected = C2CModel.from_pretrained("champion").generate(QUESTION, max_new_tokens=8)
    found = C2CModel.from_pretrained("me/my-champion", device="cpu", dtype="float32")
    assert found.generate(QUESTION, max_new_tokens=8) == expected
    with champion_folder("hf:me/my-champion@v2") as folder:
        assert not (folder / "training_state.pt").exists()
    # The files that are listed are those of the commit that lists them.
    assert hub[-2:] == [("me/my-champion", "v2"), ("me/my-champion", folder.name)]


def test_what_the_hub_does_not_have_is_told(hub: list[tuple[str, str | None]]) -> None:
    with pytest.raises(SourceError, match=r"needs the hub.*me/other"):
        C2CModel.from_pretrained("me/other")
    with pytest.raises(IntegrityError, match="holds SHA256SUMS"):
        C2CModel.from_pretrained(Path("me/other"))
    with pytest.raises(IntegrityError, match="holds SHA256SUMS"):
        C2CModel.from_pretrained("./no/such/folder")
    assert len(hub) == 1


def test_a_dtype_is_taken_by_name_or_refused() -> None:
    model = C2CModel.from_pretrained("champion", dtype=torch.bfloat16)
    assert model.receiver.model.dtype == model.sharer.model.dtype == torch.bfloat16
    with pytest.raises(ConfigError, match="one that models compute in"):
        C2CModel.from_pretrained("champion", dtype="int8")


def test_a_registered_champion_is_fetched_and_what_fails_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mlflow = pytest.importorskip("mlflow")
    artifacts = pytest.importorskip("mlflow.artifacts")
    monkeypatch.setattr(mlflow, "get_registry_uri", lambda: f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(SourceError, match="MLFLOW_TRACKING_URI must name"):
        C2CModel.from_pretrained("models:/c2c-fuser@champion")
    assert not (tmp_path / "none.db").exists()  # MLflow was not asked, which would make it
    monkeypatch.setattr(mlflow, "get_registry_uri", lambda: "http://localhost:9")

    def download_artifacts(*, artifact_uri: str, dst_path: str) -> str:
        if artifact_uri != "models:/c2c-fuser@champion":
            raise mlflow.MlflowException("Registered model alias nobody not found.")
        shutil.copytree(TINY / "champion", Path(dst_path, "artifacts", "champion"))
        return dst_path

    monkeypatch.setattr(artifacts, "download_artifacts", download_artifacts)
    model = C2CModel.from_pretrained("models:/c2c-fuser@champion")
    assert model.generate(QUESTION, max_new_tokens=4) is not None
    with pytest.raises(SourceError, match="alias nobody not found"):
        C2CModel.from_pretrained("models:/c2c-fuser@nobody")
    monkeypatch.setattr(champion_source, "find_spec", lambda name: None)
    with pytest.raises(SourceError, match="pip install mlflow"):
        C2CModel.from_pretrained("models:/c2c-fuser@champion")
