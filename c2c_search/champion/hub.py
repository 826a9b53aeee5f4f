"""A champion uploaded to the Hugging Face Hub, from where `C2CModel.from_pretrained` loads it."""

from __future__ import annotations

import re
from pathlib import Path

from c2c_search.champion.vendored import write_champion
from c2c_search.errors import ConfigError
from c2c_search.errors import SourceError
from c2c_search.host.files import scratch
from c2c_search.inference.sums import check_sums


_REPO = re.compile(r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)


def push(champion: Path, repo: str, *, bundle_models: bool = False, private: bool = True) -> str:
    """Upload a champion's files, in one commit; the repository is made if it is not there.

    The hub's own token and endpoint apply (``hf auth login``, ``HF_TOKEN``, ``HF_ENDPOINT``).

    Args:
        champion: A champion's folder.
        repo: ``OWNER/NAME``.
        bundle_models: Whether both models' files are uploaded too.
        private: Whether a repository that is made is private.

    Returns:
        Where the upload can be seen.

    Raises:
        ConfigError: ``repo`` is no name of a repository.
        IntegrityError: The champion is not as it was written.
        SourceError: The hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    if not _REPO.fullmatch(repo):
        raise ConfigError("A repository of the hub is OWNER/NAME.", value=repo)
    check_sums(champion)
    with scratch("c2c-search-push") as stage:
        folder = stage / "champion"
        write_champion(champion, folder, bundle_models=bundle_models)
        try:
            api = HfApi()
            api.create_repo(repo, private=private, exist_ok=True)
            done = api.upload_folder(
                repo_id=repo, folder_path=folder, commit_message="Upload a champion"
            )
        except Exception as error:  # the hub's errors, its HTTP client's and the system's
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise SourceError(
                "A champion is uploaded to a repository of the hub that you may write.",
                value=repo,
                hint=f"{reason}. `hf auth login` keeps a token; HF_ENDPOINT names another hub.",
            ) from error
    return str(done.commit_url)
