from __future__ import annotations

import subprocess
from pathlib import Path

from c2c_search.host.source import source_commit


def test_a_commit_is_that_of_our_own_checkout_or_none(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("")
    assert source_commit(tmp_path) is None


def test_somebody_elses_checkout_is_not_ours(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    package = tmp_path / "site-packages"
    package.mkdir()
    (package / "__init__.py").write_text("")
    assert source_commit(package) is None
