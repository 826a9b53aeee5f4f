"""The command line as a user types it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from c2c_search.cli import main


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line; gives exit status, standard output and standard error."""
    monkeypatch.setenv("COLUMNS", "200")

    def cli(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["c2c-search", *arguments])
        try:
            main()
            status = 0
        except SystemExit as left:
            status = int(left.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return cli
