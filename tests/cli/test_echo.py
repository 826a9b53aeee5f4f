"""What commands print of foreign text."""

from __future__ import annotations

import json

import pytest

from c2c_search.cli.echo import echo
from c2c_search.cli.echo import echo_json


def test_lines_are_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    echo("a\x1b[2J\nb", err=True)
    assert capsys.readouterr().err == "a\\x1b[2J\nb\n"


def test_json_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    content = {"name": "\x1b[2J \x9b31m \u202e é"}
    echo_json(json.dumps(content, ensure_ascii=False, indent=1))
    out = capsys.readouterr().out
    assert not set("\x1b\x9b\u202e") & set(out)
    assert "é" in out
    assert json.loads(out) == content
