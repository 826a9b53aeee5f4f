from __future__ import annotations

import os
import subprocess
import sys

import pytest

from c2c_search.tracking import environment


def test_importing_the_room_imports_no_mlflow() -> None:
    code = "import sys, c2c_search.tracking; print('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_prepare_sets_the_environment_but_keeps_the_users_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in environment.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_PYTHON_REFRESH", "raise")
    environment.prepare()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["GIT_PYTHON_REFRESH"] == "raise"
