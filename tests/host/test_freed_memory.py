"""Freed memory is given back, or nothing happens."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import pytest

from c2c_search.host.freed_memory import give_back_memory


def test_the_c_library_is_asked_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    library = SimpleNamespace(malloc_trim=lambda pad: asked.append(pad.value))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    give_back_memory()
    assert asked == [0]
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())  # e.g. musl
    give_back_memory()
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.delattr(ctypes, "CDLL")
    give_back_memory()
    assert asked == [0]
