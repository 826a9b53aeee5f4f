"""No child of ours, and no child of it, imports from the folder it is started in."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from c2c_search.host.children import child_environment
from c2c_search.host.children import python_command


@pytest.mark.parametrize("path", ["", ":", "/a:", ":/a::/b"])
def test_a_module_in_the_working_folder_is_not_imported(tmp_path: Path, path: str) -> None:
    (tmp_path / "shadow.py").write_text("open('PWNED', 'w')\n")
    grandchild = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import shadow'])"
    for code in ("import shadow", grandchild):
        subprocess.run(
            python_command("-c", code),
            cwd=tmp_path,
            env=child_environment(os.environ | {"PYTHONPATH": path}),
            capture_output=True,
        )
    assert not (tmp_path / "PWNED").exists()


def test_what_the_user_put_on_the_path_stays() -> None:
    path = os.pathsep.join(["", "/a", "", "/b"])
    told = child_environment({"PYTHONPATH": path, "HOME": "/h"})
    assert told == {"PYTHONPATH": f"/a{os.pathsep}/b", "HOME": "/h", "PYTHONSAFEPATH": "1"}
    assert "PYTHONPATH" not in child_environment({"PYTHONPATH": os.pathsep})
