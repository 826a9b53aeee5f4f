"""The documentation site builds without a warning, and quotes messages that there are."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1]
QUOTED = re.findall(r'\*\*"(.+?)"\*\*', (ROOT / "docs" / "troubleshooting.md").read_text())


def test_the_site_builds_and_every_link_leads_somewhere(tmp_path):
    pytest.importorskip("mkdocs")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert "<code>fuser</code>" in (tmp_path / "reference" / "trial.html").read_text()
    assert "c2c-search study" in (tmp_path / "reference" / "commands.html").read_text()
    # Nothing is fetched from another host to read a page; mermaid's pictures alone need one.
    for page in tmp_path.rglob("*.html"):
        fetched = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)', page.read_text()
        )
        assert not [url for url in fetched if "canonical" not in url], page


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    """Every text of the package, where what is filled in is …"""
    found = []
    for file in (ROOT / "c2c_search").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.append(
                    "".join(
                        str(part.value) if isinstance(part, ast.Constant) else "…"
                        for part in node.values
                    )
                )
    return found


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_message_that_is_explained_is_one_of_ours(quoted, sentences):
    filled = quoted.replace("SHA256SUMS", "…")
    parts = [part.strip() for part in filled.split("…") if part.strip()]
    assert any(all(part in text for part in parts) for text in sentences)
