"""The documentation site builds without a warning, and quotes messages that there are."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.browser import needs_chromium
from tests.browser import opened


ROOT = Path(__file__).parents[1]
QUOTED = re.findall(r'\*\*"(.+?)"\*\*', (ROOT / "docs" / "troubleshooting.md").read_text())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_the_site_builds_and_every_link_leads_somewhere(site: Path) -> None:
    assert "<code>fuser</code>" in (site / "reference" / "trial.html").read_text()
    assert "c2c-search study" in (site / "reference" / "commands.html").read_text()
    # Nothing is fetched from another host to read a page; mermaid's pictures alone need one.
    for page in site.rglob("*.html"):
        fetched = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)', page.read_text()
        )
        assert not [url for url in fetched if "canonical" not in url], page


@needs_chromium
def test_a_browser_shows_its_first_page_to_everybody_without_an_error(site: Path) -> None:
    handler = partial(_Quiet, directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        with opened(url) as tab:
            tab.page.wait_for_load_state("networkidle")
            assert tab.barriers() == []
        server.shutdown()
    assert all(each.startswith(url) for each in tab.asked)
    assert tab.said == []


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        pass


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
