"""Pages in headless Chromium, on machines that have it: what they ask for, say, and look like."""

from __future__ import annotations

import functools
import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING

import pytest


if TYPE_CHECKING:
    from playwright.sync_api import Page


_SERIOUS = ("serious", "critical")


@functools.cache
def _chromium() -> str | None:
    if importlib.util.find_spec("axe_playwright_python") is None:  # which needs playwright
        return None
    return shutil.which("chromium") or shutil.which("google-chrome")


needs_chromium = pytest.mark.skipif(
    _chromium() is None, reason="needs chromium, playwright and axe-playwright-python"
)


@dataclass
class Tab:
    """A page, and what has happened in it.

    Attributes:
        page: Playwright's.
        asked: Addresses that were requested, in order.
        said: Messages of the console, errors and dialogs.
    """

    page: Page
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def barriers(self) -> list[str]:
        """What axe-core finds that keeps somebody from using the page, each with its elements."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [
            f"{each['id']}: {each['help']} {node['target']} {node['html'][:160]}"
            f" {[check['message'] for check in node['any']]}"
            for each in found
            if each["impact"] in _SERIOUS
            for node in each["nodes"]
        ]


@contextmanager
def opened(url: str, *, width: int = 1100, height: int = 900) -> Iterator[Tab]:
    """Open an address; the browser ends with the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])
        tab = Tab(browser.new_page(viewport={"width": width, "height": height}))
        tab.page.on("request", lambda request: tab.asked.append(request.url))
        tab.page.on("console", lambda message: tab.said.append(message.text))
        tab.page.on("pageerror", lambda error: tab.said.append(str(error)))
        tab.page.on("dialog", lambda dialog: tab.said.append(dialog.message))
        tab.page.goto(url)
        yield tab
        browser.close()
