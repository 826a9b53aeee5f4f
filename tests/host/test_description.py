"""What a report says about the machine."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from c2c_search.host import description


def test_the_machine_says_what_numbers_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    said = description.machine("bfloat16")
    assert said.startswith(description.processor())
    assert f", {torch.get_num_threads()} threads, " in said
    assert said.endswith("models in bfloat16")


def test_every_accelerator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"Chip {number}")
    assert "threads, Chip 0, Chip 1, " in description.machine("float32")


def test_without_cpuinfo_it_is_what_python_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda path: False)
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert description.processor() == "unknown processor"
