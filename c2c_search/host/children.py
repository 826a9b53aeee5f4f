"""Child processes of Python that import nothing from the folder they are started in."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping


def python_command(*arguments: str) -> list[str]:
    """The command that runs this Python with some arguments.

    A `random.py` or a `datasets/` of the user's must not stand in for the library: -P keeps the
    working folder, and the program's own, off the path.
    """
    return [sys.executable, "-P", *arguments]


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which Python's own children keep to that too.

    An empty entry of PYTHONPATH, as ``PYTHONPATH=$PYTHONPATH:DIR`` often begins with, means the
    working folder and is left out.
    """
    kept = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    entries = environment.get("PYTHONPATH", "").split(os.pathsep)
    if path := os.pathsep.join(entry for entry in entries if entry):
        kept["PYTHONPATH"] = path
    return kept | {"PYTHONSAFEPATH": "1"}
