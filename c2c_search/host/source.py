"""The commit that c2c-search itself runs from."""

from __future__ import annotations

import subprocess
from pathlib import Path


PACKAGE = Path(__file__).parents[1]


def source_commit(package: Path = PACKAGE) -> str | None:
    """Commit of the checkout that a package runs from, ``-dirty`` with changes; None if none.

    Args:
        package: Its folder; c2c-search's own when left out.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # An installation inside somebody else's checkout is not of its commit.
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None
