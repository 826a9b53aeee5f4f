"""Where a champion lies: in a folder, on the hub, or in MLflow's model registry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from c2c_search.errors import SourceError
from c2c_search.host.files import scratch
from c2c_search.inference.sums import SUMS
from c2c_search.inference.sums import read_sums
from c2c_search.models.hub import fetch_listed
from c2c_search.models.sources import HubSource
from c2c_search.models.sources import parse_source


_REGISTERED = "models:/"
_LOCAL_STORE = re.compile(r"sqlite:///(?P<path>[^?]+)")
_ON_HUB = re.compile(r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*(@\S+)?", re.ASCII)
_IN_A_MODEL = "artifacts/champion"


@contextmanager
def champion_folder(source: str | Path) -> Iterator[Path]:
    """A champion's folder, there within the block.

    Args:
        source: A folder; ``REPO`` or ``hf:REPO[@REVISION]`` of the Hugging Face Hub, where there
            is no such folder; or ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION`` of the MLflow
            store that ``MLFLOW_TRACKING_URI`` names.

    Raises:
        SourceError: There is no such repository, or registered model, or it cannot be reached.
        StoreError: The disk is too small.
    """
    text = str(source)
    if isinstance(source, Path) or Path(text).is_dir():
        yield Path(source)
    elif text.startswith(_REGISTERED):
        with scratch("c2c-search-registered") as folder:
            yield _registered(text, folder)
    elif text.startswith("hf:") or _ON_HUB.fullmatch(text):
        found = parse_source(text if text.startswith("hf:") else f"hf:{text}")
        assert isinstance(found, HubSource)
        yield fetch_listed(found, SUMS, read_sums)
    else:
        yield Path(text)


def _registered(uri: str, folder: Path) -> Path:
    # By name: MLflow is no part of what travels with a champion, and not needed for a folder.
    if find_spec("mlflow") is None:
        raise SourceError(
            "A registered champion is fetched by MLflow, which is not installed here.",
            value=uri,
            hint="pip install mlflow, or load the champion from its folder.",
        )
    mlflow, artifacts = import_module("mlflow"), import_module("mlflow.artifacts")
    store = str(mlflow.get_registry_uri())
    local = _LOCAL_STORE.fullmatch(store)
    if local is not None and not Path(local["path"]).is_file():  # MLflow would make an empty one
        raise SourceError(
            "MLFLOW_TRACKING_URI must name the MLflow store of the registered champion.",
            value=store,
            hint="Set it, e.g. to sqlite:///runs/mlflow.db, or to the address of a server.",
        )
    try:
        found = Path(artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
    except Exception as error:  # MLflow's own, its HTTP client's and the store's
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SourceError(
            "models:/NAME@ALIAS or models:/NAME/VERSION must be a registered champion that can "
            "be fetched.",
            value=uri,
            hint=f"{store}: {reason}",
        ) from error
    champion = found / _IN_A_MODEL
    if not champion.is_dir():
        raise SourceError(
            "A registered champion holds the champion's folder.",
            value=uri,
            hint="Another kind of model is registered under this name.",
        )
    return champion
