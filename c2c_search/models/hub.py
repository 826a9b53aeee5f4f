"""Model folders from the Hugging Face Hub, kept in the hub's own cache."""

from __future__ import annotations

import glob
import re
import threading
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2c_search.errors import C2CError
from c2c_search.errors import SourceError
from c2c_search.errors import StoreError
from c2c_search.host.files import is_full
from c2c_search.models.cache_dir import Notify
from c2c_search.models.cache_dir import Progress
from c2c_search.models.cache_dir import require_space
from c2c_search.models.identity import stated_licence
from c2c_search.models.sources import HubSource


_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_COMMIT = re.compile("[0-9a-f]{40}")
_OTHERS = (".json", ".jinja", ".txt", ".model", "README.md")


@dataclass(frozen=True)
class Snapshot:
    """A repository's folder at one commit."""

    path: Path
    commit: str


def download(source: HubSource, progress: Progress, notify: Notify) -> Snapshot:
    """Fetch safetensors, tokenizer and configuration of a repository, and nothing else.

    The hub's own cache folder, token and environment variables apply; what is there already is
    not fetched again, and without a network a repository fetched before is taken as it is.

    Raises:
        SourceError: Unknown or gated repository, unknown revision, no safetensors, no network.
        StoreError: The disk is too small.
    """
    from huggingface_hub import HfApi
    from huggingface_hub import try_to_load_from_cache

    try:
        info = HfApi().model_info(source.repo, revision=source.revision, files_metadata=True)
        sizes = {item.rfilename: item.size or 0 for item in info.siblings or ()}
        path = _download(source, str(info.sha), sizes, progress)
    except C2CError:
        raise
    except Exception as error:  # the hub's errors, its HTTP client's and the system's
        if explained := _explained(source, error):
            raise explained from error
        known = try_to_load_from_cache(source.repo, "config.json", revision=source.revision)
        if not isinstance(known, str):
            raise _unreachable(source, error) from error
        return Snapshot(Path(known).parent, Path(known).parent.name)
    licence, url = stated_licence(path)
    notify(f"{source}: licence {licence}{f' ({url})' if url else ''}.")
    return Snapshot(path, str(info.sha))


def _download(source: HubSource, commit: str, sizes: dict[str, int], progress: Progress) -> Path:
    from huggingface_hub import constants
    from huggingface_hub import snapshot_download
    from huggingface_hub import try_to_load_from_cache

    names = _wanted(sizes)
    if not any(_WEIGHTS.fullmatch(name) for name in names):
        raise SourceError(
            "An hf: repository must hold safetensors weights; nothing is ever unpickled.",
            value=str(source),
            hint="Choose another revision or repository, or convert it once for path:DIR.",
        )
    missing = sum(
        sizes[name]
        for name in names
        if not isinstance(try_to_load_from_cache(source.repo, name, revision=commit), str)
    )
    require_space(Path(constants.HF_HUB_CACHE), missing, f"Fetching {source}")
    return Path(
        snapshot_download(
            source.repo,
            revision=commit,
            allow_patterns=names,
            tqdm_class=_reporter(progress, missing, source.repo),
        )
    )


def fetch_listed(source: HubSource, index: str, listed: Callable[[Path], Iterable[str]]) -> Path:
    """Fetch the files of a repository that a file of it lists, and nothing else.

    As `download` does, from one commit; without a network what was fetched before is taken.

    Args:
        source: The repository.
        index: Name of the file that lists the others.
        listed: Reads their names off the folder that holds it.

    Raises:
        SourceError: Unknown or gated repository, unknown revision, no network.
        StoreError: The disk is too small.
    """
    first = _snapshot(source, source.revision, [index])
    commit = first.name if _COMMIT.fullmatch(first.name) else source.revision
    names = [index, *listed(first)]
    return _snapshot(source, commit, [glob.escape(name) for name in names])


def _snapshot(source: HubSource, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source.repo, revision=revision, allow_patterns=patterns))
    except Exception as error:  # the hub's errors, its HTTP client's and the system's
        raise (_explained(source, error) or _unreachable(source, error)) from error


def _wanted(names: Iterable[str]) -> list[str]:
    """Files of the top folder that transformers reads; repositories hold much else."""
    return [
        name
        for name in names
        if "/" not in name and (_WEIGHTS.fullmatch(name) or name.endswith(_OTHERS))
    ]


def _reporter(progress: Progress, total: int, message: str) -> type:
    """A tqdm class that shows nothing and tells ``progress`` the bytes."""
    from tqdm import tqdm

    lock = threading.Lock()
    most = [0]

    class Reporter(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            self.counts_bytes, self.seen = kwargs.get("unit") == "B", 0
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            # The hub counts the same bytes in two bars (received, written): tell the larger.
            if self.counts_bytes:
                with lock:
                    self.seen += int(n or 0)
                    if self.seen > most[0]:
                        most[0] = self.seen
                        progress("download", min(self.seen, total), total, message)

    return Reporter


def _explained(source: HubSource, error: Exception) -> SourceError | StoreError | None:
    """What the hub's answer means for the user; None if there was no answer."""
    from huggingface_hub.errors import GatedRepoError
    from huggingface_hub.errors import RepositoryNotFoundError
    from huggingface_hub.errors import RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        return SourceError(
            "A gated repository opens only to those who accepted its licence.",
            value=str(source),
            hint="Accept it on the model's page, then log in with 'hf auth login'.",
        )
    if isinstance(error, RevisionNotFoundError):
        return SourceError(
            "The revision after @ must be a branch, tag or commit of the repository.",
            value=str(source),
            hint="Leave it out to take the main branch.",
        )
    if isinstance(error, RepositoryNotFoundError):
        return SourceError(
            "hf: needs a repository that exists and that you may read.",
            value=str(source),
            hint="Check the spelling; for a private one, log in with 'hf auth login'.",
        )
    if is_full(error):
        return StoreError(
            f"Fetching {source} needs more room than the hub's cache has.",
            value=str(error),
            hint="Free some space or set HF_HOME; what has arrived is kept.",
        )
    return None


def _unreachable(source: HubSource, error: Exception) -> SourceError:
    reason = (str(error).splitlines() or ["no reason given"])[0]
    return SourceError(
        "hf: needs the hub, or a model that was fetched from it before.",
        value=str(source),
        hint=(
            f"{type(error).__name__}: {reason}. Check the network and HF_HUB_OFFLINE, or copy the"
            " model's folder here and use path:DIR."
        ),
    )
